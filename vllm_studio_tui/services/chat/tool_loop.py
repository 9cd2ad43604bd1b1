"""Answers in rounds: the calls of tools in which an answer ends are made, and a further answer is asked for below."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import replace

from vllm_studio_tui.domain.chat import Delta, Ended, Message, Relabel, Sampling
from vllm_studio_tui.domain.errors import NotSaved, UsageError
from vllm_studio_tui.domain.tool_choice import NONE, check_offered, choice_of
from vllm_studio_tui.domain.tools import (
    MAX_ROUNDS,
    ChatEvent,
    Consents,
    RoundBegan,
    RoundEnded,
    ToolBox,
    ToolChoice,
    ToolsAwaited,
)
from vllm_studio_tui.services.chat.in_thread import in_thread
from vllm_studio_tui.services.chat.reopening import OpenCall, Reopening, reopen
from vllm_studio_tui.services.chat.tool_decisions import ToolDecisions
from vllm_studio_tui.services.chat.tool_opening import opened
from vllm_studio_tui.services.chat.tool_round import ToolQuestion, ToolRoundCalls
from vllm_studio_tui.services.chat.turn import ToolRound, Turn
from vllm_studio_tui.services.chat.turn_runner import Offer, TurnRunner
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.tool_calls import ToolCallRows

#: Opens the tools of a choice, for as long as a question is answered.
OpenTools = Callable[[ToolChoice], AbstractAsyncContextManager[ToolBox]]
#: Fills a turn with an answer below a message of its chat, which is added: the turn, the message, the system prompt.
AnswerBelow = Callable[[Turn, str, str | None], None]


class ToolLoop:
    """Runs questions whose answers may call tools.

    Args:
        consents: What was allowed for longer; None: nothing is, but within a question.
        open_tools: Opens tools by their names; None: there are none here.

    Attributes:
        decisions: Calls that wait for a person.
    """

    def __init__(
        self, db: Database, runner: TurnRunner, consents: Consents | None, open_tools: OpenTools | None
    ) -> None:
        self._db = db
        self._rows = ToolCallRows(db)
        self._runner = runner
        self._consents = consents
        self._open_tools = open_tools
        self.decisions = ToolDecisions()

    async def run(
        self,
        turn: Turn,
        prepare: Callable[[], None],
        sampling: Sampling | None,
        tools: ToolBox | ToolChoice,
        answer_below: AnswerBelow,
        reopening: Reopening | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Yield the events of all answers and calls; one `Ended`, of the last answer.

        Args:
            reopening: A round that was cut off: its calls come first, then the answer of the turn.

        Raises:
            StudioError: As `TurnRunner.run`; and a result that could not be kept.
        """
        number, stuck = 1, False
        choice = choice_of(sampling)
        makes_calls = (not isinstance(tools, ToolChoice) or tools.call) and choice != NONE
        async with AsyncExitStack() as stack:
            question = ToolQuestion(None, self._consents, self.decisions)

            async def offer(to: Turn) -> AsyncGenerator[ToolsAwaited, None]:
                question.session_id = to.ids[0] or question.session_id
                if question.box is None:
                    box = await self._opened(stack, tools)
                    async with aclosing(opened(box, question.offered)) as opening:
                        async for waits in opening:
                            yield waits
                    question.box = box
                if reopening is None and not to.below_result:
                    check_offered(choice, question.offered)
                to.tools = [tool.to_openai() for tool in question.offered.values()]

            if reopening is not None:
                question.session_id, number = reopening.answer.session_id, reopening.number + 1
                if reopening.calls:
                    async with aclosing(offer(turn)) as opening:
                        async for waits in opening:
                            yield waits
                    async with aclosing(self._reopened(reopening, question)) as again:
                        async for told in again:
                            yield told
                yield RoundBegan(number, turn.answer_id or None)
            while True:
                last = number > MAX_ROUNDS or stuck
                if not last and makes_calls:
                    taken = (call.id for one in turn.branch for call in one.tool_calls)
                    turn.round = ToolRound(number, frozenset(taken))
                calls: ToolRoundCalls | None = None
                try:
                    async with aclosing(self._answer(turn, prepare, sampling, None if last else offer)) as events:
                        async for event in events:
                            yield event
                    ended = turn.answer.ended
                    assert ended is not None
                    calls = self._calls(turn, question)
                    if calls is None:
                        yield _told(ended, number) if last else ended
                        return
                    yield RoundEnded(number, ended, turn.ids[1], recovered="recovered" in ended.details)
                    async with aclosing(calls.events()) as made:
                        async for one in made:
                            yield one
                finally:
                    left = calls or self._calls(turn, question)  # it was stopped in the moment of its end
                    if left is not None:
                        await left.close(self._runner.leaving)
                number += 1
                stuck = calls.repeated == len(ended.tool_calls)
                turn, prepare = _further(turn, ended, calls.messages, answer_below)
                yield RoundBegan(number, turn.answer_id or None)

    async def _answer(
        self, turn: Turn, prepare: Callable[[], None], sampling: Sampling | None, offer: Offer | None
    ) -> AsyncGenerator[Delta | Relabel | Ended | ToolsAwaited, None]:
        """Yield the events of one answer, without its end: that is in the turn. One that is not kept ends it all."""
        async with aclosing(self._runner.run(turn, prepare, sampling, offer)) as events:
            ended: Ended | None = None
            try:
                async for event in events:
                    if isinstance(event, Ended):
                        ended = event
                    else:
                        yield event
            except NotSaved:
                if ended is not None:
                    yield ended
                raise

    async def _reopened(self, reopening: Reopening, question: ToolQuestion) -> AsyncGenerator[ChatEvent, None]:
        """Ask about the calls of a round again that were never made, and make them."""
        answer, number = reopening.answer, reopening.number
        found: list[OpenCall] = []
        calls: ToolRoundCalls | None = None
        try:
            await in_thread(lambda: found.extend(reopen(self._db, reopening)))
            calls = self._of(found, answer, question, number)
            made = tuple(one.call for one in found)
            yield RoundEnded(number, Ended("tool_calls", tool_calls=made), answer.id)
            async with aclosing(calls.events()) as events:
                async for event in events:
                    yield event
        finally:  # also where it is stopped while they are reopened
            await (calls or self._of(found, answer, question, number)).close(self._runner.leaving)

    def _of(self, found: Sequence[OpenCall], answer: Message, question: ToolQuestion, number: int) -> ToolRoundCalls:
        calls, results = [one.call for one in found], [one.result for one in found]
        return ToolRoundCalls(question, self._rows, answer.id, calls, results, number)

    def _calls(self, turn: Turn, question: ToolQuestion) -> ToolRoundCalls | None:
        """Return the calls in which an answer ended; None where they are not made."""
        if turn.round is None or not turn.round.results or turn.answer.ended is None:
            return None
        calls, results = turn.answer.ended.tool_calls, turn.round.results
        rows = None if turn.message is None else self._rows
        return ToolRoundCalls(question, rows, turn.ids[1], calls, results, turn.round.number)

    async def _opened(self, stack: AsyncExitStack, tools: ToolBox | ToolChoice) -> ToolBox:
        if not isinstance(tools, ToolChoice):
            return tools
        if self._open_tools is None:
            raise UsageError("this studio has no tools", advice="Ask without them.")
        return await stack.enter_async_context(self._open_tools(tools))


def _further(
    turn: Turn, ended: Ended, results: Sequence[Message], answer_below: AnswerBelow
) -> tuple[Turn, Callable[[], None]]:
    """Return the turn of the answer below these results, and what fills it."""
    system = turn.system or ""
    if turn.message is None:
        further = Turn(turn.target, temporary=True)
        content, reasoning = turn.answer.text()
        answer = Message("", "", "assistant", content, reasoning=reasoning, tool_calls=ended.tool_calls)
        answer = replace(answer, details=ended.details)
        branch = (*turn.branch, answer, *results)
        return further, lambda: further.prepare(branch, system)
    further = Turn(turn.target, answer_id=uuid.uuid4().hex)
    return further, lambda: answer_below(further, results[-1].id, system)


def _told(ended: Ended, number: int) -> Ended:
    """Return the end of an answer that had no tools any more, with why."""
    words = f"{MAX_ROUNDS} rounds of calls are over" if number > MAX_ROUNDS else "it only repeated its calls"
    return replace(ended, advice=ended.advice or f"This answer was asked for without tools: {words}.")
