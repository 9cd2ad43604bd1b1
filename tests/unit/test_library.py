"""The library of prompts, presets and forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from vllm_studio_tui.cli import library as command
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.library import BUILT_IN
from vllm_studio_tui.services.chat.library import Library
from vllm_studio_tui.store.database import Database


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    db = Database.open(tmp_path / "studio.db")
    yield Library(db)
    db.close()


def test_what_is_saved_is_found_renamed_and_deleted(library: Library) -> None:
    library.save("prompt", "  Bug   report ", {"text": "Write a bug report:\n"})
    assert library.get("prompt", "bug report").text == "Write a bug report:\n"
    library.save("prompt", "Bug report", {"text": "again"})
    assert [one.text for one in library.list("prompt")] == ["again"]
    assert library.rename("prompt", "Bug report", "Fault").name == "Fault"
    with pytest.raises(NotFound, match="no prompt is called 'Bug report'"):
        library.get("prompt", "Bug report")
    assert library.delete("prompt", "Fault").text == "again"
    assert library.list("prompt") == []


def test_names_of_one_kind_are_not_those_of_another(library: Library) -> None:
    library.save("prompt", "a", {"text": "p"})
    library.save("system", "a", {"text": "s"})
    assert (library.get("prompt", "a").text, library.get("system", "a").text) == ("p", "s")
    library.save("prompt", "b", {"text": "p"})
    with pytest.raises(UsageError, match="is there already"):
        library.rename("prompt", "a", "b")


def test_presets_come_with_the_studio_and_can_be_replaced(library: Library) -> None:
    assert [one.name for one in library.list("preset")] == [one.name for one in BUILT_IN]
    with pytest.raises(UsageError, match="comes with the studio"):
        library.delete("preset", "exact")
    with pytest.raises(UsageError, match="comes with the studio"):
        library.rename("preset", "exact", "mine")
    library.save("preset", "exact", {"temperature": 0, "stop": ["END"], "form": {"kind": "json_object"}})
    assert library.get("preset", "Exact").data == {
        "temperature": 0.0, "stop": ["END"], "form": {"kind": "json_object", "value": None, "name": ""},
    }  # fmt: skip
    assert len(library.list("preset")) == len(BUILT_IN)
    library.delete("preset", "exact")
    assert library.get("preset", "exact").built_in


@pytest.mark.parametrize(
    ("kind", "name", "data"),
    [
        ("prompt", "", {"text": "x"}),
        ("prompt", "n" * 81, {"text": "x"}),
        ("prompt", "a", {"text": " "}),
        ("prompt", "a", {"text": 4}),
        ("preset", "a", {}),
        ("preset", "a", {"temperature": 9}),
        ("preset", "a", {"warmth": 1}),
        ("form", "a", {"kind": "json_schema", "value": "x"}),
        ("poem", "a", {"text": "x"}),
    ],
)
def test_what_is_no_entry_is_refused(library: Library, kind: str, name: str, data: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        library.save(kind, name, data)
    assert all(one.built_in for one in library.list())


# --- from the command line ------------------------------------------------------------------------------------


def run(*words: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    command.register(app)

    @app.command("other")
    def other() -> None:
        """Makes `library` a subcommand."""

    return CliRunner().invoke(app, ["library", *words], input=stdin)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
def test_texts_and_presets_are_kept_from_the_command_line(tmp_path: Path) -> None:
    schema = tmp_path / "person.json"
    schema.write_text('{"type": "object"}')
    assert run("save", "prompt", "bug", stdin="Write a bug report.\nAbout: ").exit_code == 0
    assert run("show", "prompt", "bug").stdout == "Write a bug report.\nAbout: \n"
    saved = run("save", "preset", "mine", "--set", "top-k=5", "--stop", "END", "--schema", str(schema), "--json")
    assert json.loads(saved.stdout)["data"]["top_k"] == 5
    assert run("save", "form", "person", "--schema", str(schema)).exit_code == 0
    listed = {(one["kind"], one["name"]) for one in json.loads(run("list", "--json").stdout)["library"]}
    assert {("prompt", "bug"), ("preset", "mine"), ("form", "person"), ("preset", "exact")} <= listed
    assert run("rename", "preset", "mine", "ours").exit_code == 0
    assert "top_k  5\nstop  END\n" in run("show", "preset", "ours").stdout
    assert "ours" in run("list", "preset").stdout
    refused = run("delete", "preset", "ours")
    assert isinstance(refused.exception, UsageError) and "--yes" in str(refused.exception.advice)
    assert run("delete", "preset", "ours", "--yes").exit_code == 0
    assert isinstance(run("show", "preset", "ours").exception, NotFound)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "words", [["save", "poem", "a", "x"], ["save", "preset", "a"], ["save", "prompt", "a", " "], ["list", "poems"]]
)
def test_what_cannot_be_kept_is_refused(words: list[str]) -> None:
    assert isinstance(run(*words).exception, UsageError)
