"""The load generator beside the timings of a real llama.cpp, and a benchmark of a run of it."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import until
from tests.process.serving import small_model
from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.inference.load.client import LoadClient
from vllm_studio_tui.inference.load.reading import Outcome
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.bench.asking import Asking
from vllm_studio_tui.services.bench.prompts import calibrate
from vllm_studio_tui.studio import Studio

PLAN = BenchPlan(prompt_tokens=100, output_tokens=24)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "vllm_studio_tui.backends.embedded", "--model", str(small_model())]
    command += ["--host", "127.0.0.1", "--port", str(port), "--ctx-size", "2048", "--parallel", "2", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).status == 200)
        except OSError:
            return False

    try:
        until(answers, "it serves")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


async def asked(url: str, number: int) -> list[Outcome]:
    target = Target(url, "m", backend="llamacpp")
    client, asking = LoadClient(target), Asking(target, PLAN)
    maker = await calibrate(PLAN, lambda prompt: asking.count(client, prompt))
    found = [await client.ask(asking.path, asking.body(maker.prompt(one), 24)) for one in range(number)]
    client.close()
    return found


@pytest.mark.timeout(240)
def test_times_are_those_that_llama_cpp_tells_itself_within_five_percent(url: str) -> None:
    found = asyncio.run(asked(url, 6))
    assert [one.error for one in found] == [None] * 6
    assert {(one.prompt_tokens, one.output_tokens) for one in found} == {(100, 24)}
    assert {one.cached_tokens for one in found if one.cached_tokens is not None} <= set(range(40))  # the template alone
    reads, writes, whole = [], [], []
    for one in found:
        assert one.engine_seconds is not None
        assert one.first is not None
        assert one.ended is not None
        read, wrote = one.engine_seconds
        reads.append((one.first - one.sent) / read)
        writes.append((one.ended - one.first) / wrote)
        whole.append((one.ended - one.sent) / (read + wrote))
    assert statistics.median(writes) == pytest.approx(1.0, abs=0.05)
    assert statistics.median(whole) == pytest.approx(1.0, abs=0.05)
    assert statistics.median(reads) == pytest.approx(1.0, abs=0.1)  # it writes its first token after it has read


@pytest.mark.timeout(240)
def test_a_server_that_closes_connections_between_answers_has_no_errors(url: str, tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        plan = BenchPlan(prompt_tokens=64, output_tokens=4, concurrency=(2,), requests=8, warmup=0)
        begun = studio.bench.start(plan, base_url=url)
        list(studio.bench.follow(begun.id))
        (step,) = studio.bench.get(begun.id).steps
    assert (step.requests, step.errors, step.problems) == (8, 0, {})
    assert step.tokens_in == 8 * 64
    assert step.tokens_out == 8 * 4
