"""What a face may ask of comparisons and of the request lab; see `services.protocols`, of which this is a part."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Attachment, Message, Sampling, StreamEvent, Target
    from vllm_studio_tui.domain.compare import Question, Score, Side, Vote
    from vllm_studio_tui.domain.request_lab import LabRequest, RenderedPrompt


class RequestLabApi(Protocol):
    """The request lab; see `services.chat.request_lab.RequestLab`."""

    def last(self, session_id: str, message_id: str | None = None) -> LabRequest: ...
    def replay(self, target: Target, body: Mapping[str, Any]) -> AsyncGenerator[StreamEvent, None]: ...
    def render(self, target: Target, body: Mapping[str, Any]) -> RenderedPrompt: ...


class CompareApi(Protocol):
    """One question to several at once, and votes on the answers; see `services.chat.compare.Compare`."""

    @property
    def lab(self) -> RequestLabApi: ...

    def sides(
        self, specs: Sequence[str], *, settings: Mapping[str, Any] | None = None, shuffled: bool = False
    ) -> builtins.list[Side]: ...
    def begin(
        self,
        text: str,
        *,
        session_id: str | None = None,
        system: str | None = None,
        images: Sequence[str] = (),
        files: Sequence[Attachment] = (),
        sides: Sequence[Side] = (),
    ) -> Question: ...
    def answer(
        self,
        session_id: str,
        question_id: str,
        target: Target,
        *,
        name: str,
        sampling: Sampling | None = None,
        answer_id: str = "",
        blind: bool = False,
        place: int = 0,
    ) -> AsyncGenerator[StreamEvent, None]: ...
    def answers(self, question_id: str) -> builtins.list[Message]: ...
    def keep(self, answer_id: str) -> Message: ...
    def vote(self, question_id: str, winner: str | None) -> Vote: ...
    def vote_of(self, question_id: str) -> Vote | None: ...
    def votes(self, limit: int | None = None) -> builtins.list[Vote]: ...
    def scores(self, *, seen: bool = False) -> builtins.list[Score]: ...
