"""Names by which models call tools: `server__tool`, as every engine takes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from vllm_studio_tui.domain.tools import Tool

#: Letters of a name; OpenAI's API, and engines with it, take no more.
LONGEST = 64
_OTHER = re.compile(r"[^A-Za-z0-9_-]")


def tool_name(server: str, title: str) -> str:
    """Return the name of a server's tool; one that had to be changed carries a mark of the whole."""
    plain = f"{server}__{title}"
    name = _OTHER.sub("_", plain)
    if name == plain and len(name) <= LONGEST:
        return name
    mark = hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:6]
    return f"{name[: LONGEST - 7]}_{mark}"


def apart(tools: Iterable[Tool]) -> list[Tool]:
    """Return tools under names that are apart; of two of the same server and title the first is kept."""
    found: dict[str, Tool] = {}
    for tool in tools:
        taken = found.get(tool.name)
        if taken is None:
            found[tool.name] = tool
        elif (taken.server, taken.title) != (tool.server, tool.title):
            mark = hashlib.sha256(f"{tool.server}\0{tool.title}".encode("utf-8", "replace")).hexdigest()[:8]
            name = f"{tool.name[: LONGEST - 9]}_{mark}"
            found.setdefault(name, replace(tool, name=name))
    return list(found.values())


def is_chosen(tool: Tool, chosen: Sequence[str] | None) -> bool:
    """Return whether a tool is one of those that were named.

    Args:
        chosen: Names of servers or tools, or patterns of these such as `github__*`; None: all.
    """
    return chosen is None or any(
        one in (tool.server, tool.name) or fnmatchcase(tool.name, one) or fnmatchcase(tool.server, one)
        for one in chosen
    )


def may_hold(server: str, chosen: Sequence[str] | None) -> bool:
    """Return whether a server may have a tool of those that were named: one that cannot is not started for them."""
    if chosen is None:
        return True
    return any(one == server or one.startswith(f"{server}__") or set("*?[") & set(one) for one in chosen)
