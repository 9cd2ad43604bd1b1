"""The reader of GPUs through the real Python module and a shared library with the structures of nvml.h.

It is read by a process of its own, as a driver's library is: the dynamic linker looks for it when a process starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests import nvml_library


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = nvml_library.build(tmp_path_factory.mktemp("nvml"))
    if found is None:
        pytest.skip("there is no C compiler")
    others = {name: value for name, value in os.environ.items() if name != "VLLM_STUDIO_SIMULATE_GPUS"}
    return {**others, **found, "VLLM_STUDIO_HOME": str(tmp_path_factory.mktemp("home"))}


def test_every_value_of_eight_gpus_is_read(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", "gpus", "--json"],
        env=environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["error"] is None and found["driver"] == "570.86.10"
    assert [gpu["index"] for gpu in found["gpus"]] == list(range(8))
    for gpu in found["gpus"]:
        assert gpu["name"] == "NVIDIA H100 80GB HBM3"
        assert gpu["uuid"] == f"GPU-5f9e1c2a-0000-4000-8000-00000000000{gpu['index']}"
        assert gpu["memory_total"] == 80 * 1024**3
        assert 60 * 1024**3 <= gpu["memory_used"] <= 64 * 1024**3
        assert 60 <= gpu["utilization"] <= 99
        assert 55 <= gpu["temperature"] <= 79
        assert 300 <= gpu["power_draw"] <= 690
        assert gpu["power_limit"] == 700
        assert 60 <= gpu["memory_temperature"] <= 89
        assert gpu["performance_state"] in (0, 1, 2)
        assert gpu["pcie_generation"] in range(1, 6) and gpu["pcie_width"] in (1, 2, 4, 8, 16)
        assert 1e6 <= gpu["pcie_rx"] <= 9e8 and 1e6 <= gpu["pcie_tx"] <= 9e8
        assert gpu["ecc_corrected"] in range(10) and gpu["ecc_uncorrected"] in range(10)
        assert (gpu["mig"], gpu["mig_devices"], gpu["vendor"]) == (False, [], "nvidia")
        (process,) = gpu["processes"]
        assert 1 <= process["sm"] <= 99 and process["kind"] == "compute"
        assert process["gpu_memory"] <= gpu["memory_used"]
        assert process["user"] and process["command"]


def test_what_the_library_does_not_have_costs_only_its_own_value(environ: dict[str, str]) -> None:
    """The fan is "not supported" there, and many functions are missing."""
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", "gpus"],
        env=environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.count("NVIDIA H100 80GB HBM3") == 8
    assert "Traceback" not in done.stdout + done.stderr


def test_what_went_over_the_links_is_told_as_bytes_a_second(environ: dict[str, str]) -> None:
    code = (
        "import time; from vllm_studio_tui.probes.gpu.nvml import NvmlReader; one = NvmlReader(); one.read();"
        "time.sleep(1.2); print([gpu.nvlink_rx for gpu in one.read().gpus])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    rates = json.loads(done.stdout)
    # One or two seconds' worth of the counter in 1.2 s and some.
    assert all(0.5 < rate / ((1000 * (index + 1) + 139) * 1024) < 1.7 for index, rate in enumerate(rates))
