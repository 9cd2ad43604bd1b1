"""GPUs of AMD and Intel through the reader of NVIDIA's: the package's own functions, and files as drivers have them."""

from __future__ import annotations

import json
import os
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.contract import amdsmi_interface
from vllm_studio_tui.domain.gpus import Throttle
from vllm_studio_tui.probes.gpu import device
from vllm_studio_tui.probes.gpu.amd import CODES, AmdLibrary, LibraryNotThere
from vllm_studio_tui.probes.gpu.intel import IntelLibrary
from vllm_studio_tui.probes.gpu.nvml import NvmlReader
from vllm_studio_tui.probes.gpu.provider import GpuReader
from vllm_studio_tui.probes.gpu.sysfs import AmdSysfs
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE

INTERFACE = json.loads((Path(__file__).parents[1] / "fixtures" / "amdsmi" / "interface.json").read_text())
MIB, GIB = 1024**2, 1024**3


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SIMULATE, raising=False)


# --- AMD by its library -------------------------------------------------------------------------------------


class LibraryError(Exception):
    def __init__(self, err_code: int) -> None:
        super().__init__(err_code)
        self.err_code = err_code
        self.err_info = f"AMDSMI_STATUS_{err_code} - in its own words"


def members(name: str) -> Any:
    """An enumeration with the members that the package's own has, and we use."""
    make: Any = IntEnum
    return make(name, INTERFACE["enums"][name])


SENSORS, METRICS, CLOCKS = (
    members("AmdSmiTemperatureType"),
    members("AmdSmiTemperatureMetric"),
    members("AmdSmiClkType"),
)


class StandIn:
    """The module amdsmi: only what its source has, with its parameters, answering records of its keys."""

    AmdSmiLibraryException = LibraryError
    AmdSmiTemperatureType = SENSORS
    AmdSmiTemperatureMetric = METRICS
    AmdSmiClkType = CLOCKS

    def __init__(self, **answers: Any) -> None:
        link = {"pcie_width": 16, "pcie_speed": 32_000, "pcie_bandwidth": 8_000}
        self.answers: dict[str, Any] = {
            "amdsmi_init": None,
            "amdsmi_shut_down": None,
            "amdsmi_get_processor_handles": [0, 1],
            "amdsmi_get_gpu_driver_info": {"driver_name": "amdgpu", "driver_version": "6.14.14", "driver_date": ""},
            "amdsmi_get_gpu_device_uuid": lambda handle: f"a9ff74a1-0000-1000-80{handle:02x}-000000000000",
            "amdsmi_get_gpu_asic_info": {"market_name": "AMD Instinct MI300X", "vendor_name": "AMD"},
            "amdsmi_get_gpu_device_bdf": lambda handle: f"0000:{0x05 + handle:02x}:00.0",
            "amdsmi_get_gpu_vram_usage": {"vram_total": 196_592, "vram_used": 120_000},
            "amdsmi_get_gpu_activity": {"gfx_activity": 87, "umc_activity": 41, "mm_activity": "N/A"},
            "amdsmi_get_temp_metric": lambda handle, kind, metric: {"EDGE": 61, "HOTSPOT": 70, "VRAM": 55}[kind.name],
            "amdsmi_get_power_info": {
                "current_socket_power": 640, "average_socket_power": "N/A", "socket_power": 640, "power_limit": 750,
            },
            "amdsmi_get_power_cap_info": {"power_cap": 750_000_000},
            "amdsmi_get_energy_count": {"energy_accumulator": 2_000_000, "counter_resolution": 15.3, "timestamp": 1},
            "amdsmi_get_clock_info": lambda handle, kind: {"clk": {"GFX": 2100, "MEM": 1300}[kind.name]},
            "amdsmi_get_gpu_fan_speed": 51,
            "amdsmi_get_gpu_fan_speed_max": 255,
            "amdsmi_get_gpu_metrics_info": {"indep_throttle_status": False},
            "amdsmi_get_pcie_info": {"pcie_static": {"slot_type": "OAM"}, "pcie_metric": link},
            "amdsmi_get_gpu_total_ecc_count": {"correctable_count": 3, "uncorrectable_count": 1, "deferred_count": 0},
            "amdsmi_get_gpu_process_list": [
                {"pid": os.getpid(), "name": "python", "mem": 5 * GIB, "memory_usage": {"vram_mem": 4 * GIB}}
            ],
            **answers,
        }  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name not in self.answers:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            known = INTERFACE["functions"][name]["parameters"]
            assert len(arguments) == len(known) or known == ["flag"], (name, arguments, known)
            answer = self.answers[name]
            answer = answer(*arguments) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            assert keys(answer) <= set(INTERFACE["functions"][name]["keys"]), name
            return answer

        return call


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(one) for one in value.values()))
    return set().union(*(keys(one) for one in value)) if isinstance(value, list) else set()


