"""A run knows the revision that it was launched with, whatever becomes of the recipe; the command line goes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.launching.fix_offers import offer
from vllm_studio_tui.studio import Studio


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_INFERENCE_PORT", str(free_port()))
    return Places.under(tmp_path / "home")


#: What vLLM says of a context that does not fit.
SAYS = (
    "ValueError: To serve at least one request with the models's max seq len (131072), (20.00 GiB KV cache is needed), "
    "which is larger than the available KV cache memory (2.81 GiB). the estimated maximum model length is 18416"
)


@pytest.fixture
def failing(tmp_path: Path) -> Callable[..., Recipe]:
    """Recipes of an engine that says that its context does not fit, and ends."""
    program = tmp_path / "engine.py"
    program.write_text(f"import sys; print({SAYS!r}); sys.exit(1)")
    data = {"id": "fails", "backend": "custom", "metrics_style": "vllm", "max_model_len": 131072}
    return lambda **fields: parse_recipe({**data, "command": f"{{python}} {program}", **fields})[0]


def ended(run: read.RunView) -> read.RunView:
    until(lambda: read.view(run.folder).status.final, "it has ended")
    return read.view(run.folder)


def test_a_run_keeps_the_number_of_its_revision_and_its_fix_is_taken_once(
    places: Places, failing: Callable[..., Recipe]
) -> None:
    with Studio.open_sync(places) as studio:
        recipes = studio.recipes
        recipes.create(failing(max_model_len=4096))
        recipe = recipes.save(failing())
        run = ended(studio.launcher.launch(recipe, unchecked=True))
        assert run.spec is not None
        assert run.spec.revision_number == 2
        assert studio.run_history.get(run.run_id).revision_number == 2
        unkept = studio.launcher.launch(failing(port=free_port()), unchecked=True)
        assert unkept.spec is not None
        assert unkept.spec.revision_number is None

        first = offer(run, recipe, recipes.revision("fails", 2).recipe())
        assert first.proposals[0].after.max_model_len == 18416
        assert first.proposals[0].title == "Shorten the context"
        recipes.save(first.proposals[0].after, reason=first.proposals[0].reason, before=recipe)
        # Once more: the fix is that of the recipe that failed, and that is not this one any more.
        again = offer(run, recipes.get("fails"), recipes.revision("fails", 2).recipe())
        assert again.proposals == ()
        assert "was changed since this run failed: max_model_len 131072 -> 18416" in again.why_not
        assert offer(run, recipes.get("fails")).proposals == ()  # the same by the run's own copy
        # What is for people changes nothing of that.
        recipes.undo()
        recipes.save(failing(description="a note"))
        assert offer(run, recipes.get("fails"), recipes.revision("fails", 2).recipe()).proposals


def test_a_dismissed_run_is_shown_again(places: Places, failing: Callable[..., Recipe]) -> None:
    with Studio.open_sync(places) as studio:
        run = ended(studio.launcher.launch(failing(), unchecked=True))
        assert studio.runs.last_dismissed() is None
        control.dismiss(run)
        found = studio.runs.last_dismissed()
        assert found is not None
        assert found[0].run_id == run.run_id
        studio.runs.show_again(found[0])
        assert not read.view(run.folder).dismissed
        assert studio.runs.last_dismissed() is None


def test_the_command_line_shows_each_form_and_goes_back_to_it(tmp_path: Path) -> None:
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(tmp_path / "home")}

    def studio(*argv: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", "recipes", *argv],
            capture_output=True, text=True, check=True, timeout=60, env=environ, input=stdin,
        )  # fmt: skip
        return done.stdout

    studio("add", "one", "--model", "/m", "--set", "env_vars.HF_TOKEN=env:TOKEN")
    edited = studio("edit", "one", "--set", "max_model_len=4096", "--set", "env_vars.HF_TOKEN=file:/t")
    assert edited.splitlines() == [
        "- max_model_len      not set",
        "+ max_model_len      4096",
        "- env_vars.HF_TOKEN  env:TOKEN",
        "+ env_vars.HF_TOKEN  file:/t",
        "saved one",
    ]
    other = json.dumps({"id": "one", "model_path": "/other"})
    imported = studio("import", "-", "--replace", stdin=other)
    assert "- model_path         /m\n+ model_path         /other\n" in imported
    report = json.loads(studio("import", "-", "--replace", "--json", stdin=other.replace("other", "third")))
    assert report["changes"] == {"one": [{"field": "model_path", "old": "/other", "new": "/third"}]}
    history = json.loads(studio("history", "one", "--json"))
    assert history["recipe"] == "one"
    assert [one["revision"] for one in history["revisions"]] == [4, 3, 2, 1]
    assert history["revisions"][0]["changes"] == report["changes"]["one"]
    assert studio("restore", "one", "2", "--dry-run").endswith("would bring revision 2 of one back\n")
    assert "+ max_model_len      4096\n" in studio("restore", "one", "2")
    studio("delete", "one", "--yes")
    assert studio("undo") == "undone, deleted: one is back\n"
    assert "max_model_len: 4096" in studio("show", "one")
    assert json.loads(studio("undo", "--json"))["recipes"][0]["recipe"] == "one"
    assert "model_path: /third" in studio("show", "one")
