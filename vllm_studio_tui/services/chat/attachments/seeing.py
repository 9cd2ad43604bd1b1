"""Whether an engine reads pictures: it is asked, or its model's own configuration is read. Names say nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.models.local import hub_cache
from vllm_studio_tui.probes.engine.scrape import fetch

#: Seconds that an engine may take to say it, that its word is believed, and that one that says nothing is not asked
#: again: a question is looked at more than once on its way.
SECONDS, KEPT, SILENT = 2.0, 300.0, 20.0
#: Beginnings and parts of keys of a config.json that only models which see have.
_SIGNS = ("vision", "image", "img", "visual", "mm_")


@dataclass(frozen=True, slots=True)
class Sight:
    """Whether pictures are read.

    Attributes:
        sees: None: nobody says so; the engine will refuse them, or not.
        why: Who says it, in words.
        advice: What would have it see, where something would.
    """

    sees: bool | None
    why: str = ""
    advice: str = ""


_known: dict[tuple[str, str, str | None, int], tuple[float, Sight]] = {}


def sight(target: Target) -> Sight:
    """Return whether an engine reads pictures. Blocking; never raises."""
    if target.vision is not None:
        return Sight(target.vision, f"Its recipe says vision: {str(target.vision).lower()}.")
    key = (target.base_url, target.model, target.run_id, target.attempt)
    kept = _known.get(key)
    if kept is not None and time.monotonic() - kept[0] < (SILENT if kept[1].sees is None else KEPT):
        return kept[1]
    found = _asked(target)
    if len(_known) > 100:
        _known.clear()
    _known[key] = (time.monotonic(), found)
    return found


def _asked(target: Target) -> Sight:
    backend = registry.find(target.backend)
    own = backend.sight if backend is not None else None
    # Of a server that is not ours nobody knows the kind: each way to ask is tried.
    ways = [own] if own is not None else [one.sight for one in registry.backends().values() if one.sight is not None]
    if backend is not None and backend.needs_launch and own is None:
        ways = []
    for path, name in dict.fromkeys(ways):
        value = _value(_get(target, path), name)
        if isinstance(value, bool):
            advice = backend.sight_advice if backend is not None and not value else ""
            return Sight(value, f"Its engine says so ({path}: {name}).", advice)
    return _by_config(target)


def _by_config(target: Target) -> Sight:
    """Read the configuration of the model that is loaded, where the server names a folder that is here.

    A run of ours that does not name it may be asked for its model by that folder, or by its name on the hub.
    """
    answer = _get(target, "/v1/models")
    listed = answer.get("data") if isinstance(answer, Mapping) else None
    entries = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    roots = [one.get("root") for one in entries if one.get("id") == target.model]
    if target.run_id is not None:
        roots.append(target.model.partition("@")[0])  # transformers writes a revision behind it
    for root in roots:
        config = _config(root) if isinstance(root, str) else None
        if config is not None:
            sees = sees_by_config(config)
            what = "has a part that sees" if sees else "has no part that sees"
            return Sight(sees, f"Its model's config.json {what}.")
    return Sight(None)


def sees_by_config(config: Mapping[str, Any]) -> bool:
    """Return whether a model's configuration has a part for pictures."""
    return any(str(key).lower().startswith(_SIGNS) or "_image_" in str(key).lower() for key in config)


def _config(root: str) -> Mapping[str, Any] | None:
    folders = [Path(root)] if root.startswith("/") else []
    if not folders and root.count("/") == 1:
        base = hub_cache(os.environ) / f"models--{root.replace('/', '--')}" / "snapshots"
        try:
            folders = sorted(base.iterdir())[:20]
        except OSError:
            folders = []
    for folder in folders:
        try:
            with (folder / "config.json").open("rb") as file:
                found = safe_json.loads(file.read(4 * 1024 * 1024))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, Mapping):
            return found
    return None


def _get(target: Target, path: str) -> Any:
    if target.user is not None:
        return None
    try:
        return safe_json.loads(fetch(target.base_url, target.api_key, timeout=SECONDS, path=path))
    except (StudioError, ValueError, RecursionError):
        return None


def _value(answer: Any, name: str) -> Any:
    for part in name.split("."):
        answer = answer.get(part) if isinstance(answer, Mapping) else None
    return answer
