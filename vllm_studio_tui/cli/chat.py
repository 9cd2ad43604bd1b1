"""`chat`: one turn from the command line, from a prompt, a pipe, or both."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli import chat_options
from vllm_studio_tui.cli.chat_input import image_url, piped_text, question_of
from vllm_studio_tui.cli.opening import open_studio_async
from vllm_studio_tui.cli.output import emit_line, note, safe
from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, Target
from vllm_studio_tui.domain.errors import NotSaved, StoreError, StudioError, UsageError
from vllm_studio_tui.domain.tools import CallEnded, ChatEvent, RoundBegan, RoundEnded
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.chat.answer import Answer

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Session
    from vllm_studio_tui.services.protocols import StudioApi

#: Letters of a tool's result that are printed.
MOST_SHOWN = 200

# --- what comes out -------------------------------------------------------------------------------------


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
        elif self._json:
            self._emit(event)
        elif isinstance(event, Delta):
            self._delta(event)
        elif isinstance(event, Relabel):
            self._break()
            note("(what came so far was thinking)")
        elif isinstance(event, Ended | RoundEnded):
            self._end(event if isinstance(event, Ended) else event.ended)
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

    def _emit(self, event: ChatEvent) -> None:
        if isinstance(event, Delta):
            if event.reasoning:
                emit_line({"event": "reasoning", "text": event.reasoning})
            if event.content:
                emit_line({"event": "content", "text": event.content})
        elif isinstance(event, Relabel):
            # What was sent as content so far is thinking: readers that collect text start again.
            emit_line({"event": "reasoning", "text": self.answer.text()[0], "relabel": True})
        elif isinstance(event, Ended | RoundEnded):
            ended = event if isinstance(event, Ended) else event.ended
            for call in ended.tool_calls:
                emit_line({"event": "tool_call", **call.to_json()})
            if ended.error:
                emit_line({"event": "error", "message": ended.error, "advice": ended.advice})
            if ended.details:
                emit_line({"event": "details", **ended.details})
            # An answer that is followed by its calls and a further answer ends a round, the last one the whole.
            which = {"event": "stats"} if event is ended else {"event": "round"}
            emit_line({**which, "content": self.answer.text()[0], **ended.to_json()})
        elif isinstance(event, CallEnded):
            result = event.result
            figures = {"is_error": result.is_error, "seconds": round(result.seconds, 3), "size": result.size}
            about = {"id": event.call.id, "name": event.call.name, "how": event.how}
            emit_line({"event": "tool_result", **about, **figures, "text": result.text})


def stats_line(ended: Ended) -> str:
    """Return the figures of an answer in one line, without the unknown ones."""
    usage, timings = ended.usage, ended.timings
    parts = []
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        counts = (usage.prompt_tokens, usage.completion_tokens)
        parts.append("{} + {} tokens".format(*("–" if one is None else one for one in counts)))
    if timings.tokens_per_second is not None:
        parts.append(numbers.fixed(timings.tokens_per_second, 1, " tok/s"))
    parts += _engine_parts(ended.details.get("engine"))
    if timings.ttft is not None:
        parts.append(f"first after {numbers.fixed(timings.ttft, 2, ' s')}")
    if timings.thinking is not None:
        parts.append(f"thought {numbers.fixed(timings.thinking, 1, ' s')}")
    if timings.total is not None:
        parts.append(numbers.fixed(timings.total, 2, " s"))
    words = {"stop": "", "length": "cut at the limit of tokens", "tool_calls": "asks for tools"}
    end = words.get(ended.finish, ended.finish)
    return "[" + " · ".join([*parts, *([end] if end else [])]) + "]"


def _engine_parts(told: object) -> list[str]:
    """Return what the engine itself told of the answer: its queue, how it read the prompt, what it had in its cache."""
    if not isinstance(told, Mapping):
        return []
    parts = []
    if (queue := told.get("queue_seconds")) is not None:
        parts.append(f"queued {numbers.latency(queue)}")
    if (reading := told.get("prefill_tps")) is not None:
        parts.append(f"read at {numbers.rate(reading)} tok/s")
    if cached := told.get("cached_tokens"):
        parts.append(f"{numbers.count(int(cached))} cached")
    return parts


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


# --- the command ----------------------------------------------------------------------------------------


def register(app: typer.Typer) -> None:
    @app.command("chat")
    def chat(
        prompt: str | None = typer.Argument(None, help="What to ask; text from a pipe is added below it."),
        recipe: str | None = typer.Option(None, "--recipe", help="The recipe, or run, that answers."),
        model: str | None = typer.Option(None, "--model", help="The model that answers."),
        base_url: str | None = typer.Option(None, "--base-url", help="A server's address, ending in /v1."),
        system: str | None = typer.Option(None, "--system", help="The system prompt."),
        temperature: float | None = typer.Option(
            None, "--temperature", min=0.0, help="How freely tokens are chosen; 0: always the likeliest."
        ),
        top_p: float | None = typer.Option(
            None, "--top-p", min=0.0, max=1.0, help="Choose among the likeliest tokens of this share."
        ),
        max_tokens: int | None = typer.Option(None, "--max-tokens", min=1, help="Tokens of the answer at most."),
        seed: int | None = typer.Option(
            None, "--seed", help="The same seed gives the same answer, where the engine can."
        ),
        session: str | None = typer.Option(None, "--session", help="Go on in a chat: its id, or last."),
        image: list[str] = typer.Option([], "--image", help="An image file; may be given several times."),
        as_json: bool = typer.Option(False, "--json", help="One JSON object a line."),
        no_save: bool = typer.Option(False, "--no-save", help="Keep nothing of it in the chats."),
        thinking: bool | None = typer.Option(None, "--thinking/--no-thinking", help="Ask the model to think, or not."),
        preset: chat_options.Preset = None,
        parameters: chat_options.Sets = None,
        stop: chat_options.Stops = None,
        schema: chat_options.Schema = None,
        form: chat_options.Form = None,
        logprobs: chat_options.Logprobs = None,
    ) -> None:
        """Ask once. The answer goes to stdout, thinking and figures to stderr."""
        if session is not None and no_save:
            raise UsageError("--session and --no-save exclude each other", advice="Choose one.")
        text = question_of(prompt, piped_text())
        images = [image_url(one) for one in image]
        numbers_given = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        shape = chat_options.asked(
            preset, parameters or (), stop or (), schema, form, logprobs=logprobs, thinking=thinking, **numbers_given
        )
        named = {"recipe": recipe, "model": model, "base_url": base_url}
        ended = asyncio.run(
            _one_turn(text, images, shape, named, system=system, session=session, save=not no_save, as_json=as_json)
        )
        if ended is None or ended.finish in ("failed", "interrupted") or chat_options.invalid(ended):
            raise typer.Exit(1)


async def _one_turn(
    text: str,
    images: Sequence[str],
    shape: tuple[str | None, dict[str, Any]],
    named: dict[str, str | None],
    *,
    system: str | None,
    session: str | None,
    save: bool,
    as_json: bool,
) -> Ended | None:
    not_saved: list[NotSaved] = []
    try:
        async with open_studio_async() as studio:
            if studio.storage_warning:
                note(f"warning: {studio.storage_warning}")
            if save and studio.storage_read_only:
                folder = studio.places.database.parent
                advice = f"Ask without keeping it: --no-save. Or see what is in the way: ls -ld '{folder}'"
                raise StoreError("the chats cannot be written", cause=studio.storage_warning or "", advice=advice)
            tell_recovered(studio)
            earlier = studio.chat.sessions.find(session) if session is not None else None
            target = _target(studio, named, earlier)
            sampling = chat_options.sampling_for(studio, earlier.settings if earlier is not None else {}, *shape)
            session_id = _session(studio, text, target, named, earlier, system) if save else None
            events = studio.chat.send(
                session_id, text, target, sampling=sampling, images=images, system=system, temporary=not save
            )
            try:
                with ended_by_signals(studio):
                    ended = await print_turn(events, as_json=as_json, not_saved=not_saved)
            finally:
                if session_id is not None and not as_json:
                    note(f"[chat {session_id}]")
                studio.close_chat()
                if save and not not_saved:
                    _tell_unsaved(studio)
        if not_saved and studio.chat.unsaved.reasons():
            raise StoreError(
                "the answer was printed, but is not kept in the chat yet",
                cause="\n".join(filter(None, (not_saved[0].title, not_saved[0].cause))),
                advice=_where(studio),
            )
        return ended
    except StudioError as error:
        if as_json:
            emit_line({"event": "error", "message": str(error.title), "cause": error.cause, "advice": error.advice})
        raise


def _session(
    studio: StudioApi,
    text: str,
    target: Target,
    named: dict[str, str | None],
    earlier: Session | None,
    system: str | None,
) -> str:
    """Return the id of the turn's chat; the recipe is stored in it, so that the next turn goes to the same recipe."""
    if earlier is None:
        settings = {"system": system, "recipe": target.recipe_id}
        kept = {name: value for name, value in settings.items() if value}
        return studio.chat.new_session(text, model=target.model or None, settings=kept)
    if any(named.values()) and earlier.settings.get("recipe") != target.recipe_id:
        others = {name: value for name, value in earlier.settings.items() if name != "recipe"}
        now = {**others, "recipe": target.recipe_id} if target.recipe_id else others
        studio.chat.sessions.set_settings(earlier.id, now)
    return earlier.id


