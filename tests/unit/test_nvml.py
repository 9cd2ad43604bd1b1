"""Reading GPUs, with simulated ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.gpus import GpuProcess, GpuReport
from vllm_studio_tui.probes.gpu import device, validation
from vllm_studio_tui.probes.gpu.nvml import FAILURES, RETRY_OPEN, NvmlReader
from vllm_studio_tui.probes.gpu.processes import ProcessNames, command_of
from vllm_studio_tui.simulation import gpus as simulated_gpus
from vllm_studio_tui.simulation import kinds as kinds_of
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.kinds import EPOCH, KINDS
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE

#: Untyped where it comes from.
REAL_ERROR: Any = pynvml.NVMLError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[[str], NvmlReader]:
    def make(text: str) -> NvmlReader:
        monkeypatch.setenv(SIMULATE, text)
        monkeypatch.setattr(simulation._Library, "scenario", None)
        monkeypatch.setattr(simulation._Library, "uninitialized_once", False)
        return NvmlReader(monotonic=clock)

    return make


Make = Callable[[str], NvmlReader]


def test_the_simulation_stands_in_for_the_library() -> None:
    """Names, codes and classes are the library's own, else it would hide what the reader does wrong."""
    ours = [name for name in vars(simulation) if name.startswith(("nvml", "NVML"))]
    assert len(ours) > 40
    for name in ours:
        theirs = getattr(pynvml, name)
        if isinstance(getattr(simulation, name), int):
            assert getattr(simulation, name) == theirs, name
    for code in simulation.CLASSES:
        assert type(simulation.NVMLError(code)).__name__ == type(REAL_ERROR(code)).__name__
        assert str(simulation.NVMLError(code)) == str(REAL_ERROR(code))


def test_every_value_is_read_in_its_unit(reader: Make) -> None:
    report = reader("2").read()
    assert (report.error, report.simulated, report.driver, report.cuda) == (None, True, "580.95.05", "13.0")
    assert [gpu.index for gpu in report.gpus] == [0, 1]
    gpu = report.gpus[1]
    assert gpu.uuid == simulated_gpus.uuid(1)
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert gpu.memory_total == simulated_gpus.MEMORY_TOTAL
    assert gpu.memory_used is not None and 0 < gpu.memory_used < gpu.memory_total
    assert gpu.memory_reserved == simulated_gpus.MEMORY_RESERVED
    assert gpu.power_limit == 700.0
    assert gpu.power_draw is not None and 50 < gpu.power_draw < 700
    assert gpu.utilization is not None and 0 <= gpu.utilization <= 100
    assert gpu.temperature is not None and 20 < gpu.temperature < 100
    assert (gpu.compute_capability, gpu.pci_bus, gpu.mig) == ("9.0", "00000000:11:00.0", False)
    assert (gpu.throttle, gpu.lost) == ((), None)
    assert gpu.sm_clock and gpu.memory_clock and gpu.fan


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_of_gpu_is_what_its_driver_tells(reader: Make, kind: str) -> None:
    gpu = reader(f"2,kind={kind}").read().gpus[1]
    made = KINDS[kind]
    assert (gpu.name, gpu.memory_total, gpu.power_limit) == (made.name, made.memory, made.watts)
    assert gpu.compute_capability == f"{made.capability[0]}.{made.capability[1]}"
    assert gpu.power_draw is not None and 0 < gpu.power_draw < made.watts
    assert gpu.memory_used is not None and gpu.memory_used < made.memory


@pytest.mark.parametrize(
    ("machine", "asked"),
    [
        ("8xh100", "8,kind=h100"),
        ("RTX4090", "1,kind=rtx4090"),
        (" 2xl40s ", "2,kind=l40s"),
        ("none", "1,fault=nodriver"),
        ("17xh100", None),
        ("0xh100", None),
        ("xh100", None),
        ("8x", None),
        ("", None),
        ("gtx", None),
        ("\u0663xh100", None),
        ("9" * 5000 + "xh100", None),
    ],
)
def test_a_machine_is_named_by_its_gpus(machine: str, asked: str | None) -> None:
    assert kinds_of.machine(machine) == asked
    if asked is not None:
        assert simulated_gpus.scenario(asked).count >= 1


