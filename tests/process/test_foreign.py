"""Engines of others and what killed ones left behind, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import House, until, wait_ready
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.ports import port_free
from vllm_studio_tui.runs import control, foreign
from vllm_studio_tui.runs.process_facts import read_process
from vllm_studio_tui.studio import Studio

Start = Callable[..., subprocess.Popen[bytes]]
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process under a name of one's own; everything is ended after the test."""
    begun = []

    def one(*argv: str, code: str = SLEEP) -> subprocess.Popen[bytes]:
        # The first word is what the process list shows; Python itself is found by `executable`.
        child = subprocess.Popen([argv[0], "-c", code, *argv[1:]], executable=sys.executable, start_new_session=True)
        begun.append(child)
        return child

    yield one
    for child in begun:
        child.kill()
        child.wait()


def script(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_text(f"#!{sys.executable}\n{SLEEP}\n")
    path.chmod(0o700)
    return path


def test_an_engine_of_somebody_else_is_found_and_stopped(tmp_path: Path) -> None:
    program = script(tmp_path, "llama-server")
    child = subprocess.Popen([program, "--model", "/m/theirs.gguf", "--port", "8123"])
    try:
        until(lambda: any(one.pid == child.pid for one in foreign.find_foreign()), "found")
        one = foreign.get_foreign(child.pid)
        assert (one.backend, one.model, one.port, one.base_url) == (
            "llamacpp",
            "/m/theirs.gguf",
            8123,
            "http://127.0.0.1:8123/v1",
        )
        foreign.end(one.pid, one.start, grace=5.0)
        assert child.wait(5) != 0
        with pytest.raises(NotFound):
            foreign.get_foreign(child.pid)
    finally:
        child.kill()
        child.wait()


def test_a_program_that_prints_its_help_is_no_engine(tmp_path: Path) -> None:
    program = script(tmp_path, "llama-server")
    children = [subprocess.Popen([program, *words]) for words in (["--help"], ["--port", "8125"])]
    try:
        until(lambda: any(one.pid == children[1].pid for one in foreign.find_foreign()), "found")
        assert children[0].pid not in {one.pid for one in foreign.find_foreign()}
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(
        f"#!{sys.executable}\nimport signal,subprocess,sys,time; signal.signal(15, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)\n"
    )
    program.chmod(0o700)
    child = subprocess.Popen([program, "--port", "8124"])
    until(lambda: len(process.descendants(child.pid)) == 1, "it has a child")
    member = process.descendants(child.pid)[0]
    one = foreign.get_foreign(child.pid)
    foreign.end(one.pid, one.start, grace=0.3)
    child.wait(5)
    assert not process.alive(member.pid, member.start)


def test_a_run_of_ours_is_not_foreign(house: House) -> None:
    run = house.ready(house.launch())
    assert run.status.pid not in {one.pid for one in foreign.find_foreign()}
    assert not {one.pid for one in house.ours()} & {one.pid for one in foreign.find_orphans()}
    control.stop(run)


def test_what_a_killed_engine_leaves_behind_is_found_and_ended(start: Start, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # A leader that starts a worker and is killed, as by kill -9: its worker goes on under init.
    leader = start(
        "vllm",
        code="import subprocess,sys,time; "
        f"c=subprocess.Popen(['VLLM::Worker_TP0','-c',{SLEEP!r}],executable={sys.executable!r},start_new_session=True);"
        f"open({str(pid_file)!r},'w').write(str(c.pid)); time.sleep(600)",
    )
    until(lambda: pid_file.exists() and pid_file.read_text() != "", "it has a worker")
    worker = int(pid_file.read_text())
    assert worker not in {one.pid for one in foreign.find_orphans()}, "its leader lives"
    leader.kill()
    leader.wait()
    try:
        until(lambda: _parent(worker) != leader.pid, "it was taken in")
        if _parent(worker) != 1:
            pytest.skip("orphans of this place are taken in by another process than init")
        one = next(one for one in foreign.find_orphans() if one.pid == worker)
        assert one.title == "VLLM::Worker_TP0"
        foreign.end(one.pid, one.start, grace=5.0)
        assert worker not in {one.pid for one in foreign.find_orphans()}
    finally:
        subprocess.run(["kill", "-9", str(worker)], check=False, stderr=subprocess.DEVNULL)


def _parent(pid: int) -> int:
    found = process.stat(pid)
    return found.parent if found is not None else 0


def test_the_recipe_of_an_engine_that_runs_starts_the_same(tmp_path: Path) -> None:
    """The embedded engine, started by hand with a path of its folder, is rebuilt, ended, and launched."""
    from tests.process.serving import small_model

    model, port = small_model(), free_port()
    (tmp_path / "mine.gguf").symlink_to(model)
    engine = [sys.executable, "-m", "vllm_studio_tui.backends.embedded"]
    words = ["-m", "mine.gguf", "--port", str(port), "--ctx-size", "512", "--alias", "mine"]
    environ = {**os.environ, "GGML_NOTHING": "1", "HF_TOKEN": "hf_" + "q" * 30}
    child = subprocess.Popen([*engine, *words], cwd=tmp_path, env=environ)
    house = House(tmp_path / "home")
    try:
        with Studio.open_sync(house.places) as studio:
            until(lambda: any(one.pid == child.pid for one in foreign.find_foreign()), "found")
            until(lambda: port in read_process(child.pid).ports, "it listens")
            report = studio.recipes.import_running(port)
            (made,) = [studio.recipes.get(one) for one in report.imported]
            assert (made.backend, made.model_path, made.port) == ("llamacpp", str(tmp_path / "mine.gguf"), port)
            assert (made.served_model_name, made.max_model_len) == ("mine", 512)
            assert made.env_vars["GGML_NOTHING"] == "1"
            assert made.env_vars["HF_TOKEN"].startswith("file:")
            studio.recipes.save(made.model_copy(update={"max_model_len": 1024, "tags": ("kept",)}))
            against = studio.recipes.import_running(child.pid, against=made.id)
            (change,) = against.changes[made.id].fields
            assert (change.field, change.old, change.new) == ("max_model_len", 1024, 512)
            assert studio.recipes.get(made.id).max_model_len == 1024
            studio.recipes.import_running(child.pid, against=made.id, replace=True)
            assert studio.recipes.get(made.id) == made.model_copy(update={"tags": ("kept",)})
            child.kill()
            child.wait()
            run = studio.launcher.launch(studio.recipes.get(made.id))
            assert wait_ready(run, 60).state is State.READY
            studio.launcher.stop(run)
    finally:
        child.kill()
        child.wait()
        house.end()


# --- what one reports -----------------------------------------------------------------------------------


def metrics(house: House, name: str, *options: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", "metrics", name, "--interval", "0.2", *options],
        env={**os.environ, "VLLM_STUDIO_HOME": str(house.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


ENGINE = """
import http.server, sys, time
status = int(sys.argv[-1])
class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"vllm:num_requests_running 3\\nvllm:generation_tokens_total %f\\n" % (100 * time.monotonic()))
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Engine).serve_forever()
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Start an engine of somebody else whose /metrics answers with a status."""
    program = tmp_path / "vllm"
    program.write_text(f"#!{sys.executable}\n{ENGINE}")
    program.chmod(0o700)
    begun = []

    def one(status: int) -> subprocess.Popen[bytes]:
        port = free_port()
        begun.append(subprocess.Popen([program, "serve", "/m/theirs", "--port", str(port), str(status)]))
        until(lambda: not port_free("127.0.0.1", port), "it listens")
        return begun[-1]

    yield one
    for child in begun:
        child.kill()
        child.wait()


def test_an_engine_of_somebody_else_is_measured_by_its_process(
    house: House, engine: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    theirs = engine(200)
    code, out, err = metrics(house, f"foreign:{theirs.pid}", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["run_id"], told["foreign"]["pid"], told["foreign"]["model"]) == (None, theirs.pid, "/m/theirs")
    assert told["running"] == 3
    assert told["generation_tokens_per_second"] == pytest.approx(100, rel=0.05)
    code, out, _ = metrics(house, f"foreign:{theirs.pid}")
    assert code == 0
    assert out.startswith(f"/m/theirs  foreign:{theirs.pid}  vllm  of ")
    assert "3 running, - waiting" in out, "what it does not tell is a dash"


@pytest.mark.parametrize(("status", "words"), [(401, "api_key"), (404, "--metrics"), (500, "answered 500")])
def test_an_engine_of_somebody_else_that_tells_nothing_says_why(
    house: House, engine: Callable[[int], subprocess.Popen[bytes]], status: int, words: str
) -> None:
    theirs = engine(status)
    code, _, err = metrics(house, f"foreign:{theirs.pid}")
    assert code == 1
    assert f"No metrics of foreign:{theirs.pid}" in err and words in err, err


def test_a_process_that_is_no_engine_of_somebody_else_is_named_as_what_it_is(house: House) -> None:
    run = house.ready(house.launch())
    code, _, err = metrics(house, f"foreign:{run.status.pid}")
    assert code == 1 and run.run_id in err
    control.stop(run)
    code, _, err = metrics(house, f"foreign:{run.status.pid}")
    assert code == 1 and "is gone" in err and "foreign list" in err
    code, _, err = metrics(house, f"foreign:{os.getpid()}")
    assert code == 1 and "no engine" in err
    code, _, err = metrics(house, "foreign:me")
    assert code == 2 and "foreign:PID" in err
