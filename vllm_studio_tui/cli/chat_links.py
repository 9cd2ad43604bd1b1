"""`chats links`: the addresses in a chat, and where they lead."""

from __future__ import annotations

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table
from vllm_studio_tui.kit.sanitize import clean_line

JSON = typer.Option(False, "--json", help="One JSON document.")
SESSION = typer.Argument(help="The chat's id, the beginning of it, or last.")


def register_links(nouns: typer.Typer) -> None:
    """Add this command to `chats`."""

    @nouns.command("links")
    def links(session: str = SESSION, as_json: bool = JSON) -> None:
        """Web and mail addresses in the questions, the answers and what tools returned."""
        from vllm_studio_tui.services.chat.links import links_of

        with open_studio() as studio:
            one = studio.chats.find(session)
            found = links_of(studio.chats.branch(one.id))
        if as_json:
            emit({"session": one.id, "links": [link.to_json() for link in found]})
        elif not found:
            say("No web or mail address is in this chat.")
        else:
            rows = []
            for link in found:
                where = f"result of {link.tool}" if link.tool else link.where
                text = "" if link.bare else clean_line(link.text, limit=40)
                rows.append([str(link.number), where, text, "misleading" if link.elsewhere else "", link.address])
            table(["N", "WHERE", "TEXT", "", "ADDRESS"], rows, right=[0])
