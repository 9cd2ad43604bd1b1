"""A short measurement of a running engine: how long it reads a prompt, and how fast it writes."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import ChatRequest, Sampling
from vllm_studio_tui.domain.errors import EngineRefused
from vllm_studio_tui.services.chat.asking_once import Record, ask_once, recorded

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Stream, Target
    from vllm_studio_tui.store.database import Database


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What one question showed. Seconds and tokens per second; None where the engine did not say enough.

    Attributes:
        prefill_tps: Tokens of the prompt that were not in a cache, by the time to the first token.
    """

    model: str
    run_id: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_seconds: float | None
    ttft: float | None
    prefill_tps: float | None
    generation_tps: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it by the original's names."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_time_s": self.total_seconds,
            "prefill_tps": self.prefill_tps,
            "generation_tps": self.generation_tps,
            "ttft_ms": None if self.ttft is None else self.ttft * 1000,
        }


def keep_peaks(db: Database, found: Benchmark) -> None:
    """Keep the speeds of a measurement as the model's best ones, where nothing was better before."""
    from vllm_studio_tui.store.peaks import PEAK_TOKENS, PeakRows

    enough = (found.completion_tokens or 0) >= PEAK_TOKENS
    PeakRows(db).offer(
        found.model,
        prefill_tps=found.prefill_tps if (found.prompt_tokens or 0) >= PEAK_TOKENS else None,
        generation_tps=found.generation_tps if enough else None,
        ttft=found.ttft,
    )


def measure(
    target: Target,
    prompt_tokens: int,
    max_tokens: int,
    stream: Stream | None = None,
    *,
    record: Record | None = None,
) -> Benchmark:
    """Ask one question of about so many tokens, and measure the answer as it streams. Blocking.

    Raises:
        EngineRefused: No answer came.
    """
    if stream is None:
        from vllm_studio_tui.inference.client import stream_chat

        stream = stream_chat
    if record is not None:
        stream = recorded(stream, "bench", record)
    # It begins with what no prompt before did, so that nothing of it is in the engine's cache.
    numbers = " ".join(str(number) for number in range(1, max(1, prompt_tokens // 2) + 1))
    question = {"role": "user", "content": f"{secrets.token_hex(8)}. Please count: {numbers}"}
    asked = ChatRequest((question,), Sampling(temperature=0.0, max_tokens=max_tokens))
    _, _, ended = asyncio.run(ask_once(target, stream, asked))
    if ended.finish in ("failed", "interrupted", "stopped"):
        raise EngineRefused(f"{target.model} was not measured", cause=ended.error or "", advice=ended.advice or "")
    usage, timings = ended.usage, ended.timings
    read = None if usage.prompt_tokens is None else usage.prompt_tokens - (usage.cached_tokens or 0)
    return Benchmark(
        target.model,
        target.run_id,
        usage.prompt_tokens,
        usage.completion_tokens,
        timings.total,
        timings.ttft,
        read / timings.ttft if read is not None and read > 0 and timings.ttft else None,
        timings.tokens_per_second,
    )
