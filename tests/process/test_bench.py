"""Benchmarks against the simulated engine, whose delays are known; and what is left when somebody dies meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.requests import RequestQuery
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.bench.folder import folder_of
from vllm_studio_tui.studio import Studio

#: Seconds to the first token, and tokens a second after it.
PREFILL, SPEED = 0.4, 25.0
QUICK = BenchPlan(prompt_tokens=64, output_tokens=11, concurrency=(3,), requests=3, warmup=0.0)


@contextlib.contextmanager
def simulated(prefill: float, speed: float) -> Iterator[str]:
    """Start an engine that takes these times."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", "sim",
            "--tokens-per-second", str(speed), "--prefill-seconds", str(prefill), "--answer", "lorem",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"

    def answers() -> bool:
        try:
            return len(urllib.request.urlopen(f"{url}/models", timeout=1).read()) > 0
        except OSError:
            return False

    try:
        until(answers, "the engine answers")
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with simulated(PREFILL, SPEED) as url:
        yield url


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        yield studio


def running(url: str) -> float:
    text = urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=5).read().decode()
    return float(next(line for line in text.splitlines() if line.startswith("vllm:num_requests_running")).split()[-1])


def test_known_delays_are_measured_within_two_percent(studio: Studio) -> None:
    prefill, speed = 1.0, 10.0  # so long that a busy machine, which delays the engine too, is no part of them
    with simulated(prefill, speed) as slow:
        begun = studio.bench.start(QUICK, base_url=slow)
        assert begun.state == "running"
        with pytest.raises(UsageError, match=begun.id):
            studio.bench.start(QUICK, base_url=slow)
        told = list(studio.bench.follow(begun.id))
    assert told[-1].state == "done"
    result = studio.bench.get(begun.id)
    (step,) = result.steps
    assert (step.requests, step.errors, result.error, result.engine_version) == (3, 0, None, "0.32.0")
    assert step.tokens_in == 3 * 64  # the very length that was asked for
    assert step.ttft.p50 == pytest.approx(prefill, rel=0.02)
    assert step.first_answer.p50 == pytest.approx(prefill, rel=0.02)
    assert step.itl.mean == pytest.approx(1 / speed, rel=0.02)
    assert step.tpot.mean == pytest.approx(1 / speed, rel=0.02)
    assert step.e2e.p50 == pytest.approx(prefill + 10 / speed, rel=0.02)
    assert step.output_tokens_per_second == pytest.approx(3 * 11 / (prefill + 10 / speed), rel=0.02)
    assert step.itl.count == 3 * 10
    rows = studio.requests.ended(RequestQuery(model="sim"))
    assert [(one.source, one.completion_tokens, one.prompt_tokens) for one in rows] == [("bench", 11, 64)] * 3
    assert all(result.at < one.at <= (result.ended_at or 0.0) + 0.05 for one in rows)
    assert not list(folder_of(studio.places).iterdir())
    studio.bench.delete(begun.id)
    with pytest.raises(NotFound):
        studio.bench.get(begun.id)


def test_what_was_stopped_keeps_what_was_measured_and_ends_on_the_engine(engine: str, studio: Studio) -> None:
    begun = studio.bench.start(BenchPlan(output_tokens=11, concurrency=(4,), duration=60, warmup=0), base_url=engine)
    for progress in studio.bench.follow(begun.id):
        if progress.so_far.requests >= 4:
            break
    studio.bench.stop(begun.id)
    result = studio.bench.get(begun.id)
    assert result.state == "stopped"
    assert result.steps[0].requests >= 4
    assert result.steps[0].errors == 0  # those that were cut are none
    until(lambda: running(engine) == 0, "no request runs on the engine", 5)


SCRIPT = """
import sys
from pathlib import Path
from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
with Studio.open_sync(Places.under(Path(sys.argv[1]))) as studio:
    plan = BenchPlan(output_tokens=11, concurrency=(4,), duration=60, warmup=0)
    begun = studio.bench.start(plan, base_url=sys.argv[2])
    for progress in studio.bench.follow(begun.id):
        print(progress.so_far.requests, flush=True)
"""


