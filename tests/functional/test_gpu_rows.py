"""What a GPU's row says, from the driver's answers to the screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.stage import bare, snapshot, staged
from vllm_studio_tui.domain.gpus import GIB, Gpu, GpuProcess, GpuReport, Throttle
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.probes.gpu import protocol
from vllm_studio_tui.probes.gpu.nvml import NvmlReader
from vllm_studio_tui.probes.gpu.validation import THROTTLE
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.paint.gpu_columns import SLOWED
from vllm_studio_tui.tui.paint.gpu_owners import owners
from vllm_studio_tui.tui.paint.gpus import table
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.head import state_row


@pytest.fixture(autouse=True)
def _fresh_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation._Library, "scenario", None)


def read(monkeypatch: pytest.MonkeyPatch, text: str) -> GpuReport:
    """The GPUs as the worker's parent gets them."""
    monkeypatch.setenv(SIMULATE, text)
    return protocol.load(protocol.dump(NvmlReader().read(), 1))[1]


def shows(report: GpuReport, whole: Callable[[Path], Snapshot] = snapshot) -> Callable[[Path], Snapshot]:
    def make(folder: Path) -> Snapshot:
        made = whole(folder)
        return replace(made, tick=replace(made.tick, gpus=report))

    return make


@pytest.mark.parametrize("place", ["dashboard", "monitor"])
@pytest.mark.parametrize("size", [(160, 45), (120, 36), (80, 24)])
async def test_a_gpu_that_the_driver_slows_down_is_shown_as_slowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, size: tuple[int, int]
) -> None:
    report = read(monkeypatch, "2,fault=throttle:1")
    assert report.gpus[1].throttle == (Throttle.POWER_CAP, Throttle.SOFTWARE_THERMAL)
    async with staged(tmp_path, place=place, shown=shows(report, bare), size=size) as stage:
        whole = "power limit" if place == "monitor" else "slowed: power limit"  # there it has a column
        assert (whole if size[0] == 160 else "slowed") in stage.text()


async def test_where_there_is_no_room_for_words_a_mark_says_that_it_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = read(monkeypatch, "2,fault=throttle:1")
    for size in (Size.COMPACT, Size.STRIP):
        rows = "\n".join(row.text() for row in table(report, (), UNICODE, 60, size))
        assert rows.count("!") == 1


def test_every_reason_of_the_driver_has_words_on_the_screen() -> None:
    assert {name for _, name in THROTTLE} == set(Throttle) == set(SLOWED)


def gpu(index: int, used: int | None, **values: object) -> Gpu:
    return replace(Gpu(index, f"GPU-{index}", "H100", 80 * GIB, used, memory_reserved=GIB), **values)  # type: ignore[arg-type]


async def test_only_a_gpu_of_which_nobody_holds_memory_is_free(tmp_path: Path) -> None:
    report = GpuReport(
        0.0,
        (
            gpu(0, 0),
            gpu(1, 65 * GIB),
            gpu(2, None),
            gpu(3, None, lost="GPU is lost"),
            gpu(4, 0, processes=(GpuProcess(77, "bob", "python", None),)),
            gpu(5, 2 * GIB),
            gpu(6, 0, processes=(GpuProcess(78, "ada", "vllm", None, "run-that-is-forgotten"),)),
        ),
    )
    assert [one.free for one in report.gpus] == [True, False, None, None, False, False, False]
    async with staged(tmp_path, place="monitor", shown=shows(report, bare)) as stage:
        text = stage.text()
    assert len(re.findall(r"^ *\d .*\bfree\b", text, re.MULTILINE)) == 1  # of the rows of GPUs
    for words in (
        "65.0 GiB in use",
        "memory unknown",
        "not answering: GPU is lost",
        "bob, pid 77",
        "ada, pid 78",
    ):
        assert words in text


async def test_the_gpu_of_a_failed_run_whose_memory_is_held_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = read(monkeypatch, "1,busy=0")

    def failed(folder: Path) -> Snapshot:
        made = snapshot(folder)
        return replace(made, runs=tuple(run for run in made.runs if run.state is State.FAILED))

    async with staged(tmp_path, place="dashboard", shown=shows(report, failed)) as stage:
        assert "free" not in next(line for line in stage.text().splitlines() if "GiB" in line and "%" in line)
        assert "bob, pid" in stage.text()


async def test_values_of_a_gpu_that_tells_nothing_new_are_marked_as_old(tmp_path: Path) -> None:
    report = GpuReport(0.0, (gpu(0, 0, utilization=7, stale=20.0), gpu(1, 0, utilization=8)))
    async with staged(tmp_path, place="monitor", shown=shows(report, bare)) as stage:
        assert "~7%" in stage.text()
        assert "~8%" not in stage.text()


@pytest.mark.parametrize(("claims", "process"), [(("GPU-8932f",), None), ((), "qwen3-32b-1")])
def test_a_run_has_its_gpus_by_whatever_name_it_claims_them_and_those_it_is_seen_on(
    tmp_path: Path, claims: tuple[str, ...], process: str | None
) -> None:
    run = snapshot(tmp_path).runs[0]
    assert run.spec is not None
    run = replace(run, spec=replace(run.spec, gpus=claims))
    here = GpuProcess(77, "ada", "vllm", None, process)
    report = GpuReport(0.0, (gpu(0, 0, uuid="GPU-aaaa"), gpu(1, GIB, uuid="GPU-8932f937", processes=(here,))))
    assert [run in [one.run for one in whose] for whose in owners(report, (run,)).values()] == [False, True]
    page = PageFacts(RunFacts(run), UNICODE, Size.FULL, 160, 45, 0.0, gpus=report)
    assert page.gpu_names() == ("1",)
    assert "GPU 1 " in state_row(page).text()
    assert replace(page, gpus=None).gpu_names() == claims


@pytest.mark.parametrize(
    ("size", "words"), [((160, 45), "Xid 94: memory error"), ((120, 36), "Xid 94"), ((60, 15), "!")]
)
async def test_an_error_of_a_gpu_is_shown_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], words: str
) -> None:
    report = read(monkeypatch, "2,fault=xid:1")
    async with staged(tmp_path, place="monitor", shown=shows(report, bare), size=size) as stage:
        assert words in stage.text()


async def test_what_goes_over_the_bus_has_a_column_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = (Gpu(0, "a", "H100", pcie_rx=5.1e9, pcie_tx=1e9, utilization=9), Gpu(1, "b", "H100", utilization=8))
    report = GpuReport(0.0, gpus)
    async with staged(tmp_path, place="monitor", shown=shows(report, bare), size=(160, 45)) as stage:
        assert "6.1 GB/s" in stage.text()


async def test_a_gpu_that_is_divided_says_into_how_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = read(monkeypatch, "2,fault=mig:1")
    async with staged(tmp_path, place="monitor", shown=shows(report, bare), size=(160, 45)) as stage:
        assert "2 parts (MIG), free" in stage.text()
