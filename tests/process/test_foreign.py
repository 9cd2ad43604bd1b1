"""Engines of others and what killed ones left behind, with real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, foreign

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
