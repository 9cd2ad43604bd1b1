"""Which tools the words of a command stand for: servers, tools with or without their server, patterns. Blocking."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.tool_server import RESERVED

if TYPE_CHECKING:
    from vllm_studio_tui.domain.tools import Tool
    from vllm_studio_tui.services.protocols import ToolsApi

#: Means every tool that is on.
ALL = "all"
#: Characters that make a pattern.
_PATTERN = frozenset("*?[")


def meant(tools: ToolsApi, words: Iterable[str]) -> tuple[str, ...] | None:
    """Return the names of servers and tools, and the patterns, that these words stand for; None: all that are on.

    `time` is the tool of that title, of this program before those of servers. No other server is started than one
    that is named, unless a title is found nowhere else.

    Raises:
        NotFound: A word names nothing; what is near is said.
        StudioError: A server that is named cannot be used, or nobody has agreed to it.
        UsageError: Several servers have a tool of this title, or a server is off.
    """
    given = list(dict.fromkeys(words))
    if ALL in given:
        return None
    return tuple(dict.fromkeys(name for word in given for name in _meant(tools, word)))


def _meant(tools: ToolsApi, word: str) -> Sequence[str]:
    servers = {one.name: one for one in tools.servers()}
    if word in RESERVED:
        return [word]
    server = word if word in servers else next((one for one in servers if word.startswith(f"{one}__")), None)
    if server is not None:
        if not servers[server].enabled:
            raise UsageError(f"the MCP server {server} is off", advice=f"Turn it on: vllm-studio mcp enable {server}")
        found = tools.tools([word])
        if (problem := tools.problems().get(server)) is not None:
            raise problem
        if found:
            return [word]
    own = tools.tools(sorted(RESERVED))
    if any(one.name == word for one in own):
        return [word]
    if titled := [one.name for one in own if one.title == word]:
        return titled[:1]
    known = tools.tools()
    if _PATTERN & set(word):
        if tools.tools([word]):
            return [word]
    elif titled := [one.name for one in known if one.title == word]:
        if len(titled) > 1:
            raise UsageError(f"several servers have a tool {word[:60]}", advice=f"Choose: {', '.join(titled[:9])}")
        return titled
    raise _unknown(word, known, servers)


def _unknown(word: str, known: Sequence[Tool], servers: Iterable[str]) -> NotFound:
    names = {one.casefold(): one for one in [*RESERVED, *servers]}
    names |= {one.title.casefold(): one.name for one in known} | {one.name.casefold(): one.name for one in known}
    near = difflib.get_close_matches(word[:200].casefold(), list(names), 3, 0.5)
    found = list(dict.fromkeys(names[one] for one in near))
    advice = f"Did you mean {', '.join(found)}?" if found else "See them: vllm-studio mcp tools"
    return NotFound(f"no tool and no server {word[:60]!r}", advice=advice)
