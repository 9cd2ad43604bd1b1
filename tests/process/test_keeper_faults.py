"""Whatever goes wrong in what a keeper reads: it is said, once, and the engine is still looked after and stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.process.house import House, until, wait_ready
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.keeper.worker import Worker
from vllm_studio_tui.runs import control, read

#: A server that answers as it is told by files beside it, and prints what it finds in `say`.
SERVER = """
import http.server, os, sys, threading, time
folder, port = sys.argv[1], int(sys.argv[2])
def read(name, default):
    try:
        with open(os.path.join(folder, name), "rb") as stream:
            return stream.read()
    except OSError:
        return default
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass
    def do_GET(self):
        body = read(self.path.strip("/").replace("/", "."), b"ok")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
def speak():
    while True:
        time.sleep(0.05)
        said = read("say", b"")
        if said:
            os.rename(os.path.join(folder, "say"), os.path.join(folder, "said"))
            sys.stdout.buffer.write(said)
            sys.stdout.flush()
threading.Thread(target=speak, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
#: Loaded by every Python of the run; in keepers it makes one function raise while a file is there.
BREAK = """
import importlib, os, sys
if "vllm_studio_tui.keeper" in sys.orig_argv:
    module, _, path = os.environ["TEST_BREAK"].partition(":")
    *outer, name = path.split(".")
    owner = importlib.import_module(module)
    for one in outer:
        owner = getattr(owner, one)
    real = getattr(owner, name)
    def broken(*args, **kwargs):
        if os.path.exists(os.environ["TEST_BREAK_NOW"]):
            raise RecursionError("as odd as can be")
        return real(*args, **kwargs)
    setattr(owner, name, broken)
"""


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The folder in which a test tells its server what to answer."""
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


def serve(house: House, told: Path, **more: object) -> read.RunView:
    script = told / "server.py"
    script.write_text(SERVER)
    return house.ready(
        house.launch(before=lambda port: (sys.executable, str(script), str(told), str(port)), **more)  # type: ignore[arg-type]
    )


def tracebacks(run: read.RunView) -> int:
    return (run.folder / "keeper.log").read_text().count("Traceback")


def test_counters_too_large_for_a_sum_leave_a_run_watched_and_stoppable(house: House, told: Path) -> None:
    run = serve(house, told)
    rows = [f'vllm:{name}{{n="{n}"}} 1e308' for name in ("prompt_tokens_total", "num_requests_running") for n in "ab"]
    (told / "metrics").write_text("\n".join([*rows, "vllm:generation_tokens_total 7", ""]))
    until(lambda: any(one.get("values") == {"generation_tokens": 7.0} for one in house.ledger(run)), "what can be read")
    assert run.status.pid is not None
    os.kill(run.status.pid, signal.SIGSTOP)
    until(lambda: house.now(run).state is State.UNHEALTHY, "a hanging engine is still noticed")
    os.kill(run.status.pid, signal.SIGCONT)
    until(lambda: house.now(run).state is State.READY, "ready again")
    assert control.stop(run).state is State.EXITED
    assert tracebacks(run) == 0
    house.check_nothing_is_left()


@pytest.mark.parametrize(
    "body",
    ids=["deep", "list", "bytes", "number"],
    argvalues=["[" * 100_000, "{}" * 9, "\xff" * 99, '{"data": [{"id": ' + "9" * 5000 + "}]}"],
)
def test_odd_answers_make_a_run_not_ready_and_nothing_worse(house: House, told: Path, body: str) -> None:
    (told / "v1.models").write_text(body, encoding="latin-1")
    script = told / "server.py"
    script.write_text(SERVER)
    run = house.launch(
        before=lambda port: (sys.executable, str(script), str(told), str(port)), models_path="/v1/models"
    )
    until(lambda: house.now(run).status.pid is not None, "started")
    assert wait_ready(run, 1.0).state in (State.STARTING, State.LOADING)
    (told / "v1.models").write_text('{"data": [{"id": "sim"}]}')
    house.ready(run)
    assert control.stop(run).state is State.EXITED
    assert tracebacks(run) == 0


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_too_large_in_the_log_costs_no_keeper(house: House, told: Path, digits: int) -> None:
    count = "9" * digits
    line = f"Loading safetensors checkpoint shards: 1% Completed | {count}/1 {count}/{count}"
    (told / "say").write_text(f"{line}\n{line}\r")
    (told / "health").write_bytes(b"")
    run = serve(house, told, restart=Restart("on-failure", delay=0.05))
    until(lambda: (told / "said").exists(), "said")
    keeper = house.now(run).status.keeper_pid
    house.kill_engine(run)
    until(lambda: house.now(run).status.restarts == 1 and house.now(run).state is State.READY, "the policy still acts")
    assert house.now(run).status.keeper_pid == keeper
    assert control.stop(run).state is State.EXITED
    assert tracebacks(run) == 0
    house.check_nothing_is_left()


@pytest.mark.parametrize(
    "reader",
    [
        "keeper.engine_http:ready",
        "keeper.engine_http:counters",
        "keeper.engine_http:key",
        "keeper.logwatch:LogWatch.follow",
        "keeper.log_reader:explain_exit",
        "keeper.supervise:trim",
        "keeper.usage:UsageRecorder.tokens",
        "keeper.usage:UsageRecorder.take_energy",
        "keeper.usage:UsageRecorder.last_energy",
        "keeper.watchdog:Watchdog.verdict",
        "keeper.watchdog:Watchdog.counted",
        "keeper.tree:Tree.reap_orphans",
        "keeper.port_owner:PortOwnership.look",
        "keeper.readiness:Readiness.blame",
        "keeper.port:HeldPort.take",
        "keeper.engine_exit:port_free",
        "keeper.files:Ledger.flush",
    ],
)
def test_a_fault_of_any_part_is_told_once_and_the_engine_is_still_ended(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    site, now = tmp_path / "site", tmp_path / "now"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BREAK)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("TEST_BREAK", f"vllm_studio_tui.{reader}")
    monkeypatch.setenv("TEST_BREAK_NOW", str(now))
    run = house.ready(house.launch())
    keeper = run.status.keeper_pid
    now.touch()
    at_once = reader not in (
        "keeper.logwatch:LogWatch.follow",
        "keeper.log_reader:explain_exit",
        "keeper.supervise:trim",
        "keeper.usage:UsageRecorder.last_energy",
        "keeper.tree:Tree.reap_orphans",
        "keeper.port:HeldPort.take",
        "keeper.readiness:Readiness.blame",
        "keeper.engine_exit:port_free",
        "keeper.files:Ledger.flush",
    )
    if at_once:
        until(lambda: "as odd as can be" in " ".join(house.now(run).status.faults), "told in the state")
        assert house.now(run).status.keeper_pid == keeper
    if reader == "keeper.log_reader:explain_exit":
        house.kill_engine(run)
        until(lambda: house.now(run).status.final, "ended")
        assert house.now(run).status.reason == "killed"
    ended = control.stop(run, timeout=30.0)
    assert ended.status.final
    assert not ended.engine_alive
    assert tracebacks(run) <= (4 if "Ledger" not in reader else 20), (run.folder / "keeper.log").read_text()
    until(lambda: not house.ours(), "all processes gone")


def test_a_thread_that_never_comes_back_is_replaced() -> None:
    never = threading.Event()
    worker = Worker("test", patience=0.0)
    assert worker.ask("ready", lambda: never.wait(60))
    until(lambda: worker.ask("ready", lambda: json.loads("7")), "asked again")
    until(lambda: worker.pending("ready") is False or any(one.value == 7 for one in worker.answers()), "answered")
    never.set()
