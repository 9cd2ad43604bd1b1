"""What a face may ask of the chats of a studio; see `services.protocols`, of which this is a part."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Attachment, Hit, Message, Sampling, Session, Target
    from vllm_studio_tui.domain.chat_imports import ImportedChats
    from vllm_studio_tui.domain.chat_marks import Removed
    from vllm_studio_tui.domain.context import ContextReport, Counted
    from vllm_studio_tui.domain.library import LibraryText
    from vllm_studio_tui.domain.tools import ChatEvent, Decision, ToolChoice


class SessionsApi(Protocol):
    """Chats without their messages; see `store.chats.ChatRows`."""

    def get(self, session_id: str) -> Session: ...
    def find(self, name: str) -> Session: ...
    def list(
        self,
        *,
        limit: int | None = None,
        offset: int = 0,
        search: str = "",
        trash: bool = False,
        tag: str | None = None,
        pinned_first: bool = False,
    ) -> builtins.list[Session]: ...
    def count(self, *, search: str = "", trash: bool = False, tag: str | None = None) -> int: ...
    def create(
        self,
        title: str = "",
        *,
        model: str | None = None,
        parent_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Session: ...
    def rename(self, session_id: str, title: str) -> None: ...
    def pin(self, session_id: str, on: bool) -> None: ...
    def set_tags(self, session_id: str, tags: Sequence[str]) -> builtins.list[str]: ...
    def tags(self) -> builtins.list[tuple[str, int]]: ...
    def set_model(self, session_id: str, model: str | None) -> None: ...
    def set_settings(self, session_id: str, settings: Mapping[str, Any]) -> None: ...
    def set_leaf(self, session_id: str, leaf_id: str | None) -> None: ...
    def trash(self, session_id: str) -> bool: ...
    def restore(self, session_id: str) -> bool: ...
    def last_trashed(self) -> Session | None: ...
    def purge(self, session_id: str) -> None: ...
    def fork(self, session_id: str, message_id: str | None = None) -> Session: ...


class MarksApi(Protocol):
    """What a person does to messages that are there; see `store.marks.MessageMarks`."""

    def below(self, message_id: str) -> builtins.list[Message]: ...
    def remove(self, message_id: str) -> Removed: ...
    def last_removed(self) -> Removed | None: ...
    def bring_back(self, removed: Removed) -> int: ...
    def bookmark(self, message_id: str, on: bool | None = None) -> bool: ...
    def bookmarks(self, session_id: str | None = None, *, limit: int = 200) -> builtins.list[Message]: ...


class ChatsApi(SessionsApi, Protocol):
    """Chats that are kept, with their messages; see `services.chat.saved_chats.Chats`."""

    @property
    def marks(self) -> MarksApi: ...

    def tree(self, session_id: str) -> builtins.list[Message]: ...
    def branch(self, session_id: str) -> builtins.list[Message]: ...
    def put_message(self, session_id: str, given: Mapping[str, Any]) -> Message: ...
    def find_text(self, text: str, *, limit: int) -> builtins.list[Hit]: ...
    def export(self, session_id: str) -> dict[str, Any]: ...
    def markdown(self, session_id: str) -> str: ...
    def written(self, session_id: str, form: str, target: Target | None = None) -> str: ...
    def import_(self, raw: bytes, source: str, *, dry_run: bool = False) -> ImportedChats: ...


class MessagesApi(Protocol):
    """Messages of chats; see `store.messages.MessageRows`."""

    def get(self, message_id: str) -> Message: ...
    def leaf(self, session_id: str) -> str | None: ...


class UnsavedApi(Protocol):
    """Answers that the database has not taken yet; see `services.chat.unsaved.Unsaved`."""

    def reasons(self) -> list[str]: ...


class ChatApi(Protocol):
    """Asking engines; see `services.chat.chat.ChatService`. To stop an answer, close the generator."""

    @property
    def sessions(self) -> SessionsApi: ...
    @property
    def messages(self) -> MessagesApi: ...
    @property
    def unsaved(self) -> UnsavedApi: ...

    def new_session(
        self, prompt: str = "", *, model: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> str: ...
    def settle_interrupted(self) -> int: ...
    def check_sight(self, target: Target) -> None: ...
    def tree(self, session_id: str) -> list[Message]: ...
    def send(
        self,
        session_id: str | None,
        text: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        images: Sequence[str] = (),
        files: Sequence[Attachment] = (),
        system: str | None = None,
        tools: ToolChoice | None = None,
        temporary: bool = False,
    ) -> AsyncGenerator[ChatEvent, None]: ...
    def regenerate(
        self,
        session_id: str,
        message_id: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolChoice | None = None,
    ) -> AsyncGenerator[ChatEvent, None]: ...
    def edit(
        self,
        session_id: str,
        message_id: str,
        text: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolChoice | None = None,
        images: Sequence[str] | None = None,
        files: Sequence[Attachment] | None = None,
    ) -> AsyncGenerator[ChatEvent, None]: ...
    def answer(
        self,
        session_id: str,
        parent_id: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        system: str | None = None,
        tools: ToolChoice | None = None,
    ) -> AsyncGenerator[ChatEvent, None]: ...
    def decide(
        self,
        call_id: str,
        decision: Decision,
        arguments: Mapping[str, Any] | None = None,
        pattern: Mapping[str, str] | None = None,
    ) -> bool: ...
    def go_on(
        self,
        session_id: str,
        message_id: str | None,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolChoice | None = None,
    ) -> AsyncGenerator[ChatEvent, None]: ...


class ContextApi(Protocol):
    """How full the contexts of chats are, and making them shorter; see `services.chat.context.service.ChatContext`."""

    def count(self, text: str, target: Target | None = None) -> Counted: ...
    def report(
        self,
        session_id: str | None,
        target: Target | None = None,
        *,
        draft: str = "",
        leaf_id: str | None = None,
        system: str | None = None,
        tools: Sequence[str] | None = None,
    ) -> ContextReport: ...
    def count_answer(self, message_id: str, target: Target | None) -> Message: ...
    def compact(
        self, session_id: str, target: Target | None = None, *, summary: bool = True, keep: int = 4
    ) -> Message: ...
    def compact_if_full(self, session_id: str, target: Target | None, *, draft: str = "") -> Message | None: ...
    def undo_compaction(self, message_id: str, *, undone: bool = True) -> Message: ...


class LibraryApi(Protocol):
    """Prompts, presets and forms kept by name; see `services.chat.library.Library`."""

    def list(self, kind: str | None = None) -> builtins.list[LibraryText]: ...
    def get(self, kind: str, name: str) -> LibraryText: ...
    def save(self, kind: str, name: str, data: Mapping[str, Any]) -> LibraryText: ...
    def rename(self, kind: str, name: str, new: str) -> LibraryText: ...
    def delete(self, kind: str, name: str) -> LibraryText: ...
