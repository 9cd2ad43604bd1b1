"""`exporter` as a process: it answers, or writes its file again and again, until SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.process.house import House, until
from vllm_studio_tui.runs import control


def started(house: House, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "exporter", *options],
        env={**os.environ, "VLLM_STUDIO_HOME": str(house.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_tells_of_a_run_until_that_ends_and_leaves_in_order(tmp_path: Path) -> None:
    house = House(tmp_path / "home")
    file = tmp_path / "studio.prom"
    serving, writing = (
        started(house, "--port", "0", "--interval", "1"),
        started(house, "--textfile", str(file), "--interval", "1"),
    )
    try:
        run = house.ready(house.launch())
        assert serving.stdout is not None
        url = serving.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)

        def scraped() -> str:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())

        ready = f'vllm_studio_run_state{{run="{run.run_id}",state="ready"}} 1.0'
        running = f'vllm_studio_engine_requests_running{{backend="{run.backend}"'
        until(lambda: ready in scraped() and running in scraped(), "the run, as it is scraped")
        until(lambda: file.exists() and ready in file.read_text(), "the run, in the file")
        control.stop(run)
        until(lambda: run.run_id not in scraped(), "the end of the run, as it is scraped")
        until(lambda: run.run_id not in file.read_text(), "the end of the run, in the file")
        serving.send_signal(signal.SIGTERM)
        writing.send_signal(signal.SIGINT)
        assert serving.wait(60) == 0
        assert writing.wait(60) == 130
        assert not file.exists()  # what it said is true no more
        for one in (serving, writing):
            assert "Traceback" not in one.communicate()[1]
    finally:
        house.end()
        for one in (serving, writing):
            one.kill()
            one.communicate()
