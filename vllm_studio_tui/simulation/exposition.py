"""The simulated engine's counters and its /metrics, in the names of the engine that it imitates."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.simulation.traffic import (
    Parts,
    Traffic,
    e2e_parts,
    itl_parts,
    prefill_parts,
    queue_parts,
    ttft_parts,
)

#: Edges of vLLM 0.32.
TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
        160.0, 640.0, 2560.0)  # fmt: skip
ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
E2E = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
#: Tokens that the pretended KV cache holds.
KV_TOKENS = 46_592
#: Tokens of a block of it.
BLOCK = 16


class Histogram:
    """A histogram with cumulative buckets, as in Prometheus."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.edges, value)] += times
        self.sum += value * times

    def plus(self, parts: Parts) -> Histogram:
        """Return a histogram with these observations on top."""
        reached = [int(sum(part.below(edge) for part in parts)) for edge in self.edges]
        reached.append(int(sum(part.number for part in parts)))
        more = (after - before for before, after in itertools.pairwise((0, *reached)))
        both = Histogram(self.edges)
        both.counts = [mine + other for mine, other in zip(self.counts, more, strict=True)]
        both.sum = self.sum + sum(part.sum for part in parts)
        return both

    def lines(self, name: str, labels: str) -> Iterable[str]:
        total = 0
        yield f"# TYPE {name} histogram"
        for edge, count in zip((*map(str, self.edges), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{edge}"}} {total}'
        yield f"{name}_count{{{labels}}} {total}"
        yield f"{name}_sum{{{labels}}} {self.sum}"


class Counters:
    """What was really used: tests compare with it. Thread-safe.

    Args:
        traffic: What others use beside it.
    """

    def __init__(self, account: Path | None, traffic: Traffic | None = None) -> None:
        self.lock = threading.RLock()
        self.traffic = traffic
        self.capacity = KV_TOKENS if traffic is None else traffic.layout.tokens
        self.prompt_tokens = self.generation_tokens = self.requests = self.cached_tokens = 0
        self.running = self.waiting = self.held = 0
        self.finished: dict[str, int] = {}
        self.prompt_seconds = self.generation_seconds = 0.0
        self.ttft, self.itl, self.e2e = Histogram(TTFT), Histogram(ITL), Histogram(E2E)
        self.none = Histogram(E2E)
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

    def now(self) -> Shown:
        """Return what was really used, and what the traffic used beside it."""
        shown = Shown(
            self.running, self.waiting, float(self.held), self.capacity, self.prompt_tokens, self.generation_tokens,
            self.cached_tokens, self.requests, 0, self.prompt_seconds, self.generation_seconds, dict(self.finished),
            self.ttft, self.itl, self.e2e, self.none, self.none, 0.0,
        )  # fmt: skip
        traffic = self.traffic
        if traffic is None:
            return shown
        moment = time.time()
        flow, sums = traffic.at(moment), traffic.until(moment)
        requests, tokens = int(sums.requests), int(sums.output)
        by_length, aborted = (requests + 7) // 15, requests // 1000
        shown.running += round(flow.running)
        shown.waiting += round(flow.waiting)
        shown.held += flow.kv_tokens
        shown.prompt += int(sums.prompt)
        shown.cached += int(sums.cached)
        shown.output += tokens
        shown.requests += requests
        shown.preemptions = int(sums.preemptions)
        shown.output_seconds += sums.running
        shown.speed = flow.output
        for reason, many in (("length", by_length), ("abort", aborted), ("stop", requests - by_length - aborted)):
            shown.finished[reason] = shown.finished.get(reason, 0) + many
        shown.ttft = self.ttft.plus(ttft_parts(traffic.layout, sums))
        shown.itl = self.itl.plus(itl_parts(traffic.layout, sums))
        shown.e2e = self.e2e.plus(e2e_parts(traffic.layout, sums))
        shown.queue = self.none.plus(queue_parts(traffic.layout, sums))
        shown.prefill = self.none.plus(prefill_parts(traffic.layout, sums))
        return shown

    def expose(self, style: str, model: str) -> str:
        """Return the text of /metrics."""
        with self.lock:
            self.write()  # write first, answer then: the engine may be killed at any time
            shown = self.now()
        if style == "llamacpp":
            return "\n".join(_llamacpp(shown)) + "\n"
        return "\n".join(_sglang(shown, model) if style == "sglang" else _vllm(shown, model)) + "\n"


@dataclass(slots=True)
class Shown:
    """What /metrics tells at one moment. `speed` is the traffic's tokens a second."""

    running: int
    waiting: int
    held: float
    capacity: int
    prompt: int
    output: int
    cached: int
    requests: int
    preemptions: int
    prompt_seconds: float
    output_seconds: float
    finished: dict[str, int]
    ttft: Histogram
    itl: Histogram
    e2e: Histogram
    queue: Histogram
    prefill: Histogram
    speed: float

    @property
    def usage(self) -> float:
        return min(1.0, self.held / max(1, self.capacity))


def _vllm(shown: Shown, model: str) -> Iterable[str]:
    labels = f'engine="0",model_name="{_escaped(model)}"'
    gauges = {
        "num_requests_running": shown.running,
        "num_requests_waiting": shown.waiting,
        "kv_cache_usage_perc": shown.usage,
    }
    counters = {
        "prompt_tokens_total": shown.prompt,
        "generation_tokens_total": shown.output,
        "prompt_tokens_cached_total": shown.cached,
        "prefix_cache_queries_total": shown.prompt,
        "prefix_cache_hits_total": shown.cached,
        "num_preemptions_total": shown.preemptions,
    }
    for name, value in gauges.items():
        yield f"# TYPE vllm:{name} gauge"
        yield f"vllm:{name}{{{labels}}} {float(value)}"
    for name, value in counters.items():
        yield f"# TYPE vllm:{name} counter"
        yield f"vllm:{name}{{{labels}}} {float(value)}"
    yield "# TYPE vllm:request_success_total counter"
    for reason in ("stop", "length", "abort", "error"):
        count = shown.finished.get(reason, 0)
        yield f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}'
    yield "# TYPE vllm:num_requests_waiting_by_reason gauge"
    yield f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} {float(shown.waiting)}'
    yield f'vllm:num_requests_waiting_by_reason{{{labels},reason="deferred"}} 0.0'
    yield "# TYPE vllm:engine_sleep_state gauge"
    yield f'vllm:engine_sleep_state{{{labels},sleep_state="awake"}} 1.0'
    yield "# TYPE vllm:prompt_tokens_by_source_total counter"
    for source, count in (("local_compute", shown.prompt - shown.cached), ("local_cache_hit", shown.cached)):
        yield f'vllm:prompt_tokens_by_source_total{{{labels},source="{source}"}} {float(count)}'
    yield "# TYPE vllm:cache_config_info gauge"
    yield f'vllm:cache_config_info{{{labels},block_size="{BLOCK}",num_gpu_blocks="{shown.capacity // BLOCK}"}} 1.0'
    yield from shown.queue.lines("vllm:request_queue_time_seconds", labels)
    yield from shown.prefill.lines("vllm:request_prefill_time_seconds", labels)
    yield from shown.ttft.lines("vllm:time_to_first_token_seconds", labels)
    yield from shown.itl.lines("vllm:inter_token_latency_seconds", labels)
    yield from shown.e2e.lines("vllm:e2e_request_latency_seconds", labels)


