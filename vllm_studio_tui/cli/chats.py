"""`chats`: the chats that are kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.chat import tell_recovered
from vllm_studio_tui.cli.chat_artifacts import register_artifacts
from vllm_studio_tui.cli.chat_exchange import register_exchange
from vllm_studio_tui.cli.chat_links import register_links
from vllm_studio_tui.cli.chat_marks import register_marks
from vllm_studio_tui.cli.chats_context import register_context
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.chat import total_usage
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Message, Session

JSON = typer.Option(False, "--json", help="One JSON document.")
SESSION = typer.Argument(help="The chat's id, the beginning of it, or last.")
HEADS = {"user": "You", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Chats: what was asked and answered.", no_args_is_help=True)
    app.add_typer(nouns, name="chats")
    _register_reading(nouns)
    register_artifacts(nouns)
    register_links(nouns)
    register_exchange(nouns)
    _register_fork(nouns)
    _register_changing(nouns)
    register_marks(nouns)
    register_context(nouns)


def _register_reading(nouns: typer.Typer) -> None:
    @nouns.command("list")
    def list_(
        search: str = typer.Option("", "--search", help="Words in the title, model or tags."),
        limit: int = typer.Option(50, "--limit", "-n", min=0, help="At most so many; 0: all."),
        offset: int = typer.Option(0, "--offset", min=0, help="Pass over so many."),
        trash: bool = typer.Option(False, "--trash", help="Those in the trash."),
        tag: str | None = typer.Option(None, "--tag", help="Those with this tag."),
        as_json: bool = JSON,
    ) -> None:
        """Chats, the one used last first."""
        with open_studio() as studio:
            chats = studio.chats
            tell_recovered(studio)
            found = chats.list(limit=limit or None, offset=offset, search=search, trash=trash, tag=tag)
            total = chats.count(search=search, trash=trash, tag=tag)
        if as_json:
            emit({"sessions": [one.to_json() for one in found], "total": total})
            return
        if not found:
            say("Nothing in the trash." if trash else "No chat. Begin one: vllm-studio chat PROMPT")
            return
        _show_sessions(found)
        if offset + len(found) < total:
            note(f"{total - offset - len(found)} more: --offset {offset + len(found)}, or --limit 0")

    @nouns.command("show")
    def show(
        session: str = SESSION,
        tree: bool = typer.Option(False, "--tree", help="Every message, also answers beside the shown branch."),
        thinking: bool = typer.Option(False, "--thinking", help="With what the model thought."),
        as_json: bool = JSON,
    ) -> None:
        """The messages of a chat."""
        with open_studio() as studio:
            chats = studio.chats
            tell_recovered(studio)
            one = chats.find(session)
            found = chats.tree(one.id) if tree else chats.branch(one.id)
        if as_json:
            emit(
                {
                    "session": {**one.to_json(), "usage": total_usage(found)},
                    "messages": [message.to_json() for message in found],
                }
            )
            return
        say(f"{one.title or 'Chat'}  [{one.id}]")
        for message in found:
            say()
            _show_message(message, thinking=thinking)

    @nouns.command("search")
    def search(
        words: list[str] = typer.Argument(help="Messages with all these words; the last may be begun only."),
        limit: int = typer.Option(20, "--limit", "-n", min=1),
        as_json: bool = JSON,
    ) -> None:
        """Search in all messages, the newest first."""
        with open_studio() as studio:
            hits = studio.chats.find_text(" ".join(words), limit=limit)
        if as_json:
            emit({"hits": [hit.to_json() for hit in hits]})
            return
        if not hits:
            say("Nothing found.")
        for hit in hits:
            say(f"{hit.session_id}  {clean_line(hit.title, limit=60)}")
            say(f"  {HEADS.get(hit.role, hit.role)}: {clean_line(hit.snippet)}")


def _register_fork(nouns: typer.Typer) -> None:
    @nouns.command("fork")
    def fork(
        session: str = SESSION,
        message: str | None = typer.Option(None, "--message", help="The last message to take along."),
        as_json: bool = JSON,
    ) -> None:
        """Copy a chat up to a message, to go on differently."""
        with open_studio() as studio:
            made = studio.chats.fork(studio.chats.find(session).id, message)
        if as_json:
            emit({"session": made.to_json()})
        else:
            say(f"{made.id}  {clean_line(made.title)} ({made.messages} messages)")


def _register_changing(nouns: typer.Typer) -> None:
    @nouns.command("rename")
    def rename(session: str = SESSION, title: str = typer.Argument(help="Its new title.")) -> None:
        """Give a chat another title."""
        with open_studio() as studio:
            studio.chats.rename(studio.chats.find(session).id, title)

    @nouns.command("delete")
    def delete(
        sessions: list[str] = typer.Argument(help="Ids, or their beginnings."),
        yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
        purge: bool = typer.Option(False, "--purge", help="For good, instead of into the trash."),
    ) -> None:
        """Put chats into the trash."""
        with open_studio() as studio:
            chats = studio.chats
            chosen = list({one.id: one for one in map(chats.find, sessions)}.values())
            if not yes:
                _ask_whether(chosen, purge=purge)
            for one in chosen:
                if purge:
                    chats.purge(one.id)
                    note(f"deleted {one.id} for good")
                else:
                    chats.trash(one.id)
                    note(f"{one.id} is in the trash; take it out: vllm-studio chats restore {one.id}")

    @nouns.command("restore")
    def restore(sessions: list[str] = typer.Argument(help="Ids, or their beginnings.")) -> None:
        """Take chats out of the trash."""
        with open_studio() as studio:
            chats = studio.chats
            for one in [chats.find(name) for name in sessions]:
                note(f"restored {one.id}" if chats.restore(one.id) else f"{one.id} is not in the trash")


def _ask_whether(chosen: list[Session], *, purge: bool) -> None:
    if not sys.stdin.isatty():
        raise UsageError("deleting asks first", cause="there is no terminal to ask on", advice="Add --yes.")
    for one in chosen:
        note(f"{one.id}  {clean_line(one.title, limit=60)} ({one.messages} messages)")
    if not typer.confirm("Delete them for good?" if purge else "Put them into the trash?", err=True):
        raise typer.Exit(1)


def _show_sessions(found: list[Session]) -> None:
    table(
        ["ID", "USED", "MESSAGES", "MODEL", "TITLE"],
        [
            [
                one.id,
                one.updated_at[:16].replace("T", " "),
                str(one.messages),
                clean_line(one.model or "–", limit=40),
                clean_line(" ".join([one.title, *(f"#{tag}" for tag in one.tags)]), limit=60),
            ]
            for one in found
        ],
        right=[2],
    )


def _show_message(message: Message, *, thinking: bool) -> None:
    marks = [message.model or ""] if message.role == "assistant" else []
    if message.finish in ("stopped", "interrupted", "failed", "length", "streaming"):
        marks.append(message.finish)
    if message.images:
        marks.append(f"{len(message.images)} images")
    said = message.details.get("summary")
    if isinstance(said, dict):
        how = "summary" if message.content else "window"
        undone = " (undone)" if said.get("undone") else ""
        marks.append(f"{how} in place of {said.get('messages')} messages{undone}")
    about = ", ".join(filter(None, marks))
    say(f"{HEADS.get(message.role, message.role)}{f' ({about})' if about else ''}:")
    if thinking and message.reasoning:
        say("\n".join(f"  | {line}" for line in message.reasoning.splitlines()))
    say(message.content)
    for call in message.tool_calls:
        say(f"  calls {call.name}({call.arguments})")
    if message.error:
        say(f"  error: {message.error}")
