"""The calls of one answer: decided, noted, made beside each other, and their results kept, however it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_studio_tui.domain.chat import Message, ToolCall
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tool_consent import matches
from vllm_studio_tui.domain.tools import (
    MAX_RESULT,
    CallAsked,
    CallBegan,
    CallEnded,
    Consents,
    Decision,
    Tool,
    ToolBox,
    ToolEvent,
    ToolResult,
)
from vllm_studio_tui.services.chat.in_thread import in_thread
from vllm_studio_tui.services.chat.tool_decisions import Decided, ToolDecisions
from vllm_studio_tui.store.tool_calls import ToolCallRows

_log = logging.getLogger(__name__)

#: Seconds that calls are waited for which were told to end.
STOP_SECONDS = 5.0
#: Names of tools that a model is told when it called one that there is not.
MOST_NAMES = 40
DENIED = "The person did not allow this call. Do without it, or say what you need it for."
STOPPED = "This call was not made: the person stopped it."
CUT_OFF = "This call was stopped while it was made: what came of it is not known."


@dataclass(slots=True)
class ToolQuestion:
    """What the rounds of one question share.

    Attributes:
        results: What each call that differs came to, by name and arguments.
        allowed: Names of tools that were allowed for longer, where that is kept nowhere.
        patterns: Those that were allowed so for some arguments alone, each with what these are like.
        waiting: Calls that wait for a person.
    """

    session_id: str | None
    consents: Consents | None
    decisions: ToolDecisions
    box: ToolBox | None = None
    offered: dict[str, Tool] = field(default_factory=dict)
    results: dict[tuple[str, str], asyncio.Future[ToolResult]] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)
    patterns: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    waiting: dict[str, tuple[Tool, Mapping[str, Any]]] = field(default_factory=dict)

    async def allows(self, tool: Tool, arguments: Mapping[str, Any]) -> bool:
        """Return whether a call needs no question; where that cannot be read, it needs one."""
        if not tool.asks or tool.name in self.allowed:
            return True
        if any(name == tool.name and matches(pattern, arguments) for name, pattern in self.patterns):
            return True
        if self.consents is None:
            return False
        consents = self.consents
        try:
            return await asyncio.to_thread(consents.allowed, tool, arguments, self.session_id) is not None
        except StudioError as error:
            _log.warning("what was allowed cannot be read: %s", error)
            return False

    async def allow(self, tool: Tool, decision: Decision, pattern: Mapping[str, str] | None) -> None:
        """Keep what was allowed for longer, and let calls go on that it allows too."""
        if pattern is None:
            self.allowed.add(tool.name)
        else:
            self.patterns.append((tool.name, pattern))
        if self.consents is not None:
            consents = self.consents
            try:
                await asyncio.to_thread(consents.allow, tool, decision, self.session_id, pattern)
            except StudioError as error:
                _log.warning("what was allowed cannot be kept: %s", error)
        for call_id, (other, arguments) in list(self.waiting.items()):
            if await self.allows(other, arguments):
                self.decisions.decide(call_id, Decision.ONCE)


@dataclass(slots=True)
class _Outcome:
    result: ToolResult
    how: str
    decided: str | None = None
    changed: Mapping[str, Any] | None = None


class ToolRoundCalls:
    """Makes the calls of one answer.

    Args:
        rows: Where calls are noted; None where the chat is not kept.
        answer_id: The message that holds the calls.
        results: For each call the message of its result; they are filled here.

    Attributes:
        repeated: How many of them had been answered before.
    """

    def __init__(
        self,
        question: ToolQuestion,
        rows: ToolCallRows | None,
        answer_id: str | None,
        calls: Sequence[ToolCall],
        results: Sequence[Message],
        number: int,
    ) -> None:
        self._question, self._rows, self._answer_id, self._number = question, rows, answer_id, number
        self._calls = list(calls)
        self.messages = list(results)
        self.repeated = 0
        self._over: set[int] = set()
        self._made: set[int] = set()
        self._events: asyncio.Queue[ToolEvent | Exception | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def events(self) -> AsyncGenerator[ToolEvent, None]:
        """Make the calls; yield what becomes of them.

        Raises:
            StudioError: A result could not be kept.
        """
        self._task = asyncio.create_task(self._all(), name=f"tool calls {self._answer_id}")
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    async def close(self, leaving: str | None = None) -> None:
        """End what is under way; say in the results that are missing that none will come.

        Args:
            leaving: Why this program ends, where that is the reason.
        """
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
        left = [index for index in range(len(self._calls)) if index not in self._over]
        if left and self._rows is not None:
            await in_thread(lambda: self._stop(left, leaving))

    def _stop(self, left: Sequence[int], leaving: str | None) -> None:
        assert self._rows is not None
        for index in left:
            made = index in self._made
            result = ToolResult(CUT_OFF if made else STOPPED, is_error=True)
            outcome = _Outcome(result, "unknown" if made else "denied")
            message = replace(
                self._filled(index, outcome), finish="interrupted" if leaving else "stopped", error=leaving
            )
            try:
                self._rows.end(self._answer_id or "", self._calls[index].id, outcome.how, message)
            except StudioError as error:
                _log.warning("the end of a call is not kept: %s", error)

    # --- the calls --------------------------------------------------------------------------------------

    async def _all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(self._calls)):
                    group.create_task(self._call(index))
        except* Exception as errors:  # noqa: BLE001 - it is for the reader, who would wait for ever
            found: BaseException = errors
            while isinstance(found, BaseExceptionGroup):
                found = found.exceptions[0]
            self._events.put_nowait(found if isinstance(found, Exception) else RuntimeError(str(found)))
        self._events.put_nowait(None)

    async def _call(self, index: int) -> None:
        call, question = self._calls[index], self._question
        arguments = arguments_of(call.arguments)
        key = (call.name, call.arguments if arguments is None else json.dumps(arguments, sort_keys=True))
        first = question.results.get(key)
        if first is not None:
            self.repeated += 1
            await self._end(index, _Outcome(replace(await asyncio.shield(first), seconds=0.0), "repeated"))
            return
        coming = question.results[key] = asyncio.get_running_loop().create_future()
        try:
            outcome = await self._outcome(index, arguments)
        except BaseException:
            coming.cancel()
            raise
        coming.set_result(outcome.result)
        await self._end(index, outcome)

    async def _outcome(self, index: int, arguments: dict[str, Any] | None) -> _Outcome:
        """Decide on a call, note it and make it."""
        call, question = self._calls[index], self._question
        tool = question.offered.get(call.name)
        if tool is None or arguments is None:
            self._say(CallBegan(call, tool, self._number))
            words = _no_tool(call.name, question.offered) if tool is None else "The arguments are not a JSON object."
            return _Outcome(ToolResult(words, is_error=True), "failed")
        given: Mapping[str, Any] = arguments
        changed, decided = None, None
        if not await question.allows(tool, given):
            said = await self._asked(call, tool, given)
            decided = said.decision.value
            if said.decision is Decision.DENY:
                return _Outcome(ToolResult(DENIED, is_error=True), "denied", decided)
            if said.arguments is not None and said.arguments != given:
                given = changed = said.arguments
            if said.decision is not Decision.ONCE:
                await question.allow(tool, said.decision, said.pattern)
        if not await self._begin(call, decided, given):
            return _Outcome(ToolResult("This call was not made: it was ended elsewhere.", is_error=True), "denied")
        self._made.add(index)
        self._say(CallBegan(call if changed is None else replace(call, arguments=_json(given)), tool, self._number))
        result = await self._made_call(tool, given)
        return _Outcome(result, "failed" if result.is_error else "done", decided, changed)

    async def _asked(self, call: ToolCall, tool: Tool, arguments: Mapping[str, Any]) -> Decided:
        question = self._question
        with question.decisions.waiting(call.id) as decided:
            question.waiting[call.id] = (tool, arguments)
            try:
                self._say(CallAsked(call, tool, self._number, self._answer_id))
                return await decided
            finally:
                question.waiting.pop(call.id, None)

    async def _begin(self, call: ToolCall, decided: str | None, arguments: Mapping[str, Any]) -> bool:
        if self._rows is None:
            return True
        rows, answer_id = self._rows, self._answer_id or ""
        return await in_thread(lambda: rows.start(answer_id, call.id, decided, _json(arguments)))

    async def _made_call(self, tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
        assert self._question.box is not None
        begin = time.monotonic()
        try:
            result = await self._question.box.call(tool.name, arguments)
        except Exception as error:  # noqa: BLE001 - whatever a tool does, the chat goes on
            _log.warning("a tool failed: %s", type(error).__name__)
            result = ToolResult(f"The tool failed: {type(error).__name__}: {str(error)[:500]}", is_error=True)
        return bounded(result, time.monotonic() - begin)

    async def _end(self, index: int, outcome: _Outcome) -> None:
        """Keep a result, and tell it."""
        message = self.messages[index] = self._filled(index, outcome)
        call = self._calls[index]
        if self._rows is not None:
            rows, answer_id = self._rows, self._answer_id or ""
            state = "done" if outcome.how == "repeated" else outcome.how
            await in_thread(lambda: rows.end(answer_id, call.id, state, message, outcome.decided))
        self._over.add(index)
        self._say(CallEnded(call, outcome.result, outcome.how, message.id if self._rows is not None else None))

    def _filled(self, index: int, outcome: _Outcome) -> Message:
        """Return the message of a result, with how its call ended."""
        result, message = outcome.result, self.messages[index]
        changed = {} if outcome.changed is None else {"arguments": _json(outcome.changed)}
        text = (
            f"[The person changed the arguments to {_json(outcome.changed)}]\n" if outcome.changed is not None else ""
        )
        call = {
            **dict(message.details.get("call") or {}),
            "how": outcome.how,
            "seconds": round(result.seconds, 3),
            "size": result.size,
            "is_error": result.is_error,
            **({"decided": outcome.decided} if outcome.decided else {}),
            **changed,
        }
        content = text + (result.text or "(the result is empty)")
        details = {**message.details, "call": call}
        return replace(message, content=content, images=tuple(result.images), finish=None, details=details)

    def _say(self, event: ToolEvent) -> None:
        self._events.put_nowait(event)


def arguments_of(text: str) -> dict[str, Any] | None:
    """Return the arguments of a call; None where they are no JSON object. Nothing at all is none of them."""
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def bounded(result: ToolResult, seconds: float) -> ToolResult:
    """Return a result that is no larger than a model is given; what is missing of it is told in it."""
    raw = result.text.encode("utf-8", "replace")
    size = max(result.size, len(raw))
    text = result.text
    if len(raw) > MAX_RESULT:
        note = f"\n[cut: {MAX_RESULT} of {size} bytes]"
        text = raw[: MAX_RESULT - len(note)].decode("utf-8", "ignore") + note
    return replace(result, text=text, size=size, seconds=result.seconds or seconds)


def _json(arguments: Mapping[str, Any] | None) -> str:
    return json.dumps(arguments, ensure_ascii=False, default=str)


def _no_tool(name: str, offered: Mapping[str, Tool]) -> str:
    names = ", ".join(list(offered)[:MOST_NAMES]) or "none"
    return f"There is no tool {name[:100]}. There are: {names}."
