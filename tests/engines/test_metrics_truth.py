"""What the studio tells of an engine under load, against what its clients measured: within five percent."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.engines.conftest import Home
from tests.ports import free_port
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.probes.engine.reader import EngineProbe

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
STREAMS, EACH, TOKENS = 4, 5, 64


@dataclass(slots=True)
class Client:
    """One that asks and measures; `moments` are those at which tokens came."""

    port: int
    number: int
    answers: list[dict[str, float]] = field(default_factory=list)

    def work(self, many: int) -> None:
        for at in range(many):
            words = " ".join(f"{self.number}{at} word{n}" for n in range(40 + 10 * at))
            self.answers.append(self.ask(f"Question {self.number} {at}: {words}"))

    def ask(self, prompt: str) -> dict[str, float]:
        body = {"model": "smol", "prompt": prompt, "max_tokens": TOKENS, "ignore_eos": True, "stream": True,
                "temperature": 0, "stream_options": {"include_usage": True}}  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        began = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        moments: list[float] = []
        usage: dict[str, Any] = {}
        for line in response:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if event.get("choices"):
                    moments.append(time.monotonic())
                usage = event.get("usage") or usage
        connection.close()
        made = usage["completion_tokens"]
        return {
            "prompt": usage["prompt_tokens"], "output": made, "ttft": moments[0] - began,
            "itl": (moments[-1] - moments[0]) / (made - 1), "e2e": moments[-1] - began,
        }  # fmt: skip


def load(port: int, streams: int, each: int) -> tuple[list[dict[str, float]], float]:
    """Have clients ask beside each other; return their answers and how long it took."""
    clients = [Client(port, number) for number in range(streams)]
    threads = [threading.Thread(target=one.work, args=(each,)) for one in clients]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for client in clients for one in client.answers], time.monotonic() - began


def settled(probe: EngineProbe, url: str, requests: int) -> EngineMetrics:
    """Read the engine until it has counted the last of the requests."""
    deadline = time.monotonic() + 30
    while True:
        m = probe.read(url)
        if (m.requests_total or 0) >= requests or time.monotonic() > deadline:
            return m
        time.sleep(0.05)


def mean(answers: list[dict[str, float]], name: str) -> float:
    return statistics.fmean(one[name] for one in answers)


def test_vllm_under_load_is_told_as_its_clients_measure_it(home: Home) -> None:
    run = home.launch(home.recipe("vllm", port=free_port()))
    port, url = run["port"], f"http://127.0.0.1:{run['port']}/v1"
    load(port, STREAMS, 1)  # what is computed the first time takes longer, for the client too
    probe = EngineProbe("vllm")  # without a window: from one look to the next
    time.sleep(2.0)  # its gauges and counters are written with each step
    before = probe.read(url)
    watching = EngineProbe("vllm", window=60.0)
    live: list[EngineMetrics] = [watching.read(url)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            live.append(watching.read(url))

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers, took = load(port, STREAMS, EACH)
    after = settled(probe, url, (before.requests_total or 0) + len(answers))
    done.set()
    watcher.join()

    output, prompts = sum(one["output"] for one in answers), sum(one["prompt"] for one in answers)
    assert after.interval is not None
    seen = {
        "answers": (len(answers), sum(after.outcomes.values())),
        "prompt tokens": (prompts, (after.prompt_tokens_total or 0) - (before.prompt_tokens_total or 0)),
        "answer tokens": (output, (after.generation_tokens_total or 0) - (before.generation_tokens_total or 0)),
        "answer tokens a second": (output / took, after.generation_tokens_per_second),
        "prompt tokens a second": (prompts / took, after.prompt_tokens_per_second),
        "TTFT, mean, s": (mean(answers, "ttft"), after.ttft.mean),
        "ITL, mean, s": (mean(answers, "itl"), after.itl.mean),
        "time per output token, mean, s": (mean(answers, "itl"), after.tpot.mean),
        "whole answer, mean, s": (mean(answers, "e2e"), after.e2e.mean),
    }
    print()
    for name, (theirs, ours) in seen.items():
        assert ours is not None, name
        print(f"| {name} | {theirs:.4g} | {ours:.4g} | {100 * (ours / theirs - 1):+.1f} % |")
    for name, (theirs, ours) in seen.items():
        assert ours == pytest.approx(theirs, rel=0.05), name
    # What is shown each second adds up to the same, and never went down.
    speeds = [(m.interval or 0.0, m.generation_tokens_per_second) for m in live if m.generation_tokens_per_second]
    assert sum(took * speed for took, speed in speeds) == pytest.approx(output, rel=0.05)
    peak = max(m.running or 0 for m in live)
    assert peak == STREAMS
    assert max(m.kv_tokens_used or 0 for m in live) > 0
    assert live[-1].kv_tokens_total


def test_llama_cpp_is_counted_while_it_answers(home: Home) -> None:
    run = home.launch(home.recipe("llama-server", port=free_port()))
    port, url = run["port"], f"http://127.0.0.1:{run['port']}/v1"
    watching = EngineProbe("llamacpp", window=60.0)
    live = [watching.read(url)]
    asked: list[dict[str, float]] = []
    client = Client(port, 0)
    worker = threading.Thread(target=lambda: asked.append(client.ask("Once upon a time " * 20)))
    worker.start()
    while worker.is_alive():
        time.sleep(0.25)
        live.append(watching.read(url))
    live.append(settled_tokens(watching, url))
    worker.join()
    known = [m.generation_tokens_per_second for m in live[1:]]
    assert None not in known  # no dash until it ends
    assert sum((m.interval or 0.0) * (m.generation_tokens_per_second or 0.0) for m in live) == pytest.approx(
        asked[0]["output"], abs=2
    )
    busy = [m.generation_tokens_per_second for m in live if m.running and m.generation_tokens_per_second]
    assert statistics.median(busy) == pytest.approx(1 / asked[0]["itl"], rel=0.35)


def settled_tokens(probe: EngineProbe, url: str) -> EngineMetrics:
    m = probe.read(url)
    while m.running:
        time.sleep(0.05)
        m = probe.read(url)
    return m
