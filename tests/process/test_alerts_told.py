"""Alerts of a machine without a screen: `serve` samples and tells them, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.ports import free_port
from tests.process.house import until

SCRIPT = "import os, sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


def test_a_command_is_run_when_an_alert_begins_though_nobody_looks(tmp_path: Path) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    (home / "config").mkdir(parents=True, mode=0o700)
    settings = home / "config" / "config.yaml"
    rule = {"warm": {"what": "gpu_temperature", "above": 1, "for": 0, "tell": ["command"]}}
    command = [sys.executable, "-c", SCRIPT, str(out)]
    settings.write_text(f"alerts: {json.dumps(rule)}\nalert_command: {json.dumps(command)}\n")
    settings.chmod(0o600)
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(home), "VLLM_STUDIO_SIMULATE_GPUS": "1"}
    serve = subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", str(free_port())],
        env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        until(lambda: out.exists() and "warm" in out.read_text(), "the command was run")
        told = [json.loads(line) for line in out.read_text().splitlines() if line]
        assert [(one["rule"], one["subject"], one["firing"]) for one in told] == [("warm", "GPU 0", True)]
        listed = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", "alerts", "history", "--json"],
            env=environ, capture_output=True, check=True,
        )  # fmt: skip
        assert [one["rule"] for one in json.loads(listed.stdout)["alerts"]] == ["warm"]
    finally:
        serve.terminate()
        serve.wait(20)
