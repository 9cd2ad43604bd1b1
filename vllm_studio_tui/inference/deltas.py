"""Read the chunks of a stream of any server. No input raises."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import TokenUsage, ToolCall
from vllm_studio_tui.inference.engine_figures import EngineFigures
from vllm_studio_tui.inference.likelihoods import Likelihoods

#: Where engines put thinking. vLLM: reasoning; SGLang, llama.cpp, Transformers, LiteLLM: reasoning_content.
REASONING = ("reasoning", "reasoning_content", "reasoning_text", "thinking")
FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
MAX_CALLS = 128
#: More letters than a name has.
MAX_NAME = 1000


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class DeltaReader:
    """Reads parsed chunks one after another and keeps what only the end can tell: usage, calls, finish.

    Attributes:
        finish: The reason the engine gave, in our words; None: it gave none.
        usage: The last usage object; engines send it with or without choices, some more than once.
        error: The message of an error object, with `code` if it had one.
        figures: What the engine told of the making of the answer.
        pieces: How many pieces of text came.
        steps: How many chunks brought text or a part of a call: about one a token.
        size: Letters of all arguments of calls.
        likelihoods: How likely each token was, where the engine says so.
        thinking_field: The field in which thinking came; None: none came apart from the text.
    """

    def __init__(self) -> None:
        self.finish: str | None = None
        self.usage = TokenUsage()
        self.model: str | None = None
        self.error: str | None = None
        self.code: int | None = None
        self.figures = EngineFigures()
        self.pieces = 0
        self.steps = 0
        self.size = 0
        self.likelihoods = Likelihoods()
        self.thinking_field: str | None = None
        self._calls: dict[int, _Call] = {}

    @property
    def tokens(self) -> int:
        """Return about how many tokens came: the engine's running count, else the number of chunks with text."""
        return max(self.steps, self.usage.completion_tokens or 0)

    @property
    def tokens_per_second(self) -> float | None:
        """Return how fast the engine says that it wrote; None: it did not say."""
        return self.figures.decode_tps

    def read(self, chunk: Any) -> tuple[str, str]:
        """Return the reasoning and content that this chunk adds; either may be empty."""
        if not isinstance(chunk, dict):
            return "", ""
        if chunk.get("error"):
            self._error(chunk["error"])
        if isinstance(chunk.get("model"), str):
            self.model = chunk["model"][:MAX_NAME]
        if isinstance(chunk.get("usage"), dict):
            self._usage(chunk["usage"])
        if isinstance(chunk.get("timings"), dict):
            self.figures.timings(chunk["timings"])
        if isinstance(chunk.get("metrics"), dict):
            self.figures.metrics(chunk["metrics"])
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return "", ""
        choice = choices[0]
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self.finish = FINISH.get(finish, "stop")
        if choice.get("logprobs"):
            self.likelihoods.read(choice["logprobs"])
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            text = choice.get("text")
            delta = {"content": text} if isinstance(text, str) else choice.get("message")
            if not isinstance(delta, dict):
                return "", ""
        calls = delta.get("tool_calls")
        if calls:
            self._tools(calls)
        reasoning = ""
        for name in REASONING:
            value = delta.get(name)
            if isinstance(value, str) and value:
                reasoning = value  # some gateways send the same text under two names
                self.thinking_field = name
                break
        content = delta.get("content")
        if isinstance(content, list):  # parts, as some gateways send them
            content = "".join(
                str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
        if not isinstance(content, str):
            content = ""
        if reasoning or content:
            self.pieces += 1
        if reasoning or content or calls:
            self.steps += 1
        return reasoning, content

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Return the tool calls gathered so far, by index; those without a name are left out."""
        return tuple(
            ToolCall(call.id or f"call_{index}", call.name, "".join(call.arguments))
            for index, call in sorted(self._calls.items())
            if call.name
        )

    def _tools(self, fragments: Any) -> None:
        if not isinstance(fragments, list):
            return
        for position, one in enumerate(fragments[:MAX_CALLS]):
            if not isinstance(one, dict):
                continue
            index = one.get("index")
            if not isinstance(index, int) or isinstance(index, bool):
                index = position
            if index not in self._calls and len(self._calls) >= MAX_CALLS:
                continue
            call = self._calls.setdefault(index, _Call())
            if isinstance(one.get("id"), str) and one["id"]:
                call.id = one["id"][:MAX_NAME]
            function = one.get("function")
            if not isinstance(function, dict):
                continue
            if isinstance(function.get("name"), str) and function["name"]:
                call.name = function["name"][:MAX_NAME]
            arguments = function.get("arguments")
            if isinstance(arguments, dict):
                call.arguments.clear()
                arguments = json.dumps(arguments)
            if isinstance(arguments, str):
                call.arguments.append(arguments)
                self.size += len(arguments)

    def _usage(self, usage: dict[str, Any]) -> None:
        details = usage.get("completion_tokens_details")
        prompt_details = usage.get("prompt_tokens_details")
        reasoning = token_count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
        cached = token_count(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else None
        self.usage = TokenUsage(
            prompt_tokens=token_count(usage.get("prompt_tokens")),
            completion_tokens=token_count(usage.get("completion_tokens")),
            reasoning_tokens=reasoning if reasoning is not None else token_count(usage.get("reasoning_tokens")),
            cached_tokens=cached,
            tools_tokens=token_count(usage.get("tools_tokens")),
        )
        self.figures.usage(usage)

    def _error(self, error: Any) -> None:
        if isinstance(error, dict):
            message = error.get("message") or error.get("detail") or error.get("type") or "unknown error"
            code = error.get("code")
            self.code = code if isinstance(code, int) and not isinstance(code, bool) else None
        else:
            message = error
        self.error = str(message)[:2000]


def token_count(value: Any) -> int | None:
    """Return a number of tokens as a server wrote it; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return int(value)
