"""`chat --tools`: which calls are made, and saying which would have been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from vllm_studio_tui.cli.output import emit_line, note
from vllm_studio_tui.domain.chat import Ended
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.tools import CallAsked, ChatEvent, Decision, Tool

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi

#: Allows every tool.
ALL = "all"

Tools = Annotated[
    bool,
    typer.Option("--tools", help="Offer the tools of this studio; --allow says which are called."),
]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="NAME", help="Call this tool, those of this server, or all; may be given several times."
    ),
]


def allowed(names: Iterable[str], *, offered: bool) -> tuple[str, ...] | None:
    """Return what may be called: names or patterns of tools and servers, none of them; None where none are offered.

    Raises:
        UsageError: Something is allowed that is not offered.
    """
    given = tuple(names)
    if given and not offered:
        raise UsageError("--allow is for --tools", advice="Give both.")
    return given if offered else None


def may_call(tool: Tool, names: Iterable[str]) -> bool:
    """Return whether a tool is among those that are allowed."""
    return any(one == ALL or fnmatchcase(tool.name, one) or one == tool.server for one in names)


async def decided(
    studio: StudioApi, events: AsyncGenerator[ChatEvent, None], names: tuple[str, ...]
) -> AsyncGenerator[ChatEvent, None]:
    """Decide the calls of an answer by what is allowed."""
    async with aclosing(events):
        async for event in events:
            yield event
            if isinstance(event, CallAsked):
                decision = Decision.ONCE if may_call(event.tool, names) else Decision.DENY
                await asyncio.to_thread(studio.chat.decide, event.call.id, decision)


def tell_not_called(ended: Ended, *, as_json: bool) -> None:
    """Say that the calls in which an answer ended were not made, and what has them made."""
    if not ended.tool_calls or ended.finish != "tool_calls":
        return
    names = list(dict.fromkeys(call.name for call in ended.tool_calls))
    advice = f"Allow it: --allow {names[0]} (or all)."
    if as_json:
        emit_line({"event": "not_called", "tools": names, "advice": advice})
    else:
        note(f"nothing was called, it would be: {', '.join(names)}\n  {advice}")
