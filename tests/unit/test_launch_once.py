"""A launch looks at every run once and makes its command once; what cannot be launched stops nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.custom import Custom
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.ports import port_free
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.launching import launcher as launching
from vllm_studio_tui.services.launching.launcher import Launcher

FIRST_PORT = 23_700


def recipe(**fields: object) -> Recipe:
    return Recipe.model_validate(
        {"id": "a", "name": "A", "backend": "custom", "model_path": "m", "command": "true {port}", **fields}
    )


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Launcher, Counter[str]]:
    """A launcher that starts no process, and how often it did what costs something."""
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def counting(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(*args, **options)

        monkeypatch.setattr(owner, name, counting)

    count(Custom, "command")
    count(launching, "resolve")
    count(read, "all_runs")
    monkeypatch.setattr(control, "live_runs", read.live_runs)
    monkeypatch.setattr(control, "all_runs", lambda places: read.all_runs(places))
    monkeypatch.setattr(control, "start_keeper", lambda *_, **__: True)
    monkeypatch.setattr(Launcher, "_spawned", lambda _, run: run)
    settings = Settings(inference_port=FIRST_PORT)
    return Launcher(Places.under(tmp_path), settings, lambda: pytest.fail("nobody asks")), calls


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("fields", [{}, {"gpus": ["0"]}, {"port": FIRST_PORT + 50}], ids=str)
def test_a_launch_makes_one_command_and_one_spec_and_looks_at_all_runs_once(
    counted: tuple[Launcher, Counter[str]], fields: dict[str, Any], *, force: bool
) -> None:
    launcher, calls = counted
    port = fields.get("port", FIRST_PORT)
    if not port_free("127.0.0.1", port):
        pytest.skip("somebody has that port")
    one = recipe(**fields)
    # The check tries what the fields of the recipe do; that is its own business.
    run = launcher.launch(one, force=force, unchecked=True)
    assert (run.spec is not None and run.spec.argv, run.port) == (("true", str(port)), port)
    assert calls == {"command": 1, "resolve": 1, "all_runs": 1}


def test_where_the_port_turns_out_to_be_another_the_command_names_it(counted: tuple[Launcher, Counter[str]]) -> None:
    launcher, calls = counted
    from vllm_studio_tui.kit.ports import hold

    with hold("127.0.0.1", FIRST_PORT):
        run = launcher.launch(recipe(), unchecked=True)
    assert run.port is not None
    assert run.port > FIRST_PORT
    assert run.spec is not None
    assert run.spec.argv == ("true", str(run.port))
    assert calls["command"] == 2


def test_the_port_of_the_next_start_is_free_or_given_up_by_the_recipe_itself(
    counted: tuple[Launcher, Counter[str]],
) -> None:
    launcher, _ = counted
    from vllm_studio_tui.kit.ports import hold

    def live(recipe_id: str, port: int) -> Any:
        return SimpleNamespace(live=True, recipe_id=recipe_id, port=port)

    with hold("127.0.0.1", FIRST_PORT):  # by a program that is no run
        assert launcher.port_of(recipe(), [live("b", FIRST_PORT + 1)]) > FIRST_PORT + 1
        assert launcher.port_of(recipe(), [live("a", FIRST_PORT)]) == FIRST_PORT
        assert launcher.port_of(recipe(port=FIRST_PORT), []) == FIRST_PORT
    assert launcher.port_of(recipe(host="no.such.host.invalid"), []) == FIRST_PORT  # the launch says what is wrong


@pytest.mark.parametrize("how", ["launch", "switch"])
def test_a_recipe_that_cannot_be_launched_stops_nobody(
    counted: tuple[Launcher, Counter[str]], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    launcher, _ = counted
    monkeypatch.setattr(control, "stop", lambda *_, **__: pytest.fail("a run was stopped"))
    monkeypatch.setattr(launcher, "_make_room", lambda *_: pytest.fail("room was made"))

    def broken(*_: object) -> None:
        raise LaunchRefused("there is no such engine")

    monkeypatch.setattr(type(registry.backend("custom")), "command", broken)
    with pytest.raises(StudioError):
        launcher.launch(recipe(), force=True) if how == "launch" else launcher.switch(recipe())
