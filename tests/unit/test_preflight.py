"""Looking before a launch: whatever stands on the disk and whatever a backend does is told, and nothing is raised."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.unprivileged import as_nobody, enterable_folder
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Command, LaunchContext, Problem
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.backends.vllm import Vllm
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import HopelessLaunch, LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.launching import preflight
from vllm_studio_tui.services.launching.launcher import Launcher


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"id": "a", "name": "A", "model_path": "org/a", **fields})


def launcher(home: Path) -> Launcher:
    return Launcher(Places.under(home), Settings(), lambda: None)  # type: ignore[arg-type, return-value]


def script(path: Path, first: str = "#!/bin/sh", mode: int = 0o755) -> Path:
    path.write_text(f"{first}\n")
    path.chmod(mode)
    return path


def errors(found: list[Problem]) -> dict[str, str]:
    return {one.field: one.message for one in found if one.severity == "error"}


@pytest.mark.parametrize("backend", ["vllm", "sglang", "transformers", "tabbyapi", "llamacpp", "custom"])
def test_a_folder_above_the_model_that_may_not_be_entered_is_a_problem_and_no_traceback(backend: str) -> None:
    with enterable_folder() as folder:
        shut = folder / "shut"
        (shut / "model").mkdir(parents=True)
        program = script(folder / "program")
        fields = {"executable": str(program), "python_path": str(program), "command": f"{program} {{model}} {{port}}"}
        one = recipe(backend=backend, model_path=str(shut / "model"), cwd=str(shut / "model"), **fields)
        shut.chmod(0o000)

        def look() -> str:
            found = check(registry.backend(backend), one, LaunchContext(Settings(), "127.0.0.1", 8000))
            return "\n".join(f"{problem.severity} {problem.field}: {problem.message}" for problem in found)

        said = as_nobody(look)
        assert f"error model_path: {shut}/model cannot be looked at: " in said
        assert f"may not enter {shut} " in said
        assert "error cwd: " in said


def test_a_program_without_the_right_to_be_executed_is_not_called_missing(tmp_path: Path) -> None:
    plain = script(tmp_path / "vllm", mode=0o644)
    for fields in ({"executable": str(plain)}, {}):
        with pytest.raises(LaunchRefused, match="vLLM cannot be run") as caught:
            command_of(Vllm(), recipe(**fields), tmp_path)
        assert f"{plain} is not executable (mode 0644" in caught.value.cause
        assert caught.value.advice.endswith(f"chmod +x {plain}")


def test_a_container_needs_docker_here_and_not_the_engine(tmp_path: Path) -> None:
    one = recipe(runtime="docker", docker={"image": "vllm/vllm-openai"})
    nowhere = LaunchContext(Settings(), "127.0.0.1", 8000, environ={"PATH": str(tmp_path)})
    assert "docker cannot be found" in errors(check(Vllm(), one, nowhere))["runtime"]
    script(tmp_path / "docker")
    assert errors(check(Vllm(), one, nowhere)) == {}


def command_of(backend: Any, one: Recipe, path: Path) -> Command:
    command: Command = backend.command(one, LaunchContext(Settings(), "127.0.0.1", 8000, environ={"PATH": str(path)}))
    return command


def test_a_program_of_an_environment_that_was_moved_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    stale = script(tmp_path / "bin" / "transformers", "#!/opt/old-venv/bin/python3")
    python = tmp_path / "bin" / "python"
    one = recipe(backend="transformers", python_path=str(python))
    with pytest.raises(LaunchRefused, match="transformers cannot be run") as caught:
        command_of(registry.backend("transformers"), one, tmp_path)
    assert f"{stale} is a script whose interpreter cannot be run: /opt/old-venv/bin/python3" in caught.value.cause
    # vLLM can be run by its interpreter, where that was not moved with it.
    script(tmp_path / "bin" / "vllm", "#!/opt/old-venv/bin/python3")
    script(python)
    assert command_of(Vllm(), recipe(python_path=str(python)), tmp_path).argv[:2] == (str(python), "-m")
    python.unlink()
    python.symlink_to("/opt/old-python")
    with pytest.raises(LaunchRefused, match="is a link to /opt/old-python, which does not exist"):
        command_of(Vllm(), recipe(python_path=str(python)), tmp_path)


class Faulty(Vllm):
    """A backend of somebody else, with a fault in each of its parts in turn."""

    title = "Faulty"
    fault_in = ""

    def _part(self, name: str) -> None:
        if self.fault_in == name:
            raise KeyError("x\ny")

    def problems(self, recipe: Recipe, context: LaunchContext) -> list[Problem]:
        self._part("problems")
        return []

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...]:
        self._part("help_command")
        return ()

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        self._part("command")
        return Command(("true",))

    def model_name(self, recipe: Recipe) -> str:
        self._part("model_name")
        return "x"


@pytest.mark.parametrize("part", ["problems", "help_command", "command", "model_name"])
def test_a_fault_of_a_backend_is_told_as_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    one = Faulty()
    one.fault_in = part
    monkeypatch.setitem(registry.OURS._made, "vllm", one)
    mine = recipe(port=18_999)
    if part in ("problems", "help_command"):
        (found,) = launcher(tmp_path).check(mine)
        assert (found.field, found.severity) == ("backend", "warning")
        assert found.message == "the check of Faulty failed: KeyError: 'x\\ny'"
        assert "This is a fault of" in found.advice
        launcher(tmp_path).refuse_hopeless(mine)  # it may well go
    else:
        with pytest.raises(LaunchRefused, match="Faulty could not make a command") as caught:
            launcher(tmp_path).launch(mine, unchecked=True)
        assert "KeyError" in caught.value.cause
        assert not (tmp_path / "state" / "runs").exists()


def test_a_fault_in_the_command_is_an_error_of_the_check(tmp_path: Path) -> None:
    class Broken(Vllm):
        def command(self, recipe: Recipe, context: LaunchContext) -> Command:
            raise ZeroDivisionError("oh")

    found = errors(check(Broken(), recipe(), LaunchContext(Settings(), "127.0.0.1", 8000)))
    assert found == {"backend": "vLLM makes no command of it: ZeroDivisionError: oh"}


def test_a_look_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()

    class Stuck(Faulty):
        def problems(self, recipe: Recipe, context: LaunchContext) -> list[Problem]:
            forever.wait(60)
            return []

    monkeypatch.setitem(registry.OURS._made, "vllm", Stuck())
    monkeypatch.setattr(preflight, "PATIENCE", 0.05)
    (found,) = launcher(tmp_path).check(recipe())
    forever.set()
    assert found.severity == "warning"
    assert "could not be looked at within" in found.message


@pytest.mark.parametrize("path", ["~no-such-user-here/model", "/" + "x" * 300, "/tmp/\udcff", "/proc/self/mem"])
def test_no_path_of_a_recipe_is_too_strange(tmp_path: Path, path: str) -> None:
    for backend in registry.OURS:
        more = {"command": "true {model} {port}", "base_url": "http://127.0.0.1:9/v1"}
        one = recipe(backend=backend, model_path=path, executable=path, python_path=path, cwd=path, **more)
        launcher(tmp_path).check(one)
        if backend != "external":
            with pytest.raises((HopelessLaunch, LaunchRefused)):
                launcher(tmp_path).launch(one)
