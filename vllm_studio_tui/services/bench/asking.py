"""What is sent for one request of a benchmark, and how an engine is asked to count tokens."""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.inference.load.client import LoadClient

PATHS = {"chat": "/chat/completions", "completions": "/completions"}


class Asking:
    """Makes bodies for one engine.

    Attributes:
        whole: The engine is told to write as many tokens as are asked for, whatever ends its answers otherwise.
    """

    def __init__(self, target: Target, plan: BenchPlan) -> None:
        self._target, self._plan = target, plan
        backend = registry.find(target.backend)
        self.path = PATHS[plan.endpoint]
        known = backend is not None and backend.needs_launch
        told = backend.sampling if backend is not None and known else None
        takes = {"ignore_eos": "ignore_eos"} if told is None else told
        standard = backend is not None and backend.standard_fields_only
        self.whole = {} if standard else {name: takes[name] for name in ("ignore_eos", "min_tokens") if name in takes}
        self._usage = not standard

    def body(self, prompt: str, output_tokens: int, *, stream: bool = True) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {"model": self._target.model, "max_tokens": output_tokens, "stream": stream}
        if self._plan.endpoint == "chat":
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        body["temperature"] = 0.0
        if stream and self._usage:
            body["stream_options"] = {"include_usage": True}
        if self._plan.prompts:
            return body  # how long answers to real questions are is the model's affair
        if "ignore_eos" in self.whole:
            body[self.whole["ignore_eos"]] = True
        if "min_tokens" in self.whole:
            body[self.whole["min_tokens"]] = output_tokens
        return body

    async def count(self, client: LoadClient, prompt: str) -> int | None:
        """Return the tokens of a prompt, as the engine says it in an answer of one token."""
        outcome = await client.ask(self.path, self.body(prompt, 1, stream=False))
        if outcome.refused and outcome.status in (400, 422) and self.whole:
            self.whole = {}  # it takes OpenAI's fields alone
            outcome = await client.ask(self.path, self.body(prompt, 1, stream=False))
        if outcome.error is not None:
            raise EngineSaidNo(outcome.error)
        return outcome.prompt_tokens


class EngineSaidNo(Exception):  # noqa: N818, RUF100
    """The engine does not answer what is asked of it: why, in its words."""
