"""What an engine tells of the making of one answer: how long it queued, read and wrote. No input raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.kit.outside_values import as_number

#: Seconds, tokens and tokens per second beyond which a figure is no measurement.
MOST_SECONDS, MOST_TOKENS, MOST_SPEED = 1e6, 1e12, 1e6


class EngineFigures:
    """Gathers the figures of an answer: llama.cpp's `timings`, vLLM's `metrics`, TabbyAPI's in its usage.

    Attributes:
        values: By our names: `queue_seconds`, `prefill_seconds` and `prefill_tokens` (those that were
            computed, not found in the cache), `decode_seconds`, `cached_tokens`, `draft_tokens` and `accepted_tokens`
            of speculation,
            `prefill_tps`, `decode_tps`.
    """

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def timings(self, given: Mapping[str, Any]) -> None:
        """Take llama.cpp's: of a stream with `timings_per_token` the last."""
        self._count("cached_tokens", given.get("cache_n"))
        self._count("prefill_tokens", given.get("prompt_n"))
        self._seconds("prefill_seconds", given.get("prompt_ms"))
        self._seconds("decode_seconds", given.get("predicted_ms"))
        self._count("draft_tokens", given.get("draft_n"))
        self._count("accepted_tokens", given.get("draft_n_accepted"))
        self._speed("prefill_tps", given.get("prompt_per_second"))
        # It calls one token in no time a million tokens a second.
        if given.get("predicted_n") not in (0, 1):
            self._speed("decode_tps", given.get("predicted_per_second"))

    def metrics(self, given: Mapping[str, Any]) -> None:
        """Take vLLM's (`--enable-per-request-metrics`). Its time to the first token begins after the queue."""
        self._seconds("queue_seconds", given.get("queue_time_ms"))
        self._seconds("prefill_seconds", given.get("time_to_first_token_ms"))
        self._seconds("decode_seconds", given.get("generation_time_ms"))
        between = as_number(given.get("mean_itl_ms"), below=MOST_SECONDS * 1000)
        if between:  # its own tokens_per_second counts the reading of the prompt in
            self._speed("decode_tps", 1000 / between)
        drafts = given.get("speculative_decoding")
        if isinstance(drafts, Mapping):
            self._count("draft_tokens", drafts.get("num_draft_tokens"))
            self._count("accepted_tokens", drafts.get("num_accepted_draft_tokens"))

    def usage(self, given: Mapping[str, Any]) -> None:
        """Take TabbyAPI's."""
        self._speed("prefill_tps", given.get("prompt_tokens_per_sec"))
        self._speed("decode_tps", given.get("completion_tokens_per_sec"))

    @property
    def decode_tps(self) -> float | None:
        """Tokens per second after the first."""
        return self.values.get("decode_tps")

    def told(self, prompt_tokens: int | None, cached_tokens: int | None) -> dict[str, float]:
        """Return all that is known, with what follows from the tokens that the usage counts."""
        found = dict(self.values)
        if not found:
            return {}
        if cached_tokens is not None:
            found.setdefault("cached_tokens", cached_tokens)
        if prompt_tokens is not None and "cached_tokens" in found:
            found.setdefault("prefill_tokens", max(0, prompt_tokens - int(found["cached_tokens"])))
        seconds, tokens = found.get("prefill_seconds"), found.get("prefill_tokens")
        if seconds and tokens and (speed := as_number(tokens / seconds, below=MOST_SPEED)):
            found.setdefault("prefill_tps", speed)
        return found

    def _seconds(self, name: str, milliseconds: Any) -> None:
        value = as_number(milliseconds, below=MOST_SECONDS * 1000)
        if value is not None:
            self.values[name] = value / 1000

    def _count(self, name: str, given: Any) -> None:
        value = as_number(given, below=MOST_TOKENS)
        if value is not None:
            self.values[name] = int(value)

    def _speed(self, name: str, given: Any) -> None:
        value = as_number(given, below=MOST_SPEED)
        if value:
            self.values[name] = value
