"""What `chat` prints of an answer while it comes, and of the tools that it calls."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing

from vllm_studio_tui.cli import chat_options
from vllm_studio_tui.cli.output import emit_line, note, safe
from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, TokenUsage
from vllm_studio_tui.domain.errors import NotSaved
from vllm_studio_tui.domain.tools import CallBegan, CallEnded, ChatEvent, RoundBegan, RoundEnded, ToolsAwaited
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.chat.answer import Answer
from vllm_studio_tui.services.chat.event_documents import event_documents

#: Letters of a tool's result that are printed.
MOST_SHOWN = 200


class Printer:
    """Writes an answer as it comes: the answer to stdout, thinking and figures to stderr.

    Attributes:
        answer: What has been printed.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._json = as_json
        self._on_line = False  # stderr is in the middle of a line of thinking
        self._out_on_line = False
        self.answer = Answer()

    def show(self, event: ChatEvent) -> None:
        """Print the next event of the stream."""
        if isinstance(event, RoundBegan):
            self.answer = Answer()
        if self._json:
            for one in event_documents(event, self.answer.text()[0]):
                emit_line(one)
        elif isinstance(event, Delta):
            self._delta(event)
        elif isinstance(event, Relabel):
            self._break()
            note("(what came so far was thinking)")
        elif isinstance(event, Ended | RoundEnded):
            self._end(event if isinstance(event, Ended) else event.ended)
        elif isinstance(event, ToolsAwaited):
            if event.servers:
                note(waiting_line(event.servers))
            for error in event.missing.values():
                note(f"without its tools: {error.title}\n  {error.advice}")
        elif isinstance(event, CallBegan):
            note(f"  {event.call.name} …")
        elif isinstance(event, CallEnded):
            note(result_line(event))
        self.answer.add(event)

    def _end(self, ended: Ended) -> None:
        self.close()
        for call in ended.tool_calls:
            note(f"tool call: {call.name}({call.arguments})")
        note(stats_line(ended))
        chat_options.tell_details(ended)
        if ended.error:
            note(f"error: {ended.error}")
        if ended.advice:
            note(f"  {ended.advice}")

    def close(self) -> None:
        """End the lines that are open."""
        self._break()
        if self._out_on_line and not self._json:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._out_on_line = False

    def _delta(self, event: Delta) -> None:
        if event.reasoning:
            note(event.reasoning, end="")
            self._on_line = not event.reasoning.endswith("\n")
        if event.content:
            self._break()
            sys.stdout.write(safe(event.content, sys.stdout))
            sys.stdout.flush()
            self._out_on_line = not event.content.endswith("\n")

    def _break(self) -> None:
        if self._on_line:
            note("\n" if sys.stderr.isatty() else "")
        self._on_line = False


def stats_line(ended: Ended) -> str:
    """Return the figures of an answer in one line, without the unknown ones."""
    usage, timings = ended.usage, ended.timings
    parts = []
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        counts = (usage.prompt_tokens, usage.completion_tokens)
        parts.append("{} + {} tokens".format(*("–" if one is None else one for one in counts)))
    if timings.tokens_per_second is not None:
        parts.append(numbers.fixed(timings.tokens_per_second, 1, " tok/s"))
    parts += _engine_parts(ended.details.get("engine"), usage)
    if timings.ttft is not None:
        parts.append(f"first after {numbers.fixed(timings.ttft, 2, ' s')}")
    if timings.thinking is not None:
        parts.append(f"thought {numbers.fixed(timings.thinking, 1, ' s')}")
    if timings.total is not None:
        parts.append(numbers.fixed(timings.total, 2, " s"))
    words = {"stop": "", "length": "cut at the limit of tokens", "tool_calls": "asks for tools"}
    end = words.get(ended.finish, ended.finish)
    return "[" + " · ".join([*parts, *([end] if end else [])]) + "]"


def _engine_parts(told: object, usage: TokenUsage) -> list[str]:
    """Return what the engine itself told of the answer: its queue, how it read the prompt, what it had in its cache."""
    told = told if isinstance(told, Mapping) else {}
    parts = []
    if (queue := told.get("queue_seconds")) is not None:
        parts.append(f"queued {numbers.latency(queue)}")
    if (reading := told.get("prefill_tps")) is not None:
        parts.append(f"read at {numbers.rate(reading)} tok/s")
    cached = told.get("cached_tokens") if usage.cached_tokens is None else usage.cached_tokens
    if cached:
        of = f" of {numbers.count(usage.prompt_tokens)}" if usage.prompt_tokens else ""
        parts.append(f"cached {numbers.count(int(cached))}{of}")
    return parts


def waiting_line(servers: Iterable[str]) -> str:
    """Return that tool servers are waited for, which may take a minute."""
    return f"waiting for the tools of {', '.join(servers)} … (ctrl+c stops)"


def result_line(event: CallEnded) -> str:
    """Return what came of a call in one line: how it ended, how long it took, the beginning of the result."""
    result = event.result
    parts = [event.how, *([numbers.fixed(result.seconds, 2, " s")] if result.seconds else [])]
    size = [f"{result.size} bytes"] if result.size > MOST_SHOWN else []
    words = " ".join(result.text[: 2 * MOST_SHOWN].split())
    shown = words if len(words) <= MOST_SHOWN else f"{words[:MOST_SHOWN]}…"
    return f"  {event.call.name} [{' · '.join([*parts, *size])}]: {shown}"


async def print_turn(
    events: AsyncIterator[ChatEvent], *, as_json: bool = False, not_saved: list[NotSaved] | None = None
) -> Ended | None:
    """Print an answer as it comes; return its end, None if it has none. What has come of one that is stopped is kept.

    Args:
        not_saved: Takes the error of an answer that came and is not saved yet; without it, it is raised.
    """
    for stream in (sys.stdout, sys.stderr):
        # A model may send half of a surrogate pair, and a terminal may not know every character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    printer = Printer(as_json=as_json)
    try:
        if isinstance(events, AsyncGenerator):
            async with aclosing(events):
                await _print_all(events, printer)
        else:
            await _print_all(events, printer)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # the terminal may be gone
            printer.show(Ended("stopped"))
        raise
    except NotSaved as error:
        if not_saved is None:
            raise
        not_saved.append(error)
    finally:
        printer.close()
    return printer.answer.ended


async def _print_all(events: AsyncIterator[ChatEvent], printer: Printer) -> None:
    async for event in events:
        printer.show(event)
