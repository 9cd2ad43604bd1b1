"""The application that runs engines inside of Ray Serve, without Ray: its engine, requests, and ends of all kinds."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.process.house import until
from vllm_studio_tui.services.render import inside_ray
from vllm_studio_tui.services.render.inside_ray import Engine

ENGINE = [
    sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", "{port}", "--model", "sim",
    "--tokens-per-second", "40",
]  # fmt: skip


def engines(mark: str) -> list[psutil.Process]:
    """The engines that were started with a mark in their environment, and their guards."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("MARK") == mark and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    one = Engine({"argv": ENGINE, "env": {"MARK": str(tmp_path)}, "health_path": "/health", "own_paths": ["/slots"]})
    yield one
    one._end()
    until(lambda: not engines(str(tmp_path)), "the engine ends with its replica", 20)


def ask(one: Engine, path: str, body: Any = None, method: str = "POST") -> tuple[int, list[bytes]]:
    """Send a request as Serve does, below a prefix; the status, and the answer in the pieces that it came in."""
    requests = pytest.importorskip("starlette.requests")
    pytest.importorskip("aiohttp")
    data = b"" if body is None else json.dumps(body).encode()
    scope = {
        "type": "http", "method": method, "path": f"/run{path}", "root_path": "/run", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"cluster:8000")], "scheme": "http",
        "server": ("cluster", 8000),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def passed() -> tuple[int, list[bytes]]:
        one._session = None
        answer = await one(requests.Request(scope, receive))
        try:
            if hasattr(answer, "body_iterator"):
                return answer.status_code, [piece async for piece in answer.body_iterator]
            return answer.status_code, [answer.body]
        finally:
            if one._session is not None:
                await one._session.close()

    return asyncio.run(passed())


def test_requests_and_streams_are_passed_on_below_a_prefix(engine: Engine) -> None:
    question = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    status, pieces = ask(engine, "/v1/chat/completions", question)
    assert status == 200 and json.loads(b"".join(pieces))["choices"]
    status, pieces = ask(engine, "/v1/chat/completions", {**question, "stream": True})
    assert status == 200 and len(pieces) > 2 and b"".join(pieces).rstrip().endswith(b"data: [DONE]")
    status, pieces = ask(engine, "/v1/models", method="GET")
    assert status == 200 and b"sim" in b"".join(pieces)
    assert ask(engine, "/no/such/path", method="GET")[0] == 404
    status, pieces = ask(engine, "/slots", method="GET")
    assert (status, pieces) == (404, [b"each replica of it counts for itself"])


def test_a_replica_whose_engine_has_ended_is_unhealthy(engine: Engine, tmp_path: Path) -> None:
    asyncio.run(engine.check_health())
    for one in engines(str(tmp_path)):
        if "simulation.engine" in " ".join(one.cmdline()) and "-I" not in one.cmdline():
            one.kill()
    engine._guard.wait(10)
    with pytest.raises(RuntimeError, match="the engine ended with"):
        asyncio.run(engine.check_health())
    assert ask(engine, "/v1/models", method="GET")[0] == 502


def test_an_engine_that_does_not_start_is_an_error_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the engine ended with 3"):
        Engine({"argv": ["sh", "-c", "exit 3", "{port}"]})
    with pytest.raises(RuntimeError, match=r"not ready within 0\.5 s"):
        Engine({"argv": ["sleep", "60"], "env": {"MARK": str(tmp_path)}, "ready_timeout": 0.5})
    until(lambda: not engines(str(tmp_path)), "what was not ready in time is ended", 20)


def test_a_secret_that_a_node_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "value")
    (tmp_path / "token").write_text("of a file\nsecond line\n")
    assert inside_ray._secrets({"A": "env:THERE", "B": f"file:{tmp_path}/token"}) == {"A": "value", "B": "of a file"}
    with pytest.raises(RuntimeError, match=r"A cannot be had on .* there is no variable ABSENT"):
        inside_ray._secrets({"A": "env:ABSENT"})


@pytest.mark.parametrize("victim", ["replica", "guard"])
def test_no_engine_outlives_its_replica_however_that_ends(tmp_path: Path, victim: str) -> None:
    mark = str(tmp_path)
    shutil.copyfile(inside_ray.__file__, tmp_path / "vllm_studio_engine.py")
    told = {"argv": ENGINE, "env": {"MARK": mark}}
    script = (
        f"import time, vllm_studio_engine as e; one = e.Engine({told!r}); print('ready', flush=True); time.sleep(60)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    replica = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environ, stdout=subprocess.PIPE)
    try:
        assert replica.stdout is not None
        assert any(line.strip() == b"ready" for line in replica.stdout)
        assert len(engines(mark)) >= 2
        guard = next(one for one in engines(mark) if "-I" in one.cmdline())
        (replica if victim == "replica" else guard).send_signal(signal.SIGKILL)
        until(lambda: not engines(mark), "the engine and its guard end", 20)
    finally:
        replica.kill()
        replica.wait()
        replica.stdout.close() if replica.stdout else None
