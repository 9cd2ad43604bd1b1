"""The script that looks at a host without a studio, in every shell that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.smi import write_smi
from vllm_studio_tui.backends.registry import backends
from vllm_studio_tui.remote.agentless import script
from vllm_studio_tui.remote.agentless.engines import command_words
from vllm_studio_tui.remote.agentless.frames import Frame, Frames
from vllm_studio_tui.remote.agentless.view import HostView

KINDS = list(backends().values())


@contextmanager
def running(shell: list[str], path: str, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], Frames]]:
    process_ = subprocess.Popen(
        [*shell, script.LOADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PATH": path, **more},
    )  # fmt: skip
    try:
        assert process_.stdin is not None
        process_.stdin.write(script.script_of("n", command_words(KINDS)))
        process_.stdin.flush()
        yield process_, Frames("n")
    finally:
        process_.kill()
        process_.wait()
        for stream in (process_.stdin, process_.stdout, process_.stderr):
            assert stream is not None
            stream.close()


def ask(process_: subprocess.Popen[bytes], frames: Frames, words: str) -> Frame:
    assert process_.stdin is not None and process_.stdout is not None
    process_.stdin.write(f"{words}\n".encode())
    process_.stdin.flush()
    while True:
        data = os.read(process_.stdout.fileno(), 65536)
        assert data, frames.noise
        for found in frames.feed(data):
            return found


def busybox(folder: Path) -> str:
    """A folder with nothing but the programs of busybox, which has a shell of its own."""
    folder.mkdir()
    program = shutil.which("busybox")
    assert program is not None
    for name in ("sh", "grep", "head", "sed", "ps", "sleep", "printf", "cat", "timeout", "wget"):
        (folder / name).symlink_to(program)
    return str(folder)


SHELLS = [one for one in ("dash", "bash", "busybox") if shutil.which(one)]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], str]:
    if request.param == "busybox":
        path = busybox(tmp_path / "busybox")
        return [f"{path}/sh", "-c"], path
    folder = tmp_path / "shell"
    folder.mkdir()
    (folder / "sh").symlink_to(str(shutil.which(request.param)))
    return [f"{folder}/sh", "-c"], f"{folder}:/usr/bin:/bin"


def test_the_script_answers_in_any_shell_and_asks_nvidia_smi_for_columns_that_it_knows(
    shell: tuple[list[str], str], tmp_path: Path
) -> None:
    programs = tmp_path / "smi"
    for unknown, query in (
        ((), script.QUERIES[0]),
        (("clocks_event_reasons.active", "mig.mode.current", "clocks_throttle_reasons.active"), script.QUERIES[2]),
    ):
        write_smi(programs, "h100_load", "h200_idle", apps=[(0, os.getpid())], unknown=unknown)
        with running(shell[0], f"{programs}:{shell[1]}") as (process_, frames):
            view = HostView(KINDS)
            first = ask(process_, frames, "1 1")
            assert next(first.named("nvidia")).words == (query,)
            found = view.take(first)
            assert [one.name for one in found.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA H200"]
            assert found.gpus[0].power_draw == 631.95
            assert found.uptime is not None and found.ram_total is not None and found.cores == os.cpu_count()
            assert view._apps == {os.getpid(): {0}}
            assert view._parents[os.getpid()] == os.getppid()
            again = ask(process_, frames, "2 0")
            assert next(again.named("apps"), None) is None
            assert process_.stdin is not None
            process_.stdin.close()
            assert process_.wait(10) is not None, "it ends with its input"


def test_the_script_ends_by_itself_when_nobody_asks_any_more(
    shell: tuple[list[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ALONE", 2)
    monkeypatch.setattr(script, "STEP", 1)
    with running(*shell) as (process_, frames):
        for serial in range(1, 5):
            assert ask(process_, frames, f"{serial} 0").serial == serial
            time.sleep(1.0)  # what is looked at is that it lives for longer than `ALONE`
        assert process_.poll() is None
        assert process_.wait(20) is not None


def test_a_hung_nvidia_smi_is_ended_and_said(
    shell: tuple[list[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(script, "SMI", 1)
    write_smi(tmp_path / "smi", "h100_load", seconds=60)
    with running(shell[0], f"{tmp_path / 'smi'}:{shell[1]}") as (process_, frames):
        found = HostView(KINDS).take(ask(process_, frames, "1 0"))
    assert "gave no answer within" in found.gpu_error
    assert found.trouble == "GPUs cannot be read"
