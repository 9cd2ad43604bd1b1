"""`lab`: the request of an answer as it is sent, changed and sent again, and the prompt that the engine makes of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.chat import ended_by_signals
from vllm_studio_tui.cli.chat_printing import print_turn
from vllm_studio_tui.cli.opening import open_studio, open_studio_async
from vllm_studio_tui.cli.output import emit, emit_line, note, say
from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, StreamEvent
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.request_lab import MOST, read_request, request_text
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.kit.text_diff import diff_texts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Target
    from vllm_studio_tui.domain.request_lab import LabRequest
    from vllm_studio_tui.services.protocols import StudioApi

SESSION = typer.Argument("last", help="The chat's id, the beginning of it, or last.")
MESSAGE = typer.Option(None, "--message", metavar="ID", help="Of this answer; by default of the last one.")
FILE = typer.Option(None, "--file", "-f", help="The request to take instead: a JSON file, or - for standard input.")
RECIPE = typer.Option(None, "--recipe", help="The recipe, or run, to ask instead of who answered.")
JSON = typer.Option(False, "--json", help="One JSON document.")


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Look at the request of an answer, change it, send it again.", no_args_is_help=True)
    app.add_typer(nouns, name="lab")

    @nouns.command("show")
    def show(session: str = SESSION, message: str | None = MESSAGE, as_json: bool = JSON) -> None:
        """The request of an answer, as it goes to its engine: a JSON object. No key is in it."""
        with open_studio() as studio:
            one = _found(studio, session, message)
        if as_json:
            told = {"session_id": one.session_id, "message_id": one.message_id, "notes": list(one.notes)}
            emit({"request": dict(one.body), "answer": one.answer, **told})
            return
        # Whole where it goes into a file; nobody reads the megabytes of a picture.
        say(request_text(one.body, {} if sys.stdout.isatty() else None))
        for words in one.notes:
            note(words)

    @nouns.command("prompt")
    def prompt(
        session: str = SESSION,
        message: str | None = MESSAGE,
        file: str | None = FILE,
        recipe: str | None = RECIPE,
        tokens: bool = typer.Option(False, "--tokens", help="Token by token: its id, and what it stands for."),
        as_json: bool = JSON,
    ) -> None:
        """The prompt that the engine's chat template makes of the request, and its tokens."""
        with open_studio() as studio:
            one = _found(studio, session, message)
            body = one.body if file is None else read_request(_text_of(file))
            found = studio.compare.lab.render(_target(studio, one, recipe), body)
        if as_json:
            emit(found.to_json())
        elif tokens:
            for token in found.tokens:
                say(f"{token.id:>8}  {'?' if token.text is None else repr(token.text)}")
        else:
            say(found.text if found.text is not None else "".join(token.text or "" for token in found.tokens))
        if not as_json:
            note(f"[{len(found.tokens)} tokens]")

    @nouns.command("replay")
    def replay(
        session: str = SESSION,
        message: str | None = MESSAGE,
        file: str | None = FILE,
        recipe: str | None = RECIPE,
        diff: bool = typer.Option(False, "--diff", help="Then what differs from the answer that is kept."),
        as_json: bool = typer.Option(False, "--json", help="One JSON object a line, as `chat --json` prints them."),
    ) -> None:
        """Send the request again, as it is or as a file has it. Nothing of it is kept in the chat."""
        text = _text_of(file) if file is not None else None
        ended = asyncio.run(_replay(session, message, text, recipe, diff=diff, as_json=as_json))
        if ended is None or ended.finish in ("failed", "interrupted"):
            raise typer.Exit(1)


async def _replay(
    session: str, message: str | None, text: str | None, recipe: str | None, *, diff: bool, as_json: bool
) -> Ended | None:
    try:
        async with open_studio_async() as studio:
            one = _found(studio, session, message)
            body = one.body if text is None else read_request(text)
            target = _target(studio, one, recipe)
            said: list[str] = []
            events = studio.compare.lab.replay(target, body)

            async def heard() -> AsyncIterator[StreamEvent]:
                async with aclosing(events):
                    async for event in events:
                        if isinstance(event, Delta):
                            said.append(event.content)
                        elif isinstance(event, Relabel):
                            said.clear()
                        yield event

            with ended_by_signals(studio):
                ended = await print_turn(heard(), as_json=as_json)
    except StudioError as error:
        if as_json:
            emit_line({"event": "error", "message": error.title, "cause": error.cause, "advice": error.advice})
        raise
    if diff and not as_json:
        pieces = diff_texts(one.answer, "".join(said))
        say()
        for sign, piece in pieces:
            say(f"{sign} {clean_line(piece) if sys.stdout.isatty() else piece}")
        if all(sign == " " for sign, _ in pieces):
            note("[it says the same]")
    return ended


def _found(studio: StudioApi, session: str, message: str | None) -> LabRequest:
    return studio.compare.lab.last(studio.chat.sessions.find(session).id, message)


def _target(studio: StudioApi, one: LabRequest, recipe: str | None) -> Target:
    if recipe is not None:
        return studio.launcher.target(recipe=recipe)
    if one.target is None:
        raise UsageError("who answered does not answer now", cause=" ".join(one.notes), advice="Name a run: --recipe.")
    return one.target


def _text_of(file: str) -> str:
    """Return the text of a file, or of standard input."""
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MOST + 1)
        else:
            with Path(file).expanduser().open("rb") as opened:
                raw = opened.read(MOST + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read", cause=error.strerror or str(error)) from None
    return raw.decode("utf-8", "replace")
