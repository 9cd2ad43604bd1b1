"""A model on two hosts, of which one is this machine and the other is behind a stand-in for ssh that can be cut.

The real ssh, network and cuts are in `tests/clusters/test_ranks.py`; here is what every run of the tests can try.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.hosts import VLLM
from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.ranks import FOLLOWER_REASONS, VAGUE_REASONS
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.studio import Studio

SSH = """#!{python}
import os, pathlib, sys
if "-G" in sys.argv:
    print("hostname 127.0.0.1")
    sys.exit(0)
if pathlib.Path({gate!r}).exists():
    sys.stderr.write("ssh: connect to host b port 22: Connection timed out\\n")
    sys.exit(255)
os.execv("/bin/sh", ["sh", "-c", sys.argv[-1]])
"""
LEASE = 10.0


class Pair:
    """This machine, and the host b."""

    def __init__(self, root: Path) -> None:
        self.root, self.gate = root, root / "cut"
        self.here, self.b = Places.under(root / "here"), Places.under(root / "b")
        for folder in (self.here.config, root / "bin"):
            folder.mkdir(parents=True)
        program = root / "bin" / "b"
        connect = {"b": {"connect": f"ssh://b{program}"}}
        text = json.dumps({"hosts": connect, "nodes_lost_after": LEASE, "inference_port": free_port()})
        self.here.settings_file.write_text(text)
        vllm = root / "bin" / "vllm"
        for path, script in (
            (root / "bin" / "ssh", SSH.format(python=sys.executable, gate=str(self.gate))),
            (vllm, VLLM.format(python=sys.executable, folder=str(root))),
            (
                program,
                f"#!/bin/sh\nexport VLLM_STUDIO_HOME={root / 'b'} VLLM_STUDIO_INFERENCE_PORT={free_port()}\n"
                f'exec {sys.executable} -m vllm_studio_tui "$@"\n',
            ),
        ):
            path.write_text(script)
            path.chmod(0o755)

    def launch(self) -> read.RunView:
        recipe = Recipe.model_validate({
            "id": "m", "name": "M", "model_path": "Org/model", "served_model_name": "m", "nodes": ("localhost", "b"),
            "strategy": "tp", "tensor_parallel_size": 2,
        })  # fmt: skip
        with Studio.open_sync(self.here) as studio:
            return studio.launcher.launch(recipe)

    def ready(self) -> read.RunView:
        run = self.launch()
        now = read.wait_for(run.folder, frozenset({State.READY}), 60.0)
        assert now.state is State.READY, (now.status, run.log.read_text()[-3000:])
        return now

    def rank(self, places: Places, number: int) -> read.RunView:
        return next(one for one in read.all_runs(places) if one.run_id.startswith(f"m.r{number}-"))

    def cut(self) -> None:
        """Nothing goes to b any more, and what went there has ended."""
        self.gate.touch()
        for one in self.processes():
            if "runs.attend" in _line(one.pid) and str(self.b.runs) in _line(one.pid):
                process.send(one.pid, one.start, signal.SIGKILL)

    def processes(self) -> list[process.Stat]:
        return [one for one in process.all_processes() if one.state not in "ZX" and str(self.root) in _line(one.pid)]


def _line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    one = Pair(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("VLLM_STUDIO_VLLM_EXECUTABLE", str(tmp_path / "bin" / "vllm"))
    monkeypatch.delenv("VLLM_STUDIO_INFERENCE_PORT", raising=False)
    try:
        yield one
        until(lambda: not one.processes(), f"nothing is left of {[_line(p.pid) for p in one.processes()]}", 40.0)
    finally:
        for left in one.processes():
            process.send(left.pid, left.start, signal.SIGKILL)


def test_a_unit_runs_is_followed_again_and_is_stopped_as_one(pair: Pair) -> None:
    run = pair.ready()
    ranks = [pair.rank(pair.here, 0), pair.rank(pair.b, 1)]
    until(lambda: [one["state"] for one in read.view(run.folder).status.parts] == ["ready", "ready"], "both are told")
    assert read.view(ranks[1].folder).status.stage == "works as rank 1 of 2"
    process.send(run.status.pid or 0, run.status.pid_start, signal.SIGKILL)  # its follower
    until(lambda: read.view(run.folder).status.pid not in (None, run.status.pid), "another follower", 30.0)
    assert [read.view(one.folder).status.pid for one in ranks] == [one.status.pid for one in ranks]
    ended = control.stop(run)
    assert (ended.state, ended.status.title) == (State.EXITED, "stopped")
    # One may fall with the other before it is told, and then says no cause of its own.
    ends = [read.view(one.folder).status.reason for one in ranks]
    assert set(ends) <= {"stopped", *FOLLOWER_REASONS, *VAGUE_REASONS}, ends


def test_a_rank_that_is_killed_is_the_cause_and_ends_the_other(pair: Pair) -> None:
    run = pair.ready()
    rank = pair.rank(pair.b, 1)
    process.send(rank.status.pid or 0, rank.status.pid_start, signal.SIGKILL)
    now = read.wait_for(run.folder, frozenset(), 40.0)
    assert (now.state, now.status.reason) == (State.FAILED, "killed"), now.status
    assert now.status.title == "rank 1 on b: killed by SIGKILL"


def test_a_rank_that_cannot_be_told_to_stop_ends_by_itself_and_until_when_is_said(pair: Pair) -> None:
    run = pair.ready()
    rank = pair.rank(pair.b, 1)
    until(lambda: [one["state"] for one in read.view(run.folder).status.parts] == ["ready", "ready"], "both are told")
    pair.cut()
    told = lambda: f"{read.view(run.folder).status} {run.log.read_text()[-1500:]}"  # noqa: E731
    until(lambda: "no answer from b" in (read.view(run.folder).status.trouble or ""), told, 30.0)
    began = time.monotonic()
    ended = control.stop(run)
    assert ended.state is State.EXITED
    assert (ended.status.title or "").startswith("stopped; b could not be reached"), ended.status
    assert "rank 1 ends there by itself by" in (ended.status.title or "")
    until(lambda: read.view(rank.folder).status.final, "it ends by itself", LEASE * 3)
    assert time.monotonic() - began < LEASE * 4
    # The simulated rank 0 took it along: what it says of that, or that nobody was heard of.
    assert read.view(rank.folder).status.reason in ("unit_lost", "peer_lost", "engine_died", "engine_error")


def test_a_host_that_does_not_answer_refuses_the_launch_by_name(pair: Pair) -> None:
    pair.gate.touch()
    with pytest.raises(LaunchRefused) as refused:
        pair.launch()
    assert refused.value.title == "b cannot be reached"
    assert "Connection timed out" in refused.value.cause
    assert not list(pair.here.runs.glob("*"))
