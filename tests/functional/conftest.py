"""Time and place stand still for the screens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.functional.stage import NOW
from tests.hosts import StillWatch

TIB = 1024**4


@pytest.fixture(autouse=True)
def stand_still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is 14:32:00 UTC, the host is called h100-a, and others are not really asked."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HF_HUB_CACHE", os.devnull)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no engine that somebody installed is found
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr("vllm_studio_tui.tui.widgets.frame.HOST", "h100-a")
    monkeypatch.setattr("vllm_studio_tui.services.launching.disk_room._free", lambda _path: 1 << 50)
    monkeypatch.setattr("vllm_studio_tui.tui.screens.hosts.place._make_watch", StillWatch)
    disk = "vllm_studio_tui.tui.screens.models.knowledge.disk_of_downloads"
    monkeypatch.setattr(disk, lambda: (int(1.21 * TIB), int(1.75 * TIB)))
    monkeypatch.setattr("vllm_studio_tui.services.watching.overview._uptime", lambda: 3_542_400.0)
    monkeypatch.setattr("vllm_studio_tui.services.watching.overview.__version__", "0.4.0")
    monkeypatch.setattr("vllm_studio_tui.tui.terminal.typed_keys.PATIENCE", 30.0)  # no key is lost on a slow machine
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