def amd(**answers: Any) -> NvmlReader:
    return NvmlReader(AmdLibrary(StandIn(**answers)), monotonic=Clock())


def test_all_that_the_library_tells_is_read_in_our_units() -> None:
    report = amd().read(thorough=True)
    assert (report.error, report.driver, report.cuda, len(report.gpus)) == (None, "6.14.14", None, 2)
    gpu = report.gpus[1]
    assert (gpu.vendor, gpu.index, gpu.name) == ("amd", 1, "AMD Instinct MI300X")
    assert (gpu.uuid, gpu.pci_bus) == ("a9ff74a1-0000-1000-8001-000000000000", "0000:06:00.0")
    assert (gpu.memory_total, gpu.memory_used) == (196_592 * MIB, 120_000 * MIB)
    assert (gpu.utilization, gpu.memory_utilization, gpu.temperature, gpu.memory_temperature) == (87, 41, 61, 55)
    assert (gpu.power_draw, gpu.power_limit, gpu.energy_mj) == (640.0, 750.0, 30_600)
    assert (gpu.sm_clock, gpu.memory_clock, gpu.fan, gpu.throttle) == (2100, 1300, 20, ())
    assert (gpu.pcie_generation, gpu.pcie_width, gpu.pcie_rx, gpu.pcie_tx) == (5, 16, 1e9, None)
    assert (gpu.ecc_corrected, gpu.ecc_uncorrected, gpu.mig, gpu.xids) == (3, 1, None, ())
    (process,) = gpu.processes
    assert (process.pid, process.gpu_memory, process.sm, process.kind) == (os.getpid(), 4 * GIB, None, "compute")
    assert process.user and process.command


def test_what_it_calls_not_available_is_unknown() -> None:
    report = amd(
        amdsmi_get_gpu_activity={"gfx_activity": "N/A", "umc_activity": "N/A"},
        amdsmi_get_power_info={"current_socket_power": "N/A", "average_socket_power": "N/A", "socket_power": "N/A"},
        amdsmi_get_clock_info={"clk": "N/A"},
        amdsmi_get_gpu_asic_info={"market_name": "N/A"},
        amdsmi_get_gpu_metrics_info={"indep_throttle_status": "N/A"},
        amdsmi_get_pcie_info={"pcie_metric": {"pcie_width": "N/A", "pcie_speed": "N/A", "pcie_bandwidth": "N/A"}},
    ).read(thorough=True)
    gpu = report.gpus[0]
    assert (gpu.utilization, gpu.power_draw, gpu.sm_clock, gpu.throttle) == (None, None, None, ())
    assert (gpu.pcie_generation, gpu.pcie_width, gpu.pcie_rx, gpu.name) == (None, None, None, "AMD GPU")
    assert (gpu.temperature, gpu.lost) == (61, None)


def test_a_card_without_a_sensor_at_its_edge_tells_its_hottest_place() -> None:
    def heat(handle: int, kind: IntEnum, metric: IntEnum) -> Any:
        return LibraryError(2) if kind.name == "EDGE" else 70

    assert amd(amdsmi_get_temp_metric=heat).read().gpus[0].temperature == 70


@pytest.mark.parametrize(("watts", "why"), [(749, Throttle.POWER_CAP), (300, Throttle.HARDWARE)])
def test_a_slowed_card_is_said_to_be_so_by_its_limit_only_where_it_is_at_it(watts: int, why: Throttle) -> None:
    reader = amd(
        amdsmi_get_gpu_metrics_info={"indep_throttle_status": True},
        amdsmi_get_power_info={"current_socket_power": watts},
    )
    assert reader.read().gpus[0].throttle == (why,)


@pytest.mark.parametrize("function", amdsmi_interface.used())
@pytest.mark.parametrize(
    "answer", [LibraryError(2), LibraryError(31), LibraryError(999), KeyError("x"), None, {}, "N/A", -1]
)
def test_a_function_that_fails_costs_its_own_column(function: str, answer: Any) -> None:
    clock = Clock()
    reader = NvmlReader(AmdLibrary(StandIn(**{function: answer})), monotonic=clock)
    for _ in range(2):
        report = reader.read(thorough=True)
        clock.now += device.AGAIN
    opens = ("amdsmi_init", "amdsmi_get_processor_handles")
    if function in opens:
        return  # then there may be nothing to read; it did not raise
    assert len(report.gpus) == 2
    assert all(gpu.lost is None and gpu.name for gpu in report.gpus)
    reader.close()


def test_why_nothing_can_be_read_is_told_in_words() -> None:
    assert amd(amdsmi_init=LibraryError(34)).read().error == "AMD's driver is not loaded"
    assert "render" in (amd(amdsmi_init=LibraryError(10)).read().advice or "")
    error, advice = AmdLibrary(StandIn()).explain(LibraryNotThere("The Python package amdsmi is not installed"))
    assert "amdsmi" in error and "ROCm" in (advice or "")


