"""First minutes: an empty home asks what to run, and whatever it offers works; doctor and settings inside."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, asked, at, command, cursor, fill_in, shows, told
from tests.functional.stage import Staged, bare, recipe, run_view, staged
from vllm_studio_tui.config.settings import load_settings
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.models.progress import Progress
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services import demo
from vllm_studio_tui.services.recipes.starting import EngineHere
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.sheets.doctor import DoctorSheet
from vllm_studio_tui.tui.sheets.settings import SettingsSheet

GGUF = "SmolLM2-135M-Instruct.Q4_1"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: a person's folder with one GGUF file in it, and no hub cache."""
    person = tmp_path / "person"
    (person / "models").mkdir(parents=True)
    (person / "models" / f"{GGUF}.gguf").write_bytes(b"GGUF" + bytes(1000))
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("HF_HUB_CACHE", str(person / "hub"))
    for name in ("HF_TOKEN", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return person


def running(stage: Staged) -> RunView:
    """What the launcher returns: the demo's run, loading."""
    folder = stage.studio.places.data / "runs-of-the-stage"
    return run_view(folder, demo.RECIPE, State.LOADING, started_at=1.0)


async def alone(stage: Staged) -> None:
    """The home is empty again, and the dashboard asks."""
    stage.launcher.run = running(stage)
    for stored, _ in stage.studio.recipe_list():
        stage.studio.recipes.delete(stored)
    place: Any = stage.app.current
    place.shown()
    await stage.settle()


start = Scene("start", place="dashboard", begin=alone, shown=bare, recipes=())
SCENES = (start,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path / "home")


@start.scenario("start.take")
async def _take(stage: Staged) -> None:
    await shows(stage, GGUF)
    row = next(line for line in stage.lines() if GGUF in line)
    assert "llama.cpp" in row
    await cursor(stage, "#start-list", f"model:{os.environ['HOME']}/models/{GGUF}.gguf")
    await stage.press("enter")
    await at(stage, "create", "smollm2-135m-instruct.q4_1")
    await shows(stage, "whether it fits is not known" if stage.app.size.width < 80 else "not known:")
    assert stage.studio.recipe_list() == [], "nothing is saved yet"
    await stage.press("ctrl+r")
    await stage.until(lambda: stage.calls == [("launch", "smollm2-135m-instruct.q4_1")], "it is launched")


@start.scenario("start.next-part", "start.previous-part", "start.filter")
async def _parts(stage: Staged) -> None:
    await shows(stage, "CHECKED")
    canvas = stage.app.current.one("#start-list")
    canvas.action_first()
    first = canvas.key
    await stage.press("tab")
    assert canvas.key != first
    await stage.press("shift+tab")
    assert canvas.key == first
    await stage.press("slash")
    await stage.type("demo")
    await shows(stage, "try the demo")
    assert "paste a command" not in stage.text()
    await stage.press("tab")
    assert canvas.has_focus
    await stage.press("escape")
    await shows(stage, "paste a command")


@start.scenario("start.import")
async def _import(stage: Staged) -> None:
    await stage.press("I")
    await shows(stage, "Import: paste it here")
    area = stage.app.screen.query_one("#text")
    assert area.has_focus
    assert area.text == ""  # type: ignore[attr-defined]
    area.text = "vllm serve org/pasted --max-model-len 2048"  # type: ignore[attr-defined]
    await stage.press("f2")
    await shows(stage, "Import: what would come of it")
    await stage.press("escape")
    await shows(stage, "Import 1 recipe?")
    await stage.press("i")
    await told(stage, "imported: pasted")
    await at(stage, "recipes", "pasted")
    assert stage.app.current.one("#form").recipe.model_path == "org/pasted"
    await stage.press("escape")


@start.scenario("app.new")
async def _new_everywhere(stage: Staged) -> None:
    await stage.press("5", "n")
    await shows(stage, "an empty recipe")
    assert stage.app.focused is not None
    assert stage.app.focused.id == "start-words"
    await stage.type("org/some-model")
    await shows(stage, "AS TYPED")
    await stage.press("enter")
    await at(stage, "create", "some-model")
    await stage.press("escape")
    await stage.until(lambda: stage.app.place_name == "usage", "back where it was asked for")


@start.scenario("app.doctor")
async def _doctor(stage: Staged) -> None:
    await stage.press("f7")
    await stage.until(lambda: isinstance(stage.app.screen, DoctorSheet), "the doctor")
    await shows(stage, "WORTH A LOOK")
    await stage.until(lambda: "to come" not in stage.text(), "every check is done")
    lines = stage.lines()
    trouble = next(index for index, line in enumerate(lines) if "WORTH A LOOK" in line)
    fine = next((index for index, line in enumerate(lines) if "  FINE" in line), len(lines))
    assert trouble < fine
    await stage.press("Y")
    assert "gpus: " in stage.clip
    assert "process handles: " in stage.clip
    await stage.press("escape")


@start.scenario("app.settings")
async def _settings(stage: Staged) -> None:
    file = stage.studio.places.settings_file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# mine\ninference_port: 8100  # above the others\n")
    file.chmod(0o600)
    await stage.press("f8")
    await stage.until(lambda: isinstance(stage.app.screen, SettingsSheet), "the settings")
    await shows(stage, "inference_port")
    row = next(line for line in stage.lines() if "inference_port" in line)
    assert "8100" in row
    assert "config.yaml, line 2" in row
    assert "The first port that a recipe" in row  # what it is for
    await shows(stage, "Now by config.yaml, line 2. Set here, or by the variable VLLM_STUDIO_INFERENCE_PORT.")
    await stage.press("slash")
    await stage.type("colo")
    await shows(stage, "1 of ")
    assert not any("inference_port" in line for line in stage.lines())
    assert any("colours" in line and "none, 16, 256 or true" in line for line in stage.lines())
    await stage.press("escape")
    await stage.press("g")
    await shows(stage, "inference_port")
    await stage.press("enter")
    await fill_in(stage, "80000")
    await shows(stage, "less than or equal to 65535")
    await stage.press("enter")  # a wrong value is not saved
    assert "8100" in file.read_text()
    await fill_in(stage, "8200")
    await shows(stage, "Takes effect when the studio")
    await stage.press("enter")
    await stage.until(lambda: "8200" in file.read_text(), "it is saved")
    assert file.read_text() == "# mine\ninference_port: 8200  # above the others\n"
    assert load_settings(stage.studio.places, {}).inference_port == 8200
    await stage.press("d")
    await stage.until(lambda: "8200" not in file.read_text(), "it is the default again")
    assert "# mine" in file.read_text()
    await stage.press("escape")


@contextmanager
def slow_fetch() -> Iterator[threading.Event]:
    """The demo's model comes in pieces until the event is set."""
    done = threading.Event()

    def fetch(places: Any, path: Any, progress: Any) -> Path:
        for index in range(1, 2000):
            progress(Progress(index * 50_000, 98_000_000, "SmolLM2"))
            if done.wait(0.02):
                break
        return Path("model.gguf")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "fetch", fetch)
        yield done


