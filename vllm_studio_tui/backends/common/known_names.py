"""Flags and parsers of released engines. Only read when a recipe is checked.

The tables are of one version each. An engine of another version may know more or less, so a name that is not in
them is a warning, never a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Known:
    """Flags and parsers of one version of an engine; flags without the dashes before them.

    Attributes:
        version: The version that was looked at.
        on_by_default: Flags that only their form `no-...` switches off.
        gone: Flags of earlier versions to what took their place, empty where nothing did.
    """

    version: str
    flags: frozenset[str]
    on_by_default: frozenset[str]
    tool_parsers: tuple[str, ...]
    reasoning_parsers: tuple[str, ...]
    gone: Mapping[str, str]


@cache
def known(backend: str) -> Known | None:
    """Return the table of a backend, None where there is none."""
    tables = json.loads(Path(__file__).with_name("known_names.json").read_text(encoding="utf-8"))
    one = tables.get(backend)
    if one is None:
        return None
    return Known(
        one["version"],
        frozenset(one["flags"]),
        frozenset(one["on_by_default"]),
        tuple(one["tool_parsers"]),
        tuple(one["reasoning_parsers"]),
        one["gone"],
    )
