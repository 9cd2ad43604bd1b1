"""A file of settings that changes while `serve` runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vllm_studio_tui.services.serving.settings_watch import SettingsWatch


def test_a_changed_setting_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.yaml"
    watch = SettingsWatch(path)
    watch.look()
    path.write_text("# only a comment\n")
    watch.look()
    assert caplog.messages == []
    path.write_text("max_loaded: 1\non_demand: all\n")
    for _ in range(3):
        watch.look()
    assert caplog.messages == ["settings changed: restart serve for max_loaded, on_demand"]
    assert caplog.records[0].levelno == logging.WARNING, "which serve prints"
    path.write_text("max_loaded: [1\n")
    watch.look()
    assert "cannot be read" in caplog.messages[1]
    path.unlink()
    watch.look()
    assert len(caplog.messages) == 2, "it is as it was at the start"
    path.write_bytes(b"\xff\0" * 10)
    watch.look()
    assert len(caplog.messages) == 3
