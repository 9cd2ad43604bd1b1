"""The pages on setting up engines: what they say to type is taken, and makes a recipe of the engine they are about."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.test_docs import BUILD, FENCE, studio_commands
from vllm_studio_tui.backends import registry
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

FOLDER = Path(__file__).parents[2] / "docs" / "engines"
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")


def additions() -> list[tuple[str, str]]:
    """Every `recipes add` on the pages, with the page's name."""
    found = []
    for page in sorted(FOLDER.glob("*.md")):
        for _, block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                found += [(page.stem, one) for one in studio_commands(line) if one.startswith("recipes add ")]
    return found


@pytest.mark.parametrize("name", registry.OURS)
def test_every_engine_has_a_page_that_adds_a_recipe_of_it(name: str) -> None:
    BUILD.engine_page(name)  # or it says what is missing
    named = [backend for page, line in additions() if page == name for backend in re.findall(r"--backend (\S+)", line)]
    assert {*named} == {name}, f"docs/engines/{name}.md needs a command that adds a recipe of backend {name}"
    assert f"]({name}.md) | `{name}`" in INDEX, "run: python docs/build.py"


def test_a_page_that_is_missing_or_incomplete_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUILD, "DOCS", tmp_path / "docs")
    page = tmp_path / "docs" / "engines" / "new.md"
    page.parent.mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"docs/engines/new\.md is missing"):
        BUILD.engine_page("new")
    page.write_text("# New\n\n| in short | |\n|---|---|\n| what is run | `new` |\n")
    with pytest.raises(SystemExit, match=r"missing: good for, what was tried"):
        BUILD.engine_page("new")


@pytest.mark.parametrize(("page", "line"), additions())
def test_what_a_page_says_to_type_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, line: str
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    done = CliRunner().invoke(build(), shlex.split(line))
    assert done.exit_code == 0, done.output
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        problems = studio.launcher.check(studio.recipes.get(shlex.split(line)[2]))
    # The engine is not here, or the model, or docker; nothing else is wrong with it.
    missing = {"python_path", "executable", "model_path", "cwd", "runtime"}
    assert {one.field for one in problems if one.severity == "error"} <= missing, problems
    assert not [one for one in problems if "changes nothing" in one.message]


def test_the_fields_and_settings_of_its_table_are_real() -> None:
    table = INDEX[INDEX.index("| engine | named in") : INDEX.index("A field of the recipe")]
    programs = {one.program for one in registry.OURS.values()}
    words = set(re.findall(r"`([a-z_]+)`", table)) - programs
    assert words <= {*Recipe.model_fields, *Settings.model_fields}
