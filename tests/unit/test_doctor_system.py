"""The doctor on the terminal, the session and the kernel."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.doctor_ground import bare_ground, on, put
from vllm_studio_tui.domain.check import Check
from vllm_studio_tui.services.doctor import system as doctor_system
from vllm_studio_tui.services.doctor.context import Ground


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return bare_ground(tmp_path)


@pytest.mark.parametrize(
    ("check", "environ", "state"),
    [
        (doctor_system.terminal, {"TERM": "xterm-256color"}, "ok"),
        (doctor_system.terminal, {"TERM": "dumb"}, "warn"),
        (doctor_system.terminal, {}, "warn"),
        (doctor_system.colours, {"TERM": "xterm"}, "warn"),
        (doctor_system.colours, {"TERM": "xterm", "NO_COLOR": "1"}, "ok"),
        (doctor_system.colours, {"TERM": "xterm", "COLORTERM": "truecolor"}, "ok"),
        (doctor_system.colours, {"TERM": "tmux-256color"}, "ok"),
        (doctor_system.locale, {"LANG": "de_DE.utf8"}, "ok"),
        (doctor_system.locale, {"LANG": "C.UTF-8", "LC_ALL": "POSIX"}, "warn"),
        (doctor_system.locale, {}, "warn"),
        (doctor_system.tmux, {}, "ok"),
        (doctor_system.tmux, {"TMUX": "/gone,1,0"}, "warn"),
    ],
)
def test_the_terminal_is_judged_by_its_variables(
    ground: Ground, check: Callable[[Ground], Check], environ: dict[str, str], state: str
) -> None:
    found = check(on(ground, **environ))
    assert found.state == state
    assert (state == "ok") or found.fix


@pytest.mark.parametrize(("features", "state"), [("256,clipboard,title", "ok"), ("256,title", "warn"), ("", "ok")])
def test_tmux_is_asked_for_its_clipboard(ground: Ground, tmp_path: Path, features: str, state: str) -> None:
    answer = f'#!/bin/sh\ncase "$1 $3" in *set-clipboard) echo off;; disp*) echo {features};; *) echo on;; esac\n'
    put(tmp_path / "bin/tmux", answer, 0o700)
    found = doctor_system.tmux(on(ground, TMUX="/run/tmux,1,0"))
    assert (found.state, found.found) == (state, "set-clipboard off, allow-passthrough on")


def test_a_tmux_that_hangs_does_not_hold_the_doctor(ground: Ground, tmp_path: Path) -> None:
    put(tmp_path / "bin/tmux", "#!/bin/sh\nexec /bin/sleep 30\n", 0o700)
    began = time.monotonic()
    assert doctor_system.tmux(on(ground, TMUX="x")).state == "warn"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("limits", "state", "fix"),
    [
        ((1024, 65536), "warn", "ulimit -n 65536"),
        ((1024, 2048), "warn", "limits.conf"),
        ((1024, -1), "warn", "ulimit -n 65536"),
        ((65536, 65536), "ok", ""),
        ((-1, -1), "ok", ""),
    ],
)
def test_open_files_are_judged(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], state: str, fix: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    found = doctor_system.open_files(ground)
    assert found.state == state
    assert fix in found.fix


def test_small_shared_memory_is_warned_of(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_system.shared_memory(ground).state == "warn"
    (ground.root / "dev/shm").mkdir(parents=True)
    for blocks, state in ((16_384, "warn"), (4_000_000, "ok")):
        space = os.statvfs_result((4096, 4096, blocks, blocks, blocks, 1, 1, 1, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda path, space=space: space)
        assert doctor_system.shared_memory(ground).state == state


def test_logging_out_is_safe_unless_logind_kills(ground: Ground, tmp_path: Path) -> None:
    assert doctor_system.logout(ground).state == "ok"
    (ground.root / "run/systemd/system").mkdir(parents=True)
    assert doctor_system.logout(ground).state == "ok"
    put(ground.root / "etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\nKillUserProcesses = yes\n")
    found = doctor_system.logout(ground)
    assert found.state == "fail"
    assert "enable-linger" in found.fix
    put(tmp_path / "bin/loginctl", "#!/bin/sh\necho Linger=yes\n", 0o700)
    assert doctor_system.logout(ground).state == "ok"
    put(tmp_path / "bin/loginctl", "#!/bin/sh\nexit 1\n", 0o700)
    assert doctor_system.logout(ground).state == "fail"


def test_a_drop_in_of_logind_beats_the_main_file(ground: Ground) -> None:
    (ground.root / "run/systemd/system").mkdir(parents=True)
    put(ground.root / "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    put(ground.root / "usr/lib/systemd/logind.conf.d/10.conf", "[Login]\nKillUserProcesses=yes\n")
    put(ground.root / "etc/systemd/logind.conf.d/10.conf", "[Login]\nKillUserProcesses=no\n")
    assert doctor_system.logout(ground).state == "ok"


def test_process_handles_are_tried(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_system.pidfd(ground).state == "ok"

    def refuse(pid: int) -> int:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert doctor_system.pidfd(ground).state == "fail"
