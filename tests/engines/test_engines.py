"""Real engines: launched, talked to, measured, stopped, killed, and failing in every way that a CPU allows."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import GGUF, OFFLINE, RECIPES, Home
from tests.eyes import eyes, tokens_of
from tests.pictures import picture
from tests.ports import free_port
from vllm_studio_tui.kit import process

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
ENGINES = tuple(RECIPES)
#: What the log of a start of each must show.
STAGES = {
    "vllm": {"config", "weights", "kv_cache", "warmup"},
    "transformers": {"weights"},
    "llama-server": {"weights"},
    "embedded": {"weights"},
}


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_launched_talked_to_measured_and_stopped(home: Home, engine: str) -> None:
    recipe = home.recipe(engine)
    run = home.launch(recipe)
    assert run["state"] == "ready"
    shown = home.json("runs", "show", run["run_id"])["run"]
    assert STAGES[engine] <= set(shown["stages"]) | {"serving"}, shown["stages"]
    assert shown["ready_after"] > 0
    if engine != "llama-server":
        assert shown["engine_version"]
    code, out, err = home.run("chat", "Say hello.", "--recipe", recipe, "--max-tokens", "24", "--json")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert any(one["event"] == "content" for one in events)
    code, out, _ = home.run("metrics", recipe, "--once", "--json")
    metrics = json.loads(out)
    assert code == (1 if engine == "transformers" else 0)
    if engine == "transformers":  # it has no metrics: unknown is not zero
        assert metrics["generation_tokens_per_second"] is None
    else:
        assert metrics["running"] is not None
    stopped = home.json("stop", recipe)["runs"][0]
    assert (stopped["state"], stopped["reason"]) == ("exited", "stopped")
    home.check_nothing_is_left(run["port"])
    totals = home.json("usage")["totals"]
    assert totals["total_requests"] >= 1
    assert totals["completion_tokens"] >= 5
    assert home.json("diagnose", run["run_id"])["reason"] is None


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_model_that_only_reads_is_sent_no_picture(home: Home, engine: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("png", (70, 56), colour="red"))
    recipe = home.recipe(engine)
    home.launch(recipe)
    code, _, err = home.run("chat", "What is it?", "--image", str(tmp_path / "a.png"), "--recipe", recipe)
    assert code == 2
    assert f"{recipe} reads no pictures" in err
    assert "config.json" in err


@pytest.mark.parametrize("engine", ["llama-server", "embedded"])
def test_pictures_are_read_beside_a_projector_and_refused_without_one(home: Home, engine: str, tmp_path: Path) -> None:
    """Its weights are random: that pictures are in the prompt is all that is said here."""
    (tmp_path / "a.png").write_bytes(picture("png", (70, 56), colour="red"))
    recipe = home.recipe(engine, extra_args={"mmproj": str(eyes(tmp_path / "mmproj.gguf"))})
    home.launch(recipe)
    tokens = []
    for words in ((), ("--image", str(tmp_path / "a.png"))):
        code, out, err = home.run("chat", "What is it?", *words, "--recipe", recipe, "--max-tokens", "4", "--json")
        assert code == 0, err
        tokens.append(json.loads(out.splitlines()[-1])["usage"]["prompt_tokens"])
    assert tokens[1] == tokens[0] + tokens_of(70, 56)
    blind = home.recipe(engine)
    home.launch(blind)
    code, _, err = home.run("chat", "What is it?", "--image", str(tmp_path / "a.png"), "--recipe", blind)
    assert code == 2
    assert f"{blind} reads no pictures" in err
    assert "mmproj" in err


@pytest.mark.parametrize("engine", ENGINES)
def test_each_process_of_it_may_be_killed(home: Home, engine: str) -> None:
    recipe = home.recipe(engine)
    run = home.launch(recipe)
    names = sorted({one.name for one in home.tree()})
    for turn, name in enumerate(names):
        if turn:
            run = home.launch(recipe)
        victim = next((one for one in home.tree() if one.name == name), None)
        if victim is None:
            continue
        process.send(victim.pid, victim.start, signal.SIGKILL)
        deadline = time.monotonic() + 90
        now = home.state(run["run_id"])
        while now["state"] not in ("failed", "exited") and time.monotonic() < deadline:
            time.sleep(0.3)
            now = home.state(run["run_id"])
        if now["state"] == "ready":  # a process that only cleans up behind the others is not missed
            assert "resource" in name or name.startswith("python"), name
            home.json("stop", recipe)
        else:
            assert now["state"] == "failed", now
            assert now["reason"] in ("killed", "engine_died"), (name, now["reason"], now["title"])
        home.check_nothing_is_left(run["port"])


#: Changes of a recipe that cannot work, and the true cause of each.
FAILURES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("vllm", {"model_path": "/nonexistent/model"}, "model_missing"),
    ("transformers", {"model_path": "/nonexistent/model"}, "model_missing"),
    ("llama-server", {"model_path": "/nonexistent.gguf"}, "model_missing"),
    ("embedded", {"model_path": "/nonexistent.gguf"}, "model_missing"),
    ("vllm", {"max_model_len": 100_000}, "context_too_long"),
    ("llama-server", {"max_model_len": 100_000_000}, "context_too_long"),
    ("vllm", {"extra_args": {"bogus_flag": 1}}, "unknown_flag"),
    ("transformers", {"extra_args": {"bogus_flag": 1}}, "unknown_flag"),
    ("llama-server", {"extra_args": {"bogus_flag": 1}}, "unknown_flag"),
    ("vllm", {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "640", **OFFLINE}}, "kv_cache_too_small"),
    ("vllm", {"model_path": str(GGUF)}, "model_format"),
    ("vllm", {"model_path": "org/not-in-the-cache"}, "offline"),
    ("vllm", {"reasoning_parser": "deepseek_r1"}, "unknown_parser"),
)  # fmt: skip


@pytest.mark.parametrize(("engine", "changes", "reason"), FAILURES, ids=[f"{one[0]}-{one[2]}" for one in FAILURES])
def test_the_true_cause_is_shown(home: Home, engine: str, changes: dict[str, Any], reason: str) -> None:
    recipe = home.recipe(engine, **changes)
    run = home.failed(recipe)
    assert (run["state"], run["reason"]) == ("failed", reason), (run["title"], run["evidence"])
    assert run["title"]
    assert run["advice"]
    print(f"{engine}: {run['title']} | {run['advice']}")
    found = home.json("diagnose", run["run_id"])
    assert found["reason"] == reason
    assert found["line_number"]
    home.check_nothing_is_left(run["port"])


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_certain_to_fail_is_refused_at_once(home: Home, engine: str) -> None:
    recipe = home.recipe(engine, model_path="/nonexistent/model.gguf")
    code, _, err = home.run("launch", recipe, "--wait")
    assert code == 1
    assert "would not start" in err
    assert "/nonexistent/model.gguf" in err


def test_a_taken_port_is_refused_at_once(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        code, _, err = home.run("launch", home.recipe("embedded"), "--port", str(port), "--wait")
    assert code == 1
    assert f"port {port} is taken" in err


@pytest.mark.parametrize("engine", ENGINES)
def test_the_time_left_is_right_from_the_second_start_on(home: Home, engine: str) -> None:
    """Within 30 % of how long the start took, at every look; half a second where it takes but one or two.

    What starts differ by among themselves, on a machine that does other things too, nobody can know before.
    """
    recipe = home.recipe(engine)
    took = []
    for _ in range(2):  # the first start of all reads the disk, the second does not
        run = home.launch(recipe)
        took.append(home.json("runs", "show", run["run_id"])["run"]["ready_after"])
        home.json("stop", recipe)
    launching = subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "launch", recipe, "--wait"],
        env={**os.environ, "VLLM_STUDIO_HOME": str(home.root)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    looks: list[tuple[float, float]] = []
    while launching.poll() is None:
        runs = home.json("status")["runs"]
        looks += [(time.time(), one["time_left"]) for one in runs if one["time_left"] is not None]
        time.sleep(0.2)
    shown = home.json("runs", "show", recipe)["run"]
    ready = home.json("status")["runs"][0]["ready_at"]
    ready_at = datetime.fromisoformat(ready.replace("Z", "+00:00")).timestamp()
    assert looks
    wrong = [abs((at + left) - ready_at) / shown["ready_after"] for at, left in looks]
    print(f"{engine}: {len(looks)} looks, off by {max(wrong):.0%} of {shown['ready_after']:.1f} s at most")
    spread = max(abs(one - shown["ready_after"]) for one in took) / shown["ready_after"]
    assert max(wrong) <= max(0.30, 0.5 / shown["ready_after"], spread + 0.1)
    home.json("stop", recipe)


@pytest.mark.parametrize("engine", ["vllm", "llama-server"])
def test_one_that_somebody_started_becomes_the_recipe_that_starts_it(home: Home, engine: str, tmp_path: Path) -> None:
    """Its command line, as the studio makes it, is started by hand and read back from the process."""
    recipe = home.recipe(engine, port=free_port())
    command = home.json("recipes", "command", recipe)
    words = shlex.split(command["shell"])
    environ = dict(word.split("=", 1) for word in words if "=" in word and word.partition("=")[0].isidentifier())
    argv = words[next(at for at, word in enumerate(words) if word.startswith("/")) :]
    child = subprocess.Popen(argv, env={**os.environ, **environ}, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.5)
            code, out, _ = home.run("recipes", "import", "--running", str(child.pid), "--against", recipe, "--json")
            if code == 0:
                break
        changed = {one["field"] for one in json.loads(out)["changes"].get(recipe, [])}
        # What a launch adds by itself is on the command line, and not in the recipe.
        own = {"executable", "served_model_name", "extra_args.jinja", "extra_args.metrics"}
        assert not changed - own - {f"env_vars.{name}" for name in environ}
    finally:
        child.kill()
        child.wait()
