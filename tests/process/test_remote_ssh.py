"""A studio behind a real sshd on loopback: commands, a chat, and a connection that is cut while one watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sshd import MARKS, box, ssh_children, wait
from vllm_studio_tui import __version__
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.domain.chat import Ended, Sampling
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.address import read_address
from vllm_studio_tui.remote.host_watch import HostWatch
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.protocols import StudioApi
from vllm_studio_tui.services.run_logs.run_log import open_log
from vllm_studio_tui.services.watching.snapshot import Snapshot

ENGINE = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"
pytestmark = MARKS


@contextlib.contextmanager
def cut_off(tmp_path: Path) -> Iterator[None]:
    """No new connection comes about meanwhile: what is said of that can be seen, however fast it would be made anew."""
    hold = tmp_path / "ssh" / "hold"
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An sshd of our own; the address of a studio behind it, whose home is another than ours."""
    with box(tmp_path) as made:
        there = Path("/tmp", f"vst-{os.getpid()}-{made.port}")  # short enough for a socket in it
        program = made.programs / "vllm-studio"
        program.write_text(f'#!/bin/sh\nVLLM_STUDIO_HOME={there} exec {sys.executable} -m vllm_studio_tui "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
        monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
        try:
            made.start()
            yield f"ssh://gpu-box{made.programs}/vllm-studio"
        finally:
            made.stop()
            for run in read.live_runs(Places.under(there)):
                control.stop(run, force=True)
            facts = there / "state" / "serve" / "serve.json"
            if facts.exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(json.loads(facts.read_text())["pid"], signal.SIGTERM)
                wait(lambda: not facts.exists(), "the server there ends")
            shutil.rmtree(there, ignore_errors=True)


def test_a_studio_behind_ssh_is_one_as_here_and_comes_back_when_the_connection_was_cut(
    host: str, tmp_path: Path
) -> None:
    with connect(read_address(host, {}), Places.under(tmp_path / "here")) as studio:
        assert studio.host == "gpu-box"
        assert studio.runs.all() == []
        seen: list[Snapshot] = []
        studio.bus.subscribe(Snapshot, seen.append)
        studio.sampler.start()
        wait(lambda: seen, "a first sample")
        assert seen[-1].stale is None
        one, _ = studio.recipes.read({"id": "sim", "backend": "custom", "model_path": "sim", "command": ENGINE})
        run = studio.launcher.launch(studio.recipes.create(one))
        wait(lambda: any(view.state.value == "ready" for view in seen[-1].runs), "the engine there is ready")
        assert seen[-1].runs[0].spec is not None
        log = open_log(studio, studio.runs.find(run.run_id))
        window = log.window()
        assert any("startup complete" in line.text for line in window.lines), [line.text for line in window.lines]
        assert asyncio.run(_ask(studio, run.run_id)) == "length"
        assert asyncio.run(_ask(studio, run.run_id, words=3)) == "stopped"
        (session,) = studio.chats.list()
        answers = [one for one in studio.chats.tree(session.id) if one.role == "assistant"]
        assert [one.finish for one in answers] == ["length", "stopped"]
        assert answers[1].content
        tunnels = ssh_children()
        assert len(tunnels) == 1
        with cut_off(tmp_path):
            os.kill(tunnels[0], signal.SIGKILL)
            wait(lambda: seen[-1].stale is not None, "it is said that nothing is heard")
        wait(lambda: seen[-1].stale is None, "it is heard again")
        assert studio.runs.find("sim").state.value == "ready"
        log.file.refresh()  # over the connection that was made anew
        window.follow()
        assert window.at_end
        assert not window.rewritten
        assert studio.launcher.stop(studio.runs.find("sim")).status.final
        assert ssh_children() != tunnels
    wait(lambda: not ssh_children(), "ssh ends with us")


def test_a_server_there_that_was_killed_is_started_again(host: str, tmp_path: Path) -> None:
    home = (tmp_path / "bin" / "vllm-studio").read_text().partition("VLLM_STUDIO_HOME=")[2].split()[0]
    facts = Path(home, "state", "serve", "serve.json")
    with connect(read_address(host, {}), Places.under(tmp_path / "here")) as studio:
        seen: list[Snapshot] = []
        studio.bus.subscribe(Snapshot, seen.append)
        studio.sampler.start()
        wait(lambda: seen, "a first sample")
        killed = json.loads(facts.read_bytes())["pid"]
        with cut_off(tmp_path):
            os.kill(killed, signal.SIGKILL)
            wait(lambda: seen[-1].stale is not None, "it is said that nothing is heard")
        wait(lambda: seen[-1].stale is None, "another one is heard")
        assert json.loads(facts.read_bytes())["pid"] != killed
        assert studio.runs.all() == []


async def _ask(studio: StudioApi, run_id: str, words: int | None = None) -> str:
    """Ask the engine there in the one chat there is; how the answer ended. After so many pieces it is stopped."""
    sessions = studio.chats.list()
    session = sessions[0].id if sessions else studio.chat.new_session("hello")
    target = studio.launcher.target(recipe=run_id)
    events = studio.chat.send(session, "hello " * 50, target, sampling=Sampling(max_tokens=400 if words else 5))
    pieces, ended = 0, None
    async with contextlib.aclosing(events):
        async for event in events:
            pieces += 1
            ended = event.finish if isinstance(event, Ended) else None
            if words is not None and pieces >= words:
                break
    if ended is not None:
        return ended
    return studio.chats.tree(session)[-1].finish or ""


def test_what_ssh_says_is_told(host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = _command(host.replace("/vllm-studio", "/not-here"), "status")
    assert done.returncode == 1
    assert "there is no vllm-studio on gpu-box, as ssh sees it" in done.stderr
    (tmp_path / "ssh" / "known_hosts").write_text("")
    done = _command(host, "status")
    assert done.returncode == 1
    assert "ssh cannot connect to gpu-box" in done.stderr
    assert "Host key verification failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_go_there(host: str, tmp_path: Path) -> None:
    done = _command(host, "status", "--json")
    assert (done.returncode, done.stdout) == (0, '{"runs": []}\n'), done.stderr
    done = _command(host, "recipes", "add", "one", "--backend", "custom", "--model", "/m", "--set", "command=sleep 9")
    assert done.returncode == 0, done.stderr
    listed = json.loads(_command(host, "recipes", "list", "--json").stdout)
    assert [one["id"] for one in listed["recipes"]] == ["one"]
    assert not (tmp_path / "here" / "data").exists()


def test_a_host_over_ssh_is_asked_beside_others_and_one_that_ssh_cannot_reach_is_told_in_its_words(
    host: str, tmp_path: Path
) -> None:
    places = Places.under(tmp_path / "here")
    save_host(places, "gpu", {"connect": host})
    save_host(places, "gone", {"connect": "ssh://127.0.0.1:1"})
    program = [sys.executable, "-m", "vllm_studio_tui", "hosts", "--json", "--timeout", "40"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)["hosts"]}
    assert (found["gpu"]["state"], found["gpu"]["overview"]["version"]) == ("well", __version__)
    assert found["gpu"]["answer_seconds"] > 0
    assert "Connection refused" in found["gone"]["error"]["cause"]
    wait(lambda: not ssh_children(), "ssh ended")


def test_ssh_is_kept_while_hosts_are_watched_and_ends_after_it(host: str) -> None:
    watch = HostWatch({"gpu": Host(connect=host)}, lambda: None)
    watch.start()
    try:
        wait(lambda: watch.states[0].answers, "it answers")
        tunnels = ssh_children()
        at = watch.states[0].seen_at
        wait(lambda: watch.states[0].seen_at != at, "it answers again")
        assert ssh_children() == tunnels, "by the same connection"
        os.kill(tunnels[0], signal.SIGKILL)
        wait(lambda: ssh_children() not in ([], tunnels), "ssh connects anew")
        at = watch.states[0].seen_at
        wait(lambda: watch.states[0].answers and watch.states[0].seen_at != at, "it answers again")
    finally:
        watch.close(wait=10)
    wait(lambda: not ssh_children(), "ssh ends with the watch")


def _command(host: str, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vllm_studio_tui", "--connect", host, *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
