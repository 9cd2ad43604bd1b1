"""`vllm-studio recipes`: what a person types, and what is said."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vllm_studio_tui.backends.registry import OURS
from vllm_studio_tui.cli.app import run
from vllm_studio_tui.kit.paths import Places


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Studio = Callable[..., Said]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.defpath)
    return Places.of()


@pytest.fixture
def studio(places: Places, capsys: pytest.CaptureFixture[str]) -> Studio:
    def command(*argv: str) -> Said:
        code = run(list(argv))
        written = capsys.readouterr()
        return Said(code, written.out, written.err)

    return command


# --- command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", sorted(name for name, one in OURS.items() if one.needs_launch and name != "custom"))
@pytest.mark.parametrize("runtime", ["native", "docker"])
def test_the_command_is_printed_also_where_its_program_is_not_installed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str, runtime: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("vllm_studio_tui.backends.llamacpp.find_spec", lambda name: None)
    more = ("--set", "runtime=docker", "--set", "docker={image: an-image}") if runtime == "docker" else ()
    assert studio("recipes", "add", "one", "--backend", backend, "--model", "/m/x", *more).code == 0
    said = studio("recipes", "command", "one")
    assert said.code == 0
    assert "/m" in said.out
    assert sys.executable not in said.out
    assert "cannot be found here" in said.err
    document = json.loads(studio("recipes", "command", "one", "--json").out)
    assert document["argv"]
    assert any("cannot be found here" in one for one in document["notes"])