def _target(studio: StudioApi, named: dict[str, str | None], earlier: Session | None) -> Target:
    """Return who answers: the named server, else the one of the chat so far, else the only ready run."""
    if earlier is not None and not any(named.values()):
        return studio.launcher.target_of_chat(earlier)
    return studio.launcher.target(**named)


# --- how it ends ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def ended_by_signals(studio: StudioApi) -> Iterator[None]:
    """On a signal that ends this program, keep the answer so far, then exit with its code. A second signal kills."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told: list[signal.Signals] = []
    watched = []

    def end(number: signal.Signals) -> None:
        told.append(number)
        studio.interrupt_answers(number.name)
        loop.remove_signal_handler(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        # What is ignored, as below nohup, stays so. Signals can be watched in the main thread alone.
        if signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, end, number)
                watched.append(number)
    try:
        yield
    except asyncio.CancelledError:
        if told:
            raise typer.Exit(128 + told[0]) from None
        raise
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


def tell_recovered(studio: StudioApi) -> None:
    """Say that answers of earlier programs were taken in."""
    if studio.recovered:
        words = "answer that was not saved is in its chat" if studio.recovered == 1 else "answers are in their chats"
        note(f"{studio.recovered} {words} now")


def _tell_unsaved(studio: StudioApi) -> None:
    for reason in studio.chat.unsaved.reasons():
        with contextlib.suppress(OSError):
            note(f"what came is not kept in the chat yet: {reason}\n  {_where(studio)}")


def _where(studio: StudioApi) -> str:
    if not studio.unsaved:
        return "No file could be written either: copy it from above."
    paths = ", ".join(map(str, studio.unsaved))
    return f"It lies in {paths}: the next command that opens the chats, such as `vllm-studio chats list`, takes it in."
