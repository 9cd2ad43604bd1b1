"""A hub that is none of ours between: Olah, a mirror of others, in front of the test hub.

`VLLM_STUDIO_TEST_OLAH` names its program (`pip install olah` in an environment of its own, `bin/olah-cli`).
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.hub_server import running_hub
from tests.ports import free_port
from vllm_studio_tui.domain.download import DownloadState
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.downloads import Downloads

pytestmark = pytest.mark.engine


def test_a_download_through_a_mirror_is_paused_goes_on_and_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = os.environ.get("VLLM_STUDIO_TEST_OLAH")
    if not program:
        pytest.skip("VLLM_STUDIO_TEST_OLAH names no mirror")
    weights = random.Random(2).randbytes(30_000_000)
    with running_hub() as hub:
        hub.add("acme/tiny", {"config.json": b'{"a": 1}', "model.safetensors": weights, "sub/x.json": b"{}"})
        port = free_port()
        words = {
            "host": "127.0.0.1", "port": str(port), "hf-scheme": "http", "hf-netloc": hub.endpoint[7:],
            "hf-lfs-netloc": hub.storage[7:], "mirror-scheme": "http", "mirror-netloc": f"127.0.0.1:{port}",
            "mirror-lfs-netloc": f"127.0.0.1:{port}", "repos-path": str(tmp_path / "olah"), "log-path": str(tmp_path),
        }  # fmt: skip
        flags = [word for name, value in words.items() for word in (f"--{name}", value)]
        with (tmp_path / "olah.log").open("wb") as log:
            mirror = subprocess.Popen([program, *flags], stdout=log, stderr=log, cwd=tmp_path)
        try:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
            downloads = Downloads(Places.under(tmp_path / "home"))
            deadline = time.monotonic() + 90
            while True:
                try:
                    plan = downloads.plan("acme/tiny")
                    break
                except StudioError:
                    assert time.monotonic() < deadline, (tmp_path / "olah.log").read_text()
                    time.sleep(0.2)
            assert plan.bytes == len(weights) + 8 + 2
            one = downloads.start("acme/tiny")
            while downloads.get(one.id).bytes_done < 3_000_000:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert downloads.pause(one.id).state in (DownloadState.PAUSED, DownloadState.DONE)
            downloads.resume(one.id)
            while downloads.get(one.id).state.live:
                assert time.monotonic() < deadline, downloads.get(one.id)
                time.sleep(0.05)
            assert downloads.get(one.id).state is DownloadState.DONE, downloads.get(one.id)
            (found,) = (tmp_path / "hf").rglob("snapshots/*/model.safetensors")
            assert found.read_bytes() == weights
        finally:
            mirror.terminate()
            mirror.wait(20)
