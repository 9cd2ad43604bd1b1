"""Prometheus and promtool: where they are, one that runs, and what it answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

#: The folder of the two programs, where they are not in PATH. Debian's package `prometheus` has both.
VARIABLE = "VLLM_STUDIO_TEST_PROMETHEUS"


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`; without it the test is skipped."""
    found = shutil.which(name, path=os.environ.get(VARIABLE) or None)
    if found is None:
        pytest.skip(
            f"{name} is neither in PATH nor in the folder that {VARIABLE} names (Debian: apt install prometheus)"
        )
    return found


def promtool(folder: Path, *argv: str, text: bytes | None = None) -> str:
    """What promtool says, run in a folder; it has to be content."""
    done = subprocess.run(
        [tool("promtool"), *argv], cwd=folder, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said
    return said


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str | float) -> Any:
        """The data of an answer of its API; what it refuses is a failure with its words."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode(errors='replace')}") from None

    def values(self, expression: str) -> list[float]:
        """The values now."""
        return [float(one["value"][1]) for one in self.ask("query", query=expression)["result"]]

    def history(self, expression: str, since: float) -> list[float]:
        """All values in steps of a second."""
        found = self.ask("query_range", query=expression, start=since, end=time.time(), step=1)["result"]
        return [float(value) for one in found for _, value in one["values"]]


@contextmanager
def running(folder: Path, config: str = "prometheus.yml") -> Iterator[Prometheus]:
    """Run a server on a configuration, on loopback, with its data beside it."""
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            made = Prometheus(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None, (folder / "prometheus.log").read_text()
                assert time.monotonic() < deadline, "it is not ready"
                try:
                    urllib.request.urlopen(f"{made.url}/-/ready", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield made
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
