"""Which Ray is asked, how often and with which token; what `ray` and `/ray` say of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.elsewhere import served, short
from tests.elsewhere import where as where
from tests.functional.stage import run_view
from tests.ray_dashboard import dashboard, view_of
from tests.unit.http_ground import Ground, serving
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.config.settings import Settings, load_settings, save_setting
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.domain.ray_reading import dashboard_of
from vllm_studio_tui.domain.ray_trouble import ray_document
from vllm_studio_tui.domain.ray_view import RayView
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.ray import FRESH, Ray


@pytest.fixture(autouse=True)
def _no_ray_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


class Asked:
    """Writes down whom it was asked for, and with which token."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None]] = []

    def __call__(self, address: str, token: str | None) -> RayView:
        self.calls.append((address, token))
        return RayView(address)


def look(
    settings: Settings | None = None, runs: tuple[RunView, ...] = (), environ: dict[str, str] | None = None
) -> tuple[RayView | None, Asked]:
    asked = Asked()
    return Ray(lambda: settings or Settings(), lambda: runs, environ or {}, asked).look(), asked


def handed_over(folder: Path, name: str, state: State, token: str = "", **follow: Any) -> RunView:
    run = run_view(folder, name, state)
    assert run.spec is not None
    refs = {"RAY_AUTH_TOKEN": token} if token else {}
    return replace(run, spec=replace(run.spec, follow=follow, env_refs=refs))


def test_without_an_address_nothing_is_asked(tmp_path: Path) -> None:
    others = (
        run_view(tmp_path, "here", State.READY),
        handed_over(tmp_path, "slurm", State.READY, kind="slurm", address="http://head:8265"),
        handed_over(tmp_path, "ended", State.EXITED, kind="ray-serve", address="http://head:8265"),
    )
    for environ in ({}, {"RAY_ADDRESS": "auto"}, {"RAY_ADDRESS": "10.0.0.1:6379"}, {"RAY_ADDRESS": "ray://h:10001"}):
        view, asked = look(runs=others, environ=environ)
        assert (view, asked.calls) == (None, [])


def test_the_setting_comes_first_then_variables_then_the_latest_live_run(tmp_path: Path) -> None:
    runs = (
        handed_over(tmp_path, "one", State.READY, kind="ray-serve", address="http://first:8265"),
        handed_over(tmp_path, "two", State.LOADING, kind="ray-serve", address="http://run:8265/", token="env:OF_RUN"),
        handed_over(tmp_path, "three", State.READY, kind="ray-serve"),
    )
    variables = {"RAY_ADDRESS": "http://variable:8265"}
    both = {**variables, "RAY_DASHBOARD_ADDRESS": "http://dashboard:8265"}
    for given, call in (
        ((Settings(ray_address="http://setting:8265"), runs, both), ("http://setting:8265", None)),
        ((None, runs, both), ("http://dashboard:8265", None)),
        ((None, runs, variables), ("http://variable:8265", None)),
        ((None, runs, {"OF_RUN": "its token"}), ("http://run:8265", "its token")),
    ):
        view, asked = look(*given)
        assert asked.calls == [call]
        assert view is not None


def test_an_answer_serves_all_who_ask_soon_after() -> None:
    clock = SimpleNamespace(now=100.0)
    asked = Asked()
    ray = Ray(Settings, lambda: (), {}, asked, lambda: float(clock.now))
    assert ray.look("http://a") is ray.look("http://a")
    ray.look("http://b")
    assert [address for address, _ in asked.calls] == ["http://a", "http://b"]
    clock.now += FRESH
    ray.look("http://b")
    assert len(asked.calls) == 3


