"""Every function of NVML may be missing, refused, slow or lying by itself: it costs its own column and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process.house import until
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.probes.gpu import device, validation, values
from vllm_studio_tui.probes.gpu.nvml import NvmlReader
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.kinds import EPOCH
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE

MISMATCH: Any = pynvml.NVMLLibraryMismatchError
AT = EPOCH + 1000.0

#: The functions of one GPU, with the fields that are known by them alone.
COLUMNS: dict[str, set[str]] = {}
for _value in values.VALUES:
    for _function, *_ in _value.calls:
        if not _function.endswith("_v2"):
            _own = {_value.key} if _value.fields is None else {*_value.fields} or {"processes"}
            COLUMNS.setdefault(_function, set()).update(_own)
#: Those that are not needed while another one tells the same.
SPARE = {one[0] for value in values.VALUES for one in value.calls[1:]} - {one.calls[0][0] for one in values.VALUES}
SPARE |= {"nvmlDeviceGetGraphicsRunningProcesses"}
#: Asked only of a GPU that is divided.
DIVIDED = "nvmlDeviceGetMaxMigDeviceCount"
SYSTEM = ("nvmlDeviceGetCount", "nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion_v2", "nvmlShutdown")
SENTINELS = [2**width - 1 for width in (8, 16, 31, 32, 63, 64)] + [-1, -(2**15), -(2**31), -(2**63), 1.8e19]
NONSENSE: list[Any] = [None, "text", b"bytes", [], (), {}, object(), True, float("nan"), float("inf"), [[]], ("a", "b")]


def odd(number: Any) -> SimpleNamespace:
    """A record in which every number that is asked for is this one."""
    names = ("total", "used", "reserved", "free", "gpu", "memory", "pid", "usedGpuMemory", "busId")
    return SimpleNamespace(**dict.fromkeys(names, number))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "2,busy=0,busy=1,fault=throttle:0")
    monkeypatch.setattr(simulation._Library, "scenario", None)
    monkeypatch.setattr(simulation, "clock", lambda: AT)


def library(**functions: Any) -> SimpleNamespace:
    """The simulation with some functions replaced; None takes one away."""
    whole = {**vars(simulation), **functions}
    return SimpleNamespace(**{name: one for name, one in whole.items() if one is not None})


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


def faults() -> Iterator[tuple[str, Any]]:
    """Names and stand-ins for a function."""
    yield "missing", None
    for code in sorted(simulation.CLASSES):
        yield f"NVMLError {code}", raises(simulation.NVMLError(code))
    for error in (MISMATCH("mismatch"), AttributeError("x"), OSError("x"), ValueError("x"), TypeError(), KeyError(1)):
        yield type(error).__name__, raises(error)
    yield "UnicodeDecodeError", raises(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"))
    for number in SENTINELS:
        yield f"returns {number}", lambda *_, number=number: number
        yield f"returns a record of {number}", lambda *_, number=number: odd(number)
        yield f"returns a list of {number}", lambda *_, number=number: [odd(number), number]
        yield f"returns a pair of {number}", lambda *_, number=number: (number, number)
    for value in NONSENSE:
        yield f"returns {value!r:.20}", lambda *_, value=value: value
        yield f"returns a record of {value!r:.20}", lambda *_, value=value: odd(value)


FAULTS = dict(faults())


def others(gpu: Gpu, own: set[str]) -> dict[str, Any]:
    """What a GPU tells, without some fields."""
    return {one.name: getattr(gpu, one.name) for one in fields(gpu) if one.name not in own | {"trouble"}}


def believable(gpu: Gpu) -> None:
    for share in (gpu.utilization, gpu.memory_utilization, gpu.fan):
        assert share is None or 0 <= share <= 100
    assert gpu.temperature is None or -50 <= gpu.temperature <= 150
    for size in (gpu.memory_total, gpu.memory_used, gpu.memory_reserved):
        assert size is None or 0 <= size <= validation.MAX_MEMORY
    assert gpu.memory_total is None or gpu.memory_used is None or gpu.memory_used <= gpu.memory_total
    for watts in (gpu.power_draw, gpu.power_limit):
        assert watts is None or 0 <= watts < 20_000
    for clock in (gpu.sm_clock, gpu.memory_clock):
        assert clock is None or 0 <= clock < 60_000
    assert gpu.energy_mj is None or (gpu.energy_mj >= 0 and gpu.energy_mj not in validation.SENTINELS)
    for process in gpu.processes:
        assert process.pid > 0
        assert process.gpu_memory is None or 0 <= process.gpu_memory <= validation.MAX_MEMORY
    assert isinstance(gpu.name, str) and isinstance(gpu.uuid, str)


def test_each_field_of_a_gpu_is_read_by_one_value() -> None:
    filled = [name for value in values.VALUES for name in ((value.key,) if value.fields is None else value.fields)]
    assert len(filled) == len(set(filled))
    # The rest is about the reading itself; the processes come from two lists together.
    rest = {"index", "lost", "trouble", "stale", "processes", "vendor", "xids"}
    assert {one.name for one in fields(Gpu)} == {*filled, *rest}


@pytest.mark.parametrize("function", COLUMNS)
def test_a_function_that_fails_costs_its_own_column(function: str) -> None:
    healthy = NvmlReader(library()).read(thorough=True)
    assert healthy.gpus[0].throttle and healthy.gpus[0].processes
    for name, stand_in in FAULTS.items():
        report = NvmlReader(library(**{function: stand_in})).read(thorough=True)
        assert (report.error, report.advice, len(report.gpus)) == (None, None, 2), name
        for found, good in zip(report.gpus, healthy.gpus, strict=True):
            assert others(found, COLUMNS[function]) == others(good, COLUMNS[function]), name
            believable(found)


@pytest.mark.parametrize("function", COLUMNS)
@pytest.mark.parametrize("number", [2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, -(2**31), -(2**63)])
def test_a_sentinel_is_not_available(function: str, number: int) -> None:
    for told in (number, odd(number), (number, number), [odd(number)]):
        report = NvmlReader(library(**{function: lambda *_, told=told: told})).read()
        for column in COLUMNS[function] - {"uuid", "name", "processes", "throttle", "temperature", "mig_devices"}:
            assert getattr(report.gpus[0], column) is None, told
        if function == "nvmlDeviceGetComputeRunningProcesses":
            assert {process.gpu_memory for process in report.gpus[0].processes} <= {None}


@pytest.mark.parametrize(
    ("column", "function", "told"),
    [
        ("utilization", "nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=101, memory=50)),
        ("memory_utilization", "nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=50, memory=101)),
        ("fan", "nvmlDeviceGetFanSpeed", 101),
        ("temperature", "nvmlDeviceGetTemperatureV", 255),
        ("temperature", "nvmlDeviceGetTemperatureV", -274),
        ("memory_total", "nvmlDeviceGetMemoryInfo", SimpleNamespace(total=2**50, used=1, reserved=0)),
        ("memory_used", "nvmlDeviceGetMemoryInfo", SimpleNamespace(total=2**30, used=2**31, reserved=0)),
        ("sm_clock", "nvmlDeviceGetClockInfo", 65_535),
    ],
)
def test_what_no_gpu_can_have_is_not_believed(column: str, function: str, told: Any) -> None:
    stand_ins = {function: lambda *_: told}
    if function == "nvmlDeviceGetTemperatureV":
        stand_ins["nvmlDeviceGetTemperature"] = lambda *_: told
    assert getattr(NvmlReader(library(**stand_ins)).read().gpus[0], column) is None


@pytest.mark.parametrize("function", [*SYSTEM, values.HANDLE])
def test_a_function_of_the_whole_driver_that_fails_hides_no_gpu(function: str) -> None:
    for name, stand_in in FAULTS.items():
        if function == values.HANDLE and name.startswith("returns"):
            continue  # a handle is whatever the library takes back
        reader = NvmlReader(library(**{function: stand_in}))
        report = reader.read()
        reader.close()
        assert (report.error, len(report.gpus)) == (None, 2), name
        if function == values.HANDLE:
            assert all(gpu.lost for gpu in report.gpus), name
        else:
            assert all(gpu.lost is None and gpu.temperature is not None for gpu in report.gpus), name


@pytest.mark.parametrize("name", FAULTS)
def test_a_library_that_does_not_open_is_told_in_its_own_words(name: str) -> None:
    reader = NvmlReader(library(nvmlInit=FAULTS[name]))
    report = reader.read()
    if name.startswith("returns"):  # it did not open, and did not say so: nothing answers
        assert not any(gpu.temperature for gpu in report.gpus)
        return
    assert report.gpus == ()
    assert report.error
    assert "bus" not in (report.advice or "") and "reset" not in (report.advice or "")


def waiting(real: Any, until: threading.Event) -> Any:
    """The function, which answers for the first GPU only when it is told to."""

    def call(handle: simulation.Device, *arguments: Any) -> Any:
        if handle.index == 0:
            until.wait(60)
        return real(handle, *arguments)

    return call


@pytest.mark.parametrize("function", COLUMNS)
def test_a_slow_function_costs_its_own_column_until_it_answers(function: str) -> None:
    healthy = NvmlReader(library()).read(thorough=True).gpus
    answers, clock = threading.Event(), Clock()
    reader = NvmlReader(
        library(**{function: waiting(getattr(simulation, function), answers)}), monotonic=clock, clock=lambda: AT
    )
    own = COLUMNS[function]

    def others_are_known() -> bool:
        first, second = reader.read(patience=0.1, thorough=True).gpus
        return (others(first, own), second) == (others(healthy[0], own), healthy[1])

    try:
        until(others_are_known, "all that does not wait for it")  # each reading goes on where the one before stopped
        first, _ = reader.read(patience=0.1, thorough=True).gpus
        assert others(first, own) == others(healthy[0], own)
        assert first != healthy[0] or function in SPARE | {DIVIDED}
    finally:
        answers.set()
    until(lambda: reader.read(patience=0.1, thorough=True).gpus == healthy, "the late answer")


def test_within_a_reading_nothing_waits_for_a_call_that_hangs() -> None:
    """The first call answers when the last function of all was called, or not while this reading lasts."""
    healthy = NvmlReader(library()).read().gpus
    last, called = list(COLUMNS)[-1], threading.Event()

    def noting(handle: simulation.Device, *arguments: Any) -> Any:
        if handle.index == 1:
            called.set()
        return getattr(simulation, last)(handle, *arguments)

    first = next(iter(COLUMNS))
    reader = NvmlReader(library(**{first: waiting(getattr(simulation, first), called), last: noting}))
    assert reader.read(patience=30).gpus == healthy
    assert called.is_set()


def test_a_gpu_whose_every_call_hangs_does_not_hold_up_the_others() -> None:
    ended, clock = threading.Event(), Clock()
    hanging = {name: waiting(getattr(simulation, name), ended) for name in COLUMNS}
    reader = NvmlReader(library(**hanging), monotonic=clock)
    try:
        until(lambda: all(gpu.temperature for gpu in reader.read(patience=0.1).gpus[1:]), "the other GPU")
        clock.now += device.REPORT_AFTER
        first, second = reader.read(patience=0.1).gpus
        assert (first.lost, bool(second.temperature)) == (f"no answer for {device.REPORT_AFTER:.0f} s", True)
    finally:
        ended.set()


def test_energy_of_a_named_gpu_does_not_wait_for_one_that_hangs() -> None:
    asked: list[int] = []

    def noting(real: Any) -> Any:
        def call(handle: simulation.Device, *arguments: Any) -> Any:
            asked.append(handle.index)
            return real(handle, *arguments)

        return call

    reader = NvmlReader(library(**{name: noting(getattr(simulation, name)) for name in COLUMNS}))
    counts, error = reader.energies(["1"], 10.0)
    assert (len(counts), error, set(asked)) == (1, None, {1})


def test_an_older_driver_lists_its_processes_by_version_2() -> None:
    stand_ins = {
        f"nvmlDeviceGet{kind}RunningProcesses": raises(MISMATCH("Unversioned function called")) for kind in
        ("Compute", "Graphics")
    }  # fmt: skip
    real = simulation.nvmlDeviceGetComputeRunningProcesses
    report = NvmlReader(library(**stand_ins, nvmlDeviceGetComputeRunningProcesses_v2=real)).read()
    healthy = NvmlReader(library()).read()
    known = [[[(one.pid, one.gpu_memory) for one in gpu.processes] for gpu in told.gpus] for told in (report, healthy)]
    assert known[0] == known[1] and known[0][0]
    assert NvmlReader(library(**stand_ins)).read().gpus[0].temperature is not None


def settled(reader: NvmlReader, clock: Clock) -> tuple[Gpu, ...]:
    """The GPUs once what is counted in a second is known too, and what is read in turns."""
    reader.read()
    clock.now += values.SLOWLY
    return reader.read().gpus


# --- gone, and back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [2, 15, 16, 999, 10])
@pytest.mark.parametrize("handle_too", [True, False])
def test_a_gpu_that_vanished_is_lost_and_comes_back_when_it_answers(code: int, handle_too: bool) -> None:
    gone = False

    def sometimes(real: Any) -> Any:
        def call(handle: Any, *arguments: Any) -> Any:
            if gone and (handle if isinstance(handle, int) else handle.index) == 1:
                raise simulation.NVMLError(code)
            return real(handle, *arguments)

        return call

    names = [*COLUMNS, *([values.HANDLE] if handle_too else [])]
    clock = Clock()
    reader = NvmlReader(library(**{name: sometimes(getattr(simulation, name)) for name in names}), monotonic=clock)
    before = settled(reader, clock)
    gone = True
    for _ in range(3):
        clock.now += device.KEEP + 1
        lost = reader.read().gpus
        assert lost[0] == before[0]
        assert lost[1].lost
        assert lost[1].free is None
        assert (lost[1].uuid, lost[1].name, lost[1].memory_used) == (before[1].uuid, before[1].name, None)
    gone = False
    clock.now += device.RETRY_LOST
    assert reader.read().gpus == before


def test_a_gpu_that_is_no_longer_listed_is_told_and_comes_back() -> None:
    indices = [0, 1]
    real = simulation.nvmlDeviceGetHandleByIndex
    shrinking = library(
        nvmlDeviceGetCount=lambda: len(indices), nvmlDeviceGetHandleByIndex=lambda index: real(indices[index])
    )
    reader = NvmlReader(shrinking, monotonic=Clock())
    before = reader.read().gpus
    indices.remove(0)
    for _ in range(2):
        left, gone = reader.read().gpus
        assert left == replace(before[1], index=0)
        assert (gone.uuid, gone.name, gone.index, gone.free) == (before[0].uuid, before[0].name, 1, None)
        assert gone.lost
    indices.insert(0, 0)
    assert reader.read().gpus == before
    indices.clear()
    assert all(gpu.lost for gpu in reader.read().gpus)


def test_a_refusal_is_not_remembered_for_ever() -> None:
    refuses = True

    def power(handle: simulation.Device) -> int:
        if refuses:
            raise simulation.NVMLError(3)
        return 100_000

    clock = Clock()
    reader = NvmlReader(library(nvmlDeviceGetPowerUsage=power), monotonic=clock)
    assert reader.read().gpus[0].power_draw is None
    refuses = False
    clock.now += device.AGAIN
    assert reader.read().gpus[0].power_draw == 100.0


def test_a_gpu_that_needs_a_reset_and_still_tells_something_is_in_trouble() -> None:
    stand_in = raises(simulation.NVMLError(16))
    gpu = NvmlReader(library(nvmlDeviceGetMemoryInfo=stand_in)).read().gpus[0]
    assert (gpu.lost, gpu.trouble, gpu.free) == (None, "GPU requires restart", False)
    assert gpu.temperature is not None


@given(st.dictionaries(st.sampled_from([*COLUMNS, *SYSTEM]), st.sampled_from(sorted(FAULTS)), max_size=12))
def test_any_mix_of_faults_gives_a_report_that_can_be_true(mix: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation._Library, "scenario", None)
        report: GpuReport = NvmlReader(library(**{name: FAULTS[fault] for name, fault in mix.items()})).read()
    for gpu in report.gpus:
        believable(gpu)
