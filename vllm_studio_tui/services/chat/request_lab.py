"""The request lab: the request of an answer as it is sent, changed, sent again, and what a template makes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import ChatRequest, Message, Sampling, Stream, StreamEvent, Target
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.request_lab import LabRequest, RenderedPrompt, read_request, request_text
from vllm_studio_tui.services.chat.asking_once import Record, recorded
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.services.chat.side_spec import FindPreset, read_spec

if TYPE_CHECKING:
    from vllm_studio_tui.services.chat.chat import ChatService
    from vllm_studio_tui.services.protocols import LauncherApi


class RequestLab:
    """Requests of answers.

    Args:
        find_preset: Returns what a preset sets; raises NotFound where there is none.
        record: Keeps a request that was sent from here: its engine counts the tokens too.
        stream: Asks an engine; None: the client of `inference`.
    """

    def __init__(
        self,
        chat: ChatService,
        launcher: LauncherApi,
        find_preset: FindPreset,
        record: Record,
        stream: Stream | None = None,
    ) -> None:
        self._chat = chat
        self._launcher = launcher
        self._find_preset = find_preset
        self._record = record
        self._stream = stream

    def last(self, session_id: str, message_id: str | None = None) -> LabRequest:
        """Return the request of an answer: of the last one in what the chat shows, or of the given one. Blocking.

        It is made again from the chat in the way in which it was made for the engine.

        Raises:
            NotFound: There is no such chat or message.
            UsageError: There is no answer.
        """
        session = self._chat.sessions.get(session_id)
        branch = self._chat.unsaved.over(self._chat.messages.branch(session_id, message_id))
        places = [at for at, one in enumerate(branch) if one.role == "assistant"]
        if not places:
            raise UsageError("there is no answer in this chat", advice="Ask something first.")
        answer, before = branch[places[-1]], branch[: places[-1]]
        target, notes = self._target(session_id, answer)
        settings, own = dict(session.settings), _side_name(answer)
        if own:
            try:
                settings = dict(read_spec(own, settings, self._find_preset).settings)
            except StudioError as error:
                notes.append(f"{error.title}: what was set by it is not here.")
        if any(one.tool_calls for one in branch):
            notes.append("Tools that were offered are not in it.")
        system = settings.get("system")
        asked = target or Target("", answer.model or session.model or "")
        messages = request_messages(before, system if isinstance(system, str) and system else None, asked)
        body = wire_body(asked, ChatRequest(messages, sampling_of(settings)))
        return LabRequest(session_id, answer.id, body, answer.content, answer.reasoning, target, tuple(notes))

    def _target(self, session_id: str, answer: Message) -> tuple[Target | None, list[str]]:
        """Return who wrote an answer, where he answers now, and what is to be said of that."""
        side = answer.details.get("side")
        recipe = side.get("recipe") if isinstance(side, Mapping) else None
        try:
            if isinstance(recipe, str) and recipe:
                return self._launcher.target(recipe=recipe), []
            return self._launcher.target_of_chat(self._chat.sessions.get(session_id)), []
        except StudioError as error:
            return None, [f"Nobody answers here now: {error.title}."]

    async def replay(self, target: Target, body: Mapping[str, Any]) -> AsyncGenerator[StreamEvent, None]:
        """Send a request as it stands, as a stream; nothing of it is kept but that it was counted.

        Raises:
            UsageError: It is no request.
        """
        raw = read_request(request_text(body))
        stream = self._stream
        if stream is None:
            from vllm_studio_tui.inference.client import stream_chat

            stream = stream_chat
        model = raw.get("model") or target.model
        request = ChatRequest(tuple(raw["messages"]), Sampling(), raw={**raw, "model": model})
        events = recorded(stream, "lab", self._record)(replace(target, model=model), request)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    def render(self, target: Target, body: Mapping[str, Any]) -> RenderedPrompt:
        """Return the prompt that an engine makes of a request, with its tokens. Blocking.

        Raises:
            StudioError: It is no request, or the engine does not tell.
        """
        from vllm_studio_tui.inference.rendering import render_prompt

        return render_prompt(target, read_request(request_text(body)))


def wire_body(target: Target, request: ChatRequest) -> dict[str, Any]:
    """Return the JSON object that is sent for a request."""
    from vllm_studio_tui.inference.request import body

    sent = body(target, request)
    extra = sent.pop("extra_body", {})
    return {**sent, **extra}


def _side_name(answer: Message) -> str:
    side = answer.details.get("side")
    name = side.get("name") if isinstance(side, Mapping) else None
    return name if isinstance(name, str) else ""