def test_the_recorded_interface_is_what_our_reader_stands_on() -> None:
    assert sorted(INTERFACE["functions"]) == amdsmi_interface.used()
    assert set(INTERFACE["status"].values()) <= {*CODES}
    assert {name: list(members) for name, members in amdsmi_interface.ENUMS.items()} == INTERFACE["enums"]


@pytest.mark.skipif(not os.environ.get("VLLM_STUDIO_TEST_AMDSMI"), reason="no folder of the package amdsmi is named")
def test_the_package_itself_still_has_it() -> None:
    assert amdsmi_interface.facts(Path(os.environ["VLLM_STUDIO_TEST_AMDSMI"])) == INTERFACE


# --- AMD and Intel by the kernel's files --------------------------------------------------------------------


def card(root: Path, number: int, bus: str, vendor: str, product: str, **files: str) -> Path:
    """A GPU in /sys: folders for its card and its PCI device, and these files of the device."""
    where = root / "devices" / "pci0000:00" / bus
    where.mkdir(parents=True)
    for name, text in {"vendor": vendor, "device": product, "class": "0x030000", **files}.items():
        path = where / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    folder = root / "class" / "drm" / f"card{number}"
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(where)
    (root / "class" / "drm" / f"card{number}-DP-1").mkdir()
    listed = root / "bus" / "pci" / "devices"
    listed.mkdir(parents=True, exist_ok=True)
    (listed / bus).symlink_to(where)
    return where


AMD_FILES = {
    "unique_id": "f3c1a2b4d5e60718", "product_name": "AMD Radeon PRO W7900", "gpu_busy_percent": "93",
    "mem_busy_percent": "38", "mem_info_vram_total": str(48 * GIB), "mem_info_vram_used": str(30 * GIB),
    "current_link_speed": "16.0 GT/s PCIe", "current_link_width": "16", "ras__umc_err_count": "ue: 0\nce: 2",
    "hwmon__hwmon3__power1_average": "241000000", "hwmon__hwmon3__power1_cap": "295000000",
    "hwmon__hwmon3__temp1_label": "edge", "hwmon__hwmon3__temp1_input": "58000",
    "hwmon__hwmon3__temp3_label": "mem", "hwmon__hwmon3__temp3_input": "72000",
    "hwmon__hwmon3__freq1_input": "2495000000", "hwmon__hwmon3__freq2_input": "1124000000",
    "hwmon__hwmon3__pwm1": "102",
}  # fmt: skip


def test_an_amd_card_is_read_without_its_library(tmp_path: Path) -> None:
    card(tmp_path, 1, "0000:03:00.0", "0x1002", "0x7448", **AMD_FILES)
    kfd = tmp_path / "class" / "kfd" / "kfd"
    (kfd / "topology" / "nodes" / "1").mkdir(parents=True)
    (kfd / "topology" / "nodes" / "1" / "properties").write_text("simd_count 192\nlocation_id 768\ndomain 0\n")
    (kfd / "topology" / "nodes" / "1" / "gpu_id").write_text("51234\n")
    (kfd / "proc" / str(os.getpid())).mkdir(parents=True)
    (kfd / "proc" / str(os.getpid()) / "vram_51234").write_text(f"{7 * GIB}\n")
    report = NvmlReader(AmdSysfs(tmp_path)).read()
    (gpu,) = report.gpus
    assert (gpu.vendor, gpu.name, gpu.uuid) == ("amd", "AMD Radeon PRO W7900", "GPU-f3c1a2b4d5e60718")
    assert (gpu.utilization, gpu.memory_utilization, gpu.memory_total, gpu.memory_used) == (93, 38, 48 * GIB, 30 * GIB)
    assert (gpu.power_draw, gpu.power_limit, gpu.temperature, gpu.memory_temperature) == (241.0, 295.0, 58, 72)
    assert (gpu.sm_clock, gpu.memory_clock, gpu.fan) == (2495, 1124, 40)
    assert (gpu.pcie_generation, gpu.pcie_width, gpu.ecc_corrected, gpu.ecc_uncorrected) == (4, 16, 2, 0)
    assert [(one.pid, one.gpu_memory) for one in gpu.processes] == [(os.getpid(), 7 * GIB)]


