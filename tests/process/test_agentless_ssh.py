"""Hosts without a studio behind a real sshd on loopback: published output of nvidia-smi, and an engine that is real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.serving import small_model
from tests.smi import FIXTURES, write_smi
from tests.sshd import MARKS, Box, box, listens, ssh_children, wait
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.domain.host_overview import HostOverview
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.agentless import link as agentless_link
from vllm_studio_tui.remote.agentless import script
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.remote.host_watch import HostWatch, ask_once
from vllm_studio_tui.remote.host_words import Rank, rank, trouble

pytestmark = MARKS
GPU_BOX = Host(connect="ssh://gpu-box", agentless=True)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A host with a stand-in for nvidia-smi, and no studio; it listens when it is started."""
    with box(tmp_path) as made:
        write_smi(made.programs, "h100_load", "h100_mig_load")
        monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
        monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
        yield made


def its_path(made: Box) -> str:
    """The line by which programs are found there."""
    folder = made.folder / "there"
    folder.mkdir(exist_ok=True)
    for name in ("nvidia-smi", "smi.json"):
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(made.programs / name)
    return f"SetEnv PATH={folder}:/usr/bin:/bin"


@contextlib.contextmanager
def engine(*more: str) -> Iterator[int]:
    """The embedded engine with the small model, which nobody's studio started; its port."""
    port = free_port()
    command = [sys.executable, "-m", "vllm_studio_tui.backends.embedded", "--model", str(small_model())]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--ctx-size", "2048", *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait(lambda: process.poll() is not None or listens(port), "the engine listens")
        assert process.poll() is None
        yield port
    finally:
        process.kill()
        process.wait()


def answers_long(port: int, ended: threading.Event) -> None:
    """Have the engine write until it is told to end."""
    while not ended.is_set():
        body = json.dumps({"prompt": "Once upon a time", "n_predict": 400, "ignore_eos": True}).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/completion", body, {"Content-Type": "application/json"}
        )
        with contextlib.suppress(OSError), urllib.request.urlopen(asked, timeout=60) as answer:
            answer.read()


def one(host: Host = GPU_BOX, seconds: float = 40) -> HostState:
    (state,) = ask_once({"box": host}, seconds)
    return state


class Watched:
    """A host that is watched."""

    def __init__(self, host: Host = GPU_BOX) -> None:
        self.watch = HostWatch({"box": host}, lambda: None)
        self.watch.start()

    @property
    def state(self) -> HostState:
        return self.watch.states[0]

    @property
    def seen(self) -> HostOverview:
        found = self.state.overview
        assert found is not None
        return found


@contextlib.contextmanager
def watched(host: Host = GPU_BOX) -> Iterator[Watched]:
    made = Watched(host)
    try:
        yield made
    finally:
        made.watch.close(wait=10)
    wait(lambda: not ssh_children(), "ssh ends with the watch")


