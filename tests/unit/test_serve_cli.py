"""`vllm-studio serve`: what its help says."""

from __future__ import annotations

import pytest

from vllm_studio_tui.cli.app import run
from vllm_studio_tui.config.settings import Settings


def test_its_help_names_the_port_that_it_has_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"({Settings().port})" in shown
    assert "-1" not in shown
    assert run(["serve", "--port", "-1"]) == 2
