"""The simulated engine's counters and its /metrics, in the names of the engine that it imitates."""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
E2E = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
#: Tokens that the pretended KV cache holds.
KV_TOKENS = 46_592


class Histogram:
    """A histogram with cumulative buckets, as in Prometheus."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.edges, value)] += times
        self.sum += value * times

    def lines(self, name: str, labels: str) -> Iterable[str]:
        total = 0
        yield f"# TYPE {name} histogram"
        for edge, count in zip((*map(str, self.edges), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{edge}"}} {total}'
        yield f"{name}_count{{{labels}}} {total}"
        yield f"{name}_sum{{{labels}}} {self.sum}"


class Counters:
    """What was really used: tests compare with it. Thread-safe."""

    def __init__(self, account: Path | None) -> None:
        self.lock = threading.RLock()
        self.prompt_tokens = self.generation_tokens = self.requests = self.cached_tokens = 0
        self.running = self.waiting = self.held = 0
        self.finished: dict[str, int] = {}
        self.prompt_seconds = self.generation_seconds = 0.0
        self.ttft, self.itl, self.e2e = Histogram(TTFT), Histogram(ITL), Histogram(E2E)
        # Each process has an account of its own: an engine that is started again begins at zero.
        self._account = account and account.with_name(account.name.replace("{pid}", str(os.getpid())))
        self._written: tuple[int, int, int] | None = None

    def write(self) -> None:
        """Replace the account file if anything was used."""
        if self._account is None:
            return
        with self.lock:
            now = (self.prompt_tokens, self.generation_tokens, self.requests)
            if now == self._written:
                return
            keys = ("prompt_tokens", "generation_tokens", "requests")
            temporary = self._account.with_name(f".{self._account.name}.{os.getpid()}")
            with suppress(OSError):
                temporary.write_text(json.dumps(dict(zip(keys, now, strict=True))))
                temporary.replace(self._account)
                self._written = now

    def expose(self, style: str, model: str) -> str:
        """Return the text of /metrics."""
        with self.lock:
            self.write()  # write first, answer then: the engine may be killed at any time
            if style == "llamacpp":
                return "\n".join(self._llamacpp()) + "\n"
            return "\n".join(self._sglang(model) if style == "sglang" else self._vllm(model)) + "\n"

    def _vllm(self, model: str) -> Iterable[str]:
        labels = f'engine="0",model_name="{_escaped(model)}"'
        gauges = {
            "num_requests_running": self.running,
            "num_requests_waiting": self.waiting,
            "kv_cache_usage_perc": min(1.0, self.held / KV_TOKENS),
        }
        counters = {
            "prompt_tokens_total": self.prompt_tokens,
            "generation_tokens_total": self.generation_tokens,
            "prompt_tokens_cached_total": self.cached_tokens,
            "prefix_cache_queries_total": self.prompt_tokens,
            "prefix_cache_hits_total": self.cached_tokens,
            "num_preemptions_total": 0,
        }
        for name, value in gauges.items():
            yield f"# TYPE vllm:{name} gauge"
            yield f"vllm:{name}{{{labels}}} {float(value)}"
        for name, value in counters.items():
            yield f"# TYPE vllm:{name.removesuffix('_total')} counter"
            yield f"vllm:{name}{{{labels}}} {float(value)}"
        yield "# TYPE vllm:request_success counter"
        for reason in ("stop", "length", "abort", "error"):
            count = self.finished.get(reason, 0)
            yield f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}'
        yield from self.ttft.lines("vllm:time_to_first_token_seconds", labels)
        yield from self.itl.lines("vllm:inter_token_latency_seconds", labels)
        yield from self.e2e.lines("vllm:e2e_request_latency_seconds", labels)

    def _sglang(self, model: str) -> Iterable[str]:
        labels = f'model_name="{_escaped(model)}",engine_type="unified",tp_rank="0"'
        rate = self.generation_tokens / self.generation_seconds if self.generation_seconds and self.running else 0.0
        gauges = {
            "num_running_reqs": self.running,
            "num_queue_reqs": self.waiting,
            "gen_throughput": rate,
            "token_usage": min(1.0, self.held / KV_TOKENS),
            "cache_hit_rate": self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0,
        }
        counters = {
            "prompt_tokens_total": self.prompt_tokens,
            "generation_tokens_total": self.generation_tokens,
            "cached_tokens_total": self.cached_tokens,
            "num_requests_total": self.requests,
        }
        for name, value in gauges.items():
            yield f"# TYPE sglang:{name} gauge"
            yield f"sglang:{name}{{{labels}}} {float(value)}"
        for name, value in counters.items():
            yield f"# TYPE sglang:{name} counter"
            yield f"sglang:{name}{{{labels}}} {float(value)}"
        yield from self.ttft.lines("sglang:time_to_first_token_seconds", labels)
        yield from self.itl.lines("sglang:inter_token_latency_seconds", labels)
        yield from self.e2e.lines("sglang:e2e_request_latency_seconds", labels)

    def _llamacpp(self) -> Iterable[str]:
        values = {
            "prompt_tokens_total": ("counter", self.prompt_tokens),
            "prompt_tokens_cached_total": ("counter", self.cached_tokens),
            "prompt_seconds_total": ("counter", round(self.prompt_seconds, 6)),
            "tokens_predicted_total": ("counter", self.generation_tokens),
            "tokens_predicted_seconds_total": ("counter", round(self.generation_seconds, 6)),
            "n_decode_total": ("counter", self.generation_tokens),
            "requests_processing": ("gauge", self.running),
            "requests_deferred": ("gauge", self.waiting),
        }
        for name, (kind, value) in values.items():
            yield f"# HELP llamacpp:{name} SIMULATED"
            yield f"# TYPE llamacpp:{name} {kind}"
            yield f"llamacpp:{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
