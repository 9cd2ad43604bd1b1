"""The GPUs are read while the screens are imported: one process, whoever asks; plain rows until they are there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.house import until
from tests.terminal.pty_screen import Terminal, environment, studio
from vllm_studio_tui.domain.gpus import GIB, Gpu, GpuReport
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.gpu import early
from vllm_studio_tui.services.watching.sampler import Sampler
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE
from vllm_studio_tui.studio import Studio

KNOWN = {"utilization": 97, "power_draw": 412.0, "power_limit": 700.0, "temperature": 64}
GPUS = (
    Gpu(0, "u", "\x1b]0;owned\x07", 80 * GIB, 71 * GIB, **KNOWN),  # type: ignore[arg-type]
    Gpu(1, "v", "b"),
    Gpu(2, "w", "c", lost="gone"),
)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(SIMULATE, "2")
    monkeypatch.setattr(early, "_early", early._Early())
    yield
    early.end()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", text)


def test_the_rows_say_what_is_known_and_nothing_of_the_drivers_words() -> None:
    text = early.picture(GpuReport(0.0, GPUS), 120, 36)
    head, *rows = [line for line in plain(text).splitlines() if line]
    assert head == "GPUS"
    assert "SIMULATED" in early.picture(GpuReport(0.0, GPUS, simulated=True), 120, 36)
    assert rows[0].split() == ["0", "97%", "71.0", "/", "80.0", "GiB", "412", "/", "700", "W", "64", "C"]
    assert rows[1].split()[1] == "-" and rows[2].endswith("does not answer")
    assert "owned" not in text and "gone" not in text


@pytest.mark.parametrize(("columns", "rows"), [(40, 6), (20, 2), (1, 1), (160, 45)])
def test_the_rows_stay_within_the_terminal(columns: int, rows: int) -> None:
    text = early.picture(GpuReport(0.0, tuple(Gpu(at, "u", "n") for at in range(16))), columns, rows)
    places = [(int(line), int(column)) for line, column in re.findall(r"\x1b\[(\d+);(\d+)H", text)]
    assert len(places) in (min(16, rows), min(16, rows) + 1) and all(line <= rows for line, _ in places)
    assert all(len(line) <= columns for line in plain(text).splitlines())


def test_the_process_is_handed_to_the_sampler_once(fresh: None, tmp_path: Path) -> None:
    early.begin(draw=False)
    until(lambda: early._early.worker is not None, "it was begun")
    mine = early._early.worker
    one = Studio(Places.under(tmp_path))
    sampler = Sampler(one.places, one.bus)
    assert sampler._gpus is mine and early.take() is None
    assert len(sampler.sample().tick.gpus.gpus) == 2
    sampler.close()
    one.close()


def test_a_process_that_nobody_takes_is_ended(fresh: None) -> None:
    early.begin(draw=False)
    until(lambda: early._early.worker is not None, "it was begun")
    worker = early._early.worker
    pid = worker.pid if worker else None
    early.end()
    assert pid is not None
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(), "it ended")


def test_where_nobody_waited_for_it_no_process_stays(fresh: None) -> None:
    early.end()  # before it has begun
    early._read()
    assert early._early.worker is None


def test_the_monitor_is_drawn_over_the_rows_and_the_terminal_is_left_as_it_was(tmp_path: Path) -> None:
    terminal = Terminal(studio("--screen", "monitor"), environment(tmp_path, **{SIMULATE: "2"}))
    try:
        terminal.until("ENGINES")
        raw = bytes(terminal.raw)
        assert raw.index(b"79.6 GiB") < raw.index(b"ENGINES")
        terminal.until(lambda text: "H100" in text and "79.6 GiB" in text)
        terminal.send("ctrl+c", "ctrl+c")
        terminal.wait()
        assert bytes(terminal.raw).rindex(b"\x1b[?1049l") > bytes(terminal.raw).rindex(b"\x1b[?1049h")
    finally:
        terminal.close()


def test_another_command_of_the_same_name_begins_no_picture(tmp_path: Path) -> None:
    terminal = Terminal(studio("monitor", "--help"), environment(tmp_path, **{SIMULATE: "2"}))
    try:
        terminal.wait()
        raw = bytes(terminal.raw)
        # What was drawn before it was known is taken away again.
        assert raw.count(b"\x1b[?1049h") == raw.count(b"\x1b[?1049l")
    finally:
        terminal.close()


def test_nothing_is_drawn_where_there_is_no_terminal(fresh: None, capfd: pytest.CaptureFixture[str]) -> None:
    early.begin(draw=True)
    early._early.answered.wait(20)
    assert capfd.readouterr().out == ""
    assert os.environ[SIMULATE]