@pytest.mark.parametrize("who", ["face", "process"])
def test_a_killed_face_or_process_loses_nothing_that_was_measured(
    who: str, engine: str, studio: Studio, tmp_path: Path
) -> None:
    face = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), engine], stdout=subprocess.PIPE, start_new_session=True
    )
    assert face.stdout is not None
    while int(face.stdout.readline()) < 4:
        pass
    (folder,) = folder_of(studio.places).iterdir()
    victim = face.pid if who == "face" else _worker(folder)
    os.kill(victim, signal.SIGKILL)
    until(lambda: studio.bench.get(folder.name).state != "running", "it is over", 10)
    result = studio.bench.get(folder.name)
    assert result.state == ("stopped" if who == "face" else "interrupted")
    assert result.steps[0].requests >= 4
    assert result.steps[0].ttft.p50 == pytest.approx(PREFILL, rel=0.1)
    until(lambda: running(engine) == 0, "no request runs on the engine", 5)
    rows = [one for one in studio.requests.ended(RequestQuery(model="sim")) if one.source == "bench"]
    assert len(rows) == len({one.id for one in rows}) >= 4
    face.kill()
    face.wait()


def _worker(folder: Path) -> int:
    found = subprocess.run(["pgrep", "-f", "services.bench.worker"], capture_output=True, text=True, check=False)
    held = {int(pid) for pid in found.stdout.split()}
    for pid in held:
        links = Path(f"/proc/{pid}/fd")
        if any(os.readlink(one) == str(folder / "lock") for one in links.iterdir()):
            return pid
    raise AssertionError("nobody measures")


def test_an_engine_that_is_not_there_is_said(studio: Studio) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    begun = studio.bench.start(QUICK, base_url=url, model="sim")
    assert [one.state for one in studio.bench.follow(begun.id)][-1] == "failed"
    assert "connect" in (studio.bench.get(begun.id).error or "")


def test_errors_are_apart_and_say_what_the_engine_said(engine: str, studio: Studio) -> None:
    prompts = ("short", "long " * 200_000)
    plan = BenchPlan(output_tokens=2, concurrency=(1,), requests=4, warmup=0, prompts=prompts)
    begun = studio.bench.start(plan, base_url=engine)
    list(studio.bench.follow(begun.id))
    (step,) = studio.bench.get(begun.id).steps
    assert (step.requests, step.errors) == (2, 2)
    assert "maximum context length" in next(iter(step.problems))
    assert json.dumps(step.to_json())


def test_arrivals_come_at_their_rate_whatever_the_engine_does(engine: str, studio: Studio) -> None:
    plan = BenchPlan(output_tokens=2, prompt_tokens=16, rate=(20.0,), arrivals="constant", duration=2, warmup=0)
    begun = studio.bench.start(plan, base_url=engine)
    list(studio.bench.follow(begun.id))
    (step,) = studio.bench.get(begun.id).steps
    assert step.requests == pytest.approx(40, abs=1)
    assert (step.rate, step.errors) == (20.0, 0)
    assert 8 <= (step.concurrency or 0) <= 11  # 0.44 s each


def test_a_limit_of_power_without_a_gpu_that_is_known_is_refused(engine: str, studio: Studio) -> None:
    begun = studio.bench.start(replace(QUICK, power_caps=(300,)), base_url=engine)
    list(studio.bench.follow(begun.id))
    result = studio.bench.get(begun.id)
    assert (result.state, result.steps) == ("failed", ())
    assert "no GPU of this engine is known" in (result.error or "")


def test_the_most_users_are_searched(engine: str, studio: Studio) -> None:
    plan = replace(QUICK, search=True, requests=2, concurrency=(2,), ttft_limit=PREFILL / 2, output_tokens=2)
    begun = studio.bench.start(plan, base_url=engine)
    list(studio.bench.follow(begun.id))
    assert [one.concurrency for one in studio.bench.get(begun.id).steps] == [2, 1]
    limit = studio.bench.limit(begun.id)
    assert (limit.users, limit.next_users, limit.binds) == (None, 1, "ttft")
    assert "Not even 1 users" in limit.words
