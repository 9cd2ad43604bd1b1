"""What the repository tells contributors and services: templates parse, hooks and CI call what is there."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TASKS: dict[str, Any] = PROJECT["tool"]["poe"]["tasks"]


def parsed(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def commands(task: Any) -> Iterator[str]:
    """The command lines of a task, those of the tasks that it names too."""
    if isinstance(task, str):
        yield from commands(TASKS[task])
    elif "cmd" in task:
        yield task["cmd"]
    else:
        for step in task["sequence"]:
            yield from commands(step)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_says_what_it_does_and_names_files_that_exist(name: str) -> None:
    assert TASKS[name]["help"]
    paths = [word for command in commands(TASKS[name]) for word in shlex.split(command) if "/" in word]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_one_word_command_is_there() -> None:
    assert {"check", "lint", "format", "test", "snapshots", "docs", "dev", "bench", "lock"} <= TASKS.keys()


def test_ci_runs_the_same_checks_on_every_python_that_is_named() -> None:
    named = [one.rpartition(" ")[2] for one in PROJECT["project"]["classifiers"] if ":: 3." in one]
    job = parsed(".github/workflows/ci.yml")["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"][: len(named)] == named
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert "\npoe lint\n" in (ROOT / ".ci/run").read_text("utf-8")


def test_hooks_call_what_lint_calls() -> None:
    (repo,) = parsed(".pre-commit-config.yaml")["repos"]
    ours = [shlex.split(hook["entry"])[0] for hook in repo["hooks"] if hook["language"] == "system"]
    assert {entry.rpartition("/")[2] for entry in ours} == {shlex.split(one)[0] for one in commands("lint")}
    assert all(entry.startswith(".venv/bin/") for entry in ours)


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_a_form_for_issues_has_what_the_service_asks_for(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.stem == "config":
        assert isinstance(form["blank_issues_enabled"], bool)
        return
    assert form["name"] and form["description"]
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {part["type"] for part in form["body"]} <= kinds
    identifiers = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(identifiers) == len(set(identifiers))
    assert all(part["attributes"]["label"] for part in form["body"] if part["type"] != "markdown")
