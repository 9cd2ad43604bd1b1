"""The page on setting up engines: what it says to type is taken, and makes a recipe of the engine it is about."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vllm_studio_tui.backends import registry
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

PAGE = (Path(__file__).parents[2] / "docs" / "setup.md").read_text(encoding="utf-8")
LINES = re.findall(r"^vllm-studio (recipes add .*)$", PAGE, re.MULTILINE)


def test_every_engine_that_can_be_set_up_is_on_the_page() -> None:
    named = {re.search(r"--backend (\S+)", line)[1] for line in LINES}  # type: ignore[index]
    assert named == {one.name for one in registry.OURS.values() if one.needs_launch} - {"custom"}


@pytest.mark.parametrize("line", LINES)
def test_what_the_page_says_to_type_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    done = CliRunner().invoke(build(), shlex.split(line))
    assert done.exit_code == 0, done.output
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        problems = studio.launcher.check(studio.recipes.get(shlex.split(line)[2]))
    # The engine is not here, or the model; nothing else is wrong with it.
    missing = {"python_path", "executable", "model_path", "cwd"}
    assert {one.field for one in problems if one.severity == "error"} <= missing


def test_the_fields_and_settings_of_its_table_are_real() -> None:
    table = PAGE[PAGE.index("| engine |") : PAGE.index("A field of the recipe")]
    words = set(re.findall(r"`([a-z_]+)`", table)) - {"vllm", "transformers"}
    assert words <= {*Recipe.model_fields, *Settings.model_fields}
