"""Chats that are kept: list, read, search, export and import them. Nothing here needs an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Hit, Message
from vllm_studio_tui.domain.chat_exports import form_of
from vllm_studio_tui.domain.chat_imports import ImportedChats
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.marks import MessageMarks
from vllm_studio_tui.store.messages import MessageRows

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Target


class Chats(ChatRows):
    """The chats of a database, with their messages.

    Attributes:
        marks: Takes messages away, brings them back, and marks them.
    """

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._messages = MessageRows(db)
        self.marks = MessageMarks(db)

    def tree(self, session_id: str) -> list[Message]:
        """Return every message of a chat, oldest first."""
        return self._messages.tree(session_id)

    def branch(self, session_id: str) -> list[Message]:
        """Return the messages of the branch that a chat shows, oldest first."""
        return self._messages.branch(session_id)

    def put_message(self, session_id: str, given: Mapping[str, Any]) -> Message:
        """Add a message to a chat, or replace what the one of its id says; see `store.chat_files.put_message`.

        Raises:
            NotFound: There is no such chat.
            UsageError: It is no message, or may not be replaced.
        """
        from vllm_studio_tui.inference.thinking import split_thinking
        from vllm_studio_tui.store.chat_files import put_message

        return put_message(self._db, session_id, given, split_thinking)

    def find_text(self, text: str, *, limit: int) -> list[Hit]:
        """Return messages that hold all words of `text`, the newest first. May be called in any thread."""
        from vllm_studio_tui.store.search import search

        with self._db.reader() as reader:
            return search(reader, text, limit=limit)

    def export(self, session_id: str) -> dict[str, Any]:
        """Return a chat with every message, as the document that `import_` takes."""
        from vllm_studio_tui.store.chat_files import to_json_document

        return to_json_document(self._db, session_id)

    def markdown(self, session_id: str) -> str:
        """Return the branch that a chat shows as Markdown."""
        from vllm_studio_tui.store.chat_files import to_markdown

        return to_markdown(self._db, session_id)

    def written(self, session_id: str, form: str, target: Target | None = None) -> str:
        """Return a chat in one of the forms of `domain.chat_exports`.

        Args:
            target: Whom the last request went to, for the forms that are requests; None: nobody answers there now.

        Raises:
            UsageError: There is no such form, or nothing in the chat that can be written in it.
        """
        from vllm_studio_tui.services.chat import export_html, export_request, exports

        name, session = form_of(form).name, self.get(session_id)
        if name == "json":
            return (
                json.dumps(self.export(session_id), ensure_ascii=False, indent=2).encode("utf-8", "replace").decode()
                + "\n"
            )
        if name == "markdown":
            return self.markdown(session_id)
        branch = self.branch(session_id)
        if name == "html":
            return export_html.as_html(session, branch)
        if name == "jsonl":
            return exports.finetune_line(session, branch)
        make = export_request.as_curl if name == "curl" else export_request.as_python
        return make(session, branch, target)

    def import_(self, raw: bytes, source: str, *, dry_run: bool = False) -> ImportedChats:
        """Take chats in that are not here yet, and of those that went on since what is new.

        `store.importing_chats.import_chats` says what is understood.

        Args:
            dry_run: Nothing is kept; what is returned is what would be.

        Raises:
            StoreError: The file cannot be understood. Nothing of it was kept.
        """
        from vllm_studio_tui.inference.thinking import split_thinking
        from vllm_studio_tui.store.importing_chats import import_chats

        return import_chats(self._db, raw, source, split_thinking, dry_run=dry_run)
