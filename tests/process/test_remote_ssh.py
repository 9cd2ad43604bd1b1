"""A studio behind a real sshd on loopback: commands, a chat, and a connection that is cut while one watches."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
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

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
ENGINE = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"
pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="OpenSSH's server or client is not here"),
]


def wait(condition: object, what: str, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


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
    assert SSHD is not None
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/key.pub\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    public = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    (folder / "config").write_text(
        f"Host gpu-box\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {folder}/key\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {folder}/known_hosts\n StrictHostKeyChecking yes\n"
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        f"#!/bin/sh\nwhile [ -e {folder}/hold ]; do sleep 0.05; done\n"
        f'exec {shutil.which("ssh")} -F {folder}/config "$@"\n'
    )
    there = Path("/tmp", f"vst-{os.getpid()}-{port}")  # short enough for a socket in it
    (programs / "vllm-studio").write_text(
        f'#!/bin/sh\nVLLM_STUDIO_HOME={there} exec {sys.executable} -m vllm_studio_tui "$@"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
    with contextlib.suppress(OSError):
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = (folder / "log").open("wb")
    sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    try:
        wait(lambda: sshd.poll() is not None or listens(port), "sshd listens")
        if sshd.poll() is not None:
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text()[-300:]}")
        yield f"ssh://gpu-box{programs}/vllm-studio"
    finally:
        sshd.terminate()
        sshd.wait(10)
        log.close()
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
        tunnels = _ssh_children()
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
        assert _ssh_children() != tunnels
    wait(lambda: not _ssh_children(), "ssh ends with us")


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


def _ssh_children() -> list[int]:
    import psutil

    found = []
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if one.name() == "ssh" and one.status() != "zombie":
                found.append(one.pid)
    return found


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
    wait(lambda: not _ssh_children(), "ssh ended")


def test_ssh_is_kept_while_hosts_are_watched_and_ends_after_it(host: str) -> None:
    watch = HostWatch({"gpu": Host(connect=host)}, lambda: None)
    watch.start()
    try:
        wait(lambda: watch.states[0].answers, "it answers")
        tunnels = _ssh_children()
        at = watch.states[0].seen_at
        wait(lambda: watch.states[0].seen_at != at, "it answers again")
        assert _ssh_children() == tunnels, "by the same connection"
        os.kill(tunnels[0], signal.SIGKILL)
        wait(lambda: _ssh_children() not in ([], tunnels), "ssh connects anew")
        at = watch.states[0].seen_at
        wait(lambda: watch.states[0].answers and watch.states[0].seen_at != at, "it answers again")
    finally:
        watch.close(wait=10)
    wait(lambda: not _ssh_children(), "ssh ends with the watch")


def _command(host: str, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vllm_studio_tui", "--connect", host, *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
