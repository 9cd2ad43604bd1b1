"""Read and check `keymap.yaml`, the user's own keys for actions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

#: A key as Textual names it: modifiers and a name, or one character.
_KEY = re.compile(r"(?:(?:ctrl|alt|shift|super)\+)*(?:[a-z0-9_]+|.)", re.IGNORECASE)
MAX_FILE = 64 * 1024


def read_keymap(
    path: Path,
    actions: Mapping[str, str],
    together: Mapping[str, Collection[str]],
    *,
    renamed: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Action to keys, as the file says, and what is wrong with it.

    Args:
        actions: Every action with its default keys.
        together: For every scope the scopes whose keys work at the same time.
        renamed: Names of actions before, with those that they have now.

    What is wrong is left out; everything else holds.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            return {}, [f"{path} is larger than 64 KiB"]
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{path} cannot be read: {error}"]
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        return {}, [f"{path}, line {mark.line + 1 if mark else 1}: not YAML"]
    if data is None:
        return {}, []
    if not isinstance(data, dict):
        return {}, [f"{path}: it needs lines such as `dashboard.stop: S`"]
    keymap: dict[str, str] = {}
    problems: list[str] = []
    for name, value in data.items():
        action = (renamed or {}).get(str(name), str(name))
        if action not in actions:
            near = difflib.get_close_matches(action, actions, 1)
            problems.append(f"{action[:60]} is no action{f', did you mean {near[0]}' if near else ''}?")
            continue
        keys = [str(one).strip() for one in (value if isinstance(value, list) else str(value).split(","))]
        wrong = [key for key in keys if not _KEY.fullmatch(key)]
        if wrong or not all(keys):
            problems.append(f"{action}: {(wrong or ['an empty key'])[0][:30]!r} is no key")
            continue
        keymap[action] = ",".join(keys)
    return _without_clashes(keymap, actions, together, problems)


def _without_clashes(
    keymap: dict[str, str],
    actions: Mapping[str, str],
    together: Mapping[str, Collection[str]],
    problems: list[str],
) -> tuple[dict[str, str], list[str]]:
    """Return the keys without clashes: two actions of one place cannot share a key, and the earlier one keeps it."""
    for action in list(keymap):
        scope = action.partition(".")[0]
        for other, default in actions.items():
            if other == action or other.partition(".")[0] not in together.get(scope, (scope,)):
                continue
            theirs = set(keymap.get(other, default).split(","))
            if shared := theirs & set(keymap.get(action, "").split(",")) - {""}:
                problems.append(f"{action}: {sorted(shared)[0]} is already {other}; both would have it")
                del keymap[action]
                break
    return keymap, problems