def _sglang(shown: Shown, model: str) -> Iterable[str]:
    labels = f'model_name="{_escaped(model)}",engine_type="unified",tp_rank="0"'
    own = shown.output / shown.output_seconds if shown.output_seconds and shown.running else 0.0
    gauges = {
        "num_running_reqs": shown.running,
        "num_queue_reqs": shown.waiting,
        "num_used_tokens": round(shown.held),
        "kv_used_tokens": round(shown.held),
        "max_total_num_tokens": shown.capacity,
        "gen_throughput": shown.speed or own,
        "token_usage": shown.usage,
        "cache_hit_rate": shown.cached / shown.prompt if shown.prompt else 0.0,
    }
    counters = {
        "prompt_tokens_total": shown.prompt,
        "generation_tokens_total": shown.output,
        "cached_tokens_total": shown.cached,
        "num_requests_total": shown.requests,
    }
    for name, value in gauges.items():
        yield f"# TYPE sglang:{name} gauge"
        yield f"sglang:{name}{{{labels}}} {float(value)}"
    for name, value in counters.items():
        yield f"# TYPE sglang:{name} counter"
        yield f"sglang:{name}{{{labels}}} {float(value)}"
    yield from shown.queue.lines("sglang:queue_time_seconds", labels)
    yield from shown.ttft.lines("sglang:time_to_first_token_seconds", labels)
    yield from shown.itl.lines("sglang:inter_token_latency_seconds", labels)
    yield from shown.e2e.lines("sglang:e2e_request_latency_seconds", labels)


def _llamacpp(shown: Shown) -> Iterable[str]:
    values = {
        "prompt_tokens_total": ("counter", shown.prompt),
        "prompt_tokens_cached_total": ("counter", shown.cached),
        "prompt_seconds_total": ("counter", round(shown.prompt_seconds, 6)),
        "tokens_predicted_total": ("counter", shown.output),
        "tokens_predicted_seconds_total": ("counter", round(shown.output_seconds, 6)),
        "n_decode_total": ("counter", shown.output),
        "requests_processing": ("gauge", shown.running),
        "requests_deferred": ("gauge", shown.waiting),
    }
    for name, (kind, value) in values.items():
        yield f"# HELP llamacpp:{name} {name.replace('_', ' ')}"
        yield f"# TYPE llamacpp:{name} {kind}"
        yield f"llamacpp:{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
