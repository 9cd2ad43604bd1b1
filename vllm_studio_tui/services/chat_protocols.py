"""What a face may ask of the chats of a studio; see `services.protocols`, of which this is a part."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Hit, Message, Sampling, Session, Target
    from vllm_studio_tui.domain.library import LibraryText
    from vllm_studio_tui.domain.tools import ChatEvent, Decision, ToolChoice


class SessionsApi(Protocol):
    """Chats without their messages; see `store.chats.ChatRows`."""

    def get(self, session_id: str) -> Session: ...
    def find(self, name: str) -> Session: ...
    def list(
        self, *, limit: int | None = None, offset: int = 0, search: str = "", trash: bool = False
    ) -> builtins.list[Session]: ...
    def count(self, *, search: str = "", trash: bool = False) -> int: ...
    def create(
        self,
        title: str = "",
        *,
        model: str | None = None,
        parent_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Session: ...
    def rename(self, session_id: str, title: str) -> None: ...
    def set_model(self, session_id: str, model: str | None) -> None: ...
    def set_settings(self, session_id: str, settings: Mapping[str, Any]) -> None: ...
    def set_leaf(self, session_id: str, leaf_id: str | None) -> None: ...
    def trash(self, session_id: str) -> bool: ...
    def restore(self, session_id: str) -> bool: ...
    def last_trashed(self) -> Session | None: ...
    def purge(self, session_id: str) -> None: ...
    def fork(self, session_id: str, message_id: str | None = None) -> Session: ...


class ChatsApi(SessionsApi, Protocol):
    """Chats that are kept, with their messages; see `services.chat.kept.Chats`."""

    def tree(self, session_id: str) -> builtins.list[Message]: ...
    def branch(self, session_id: str) -> builtins.list[Message]: ...
    def put_message(self, session_id: str, given: Mapping[str, Any]) -> Message: ...
    def find_text(self, text: str, *, limit: int) -> builtins.list[Hit]: ...
    def export(self, session_id: str) -> dict[str, Any]: ...
    def markdown(self, session_id: str) -> str: ...
    def import_(self, raw: bytes, source: str) -> builtins.list[Session]: ...


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
    def tree(self, session_id: str) -> list[Message]: ...
    def send(
        self,
        session_id: str | None,
        text: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        images: Sequence[str] = (),
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
    def decide(self, call_id: str, decision: Decision, arguments: Mapping[str, Any] | None = None) -> bool: ...
    def continue_answer(
        self, session_id: str, message_id: str, target: Target, *, sampling: Sampling | None = None
    ) -> AsyncGenerator[ChatEvent, None]: ...


class LibraryApi(Protocol):
    """Prompts, presets and forms kept by name; see `services.chat.library.Library`."""

    def list(self, kind: str | None = None) -> builtins.list[LibraryText]: ...
    def get(self, kind: str, name: str) -> LibraryText: ...
    def save(self, kind: str, name: str, data: Mapping[str, Any]) -> LibraryText: ...
    def rename(self, kind: str, name: str, new: str) -> LibraryText: ...
    def delete(self, kind: str, name: str) -> LibraryText: ...