def test_energy_is_the_integral_of_power() -> None:
    at, seconds, steps = EPOCH + 12_345.6, 600.0, 60_000
    for index in (0, 3, 15):
        width = seconds / steps
        joules = sum(simulated_gpus.power_w(index, at + (n + 0.5) * width) for n in range(steps)) * width
        counted = simulation.energy_mj(index, at + seconds) - simulation.energy_mj(index, at)
        assert counted == pytest.approx(joules * 1000, rel=1e-6)


@given(st.integers(0, 15), st.floats(0, 1e9), st.floats(0, 1e4))
def test_energy_never_goes_back(index: int, start: float, later: float) -> None:
    at = EPOCH + start
    assert simulation.energy_mj(index, at + later) >= simulation.energy_mj(index, at)


def test_two_processes_see_the_same_energy() -> None:
    code = (
        "from vllm_studio_tui.simulation import nvml; nvml.clock = lambda: 1800000000.25; nvml.nvmlInit();"
        "print(nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByIndex(2)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, SIMULATE: "3"}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == simulation.energy_mj(2, 1800000000.25)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("x", "'x'"),
        ("0", "'0'"),
        ("17", "'17'"),
        ("2,fault=melted", "fault=melted"),
        ("2,fault=lost:2", "lost:2"),
        ("2,fault=lost", "fault=lost"),
        ("2,fault=hang:0:soon", "hang:0:soon"),
        ("2,colour=red", "colour=red"),
        ("2,process=0:x", "process=0:x"),
    ],
)
def test_an_unknown_piece_of_the_simulation_is_named(reader: Make, text: str, piece: str) -> None:
    report = reader(text).read()
    assert report.gpus == ()
    assert report.error is not None and piece in report.error
    assert report.advice


@given(st.text(max_size=60))
def test_any_text_is_a_scenario_or_an_error(text: str) -> None:
    try:
        scenario = simulated_gpus.scenario(text)
    except simulated_gpus.SimulationError as error:
        assert SIMULATE in str(error)
    else:
        assert 1 <= scenario.count <= simulated_gpus.MAX_GPUS


@pytest.mark.parametrize(
    ("fault", "code"), [("nodriver", 12), ("notloaded", 9), ("mismatch", 18), ("nopermission", 4), ("blocked", 17)]
)
def test_a_driver_that_cannot_be_used_is_explained(reader: Make, fault: str, code: int) -> None:
    report = reader(f"2,fault={fault}").read()
    assert (report.error, report.advice) == FAILURES[code]
    assert report.gpus == ()