def test_gpus_and_a_real_engine_are_seen_and_measured_over_one_connection(
    there: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agentless_link, "EVERY", 0.5)
    there.start(its_path(there))
    ended = threading.Event()
    with engine() as port:
        writer = threading.Thread(target=answers_long, args=(port, ended), daemon=True)
        writer.start()
        try:
            with watched() as host:

                def run() -> Any:
                    runs = host.state.overview.runs if host.state.overview is not None else ()
                    return next((one for one in runs if one.id == f"llamacpp:{port}"), None)

                wait(lambda: run() is not None and (run().tokens_per_second or 0) > 1, "its speed is known")
                (tunnel,) = ssh_children()
                assert (run().state, run().running) == ("seen", 1)
                assert run().name == small_model().name
                assert [gpu.name for gpu in host.seen.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3, MIG"]
                assert host.seen.driver == "590.48.01"
                assert host.seen.cores == os.cpu_count()
                assert host.state.how == "ssh, look"
                at = host.state.seen_at
                wait(lambda: host.state.seen_at != at, "it answers again")
                assert ssh_children() == [tunnel], "by the same connection"
        finally:
            ended.set()
    writer.join(10)


def test_the_commands_tell_of_it_as_of_any_host(there: Box, tmp_path: Path) -> None:
    there.start(its_path(there))
    save_host(Places.under(tmp_path / "here"), "box", {"connect": "ssh://gpu-box", "agentless": True})
    with engine("--alias", "tiny") as port:
        done = command("hosts", "--json", "--timeout", "40")
        assert done.returncode == 0, done.stderr
        found = {one["name"]: one for one in json.loads(done.stdout)["hosts"]}["box"]
        assert (found["agentless"], found["state"], found["gpus"]) == (True, "well", 2)
        assert {one["id"]: one["name"] for one in found["overview"]["runs"]}[f"llamacpp:{port}"] == "tiny"
        assert found["tokens_per_second"] == 0
        shown = command("hosts", "--timeout", "40").stdout
        assert "no studio" in shown and "seen" in shown
    done = command("--connect", "box", "status")
    assert done.returncode == 2
    assert "there is no studio on box to go to" in done.stderr


def test_that_the_link_is_cut_or_the_host_gone_is_told_and_it_comes_back(
    there: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agentless_link, "EVERY", 0.3)
    path = its_path(there)
    there.start(path)
    with watched() as host:
        wait(lambda: host.state.answers, "it answers")
        (tunnel,) = ssh_children()
        os.kill(tunnel, signal.SIGKILL)
        wait(lambda: ssh_children() not in ([], [tunnel]) and host.state.answers, "it connects anew")
        there.stop()
        wait(lambda: host.state.error is not None, "it is said to be lost")
        wait(lambda: "Connection refused" in (host.state.error.cause if host.state.error else ""), "in ssh's words")
        assert rank(host.state) is Rank.LOST
        assert host.state.overview is not None, "what was seen last is kept"
        since = host.state.since
        there.start(path)
        host.watch.retry("box")
        wait(lambda: host.state.answers, "it answers again")
        assert since is not None and host.state.since is None


def test_a_host_that_stops_answering_is_told_with_what_it_began(there: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the link is cut without a word, or the driver hangs: nothing comes, and nothing ends."""
    monkeypatch.setattr(agentless_link, "EVERY", 0.3)
    monkeypatch.setattr(agentless_link, "ANSWER", 2.0)
    there.start(its_path(there))
    with watched() as host:
        wait(lambda: host.state.answers, "it answers")
        write_smi(there.programs, "h100_load", seconds=30)
        wait(lambda: host.state.error is not None, "it is told")
        error = host.state.error
        assert error is not None
        assert "box gave no answer within 2 s" in error.title
        assert error.cause == "The last it began is: nvidia-smi."
        write_smi(there.programs, "h100_load")
        host.watch.retry("box")
        wait(lambda: host.state.answers, "it answers again")


def test_banners_and_noise_around_the_answers_change_nothing(there: Box) -> None:
    (there.folder / "banner").write_text("*** AUTHORISED USE ONLY \x1b[2J***\n" * 20)
    noisy = there.folder / "noisy"
    noisy.write_text(
        "#!/bin/sh\necho 'Welcome to gpu-box'; printf '@studio 0 begin 1\\n@studio 0 end 1\\n'; echo noise >&2\n"
        'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    noisy.chmod(0o755)
    there.start(its_path(there), f"Banner {there.folder}/banner", f"ForceCommand {noisy}")
    state = one()
    assert state.error is None, state.error
    assert state.overview is not None
    assert len(state.overview.gpus) == 2


@pytest.mark.parametrize(("name", "words"), [
    ("mismatch", "Driver/library version mismatch"), ("no_driver", "couldn't communicate with the NVIDIA driver"),
])  # fmt: skip
def test_a_driver_that_does_not_work_is_a_trouble_of_that_host(there: Box, name: str, words: str) -> None:
    write_smi(there.programs, words=(FIXTURES / f"{name}.txt").read_text())
    there.start(its_path(there))
    state = one()
    assert state.overview is not None
    assert words in state.overview.gpu_error
    assert (rank(state), trouble(state)) == (Rank.WARNING, "GPUs cannot be read")


def test_what_ssh_refuses_is_said_with_what_to_do(there: Box) -> None:
    gone = one(Host(connect="ssh://127.0.0.1:1", agentless=True))
    assert gone.error is not None
    assert "Connection refused" in gone.error.cause
    there.start(its_path(there), "PubkeyAuthentication no", "PasswordAuthentication yes")
    wants = one()
    assert wants.error is not None
    assert "Permission denied" in wants.error.cause
    assert "nobody is asked" in wants.error.advice and "ssh-copy-id gpu-box" in wants.error.advice
    there.stop()
    there.start(its_path(there), "ForceCommand echo This account is not available; exit 1")
    shell = one()
    assert shell.error is not None
    assert shell.error.title == "box runs no shell over ssh"
    assert "This account is not available" in shell.error.cause
    there.stop()
    (there.folder / "known_hosts").write_text("")
    there.start(its_path(there))
    other = one()
    assert other.error is not None
    assert "Host key verification failed" in other.error.cause
    assert "Say once" in other.error.advice
    wait(lambda: not ssh_children(), "ssh ended")


def test_a_host_without_a_studio_is_offered_to_be_looked_at(there: Box) -> None:
    there.start(its_path(there))
    state = one(Host(connect="ssh://gpu-box"))
    assert state.error is not None
    assert "there is no vllm-studio on box" in state.error.title
    assert "vllm-studio hosts add NAME ssh://gpu-box --agentless" in state.error.advice


def test_nothing_is_left_there_when_one_leaves_or_is_killed(there: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agentless_link, "EVERY", 0.3)
    monkeypatch.setattr(script, "STEP", 1)
    path = its_path(there)
    there.start(path)
    assert there.process is not None
    listening = there.process.pid
    with watched() as host:
        wait(lambda: host.state.answers, "it answers")
        assert sessions(listening)
    wait(lambda: not sessions(listening), "its shell there ends with the watch", 20)
    program = [sys.executable, "-c", WATCHES]
    watching = subprocess.Popen(program, stdout=subprocess.PIPE)
    assert watching.stdout is not None
    assert watching.stdout.readline() == b"answers\n"
    assert sessions(listening)
    watching.kill()
    watching.wait()
    watching.stdout.close()
    wait(lambda: not sessions(listening), "its shell there ends when this program is killed", 20)


WATCHES = """
import time
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.remote.host_watch import HostWatch
watch = HostWatch({"box": Host(connect="ssh://gpu-box", agentless=True)}, lambda: None)
watch.start()
while not watch.states[0].answers:
    time.sleep(0.05)
print("answers", flush=True)
time.sleep(600)
"""


def sessions(listening: int) -> list[str]:
    import psutil

    found = []
    for child in psutil.Process(listening).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(child.name())
    return found


def command(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vllm_studio_tui", *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL)
