"""What NVML answered on a real card (an H200, driver 580), through our reader, beside what `nvidia-smi` said then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from vllm_studio_tui.domain.gpus import Gpu, Throttle
from vllm_studio_tui.probes.gpu.nvml import NvmlReader
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE

CAPTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "nvml" / "h200.json").read_text())
MIB = 1024 * 1024


class Recorded:
    """Answers as the library did; what was not recorded it does not have. Constants and errors are the library's."""

    def __init__(self, calls: dict[str, Any]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml") or name in ("nvmlInit", "nvmlShutdown", "nvmlMemory_v2"):
            return name if name == "nvmlMemory_v2" or name.startswith("NVML_") else getattr(pynvml, name, None)
        return self._function(name)

    def nvmlInit(self) -> None:  # noqa: N802
        return None

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 1

    def nvmlDeviceGetProcessUtilization(self, handle: int, since: int) -> Any:  # noqa: N802
        return self._function("nvmlDeviceGetProcessUtilization")(handle, 0)  # recorded since ever

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            given = [str(one) for one in arguments[1:]]
            answer = self._calls.get(f"{name}({','.join(given)})" if given else name, {"error": 13})
            if isinstance(answer, dict) and set(answer) == {"error"}:
                make: Any = pynvml.NVMLError
                raise make(answer["error"])
            return _objects(answer)

        return call


def _objects(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _objects(one) for key, one in value.items()})
    return [_objects(one) for one in value] if isinstance(value, list) else value


def read(moment: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Gpu, dict[str, Any], NvmlReader]:
    monkeypatch.delenv(SIMULATE, raising=False)
    reader = NvmlReader(Recorded(CAPTURE[moment]["calls"]))
    report = reader.read(thorough=True)
    assert report.error is None and (report.driver, report.cuda) == ("580.159.04", "13.0")
    return report.gpus[0], CAPTURE[moment]["said"], reader


@pytest.mark.parametrize("moment", ["idle", "busy"])
def test_each_value_is_what_nvidia_smi_said(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, said, _ = read(moment, monkeypatch)
    assert gpu.name == said["product"]
    assert gpu.memory_total == said["memory_total_mib"] * MIB
    assert gpu.memory_reserved is not None and -(-gpu.memory_reserved // MIB) == said["memory_reserved_mib"]
    assert gpu.memory_used is not None and abs(-(-gpu.memory_used // MIB) - said["memory_used_mib"]) <= 1
    assert gpu.utilization is not None and abs(gpu.utilization - said["utilization"]) <= 1
    assert gpu.temperature == said["temperature"]
    assert gpu.power_draw is not None and abs(gpu.power_draw - said["power_w"]) < 5
    assert gpu.power_limit == said["power_limit_w"]
    assert gpu.memory_clock == said["memory_clock"]
    assert gpu.sm_clock is not None and abs(gpu.sm_clock - said["sm_clock"]) <= 30
    assert (Throttle.POWER_CAP in gpu.throttle) is said["power_cap"]
    assert (gpu.fan, gpu.mig) == (None, False) and (said["fan"], said["mig"]) == ("N/A", "Disabled")
    assert gpu.compute_capability == "9.0"
    assert [[one.pid, (one.gpu_memory or 0) // MIB] for one in gpu.processes] == said["processes"]
    assert (gpu.lost, gpu.trouble, gpu.stale) == (None, None, None)
    assert (gpu.performance_state, gpu.pcie_generation, gpu.pcie_width) == (0, 5, 16)
    assert (gpu.ecc_corrected, gpu.ecc_uncorrected, gpu.mig_devices) == (0, 0, ())
    assert (gpu.pcie_rx, gpu.pcie_tx) == ((545_000, 712_000) if moment == "idle" else (15_701_000, 7_243_000))
    assert [one.sm for one in gpu.processes] == ([] if moment == "idle" else [95])


def test_an_idle_card_is_not_said_to_be_slowed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, _, _ = read("idle", monkeypatch)
    assert gpu.throttle == ()


def test_its_energy_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, reader = read("busy", monkeypatch)
    counts, error = reader.energies()
    assert error is None
    assert counts == {CAPTURE["busy"]["calls"]["nvmlDeviceGetUUID"]: 8_466_384}