def test_an_intel_card_is_read_and_its_power_is_what_its_energy_grew_by(tmp_path: Path) -> None:
    device_folder = card(
        tmp_path, 0, "0000:03:00.0", "0x8086", "0xe20b",
        hwmon__hwmon2__energy1_input="5000000", hwmon__hwmon2__power1_cap="190000000", hwmon__hwmon2__temp2_label="pkg",
        hwmon__hwmon2__temp2_input="49000", tile0__gt0__freq0__act_freq="2850", tile0__gt0__freq0__throttle__status="1",
        tile0__gt0__freq0__throttle__reason_pl1="1", tile0__gt0__freq0__throttle__reason_thermal="0",
    )  # fmt: skip
    card(tmp_path, 1, "0000:00:02.0", "0x8086", "0x4680")  # part of the processor
    clock = Clock()
    reader = NvmlReader(IntelLibrary(tmp_path, clock), monotonic=clock)
    (gpu,) = reader.read().gpus
    assert (gpu.vendor, gpu.name, gpu.power_draw, gpu.energy_mj) == ("intel", "Intel Arc B580", None, 5000)
    clock.now += 2
    (device_folder / "hwmon" / "hwmon2" / "energy1_input").write_text("205000000\n")
    (gpu,) = reader.read().gpus
    assert (gpu.power_draw, gpu.power_limit, gpu.temperature, gpu.sm_clock) == (100.0, 190.0, 49, 2850)
    assert (gpu.throttle, gpu.utilization, gpu.memory_used, gpu.lost) == ((Throttle.POWER_CAP,), None, None, None)


@pytest.mark.parametrize("text", ["", "nonsense", "-1", "9" * 100, "\x1b[31m\u0663", str(2**64 - 1)])
def test_files_that_say_nonsense_cost_their_own_column(tmp_path: Path, text: str) -> None:
    names = {name: text for name in AMD_FILES if "label" not in name}
    card(tmp_path, 0, "0000:03:00.0", "0x1002", "0x7448", **{**AMD_FILES, **names})
    (gpu,) = NvmlReader(AmdSysfs(tmp_path)).read().gpus
    for value in (gpu.utilization, gpu.memory_used, gpu.power_draw, gpu.sm_clock, gpu.pcie_generation):
        assert value is None or value >= 0
    assert gpu.pci_bus == "0000:03:00.0"


# --- all of them --------------------------------------------------------------------------------------------


def no_nvidia() -> Any:
    def refuse() -> None:
        raise simulation.NVMLError(12)

    return SimpleNamespace(nvmlInit=refuse, NVMLError=simulation.NVMLError)


def test_gpus_of_all_vendors_count_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.probes.gpu.provider.simulated", lambda: False)
    monkeypatch.setenv(SIMULATE, "2")
    monkeypatch.setattr(simulation._Library, "scenario", None)
    card(tmp_path, 0, "0000:03:00.0", "0x1002", "0x7448", **AMD_FILES)
    card(tmp_path, 1, "0000:04:00.0", "0x8086", "0xe20b", hwmon__hwmon2__energy1_input="5")
    monkeypatch.setattr("vllm_studio_tui.probes.gpu.amd.load", missing)
    reader = GpuReader(simulation, root=tmp_path)
    report = reader.read()
    assert [(gpu.index, gpu.vendor) for gpu in report.gpus] == [(0, "nvidia"), (1, "nvidia"), (2, "amd"), (3, "intel")]
    assert report.error is None and report.driver == "580.95.05"
    assert "GPU-intel-0000:04:00.0" in reader.energies(["3"])[0]
    reader.close()


def missing() -> None:
    raise LibraryNotThere("The Python package amdsmi is not installed")


def test_without_nvidia_the_others_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card(tmp_path, 0, "0000:03:00.0", "0x1002", "0x7448", **AMD_FILES)
    monkeypatch.setattr("vllm_studio_tui.probes.gpu.amd.load", lambda: StandIn())
    report = GpuReader(no_nvidia(), root=tmp_path).read()
    assert (report.error, report.advice, report.driver) == (None, None, "6.14.14")
    assert [gpu.name for gpu in report.gpus] == ["AMD Instinct MI300X"] * 2


def test_a_gpu_that_no_driver_has_taken_is_named_where_none_is_read(tmp_path: Path) -> None:
    card(tmp_path, 0, "0000:41:00.0", "0x10de", "0x2330")
    report = GpuReader(no_nvidia(), root=tmp_path).read()
    assert report.gpus == () and "No NVIDIA driver" in (report.error or "")
    assert "There is a GPU without a driver: NVIDIA at 0000:41:00.0." in (report.advice or "")


def test_a_gpu_that_is_plugged_in_later_is_found(tmp_path: Path) -> None:
    (tmp_path / "class" / "drm").mkdir(parents=True)
    clock = Clock()
    reader = GpuReader(no_nvidia(), root=tmp_path, monotonic=clock)
    assert reader.read().gpus == ()
    card(tmp_path, 0, "0000:03:00.0", "0x8086", "0x56c0", hwmon__hwmon2__energy1_input="5")
    clock.now += 31
    assert [gpu.name for gpu in reader.read().gpus] == ["Intel Flex 170"]
