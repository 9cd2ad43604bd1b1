"""`chat --tools`: which tools are offered, which calls are made, and saying which would have been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from vllm_studio_tui.cli.chat_printing import waiting_line
from vllm_studio_tui.cli.output import emit_line, note
from vllm_studio_tui.cli.tool_names import ALL, meant
from vllm_studio_tui.domain.chat import Ended, Sampling
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.sampling import checked
from vllm_studio_tui.domain.tool_choice import AUTO, WORDS, choice_of
from vllm_studio_tui.domain.tools import CallAsked, ChatEvent, Decision, Tool, ToolChoice

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi

OPTION = "--tools"
#: Seconds after which it is said that servers are waited for.
PATIENCE = 1.0

Tools = Annotated[
    list[str] | None,
    typer.Option(
        OPTION,
        metavar="[NAME,...]",
        help="Offer the tools of this studio, all or these: of a server, by name, or a glob.",
    ),
]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="NAME", help="Call this tool, those of this server, or all; may be given several times."
    ),
]

Choice = Annotated[
    str | None,
    typer.Option(
        "--tool-choice", metavar="CHOICE", help="auto, none, required, or the name of a tool: its call is forced, once."
    ),
]


class ToolsCommand(TyperCommand):
    """A command whose `--tools` may stand alone, and then means all of them: no name has a blank, a question has."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        given = list(args)
        for index in range(end):
            following = args[index + 1] if index + 1 < end else ""
            alone = not following or following.startswith("-") or any(one.isspace() for one in following)
            if args[index] == OPTION and alone:
                given[index] = f"{OPTION}={ALL}"
        return super().parse_args(ctx, given)


def named(given: Iterable[str], option: str = OPTION) -> tuple[str, ...]:
    """Return the names of a list that is separated by commas.

    Raises:
        UsageError: It holds none.
    """
    words = tuple(given)
    found = tuple(one.strip() for word in words for one in word.split(",") if one.strip())
    if words and not found:
        raise UsageError(f"{option} names no tool", advice="See them: vllm-studio mcp tools")
    return found


def allowed(names: Iterable[str], *, offered: bool) -> tuple[str, ...] | None:
    """Return what may be called: names or patterns of tools and servers, none of them; None where none are offered.

    Raises:
        UsageError: Something is allowed that is not offered.
    """
    given = named(names, "--allow")
    if given and not offered:
        raise UsageError("--allow is for --tools", advice="Give both.")
    return given if offered else None


async def chosen(
    studio: StudioApi, offered: tuple[str, ...], may: tuple[str, ...]
) -> tuple[ToolChoice, tuple[str, ...]]:
    """Return which tools are offered, and which of them are called, by what these words mean.

    Raises:
        StudioError: A word names nothing, or what it names cannot be used.
    """
    names = await _waited(studio, lambda: meant(studio.tools, offered))
    called = await _waited(studio, lambda: meant(studio.tools, may))
    return ToolChoice(names, call=called is None or bool(called)), (ALL,) if called is None else called


async def _waited(studio: StudioApi, look: Callable[[], tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Look something up in a thread; say which servers it waits for, if it does."""
    looking = asyncio.ensure_future(asyncio.to_thread(look))
    told: list[str] = []
    while not (await asyncio.wait({looking}, timeout=PATIENCE))[0]:
        coming = await asyncio.to_thread(studio.tools.awaited)
        if coming and coming != told:
            note(waiting_line(coming))
            told = coming
    return looking.result()


async def forced(studio: StudioApi, sampling: Sampling) -> Sampling:
    """Return what shapes the answer, with the tool that is forced by the name that models call it by."""
    choice = choice_of(sampling)
    if choice is None or choice in WORDS:
        return sampling
    try:
        names = await _waited(studio, lambda: meant(studio.tools, (choice,)))
    except StudioError:
        return sampling  # it is refused with the names of those that are offered
    name = names[0] if names is not None and len(names) == 1 else choice
    return replace(sampling, others={**sampling.others, "tool_choice": name})


def check_choice(options: Mapping[str, Any], *, offered: bool) -> None:
    """Refuse a choice of a tool that cannot be made.

    Raises:
        UsageError: It is none, or no tools are offered.
    """
    choice = options.get("tool_choice")
    if choice is None:
        return
    try:
        checked("tool_choice", choice)
    except ValueError as error:
        raise UsageError(f"--tool-choice {choice[:80]!r}: {error}", advice="See vllm-studio mcp tools.") from None
    if not offered and choice != AUTO:
        raise UsageError("--tool-choice is for --tools", advice="Give both.")


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