@start.scenario("app.cancel-download")
async def _cancel(stage: Staged) -> None:
    with slow_fetch():
        await cursor(stage, "#start-list", "do:demo")
        await stage.pilot.press("enter")
        await stage.until(lambda: "SmolLM2" in stage.text() and "/s" in stage.text(), "bytes and rate are shown")
        assert "of 93 MiB" in stage.text()
        await stage.pilot.press("5")  # it goes on, and is shown, on every screen
        await stage.until(lambda: stage.app.place_name == "usage" and "of 93 MiB" in stage.text(), "shown elsewhere")
        stage.app.action_cancel_download()
        await told(stage, "was cancelled")
        await stage.settle()
        assert "of 93 MiB" not in stage.text()
    assert stage.calls == []


async def test_the_demo_is_fetched_launched_and_talked_to(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
        stage.launcher.run = running(stage)
        with slow_fetch() as done:
            await cursor(stage, "#start-list", "do:demo")
            await stage.pilot.press("enter")
            await shows(stage, "SmolLM2")
            done.set()
            await asked(stage, ("launch", demo.RECIPE))
        await at(stage, "chat", demo.RECIPE)


@contextmanager
def lists_models(*names: str) -> Iterator[str]:
    """A server that lists these models, at this address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": name} for name in names]}).encode()
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_a_server_that_runs_is_attached_by_its_address(tmp_path: Path) -> None:
    with lists_models("tiny-1", "tiny-2") as url:
        async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
            await stage.press("slash")
            await fill_in(stage, url)
            await shows(stage, "attach this server")
            await stage.press("enter")
            await shows(stage, "tiny-2")
            await stage.press("down", "enter")
            await at(stage, "chat", "tiny-2")
            (stored,) = stage.studio.recipes.all()
            assert (stored.backend, stored.base_url, stored.served_model_name) == ("external", f"{url}/v1", "tiny-2")


async def test_a_server_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
        await stage.press("slash")
        await fill_in(stage, "http://127.0.0.1:9")
        await stage.press("enter")
        await told(stage, "does not list its models")


async def test_a_typed_folder_shows_its_models_and_a_pasted_command_becomes_a_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "other.gguf").write_bytes(b"GGUF" + bytes(100))
    async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
        await stage.press("slash")
        await fill_in(stage, str(folder))
        await shows(stage, "other")
        await fill_in(stage, "vllm serve org/typed --max-model-len 512")
        await shows(stage, "this command")
        await stage.press("enter")
        await shows(stage, "Import: what would come of it")
        await stage.press("escape", "i")
        await at(stage, "recipes", "typed")
        (stored,) = stage.studio.recipes.all()
        assert stored.max_model_len == 512


async def test_a_file_is_imported_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipes:\n- {id: from-file, model_path: org/file}\n")
    async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
        await stage.press("slash")
        await fill_in(stage, str(file))
        await shows(stage, "import this file")
        await stage.press("enter")
        await shows(stage, "Import: what would come of it")
        await stage.press("escape", "i")
        await at(stage, "recipes", "from-file")
        assert [stored for stored, _ in stage.studio.recipe_list()] == ["from-file"]


async def test_a_starter_opens_as_a_recipe_that_is_not_saved_yet(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
        await shows(stage, "STARTERS")
        await cursor(stage, "#start-list", "starter:Qwen/Qwen3-4B-GGUF:Q4_K_M")
        await stage.press("enter")
        await at(stage, "create", "qwen3-4b-gguf")
        assert stage.studio.recipe_list() == []
        await stage.press("f2")
        await stage.until(lambda: len(stage.studio.recipe_list()) == 1, "it is saved")


async def test_where_there_is_something_the_dashboard_shows_it(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=bare, recipes=(recipe("one"),)) as stage:
        assert "What do you want to run?" not in stage.text()
    async with staged(tmp_path / "other", shown=bare, recipes=(), read_only=True) as stage:
        assert "What do you want to run?" not in stage.text()


@pytest.mark.parametrize("size", [(80, 24), (60, 15), (40, 6)])
async def test_it_fits_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path / "home", shown=bare, recipes=(), size=size) as stage:
        text = stage.text()
        assert ("try the demo" in text) == (size != (40, 6))
        assert all(len(line) <= size[0] for line in stage.lines())


async def test_the_palette_finds_doctor_and_settings(tmp_path: Path) -> None:
    async with staged(tmp_path / "home") as stage:
        await command(stage, "doctor")
        await stage.until(lambda: isinstance(stage.app.screen, DoctorSheet), "the doctor")


async def test_the_form_of_a_new_recipe_takes_an_engine_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(_: Any) -> list[EngineHere]:
        return [
            EngineHere("vllm", "vLLM", "not found", usable=False),
            EngineHere("llamacpp", "llama.cpp", "xllamacpp 0.2", usable=True, embedded=True),
        ]

    monkeypatch.setattr(Studio, "engines_here", here)
    async with staged(tmp_path / "home", shown=bare, recipes=(), size=(80, 24)) as stage:
        await stage.press("n")
        await shows(stage, "llama.cpp (embedded) is installed")
        await fill_in(stage, "an empty recipe")
        await stage.press("enter")
        await at(stage, "recipes", "nothing saved yet")
        form = stage.app.current.one("#form")
        assert form.texts["backend"] == "llamacpp"
        assert "llama.cpp (embedded) is installed" in stage.text()
        lines = stage.lines()
        first = next(index for index, line in enumerate(lines) if "needed" in line)
        assert "Engine" in lines[first + 1], "no blank line between two fields"
        assert any(line.strip().startswith("CHECK  ✕ model") for line in lines)
        await stage.press("f4")  # the model of this machine is offered
        await shows(stage, GGUF)
        await stage.press("enter")
        await stage.until(lambda: "needed" not in stage.text(), "it is filled in")
        assert "is missing" not in stage.text()
        await stage.press("down", "f4")
        await shows(stage, "not found")
        assert "xllamacpp 0.2" in stage.text() or "installed" in stage.text()


async def test_what_is_wrong_goes_from_under_its_field_when_it_is_mended(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", place="recipes", recipes=(recipe("one", max_model_len=512),)) as stage:
        await stage.press("e")
        await at(stage, "recipes", "Name in requests")
        form = stage.app.current.one("#form")
        form.set_text("model_path", "")
        await shows(stage, "✕ model_path is missing")
        await stage.type("org/other")
        await stage.until(lambda: "is missing" not in stage.text(), "the trouble goes while one types")
        assert form.texts["model_path"] == "org/other"
        assert "∙ Model" in stage.text()
        assert "org/one -> org/other" in stage.text()
        form.set_text("trust_remote_code", "yes")
        form.set_text("cwd", "/not/there")
        await stage.press("ctrl+pagedown", "ctrl+pageup")
        await stage.until(lambda: "✕ environment" in stage.text(), "a check that is slower than a key")
        await form.find("cwd")

        def below() -> bool:  # the checks beside the form name the folder too
            lines = [*stage.lines(), ""]
            return any("/not/there" in line and "✕" in lines[at + 1] for at, line in enumerate(lines[:-1]))

        await stage.until(below, "the trouble stands below its field")
        form.set_text("cwd", "")
        await stage.until(lambda: "✕ environment" not in stage.text(), "and goes when it is mended")


async def test_an_answer_that_comes_while_it_is_removed_is_not_shown(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=bare, recipes=()) as stage:
        await alone(stage)
        await shows(stage, "CHECKED")
        start = stage.app.current.one("#start")
        start.remove()
        without_parts = 0
        while start.is_attached:
            start._show(start._here)
            without_parts += not start.query("#start-list")
            await asyncio.sleep(0)
        assert without_parts, "it loses its parts before it goes"
