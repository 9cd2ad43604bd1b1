"""The settings that the first picture needs, read without what checks settings.

Errors in the file are reported when all of it is read, a moment later.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(
    r"^(theme|ascii|mouse|colours|background|multiplexer|pictures)\s*:\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*(?:#.*)?$",
    re.MULTILINE,
)
_HOSTS = re.compile(r"^hosts\s*:(?!\s*\{\s*\})", re.MULTILINE)
_YES = ("true", "yes", "on", "1")
_NO = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Startup:
    """How the screens are to look.

    Attributes:
        theme: The name of a theme; None: the one that suits the terminal.
        ascii: Draw with ASCII only; None: where the terminal has no other characters.
        mouse: Take the mouse.
        hosts: There are hosts in them.
        colours, background, multiplexer, pictures: As the settings of these names; empty: as the terminal says.
    """

    theme: str | None = None
    ascii: bool | None = None
    mouse: bool = True
    colours: str = ""
    background: str = ""
    multiplexer: str = ""
    hosts: bool = False
    pictures: str = ""


def read_startup_settings(path: Path, environ: Mapping[str, str]) -> Startup:
    """Read the settings of the first picture; variables come before the file."""
    text = ""
    with contextlib.suppress(OSError):
        text = path.read_text("utf-8", "replace")[:65536]
    found = dict(_LINE.findall(text))

    def value(name: str) -> str:
        return environ.get(f"VLLM_STUDIO_{name.upper()}") or found.get(name) or ""

    return Startup(
        value("theme") or None,
        _switch(value("ascii")),
        _switch(value("mouse")) is not False,
        value("colours").lower(),
        value("background").lower(),
        value("multiplexer").lower(),
        bool(environ.get("VLLM_STUDIO_HOSTS", "").strip() or _HOSTS.search(text)),
        value("pictures").lower(),
    )


def _switch(text: str) -> bool | None:
    return True if text.lower() in _YES else False if text.lower() in _NO else None