def test_the_token_is_that_of_the_settings_else_that_of_rays_own_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("of-file\n")
    setting = Settings(ray_address="http://h", ray_token=f"file:{tmp_path / 'token'}")
    own = Settings(ray_address="http://h")
    for settings, environ, token in (
        (setting, {"RAY_AUTH_TOKEN": "other"}, "of-file"),
        (own, {"RAY_AUTH_TOKEN": "of-variable"}, "of-variable"),
        (own, {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, "of-file"),
        (own, {}, None),
    ):
        _, asked = look(settings, environ=environ)
        assert asked.calls == [("http://h", token)]
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("of-home\n")
    assert look(own)[1].calls == [("http://h", "of-home")]


def test_a_token_that_cannot_be_read_is_said_and_nobody_is_asked() -> None:
    view, asked = look(Settings(ray_address="http://h", ray_token="env:NOT_THERE_AT_ALL"))
    assert view is not None
    assert view.error == "its token cannot be read: env:NOT_THERE_AT_ALL: the variable is not set or empty"
    assert asked.calls == []


@pytest.mark.parametrize("address", ["head:8265", "ray://h:1", "http://", "http://u:p@h", "http://h?x=1", "http://h:0"])
def test_a_setting_that_is_no_dashboard_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(Places.under(tmp_path), {}, {"ray_address": address})


@pytest.mark.parametrize("address", [None, 5, "auto", "head:6379", "http://", "http://[", "http://h:0", "ftp://h"])
def test_an_address_of_something_else_is_no_dashboard(address: Any) -> None:
    assert dashboard_of(address) == ""


# --- what the faces say -----------------------------------------------------------------------------------------


def ray(*words: str) -> Result:
    return CliRunner().invoke(build(), ["ray", *words])


@pytest.mark.usefixtures("where")
def test_the_command_tells_what_is_wrong_first_then_nodes_and_replicas() -> None:
    with dashboard("raylet-killed-later") as board:
        said = ray("--address", board.url)
    lines = said.stdout.splitlines()
    assert said.exit_code == 0
    assert lines[0] == f"Ray 2.60.0 at {board.url}: 1 of 2 nodes alive"
    assert lines[1].startswith("  x Node 10.77.0.2 is dead for ")
    assert any(line.split()[:2] == ["10.77.0.2", "dead"] for line in lines)
    assert any(line.split()[:6] == ["llm", "LLMServer:qwen", "UNHEALTHY", "1", "of", "2"] for line in lines)
    assert "actors: 3 ALIVE, 6 DEAD, 4 PENDING_CREATION" in lines


def test_as_json_it_is_the_view_with_what_is_wrong() -> None:
    with dashboard("pending") as board:
        told = json.loads(ray("--address", board.url, "--json").stdout)
    assert {one["severity"] for one in told["troubles"]} == {"warning", "note"}
    assert {one["address"] for one in told["nodes"]} == {"10.77.0.1", "10.77.0.2"}


def test_a_ray_that_does_not_answer_is_a_failure_with_its_reason() -> None:
    with dashboard("token-missing") as board:
        said = ray("--address", board.url)
    assert said.exit_code == 1
    assert getattr(said.exception, "cause", "") == "it wants a token"
    assert ray("--address", "http://127.0.0.1:1").exit_code == 1
    assert ray().exit_code == 1


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path / "home", monkeypatch) as made:
        yield made


async def test_http_answers_with_the_same_document(ground: Ground) -> None:
    view = view_of("raylet-killed")
    ground.context.studio.__dict__["ray"] = SimpleNamespace(look=lambda: view)
    async with ground.client.get(f"{ground.url}/ray") as answered:
        assert answered.status == 200
        assert await answered.json() == json.loads(json.dumps(ray_document(view)))
    ground.context.studio.__dict__["ray"] = SimpleNamespace(look=lambda: None)
    async with ground.client.get(f"{ground.url}/ray") as answered:
        assert answered.status == 404


def test_over_a_connection_it_is_the_ray_of_that_machine(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with (
        short(tmp_path / "home") as places,
        dashboard("raylet-killed") as board,
        served(places) as address,
        connect(address, Places.under(tmp_path / "here")) as far,
    ):
        assert far.ray.look() is None
        save_setting(places, "ray_address", board.url)
        found = far.ray.look()
    assert found is not None
    assert found == replace(view_of("raylet-killed", address=board.url), at=found.at)
