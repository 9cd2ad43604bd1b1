"""`chats pin`, `tag`, `bookmark`, `remove`: what a person marks chats and messages with, and takes out of sight."""

from __future__ import annotations

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.kit.sanitize import clean_line

JSON = typer.Option(False, "--json", help="One JSON document.")
SESSION = typer.Argument(help="The chat's id, the beginning of it, or last.")
MESSAGE = typer.Argument(help="The message's id, as `chats show --json` tells it.")


def register_marks(nouns: typer.Typer) -> None:
    """Add these commands to `chats`."""

    @nouns.command("pin")
    def pin(session: str = SESSION, off: bool = typer.Option(False, "--off", help="No longer.")) -> None:
        """Keep a chat at the top of the list."""
        with open_studio() as studio:
            one = studio.chats.find(session)
            studio.chats.pin(one.id, not off)
        note(f"{one.id} is {'not ' if off else ''}pinned")

    @nouns.command("tag")
    def tag(
        session: str = SESSION,
        tags: list[str] | None = typer.Argument(None, help="Tags, with or without #; none: show those it has."),
        remove: bool = typer.Option(False, "--remove", help="Take these away instead."),
    ) -> None:
        """Give a chat tags, by which `chats list --tag` finds it."""
        with open_studio() as studio:
            one = studio.chats.find(session)
            named = {" ".join(name.split()).lower().lstrip("#") for name in tags or ()}
            kept = list(one.tags)
            if named:
                wanted = [name for name in kept if name not in named] if remove else [*kept, *named]
                kept = studio.chats.set_tags(one.id, wanted)
        say(" ".join(f"#{name}" for name in kept) or "no tag")

    @nouns.command("tags")
    def tags_(as_json: bool = JSON) -> None:
        """The tags of all chats, and how many chats have each."""
        with open_studio() as studio:
            found = studio.chats.tags()
        if as_json:
            emit({"tags": [{"tag": name, "chats": count} for name, count in found]})
        elif not found:
            say("No tag. Give a chat one: vllm-studio chats tag last NAME")
        else:
            table(["TAG", "CHATS"], [[f"#{name}", str(count)] for name, count in found], right=[1])

    @nouns.command("bookmark")
    def bookmark(message: str = MESSAGE, off: bool = typer.Option(False, "--off", help="No longer.")) -> None:
        """Mark a message, to find it again."""
        with open_studio() as studio:
            studio.chats.marks.bookmark(message, not off)
        note(f"{message} is {'not ' if off else ''}bookmarked")

    @nouns.command("bookmarks")
    def bookmarks(
        session: str | None = typer.Argument(None, help="Only those of this chat."), as_json: bool = JSON
    ) -> None:
        """The messages that are bookmarked, the newest mark first."""
        with open_studio() as studio:
            chats = studio.chats
            found = chats.marks.bookmarks(chats.find(session).id if session is not None else None)
            titles = {one: chats.get(one).title for one in {message.session_id for message in found}}
        if as_json:
            emit({"messages": [{**one.to_json(), "session_id": one.session_id} for one in found]})
            return
        if not found:
            say("No bookmark. Mark a message: vllm-studio chats bookmark MESSAGE")
        for one in found:
            say(f"{one.id}  {clean_line(titles[one.session_id], limit=60)}")
            say(f"  {one.role}: {clean_line(one.content, limit=200)}")

    @nouns.command("remove")
    def remove(message: str = MESSAGE) -> None:
        """Take a message out of its chat with all below it; `chats bring-back` undoes it."""
        with open_studio() as studio:
            removed = studio.chats.marks.remove(message)
        many = "message" if removed.count == 1 else "messages"
        note(f"{removed.count} {many} taken away; undo it: vllm-studio chats bring-back")

    @nouns.command("bring-back")
    def bring_back() -> None:
        """Show the messages again that were taken away last."""
        with open_studio() as studio:
            removed = studio.chats.marks.last_removed()
            count = studio.chats.marks.bring_back(removed) if removed is not None else 0
        note(
            f"{count} {'message is' if count == 1 else 'messages are'} here again" if count else "nothing to bring back"
        )
