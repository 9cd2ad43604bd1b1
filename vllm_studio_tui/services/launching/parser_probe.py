"""Asking a ready engine once for a tool call and once for a thought, and saying whether its parsers work."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from vllm_studio_tui.domain.chat import ChatRequest, Sampling, Stream, Target
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.chat.asking_once import ask_once, recorded

#: Tokens that an answer may take; a thought that is cut off still shows where it went.
MOST_TOKENS = 256
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
#: What a tool call looks like that nobody parsed.
_RAW_CALL = re.compile(r"get_weather|<tool_call|\[TOOL_CALLS\]|<\|tool|<function=|tool▁call|<invoke ")
#: What thinking looks like that nobody split off.
_RAW_THOUGHT = re.compile(r"</?(?:think|thinking|reasoning|thought|seed:think)>|\[/?THINK\]|<\|channel\|?>", re.I)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question showed.

    Attributes:
        verdict: works, unparsed (it came as plain text), none (the model did not do it), failed.
        words: For a person.
    """

    verdict: str
    words: str


@dataclass(frozen=True, slots=True)
class ParserReport:
    """Whether the parsers of an engine work."""

    tools: Finding
    thinking: Finding

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return what `probe --json` prints."""
        return {
            key: {"verdict": one.verdict, "words": one.words}
            for key, one in (("tools", self.tools), ("thinking", self.thinking))
        }


def probe_parsers(
    target: Target, stream: Stream | None = None, *, record: Callable[[CompletedRequest], object] | None = None
) -> ParserReport:
    """Ask both questions. Blocking; takes as long as two short answers.

    Args:
        record: Keeps each question as a request: the engine counts its tokens too.
    """
    if stream is None:
        from vllm_studio_tui.inference.client import stream_chat

        stream = partial(stream_chat, split_tags=False)
    if record is not None:
        stream = recorded(stream, "probe", record)
    return ParserReport(asyncio.run(_tools(target, stream)), asyncio.run(_thinking(target, stream)))


async def _tools(target: Target, stream: Stream) -> Finding:
    question = {"role": "user", "content": "What is the weather in Paris? Use the tool get_weather."}
    content, _, ended = await ask_once(target, stream, ChatRequest((question,), _sampling(), (TOOL,)))
    if ended.finish == "failed":
        words = ended.error or "the request was refused"
        return Finding("failed", f"a request with a tool was refused: {words}"[:300])
    if ended.tool_calls:
        call = ended.tool_calls[0]
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = None
        if call.name == "get_weather" and isinstance(arguments, dict):
            return Finding("works", f"it called {call.name} with {json.dumps(arguments)[:80]}")
        return Finding("unparsed", f"a call came whose name or arguments are broken: {call.name} {call.arguments[:80]}")
    if _RAW_CALL.search(content):
        words = "the call came as plain text: set tool_call_parser to the one of the model's family"
        return Finding("unparsed", words)
    return Finding("none", "the model answered without a call; smaller models often do")


async def _thinking(target: Target, stream: Stream) -> Finding:
    question = {"role": "user", "content": "Think step by step: which is larger, 9.11 or 9.9?"}
    content, reasoning, ended = await ask_once(target, stream, ChatRequest((question,), _sampling()))
    if ended.finish == "failed":
        return Finding("failed", f"the request was refused: {ended.error or 'no reason given'}"[:300])
    if _RAW_THOUGHT.search(content):
        return Finding(
            "unparsed", "thinking stands in the answer: set reasoning_parser to the one of the model's family"
        )
    if reasoning:
        return Finding("works", f"{len(reasoning)} characters of thinking came apart from the answer")
    return Finding("none", "no thinking came; the model may have none, or it is switched off")


def _sampling() -> Sampling:
    return Sampling(temperature=0.0, max_tokens=MOST_TOKENS)
