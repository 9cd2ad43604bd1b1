"""What we read is what nvitop reads: the same eight GPUs of `nvml_library.c`, at the same seconds.

nvitop's answers are those of its own API (`tests/bench/nvitop_values.py`), recorded with nvitop 1.7.2; where
VLLM_STUDIO_TEST_NVITOP names a program of nvitop, it is asked besides, now.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import nvml_library

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "nvml" / "nvitop.json").read_text())
SCRIPT = Path(__file__).parents[1] / "bench" / "nvitop_values.py"
NOW = "1800000003"
#: Reads all GPUs at each of these seconds.
OURS = """
import json, os, sys
from vllm_studio_tui.probes.gpu.provider import read_once
found = {}
for now in sys.argv[1:]:
    os.environ["FAKE_NVML_NOW"] = now
    found[now] = read_once(30.0, thorough=True).to_json()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = nvml_library.build(tmp_path_factory.mktemp("nvml"))
    if found is None:
        pytest.skip("there is no C compiler")
    others = {name: value for name, value in os.environ.items() if name != "VLLM_STUDIO_SIMULATE_GPUS"}
    return {**others, **found, "VLLM_STUDIO_HOME": str(tmp_path_factory.mktemp("home"))}


def ours(environ: dict[str, str], *seconds: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", OURS, *seconds], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def as_nvitop_says(gpu: dict[str, Any]) -> dict[str, Any]:
    """What we read of a GPU, with nvitop's names and units."""
    kinds = {"compute": "C", "graphics": "G", "both": "C+G"}
    return {
        "name": gpu["name"],
        "uuid": gpu["uuid"],
        "bus_id": gpu["pci_bus"],
        "memory_total": gpu["memory_total"],
        "memory_used": gpu["memory_used"],
        "gpu_utilization": gpu["utilization"],
        "memory_utilization": gpu["memory_utilization"],
        "temperature": gpu["temperature"],
        "power_usage": round(gpu["power_draw"] * 1000),
        "power_limit": round(gpu["power_limit"] * 1000),
        "fan_speed": gpu["fan"],
        "sm_clock": gpu["sm_clock"],
        "memory_clock": gpu["memory_clock"],
        "performance_state": f"P{gpu['performance_state']}",
        "mig_mode": "Enabled" if gpu["mig"] else "Disabled",
        "total_volatile_uncorrected_ecc_errors": gpu["ecc_uncorrected"],
        "pcie_tx_throughput": round(gpu["pcie_tx"] / 1000),
        "pcie_rx_throughput": round(gpu["pcie_rx"] / 1000),
        "cuda_compute_capability": [int(part) for part in gpu["compute_capability"].split(".")],
        "processes": [
            {"gpu_memory": one["gpu_memory"], "sm": one["sm"], "kind": kinds[one["kind"]]} for one in gpu["processes"]
        ],
    }


def test_every_number_of_eight_gpus_is_the_one_that_nvitop_reads(environ: dict[str, str]) -> None:
    found = ours(environ, *RECORDED)
    for second, theirs in RECORDED.items():
        assert found[second]["driver"] == theirs["driver"]
        assert [as_nvitop_says(gpu) for gpu in found[second]["gpus"]] == theirs["gpus"]
    seconds = [[as_nvitop_says(gpu) for gpu in found[second]["gpus"]] for second in RECORDED]
    still = {name for name in seconds[0][0] if all(one[0][name] == seconds[0][0][name] for one in seconds)}
    # All that can change does from second to second, so that agreement is no accident.
    assert still == {
        "name", "uuid", "bus_id", "memory_total", "power_limit", "fan_speed", "mig_mode", "cuda_compute_capability",
    }  # fmt: skip


@pytest.mark.skipif(not os.environ.get("VLLM_STUDIO_TEST_NVITOP"), reason="no nvitop is named")
def test_nvitop_itself_says_the_same_now(environ: dict[str, str]) -> None:
    python = Path(os.environ["VLLM_STUDIO_TEST_NVITOP"]).with_name("python")
    done = subprocess.run(
        [python, SCRIPT], env={**environ, "FAKE_NVML_NOW": NOW}, capture_output=True, text=True, timeout=60, check=True
    )
    assert [as_nvitop_says(gpu) for gpu in ours(environ, NOW)[NOW]["gpus"]] == json.loads(done.stdout)["gpus"]
