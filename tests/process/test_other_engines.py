"""Engines with habits of their own: a health check that costs a token, a port that moves, keys in the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.process.house import House, until
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.backends.sglang import SGLang
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs import control

SECRET = "sk-test-1234567890abcdef"


def test_a_port_that_moves_ends_the_start(house: House) -> None:
    """Somebody takes the port between our look and the engine's start; the engine would serve at another one."""
    started = house.launch("--move-port", "--load-seconds", "1", failures=FAILURES, before=_taken)
    until(lambda: house.now(started).status.final, "ended")
    status = house.now(started).status
    assert status.reason == "port_moved"
    assert f"moved to port {(started.port or 0) + 1}" in (status.title or "")
    assert status.fix == {"port": None}
    house.check_nothing_is_left()


def _taken(port: int) -> tuple[str, ...]:
    """A program that takes the port and then becomes the engine, so that our own look before found it free."""
    code = (
        "import os,socket,subprocess,sys; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
        f"s.bind(('127.0.0.1',{port})); s.listen();"
        "sys.exit(subprocess.run([sys.executable,*sys.argv[1:]]).returncode)"
    )
    return (sys.executable, "-c", code)


def test_a_health_check_that_generates_is_counted_as_what_it_is(house: House) -> None:
    """SGLang's: without the switch in its environment each look at it would cost a token."""
    run = house.ready(house.launch("--health-generates", "--style", "sglang"))
    spent = [json.loads(path.read_text())["generation_tokens"] for path in house.accounts.glob("*.json")]
    control.stop(run)
    assert spent
    fields = {"id": "s", "name": "S", "backend": "sglang", "model_path": "o/m", "python_path": sys.executable}
    recipe = Recipe.model_validate(fields)
    command = SGLang().command(recipe, LaunchContext(Settings(), "127.0.0.1", 8000))
    assert command.env["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] == "0"


def test_a_key_in_the_log_is_masked_wherever_it_is_shown(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_TEST_KEY", SECRET)
    run = house.ready(house.launch("--log-secret", "--api-key-env", "ENGINE_KEY", key="env:STUDIO_TEST_KEY"))
    assert SECRET in house.log(run), "the log itself is the engine's and is kept as it is"
    for command in (("logs", run.run_id), ("logs", run.run_id, "--json"), ("diagnose", run.run_id, "--json")):
        done = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", *command],
            env={**os.environ, "VLLM_STUDIO_HOME": str(house.root)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert SECRET not in done.stdout + done.stderr
    control.stop(run)
