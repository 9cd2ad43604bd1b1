"""The log of a simulated engine while it serves: its throughput every ten seconds, and a line for each request."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from vllm_studio_tui.simulation.loading_log import stamp
from vllm_studio_tui.simulation.traffic import Traffic

#: Seconds from one line of throughput to the next.
EVERY = 10.0


def served(style: str, traffic: Traffic, pid: int, since: float, until: float) -> Iterator[tuple[float, str]]:
    """Yield pairs of a moment and the line that is printed then, of all moments after `since` up to `until`."""
    begin = traffic.ready
    step = int((since - begin) // EVERY) + 1
    before = traffic.until(since)
    last = traffic.until(begin + (step - 1) * EVERY)
    while True:
        moment = min(begin + step * EVERY, until)
        now = traffic.until(moment)
        for number in range(int(before.requests) + 1, int(now.requests) + 1):
            yield moment, request(style, pid, moment, zlib.crc32(b"%d" % number))
        before = now
        if begin + step * EVERY > until:
            return
        if now.output > last.output:
            yield moment, throughput(style, traffic, pid, moment, now.output - last.output, now.prompt - last.prompt)
        last = now
        step += 1


def request(style: str, pid: int, moment: float, drawn: int) -> str:
    """Return the line of one request."""
    dated = f"[{stamp(style, moment)}] " if style == "sglang" else f"(APIServer pid={pid}) "
    return f'{dated}INFO:     127.0.0.1:{32_768 + drawn % 28_000} - "POST /v1/chat/completions HTTP/1.1" 200 OK'


def throughput(style: str, traffic: Traffic, pid: int, moment: float, output: float, prompt: float) -> str:
    """Return the line of throughput, given the tokens of the last ten seconds."""
    flow, capacity = traffic.at(moment), max(1, traffic.layout.tokens)
    usage = flow.kv_tokens / capacity
    if style == "sglang":
        return (
            f"[{stamp(style, moment)} TP0] Decode batch, #running-req: {round(flow.running)}, #token: "
            f"{round(flow.kv_tokens)}, token usage: {usage:.2f}, cuda graph: True, gen throughput (token/s): "
            f"{output / EVERY:.2f}, #queue-req: {round(flow.waiting)}"
        )
    hits = flow.cached / flow.prompt if flow.prompt else 0.0
    return (
        f"(APIServer pid={pid}) INFO {stamp(style, moment)} [loggers.py:335] Engine 000: Avg prompt throughput: "
        f"{prompt / EVERY:.1f} tokens/s, Avg generation throughput: {output / EVERY:.1f} tokens/s, Running: "
        f"{round(flow.running)} reqs, Waiting: {round(flow.waiting)} reqs, GPU KV cache usage: {usage:.1%}, Prefix cache "
        f"hit rate: {hits:.1%}"
    )
