"""The simulated engine speaks as real ones do, and accounts exactly for what it spent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ports import free_port
from vllm_studio_tui.backends import registry
from vllm_studio_tui.keeper.engine_http import counters
from vllm_studio_tui.keeper.log_watch import LogWatch
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.simulation.answers import pieces


class Running:
    """A started engine."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path, account: Path) -> None:
        self.port, self.process, self.log, self.account = port, process, log, account

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return bytes(answer.read())

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def ask(self, **more: Any) -> Any:
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "poem"}], **more})

    def status(self, path: str) -> int:
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            return error.code
        return 200


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*flags: str, wait: bool = True) -> Running:
        port = free_port()
        log, account = tmp_path / f"{port}.log", tmp_path / f"{port}.json"
        argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", "sim"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*argv, "--account", str(account), "--tokens-per-second", "0", *flags], stdout=out, stderr=out
            )
        started.append(process)
        running = Running(port, process, log, account)
        deadline = time.monotonic() + 30
        while wait:
            try:
                if running.status("/health") == 200:
                    break
            except OSError:
                assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        return running

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("style", ["vllm", "llamacpp", "sglang"])
def test_counters_account_and_answers_agree(engine: Callable[..., Running], style: str) -> None:
    running = engine("--style", style)
    spent = [running.ask()["usage"] for _ in range(3)]
    prompt, completion = (sum(one[key] for one in spent) for key in ("prompt_tokens", "completion_tokens"))
    names = registry.backend(style).counters
    assert names is not None
    counted = counters(names, "127.0.0.1", running.port, None, 5.0)
    assert counted is not None
    assert (counted["prompt_tokens"], counted["generation_tokens"]) == (prompt, completion)
    expected = {"prompt_tokens": prompt, "generation_tokens": completion, "requests": 3}
    deadline = time.monotonic() + 30
    while json.loads(running.account.read_text()) != expected:  # the request counts when its answer is through
        assert time.monotonic() < deadline, running.account.read_text()
        time.sleep(0.01)


@pytest.mark.parametrize("style", ["vllm", "llamacpp", "sglang"])
def test_our_probe_understands_its_metrics(engine: Callable[..., Running], style: str) -> None:
    running = engine("--style", style)
    probe = EngineProbe(style)
    probe.observe(running.get("/metrics").decode(), 0.0)
    tokens = running.ask()["usage"]["completion_tokens"]
    text = running.get("/metrics").decode()
    deadline = time.monotonic() + 20
    while EngineProbe(style).observe(text, 0.0).running != 0:  # it is over when its answer is through
        assert time.monotonic() < deadline, text
        text = running.get("/metrics").decode()
    seen = probe.observe(text, 1.0)
    assert seen.generation_tokens_total == tokens
    if style == "vllm":
        assert seen.generation_tokens_per_second == pytest.approx(tokens)
        assert seen.ttft.count == 1


@pytest.mark.parametrize("style", ["vllm", "llamacpp", "sglang"])
def test_its_log_shows_the_stages_of_that_engine(engine: Callable[..., Running], style: str) -> None:
    running = engine("--style", style)
    stages = registry.backend(style).stages
    log = running.log.with_suffix(".copy")
    log.touch()
    watch = LogWatch(log, stages, ())
    seen = []
    for line in running.log.read_text().splitlines():
        with log.open("a") as stream:
            stream.write(line + "\n")
        if watch.follow():
            seen.append(watch.stage)
    assert "weights" in seen
    assert seen[-1] in ("serving", "warmup", "kv_cache", "graphs")


@pytest.mark.parametrize(("style", "code"), [("llamacpp", 503), ("sglang", 503)])
def test_while_it_loads_it_answers_as_that_engine_does(engine: Callable[..., Running], style: str, code: int) -> None:
    running = engine("--style", style, "--hang-load", wait=False)
    deadline = time.monotonic() + 30
    while True:
        try:
            assert running.status("/health") == code
            break
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--simulate-failure", "oom"), 1),
        (("--simulate-failure", "unknown-flag"), 2),
        (("--simulate-failure", "badpath", "--style", "llamacpp"), 1),
        (("--crash-after", "0", "--exit-code", "7"), 7),
        (("--crash-after", "0"), -signal.SIGSEGV),
    ],
)
def test_it_fails_as_it_is_told(engine: Callable[..., Running], flags: tuple[str, ...], code: int) -> None:
    assert engine(*flags, wait=False).process.wait(30) == code


def test_a_port_in_use_ends_it_with_that_engines_words(engine: Callable[..., Running]) -> None:
    first = engine()
    argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(first.port)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stdout


def test_it_ends_at_sigterm_unless_it_is_told_to_ignore_it(engine: Callable[..., Running]) -> None:
    polite, rude = engine(), engine("--ignore-term")
    for one in (polite, rude):
        one.process.terminate()
    assert polite.process.wait(30) == 0
    assert rude.status("/health") == 200


def test_it_hangs_and_comes_back_on_demand(engine: Callable[..., Running]) -> None:
    running = engine()
    assert running.post("/simulate", {"health": 500}) == {"unknown": []}
    assert running.status("/health") == 500
    running.post("/simulate", {"health": 0})
    assert running.status("/health") == 200
    with pytest.raises(urllib.error.HTTPError):
        running.post("/simulate", {"nonsense": 1})


def test_it_wants_its_key(engine: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM_KEY", "open sesame")
    running = engine("--api-key-env", "SIM_KEY")
    assert running.status("/v1/models") == 401
    assert running.status("/metrics") == 200
    assert "open sesame" not in running.log.read_text()


def test_a_prompt_that_is_too_long_is_refused(engine: Callable[..., Running]) -> None:
    running = engine("--max-context", "3")
    with pytest.raises(urllib.error.HTTPError) as refused:
        running.ask(messages=[{"role": "user", "content": "word " * 50}])
    assert refused.value.code == 400
    assert b"maximum context length is 3" in refused.value.read()


def test_everything_it_shows_says_simulated(engine: Callable[..., Running]) -> None:
    running = engine()
    assert json.loads(running.get("/v1/models"))["data"][0]["owned_by"] == "vllm"
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/health", timeout=20) as answer:
        assert answer.headers["X-Simulated"] == "yes"


@given(st.text())
def test_the_pieces_of_a_text_are_its_tokens_and_give_it_back(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_workers_leave_their_parent_and_their_command_line(engine: Callable[..., Running]) -> None:
    mark = f"worker-test-{os.getpid()}"
    os.environ["VLLM_STUDIO_TEST_MARK"] = mark
    try:
        engine("--grandchildren", "2", "--reparent")
    finally:
        del os.environ["VLLM_STUDIO_TEST_MARK"]
    from vllm_studio_tui.kit import process

    deadline = time.monotonic() + 30
    while True:
        found = process.with_variable("VLLM_STUDIO_TEST_MARK", mark)
        workers = [one for one in found if b"SIM::Worker" in Path(f"/proc/{one.pid}/cmdline").read_bytes()]
        if len(workers) == 2:
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for one in workers:
        process.send(one.pid, one.start, signal.SIGKILL)
