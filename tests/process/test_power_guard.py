"""Power limits are what they were when whoever asked for others has ended, in whatever way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.house import until
from vllm_studio_tui.probes.gpu.power_guard import PowerGuard, PowerRefused

#: What stands in for the driver: its limits lie in a file.
LIBRARY = """
import json, os
PATH = os.environ["LIMITS"]
def read(): return json.load(open(PATH))
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(place): return place
def nvmlDeviceGetUUID(place): return f"GPU-{place}"
def nvmlDeviceGetPowerManagementLimit(place): return read()[place]
def nvmlDeviceGetPowerManagementLimitConstraints(place): return [100_000, 700_000]
def nvmlDeviceSetPowerManagementLimit(place, limit):
    if os.environ.get("REFUSED"): raise RuntimeError("Insufficient Permissions")
    now = read(); now[place] = limit
    json.dump(now, open(PATH + ".new", "w")); os.replace(PATH + ".new", PATH)
"""


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pynvml.py").write_text(LIBRARY)
    path = tmp_path / "limits.json"
    path.write_text("[700000, 650000]")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LIMITS", str(path))
    monkeypatch.delenv("VLLM_STUDIO_SIMULATE_GPUS", raising=False)
    return path


def now(path: Path) -> object:
    return json.loads(path.read_text())


def test_a_limit_is_set_and_set_back(limits: Path) -> None:
    guard = PowerGuard(["GPU-1"])
    guard.set(300)
    assert now(limits) == [700000, 300000]
    with pytest.raises(PowerRefused, match="from 100 to 700 W"):
        guard.set(50)
    guard.close()
    assert now(limits) == [700000, 650000]


def test_a_killed_parent_has_them_set_back(limits: Path) -> None:
    script = (
        "import os, signal\n"
        "from vllm_studio_tui.probes.gpu.power_guard import PowerGuard\n"
        "guard = PowerGuard(['GPU-0', 'GPU-1']); guard.set(200)\n"
        "print(open(os.environ['LIMITS']).read(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout) == [200000, 200000]
    until(lambda: now(limits) == [700000, 650000], "they are set back", 10)


def test_a_driver_that_refuses_is_told_before_anything_is_measured(
    limits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSED", "1")
    with pytest.raises(PowerRefused, match="Insufficient Permissions"):
        PowerGuard(["GPU-0"])
    monkeypatch.delenv("REFUSED")
    with pytest.raises(PowerRefused, match="no GPU GPU-7"):
        PowerGuard(["GPU-7"])
    assert now(limits) == [700000, 650000]
