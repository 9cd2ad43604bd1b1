"""`chats export` and `chats import`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say
from vllm_studio_tui.domain.chat import MAX_FILE
from vllm_studio_tui.domain.chat_exports import FORMS, form_of, form_of_file
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit.file_reading import read_bounded, unwritten
from vllm_studio_tui.kit.paths import write_atomic
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Session, Target
    from vllm_studio_tui.domain.chat_imports import GrownChat
    from vllm_studio_tui.services.protocols import StudioApi

JSON = typer.Option(False, "--json", help="One JSON document.")
_NAMES = ", ".join(one.name for one in FORMS)


def register_exchange(nouns: typer.Typer) -> None:
    """Add these commands to `chats`."""

    @nouns.command("export")
    def export(
        session: str | None = typer.Argument(None, help="The chat's id, the beginning of it, or last."),
        form: str = typer.Option("", "--format", help=f"{_NAMES}; by default as the file ends."),
        every: bool = typer.Option(False, "--all", help="All chats: one JSON document, or a line each (jsonl)."),
        output: str = typer.Option("-", "--output", "-o", help="A file; - is stdout."),
        force: bool = typer.Option(False, "--force", help="Write over a file that is there."),
    ) -> None:
        """Write a chat to read, to take in again, to fine-tune with, or its last request as a command.

        curl and python name the key that a request needs, never its value.
        """
        chosen = form_of(form) if form else form_of_file(output)
        if every == (session is not None) or (every and chosen.name not in ("json", "jsonl")):
            raise UsageError("name one chat, or give --all with json or jsonl", advice="See `vllm-studio chats list`.")
        with open_studio() as studio:
            if session is None:
                text = _all(studio, chosen.name)
            else:
                one = studio.chats.find(session)
                text = studio.chats.written(one.id, chosen.name, _target(studio, one) if chosen.asks else None)
        if output == "-":
            say(text, end="")
            return
        try:
            path = Path(output).expanduser()
            if not force:
                _ask_to_replace(path)
            write_atomic(path, text.encode())
        except OSError as error:
            raise StudioError(f"{output} cannot be written", cause=error.strerror or str(error)) from None
        note(f"written to {path}")

    @nouns.command("import")
    def import_(
        files: list[str] = typer.Argument(help="JSON, Markdown, a database, a .zip; - is standard input."),
        as_json: bool = JSON,
        dry_run: bool = typer.Option(False, "--dry-run", help="Keep nothing; say what would be taken in."),
    ) -> None:
        """Take chats in: of the studio, the original (also chats.db), ChatGPT, oterm, LM Studio, OpenAI messages.

        Every one gets a new id; of one that was taken in before only what is new comes in.
        """
        taken: list[Session] = []
        known: list[Session] = []
        grown: list[GrownChat] = []
        notes: list[str] = []
        failed: list[dict[str, str]] = []
        with open_studio() as studio:
            for file in files:
                try:
                    name = "stdin" if file == "-" else Path(file).name
                    found = studio.chats.import_(_read(file), name, dry_run=dry_run)
                    taken += found.taken
                    known += found.known
                    grown += found.grown
                    notes += [f"{name}: {one}" for one in (*found.notes, *([] if file == "-" else unwritten(file)))]
                except StudioError as error:
                    failed.append({"file": file, "error": str(error)})
        if as_json:
            told: dict[str, Sequence[Session | GrownChat]] = {"imported": taken, "known": known, "grown": grown}
            emit(
                {
                    **{name: [one.to_json() for one in found] for name, found in told.items()},
                    "notes": notes,
                    "failed": failed,
                }
            )
        else:
            for one in taken:
                name = "new" if dry_run else f"imported {one.id}"
                say(f"{name}  {clean_line(one.title, limit=60)} ({one.messages} messages)")
            for more in grown:
                say(f"went on {more.session.id}  {clean_line(more.session.title, limit=60)} ({more.words})")
            for one in known:
                say(f"here already {one.id}  {clean_line(one.title, limit=60)}")
        for line in notes if not as_json else ():
            note(clean_line(line))
        for bad in failed:
            note(f"{bad['file']}: {bad['error']}")
        if failed:
            raise typer.Exit(1)


def _target(studio: StudioApi, session: Session) -> Target | None:
    """Return whom the chat would be answered by; None, and a note, where nobody is there."""
    try:
        return studio.launcher.target_of_chat(session)
    except StudioError as error:
        note(f"{error.title}: the address in it is a guess")
        return None


def _all(studio: StudioApi, form: str) -> str:
    chats = studio.chats
    if form == "json":
        return _json_text({"chats": [chats.export(one.id) for one in chats.list()]})
    lines, left = [], 0
    for one in chats.list():
        try:
            lines.append(chats.written(one.id, form))
        except UsageError:
            left += 1
    if left:
        note(f"{left} {'chat holds' if left == 1 else 'chats hold'} no whole answer: left out")
    return "".join(lines)


def _json_text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _ask_to_replace(path: Path) -> None:
    if not path.exists():
        return
    if not sys.stdin.isatty():
        raise StudioError(f"{path} exists", advice="Name another file, or write over it: --force.")
    if not typer.confirm(f"{path} exists. Write over it?", err=True):
        raise typer.Exit(1)


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read(MAX_FILE + 1)
    try:
        return read_bounded(source, MAX_FILE)
    except OSError as error:
        raise StudioError(f"{source} cannot be read", cause=error.strerror or str(error)) from None