def test_without_a_driver_the_real_library_is_explained_too(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    def refuse() -> None:
        raise REAL_ERROR(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.delenv(SIMULATE, raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    report = NvmlReader(monotonic=clock).read()
    assert (report.error, report.simulated) == (FAILURES[12][0], False)


def test_a_failed_driver_is_tried_again_after_a_while(
    reader: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = reader("2,fault=notloaded")
    assert one.read().error
    monkeypatch.setenv(SIMULATE, "2")
    assert one.read().error
    clock.now += RETRY_OPEN
    assert len(one.read().gpus) == 2


def test_a_lost_gpu_leaves_the_others_alone_and_is_tried_slowly(
    reader: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = reader("3")
    assert all(gpu.lost is None for gpu in one.read().gpus)
    simulation._Library.scenario = simulated_gpus.scenario("3,fault=lost:1")
    gpus = one.read().gpus
    assert [gpu.lost for gpu in gpus] == [None, "GPU is lost", None]
    assert (gpus[1].uuid, gpus[1].name) == (simulated_gpus.uuid(1), "NVIDIA H100 80GB HBM3")
    assert (gpus[1].utilization, gpus[1].memory_used, gpus[1].processes) == (None, None, ())
    assert gpus[2].utilization is not None
    simulation._Library.scenario = simulated_gpus.scenario("3")
    assert one.read().gpus[1].lost
    clock.now += device.RETRY_LOST
    assert one.read().gpus[1].lost is None


@pytest.mark.parametrize(("fault", "text"), [("reset", "GPU requires restart"), ("unknown", "Unknown Error")])
def test_a_gpu_that_was_never_seen_is_lost_under_its_index(reader: Make, fault: str, text: str) -> None:
    gpu = reader(f"2,fault={fault}:1").read().gpus[1]
    assert (gpu.index, gpu.uuid, gpu.name, gpu.lost) == (1, "", "GPU 1", text)


def test_what_a_gpu_does_not_tell_is_unknown_and_asked_once(reader: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = reader("2,fault=nopower:1,fault=nofan:1")
    asked: list[int] = []
    real = simulation.nvmlDeviceGetPowerUsage

    def power(handle: simulation.Device) -> int:
        asked.append(handle.index)
        return real(handle)

    monkeypatch.setattr(simulation, "nvmlDeviceGetPowerUsage", power)
    for _ in range(3):
        gpus = one.read().gpus
    assert (gpus[1].power_draw, gpus[1].power_limit, gpus[1].energy_mj, gpus[1].fan) == (None,) * 4
    assert gpus[0].power_draw is not None
    assert asked.count(1) == 1
    assert asked.count(0) == 3


def test_the_parts_of_a_divided_gpu_are_told(reader: Make) -> None:
    gpus = reader("2,busy=0,fault=mig:0").read().gpus
    first, second = gpus[0].mig_devices
    assert (first.name, second.name) == ("3g.40gb", "1g.10gb")
    assert first.uuid.startswith("MIG-") and first.uuid != second.uuid
    assert first.memory_used is not None and first.memory_total is not None
    assert 0 < first.memory_used <= first.memory_total < simulated_gpus.MEMORY_TOTAL
    assert first.processes == (gpus[0].processes[0].pid,) and second.processes == ()
    assert gpus[0].processes[0].sm is None  # a divided GPU does not tell
    assert gpus[1].mig_devices == ()


def test_links_memory_and_errors_are_told_in_their_units(reader: Make, clock: Clock) -> None:
    one = reader("2,busy=1,fault=ecc:1,fault=narrow:1")
    first = one.read().gpus[1]
    assert (first.pcie_generation, first.pcie_width, first.performance_state) == (5, 4, 0)
    assert (first.ecc_corrected, first.ecc_uncorrected) == (14, 2)
    assert first.memory_temperature == (first.temperature or 0) + 7
    assert (first.nvlink_rx, first.pcie_rx) == (None, None)  # not known by one reading, and not its turn
    process = first.processes[0]
    assert process.kind == "both" and process.sm is not None and process.sm == first.utilization
    clock.now += 5
    then = one.read().gpus[1]
    assert then.nvlink_tx is not None and then.nvlink_tx >= 0
    assert then.pcie_tx is not None and then.pcie_tx > 0


def test_a_consumer_card_without_these_says_nothing_of_them(reader: Make, clock: Clock) -> None:
    one = reader("1,kind=rtx4090")
    one.read()
    clock.now += 5
    gpu = one.read().gpus[0]
    assert (gpu.memory_temperature, gpu.nvlink_rx, gpu.ecc_corrected) == (None, None, None)
    assert (gpu.performance_state, gpu.pcie_generation, gpu.lost) == (8, 4, None)


def test_what_takes_the_driver_long_is_read_in_turns(
    reader: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = reader("8")
    asked: list[int] = []
    real = simulation.nvmlDeviceGetPcieThroughput

    def counting(handle: simulation.Device, way: int) -> int:
        asked.append(handle.index)
        return real(handle, way)

    monkeypatch.setattr(simulation, "nvmlDeviceGetPcieThroughput", counting)
    each = []
    for _ in range(12):
        asked.clear()
        one.read()
        each.append(len(set(asked)))
        clock.now += 1
    assert each[0] == 0 and max(each) == 2 and sum(each[1:6]) == 8 and sum(each[6:11]) == 8
    one.read(thorough=True)
    assert all(gpu.pcie_rx is not None for gpu in one.read().gpus)


def test_errors_in_the_log_come_with_their_gpu(reader: Make) -> None:
    gpus = reader("3,fault=xid:0,fault=lost:1").read().gpus
    assert [[one.code for one in gpu.xids] for gpu in gpus] == [[31, 94], [79], []]


def test_mig_is_seen_and_has_no_utilization(reader: Make) -> None:
    gpu = reader("1,fault=mig:0").read().gpus[0]
    assert (gpu.mig, gpu.utilization, gpu.memory_utilization) == (True, None, None)
    assert gpu.memory_used is not None


def test_an_old_driver_is_asked_by_its_old_names(reader: Make) -> None:
    gpu = reader("1,fault=old").read().gpus[0]
    assert gpu.memory_reserved is None
    assert gpu.memory_used is not None and gpu.memory_used > simulated_gpus.MEMORY_RESERVED
    assert gpu.temperature is not None


def test_a_value_that_times_out_is_kept_for_a_while(reader: Make, clock: Clock) -> None:
    one = reader("1,fault=timeout:0")
    first = one.read().gpus[0].utilization
    assert first is not None
    clock.now += 1
    assert one.read().gpus[0].utilization == first  # this one timed out
    one.read()
    clock.now += device.KEEP
    assert one.read().gpus[0].utilization is None  # so did this, and the last is too old


def test_an_uninitialized_library_is_opened_once_more(reader: Make) -> None:
    one = reader("2,fault=uninitialized")
    assert len(one.read().gpus) == 2
    simulation._Library.scenario = None  # the driver was reloaded under us
    assert len(one.read().gpus) == 2


def test_only_real_slow_downs_are_named(reader: Make) -> None:
    gpus = reader("2,fault=throttle:1").read().gpus
    assert gpus[0].throttle == ()
    assert gpus[1].throttle == ("power cap", "software thermal")


def test_processes_are_listed_once_with_their_owner_and_run(reader: Make) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "input()", "--api-key", "sk-secret", "--max-tokens", "7"],
        stdin=subprocess.PIPE,
        env={**os.environ, "VLLM_STUDIO_RUN": "run-7"},
    )
    try:
        one = reader(f"2,busy=1,process=0:{child.pid}:2048,process=0:{os.getpid()}")
        gpus = one.read().gpus
        found = {process.pid: process for process in gpus[0].processes}
        assert set(found) == {child.pid, os.getpid()}
        mine = found[child.pid]
        assert mine.gpu_memory == 2048 * 1024 * 1024
        assert mine.user
        assert mine.run_id == "run-7"
        assert mine.command is not None
        assert "sk-secret" not in mine.command
        assert mine.command.endswith("--api-key **** --max-tokens 7")
        assert found[os.getpid()].gpu_memory is None
        assert (gpus[1].processes[0].user, gpus[1].processes[0].run_id) == ("bob", None)  # an invented process
        assert one.read(processes=False).gpus[0].processes == gpus[0].processes
    finally:
        child.communicate(b"\n")


def test_a_process_number_that_is_used_again_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm_studio_tui.probes.gpu import processes

    starts = iter([5, 5, 9])
    commands = iter(["first", "second"])
    monkeypatch.setattr(processes, "start_ticks", lambda pid: next(starts))
    monkeypatch.setattr(processes, "describe", lambda pid: GpuProcess(pid, command=next(commands)))
    names = ProcessNames()
    found = []
    for _ in range(3):
        on_two = [names([GpuProcess(7)])[0].command for _ in range(2)]  # it is looked at once in a reading
        assert on_two[0] == on_two[1]
        found.append(on_two[0])
        names.forget()
    assert found == ["first", "first", "second"]


def test_workers_that_erase_their_argv_keep_a_name() -> None:
    assert command_of(["VLLM::Worker", "", "", ""], "python") == "VLLM::Worker"
    assert command_of(["", ""], "python3") == "python3"
    assert command_of(["vllm", "serve", "--hf-token=hf_x"], "vllm") == "vllm serve --hf-token=****"


def test_missing_rights_on_processes_are_no_failure(reader: Make) -> None:
    gpu = reader("1,fault=noprocesses:0").read().gpus[0]
    assert (gpu.processes, gpu.lost) == ((), None)
    assert gpu.memory_used is not None


def test_names_from_the_driver_are_kept_raw_and_bounded(reader: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b]0;owned\x07" in reader("1,fault=hostile:0").read().gpus[0].name
    monkeypatch.setattr(simulation, "nvmlDeviceGetName", lambda handle: b"\xff" * 1000)
    assert len(reader("1").read().gpus[0].name) == validation.MAX_TEXT


def test_a_driver_without_gpus_says_so(reader: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "nvmlDeviceGetCount", lambda: 0)
    report = reader("1").read()
    assert (report.gpus, report.error) == ((), "The NVIDIA driver reports no GPU")


def test_an_older_package_without_some_functions_still_reads(reader: Make, clock: Clock) -> None:
    reader("1")
    missing = {"nvmlDeviceGetTemperatureV", "nvmlMemory_v2", "nvmlDeviceGetCurrentClocksEventReasons"}
    older = SimpleNamespace(**{k: v for k, v in vars(simulation).items() if k not in missing})
    gpu = NvmlReader(older, monotonic=clock).read().gpus[0]
    assert gpu.temperature is not None
    assert gpu.memory_used is not None and gpu.memory_reserved is None


@given(st.sets(st.sampled_from(sorted(simulated_gpus.GPU_FAULTS))), st.integers(1, 4))
def test_any_mix_of_faults_gives_a_report_of_every_gpu(faults: set[str], count: int) -> None:
    text = ",".join([str(count), *(f"fault={fault}:0" for fault in sorted(faults))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SIMULATE, text)
        patch.setattr(simulation._Library, "scenario", None)
        report: GpuReport = NvmlReader().read()
    assert len(report.gpus) == count
    assert bool(report.gpus[0].lost) == bool(faults & {"lost", "reset", "unknown"})
    assert all(gpu.lost is None and gpu.utilization is not None for gpu in report.gpus[1:])


def test_energies_are_chosen_by_index_and_uuid(reader: Make) -> None:
    one = reader("4,fault=nopower:1,fault=lost:2")
    counts, error = one.energies()
    assert error is None
    assert set(counts) == {simulated_gpus.uuid(0), simulated_gpus.uuid(3)}
    assert set(one.energies(["3", "9"])[0]) == {simulated_gpus.uuid(3)}
    assert set(one.energies([simulated_gpus.uuid(0)])[0]) == {simulated_gpus.uuid(0)}
    assert reader("2,fault=mismatch").energies() == ({}, FAILURES[18][0])


def test_closing_lets_the_library_go(reader: Make) -> None:
    one = reader("1")
    one.read()
    one.close()
    assert simulation._Library.scenario is None
    one.close()


def test_reading_gpus_loads_nothing_heavy() -> None:
    code = (
        "import sys, vllm_studio_tui.probes.gpu.nvml;"
        "print([m for m in ('asyncio', 'pydantic', 'typer', 'pynvml', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
