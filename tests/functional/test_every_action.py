"""No action without a scenario that shows what it does, and none that writes where nothing may be written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.functional import (
    test_actions_app,
    test_actions_bench,
    test_actions_chat,
    test_actions_context,
    test_actions_hosts,
    test_actions_models,
    test_actions_prompt,
    test_actions_recipes,
    test_actions_requests,
    test_actions_tools,
    test_actions_watching,
    test_compare,
    test_creating,
    test_processes,
    test_run_page,
    test_starting,
)
from tests.functional.acting import cursor, ids_of, shows
from tests.functional.benching import while_measuring, with_benchmarks
from tests.functional.models import with_models
from tests.functional.stage import Staged, bare, staged
from tests.unit.scripted_engine import DONE
from tests.unit.serving_socket import serving
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.tui.app import StudioApp
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.bench.place import BenchPlace
from vllm_studio_tui.tui.screens.chat.flows import ChatFlows
from vllm_studio_tui.tui.screens.chat.marking import Marking
from vllm_studio_tui.tui.screens.chat.place import ChatPlace
from vllm_studio_tui.tui.screens.chat.transcript import Transcript
from vllm_studio_tui.tui.screens.compare.place import ComparePage
from vllm_studio_tui.tui.screens.create.place import CreatePage
from vllm_studio_tui.tui.screens.dashboard.place import Dashboard
from vllm_studio_tui.tui.screens.hosts.place import HostsPlace
from vllm_studio_tui.tui.screens.logs.place import LogsPlace
from vllm_studio_tui.tui.screens.measure.place import MeasurePage
from vllm_studio_tui.tui.screens.models.place import ModelsPlace
from vllm_studio_tui.tui.screens.monitor.place import Monitor
from vllm_studio_tui.tui.screens.monitor.processes import ProcessesView
from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
from vllm_studio_tui.tui.screens.recipes.place import RecipesPlace
from vllm_studio_tui.tui.screens.requests.place import RequestsPlace
from vllm_studio_tui.tui.screens.run.place import RunPage
from vllm_studio_tui.tui.sheets.palette import Palette
from vllm_studio_tui.tui.sheets.starting import WhatToRun

MODULES = (
    test_actions_context,
    test_actions_app,
    test_actions_bench,
    test_actions_recipes,
    test_actions_requests,
    test_actions_tools,
    test_actions_hosts,
    test_actions_models,
    test_actions_chat,
    test_actions_prompt,
    test_actions_watching,
    test_compare,
    test_creating,
    test_processes,
    test_run_page,
    test_starting,
)
WRITING = [action for action in actions.ACTIONS if action.writes]


def test_every_action_has_a_scenario() -> None:
    scenes = [scene for module in MODULES for scene in module.SCENES]
    assert ids_of(*scenes) == {action.id for action in actions.ACTIONS}


# --- read-only ------------------------------------------------------------------------------------------------


def keys_of(scope: str) -> list[str]:
    return [key for action in WRITING if action.scope == scope for key in action.keys.split(",")]


async def on_every_run(stage: Staged) -> None:
    for run in ("qwen3-32b-1", "deepseek-r1-70b-1", "llama-3.3-70b-1"):
        await cursor(stage, "#ledger", run)
        await stage.press(*keys_of("dashboard"))


async def on_every_recipe(stage: Staged) -> None:
    for recipe in ("qwen3-32b", "gemma-3-12b"):
        await cursor(stage, "#recipes-table", recipe)
        await stage.press(*keys_of("recipes"))


async def in_the_form(stage: Staged) -> None:
    place: Any = stage.app.current
    await place.edit("gemma-3-12b")
    await stage.press(*keys_of("form"))


async def on_every_message(stage: Staged) -> None:
    """A question and its answer, which was cut."""
    place: Any = stage.app.current
    chat = stage.studio.chat
    events = chat.send(chat.new_session("q"), "q", stage.launcher.target())
    async for event in events:
        if isinstance(event, Delta):
            await events.aclose()
            break
    await place.open(chat.sessions.list()[0].id)
    place.document.focus()
    await stage.press(*keys_of("transcript"))
    await stage.press("up", *keys_of("transcript"))


async def in_the_chat(stage: Staged) -> None:
    keys = [key for key in keys_of("chat") if key]
    await stage.press(*[key for key in keys if len(key) > 1])
    test_actions_chat.place(stage).document.focus()
    await stage.press(*[key for key in keys if len(key) == 1])  # in the prompt a letter is a letter
    test_actions_chat.place(stage).prompt.focus()
    for name in [action.name for action in WRITING if action.scope == "chat" and not action.keys]:
        test_actions_chat.place(stage).prompt.set_text(f"/{name} ")
        await stage.press("enter")
        await stage.settle()
    test_actions_chat.place(stage).prompt.set_text("")


async def beside_each_other(stage: Staged) -> None:
    """One that comes, which can be stopped, then two that are there."""
    if stage.app.read_only:
        stage.app.open_page("compare", json.dumps({"text": "q", "sides": test_compare.SIDES}))
        await stage.settle()
        await stage.press(*keys_of("compare"), "escape")
        return
    wait = asyncio.Event()
    stage.engine.script = (Delta(content="x"), wait.wait, DONE)
    stage.app.open_page("compare", json.dumps({"text": "q", "sides": test_compare.SIDES}))
    await stage.until(lambda: stage.text().count("writing") == 2, "both write")
    await stage.press("s")
    wait.set()
    await stage.until(lambda: stage.text().count("done") == 4, "both have answered")
    await stage.press(*(key for key in keys_of("compare") if key != "s"), "escape")


async def in_the_list_of_chats(stage: Staged) -> None:
    stage.studio.chat.new_session("q")
    place: Any = stage.app.current
    await place.reload_list()
    place.query_one("#chat-list").focus()
    await stage.press("p", "number_sign")
    for key in [key for key in keys_of("chats") if len(key) > 1 and key != "number_sign"]:  # letters are typed there
        await stage.press("ctrl+o")
        await stage.until(lambda: "0 messages" in stage.text(), "the chats")
        await stage.press(key)
        if stage.app.read_only:
            await stage.until(lambda: "0 messages" in stage.text(), "the chats again")
            await stage.press("escape")


async def on_the_log_of_a_failed_run(stage: Staged) -> None:
    place: Any = stage.app.current
    await place.open_run("llama-3.3-70b-1")
    await stage.press(*keys_of("logs"))


async def on_the_page_of_every_run(stage: Staged) -> None:
    for run in ("qwen3-32b-1", "llama-3.3-70b-1"):
        stage.app.open_run(run)
        await stage.settle()
        await stage.press(*keys_of("run"))
    await stage.press("escape")


async def on_an_empty_home(stage: Staged) -> None:
    """The question what to run; it is not asked where nothing may be written."""
    for stored, _ in stage.studio.recipe_list():
        stage.studio.recipes.delete(stored)
    stage.studio.sampler.latest = None
    place: Any = stage.app.current
    stage.app.snapshot = bare(stage.studio.places.data)
    place.shown()
    await stage.settle()
    await stage.press(*keys_of("start"))


async def on_a_screen_without_new(stage: Staged) -> None:
    await stage.press(*keys_of("app"))


async def on_requests_and_keys(stage: Staged) -> None:
    """One that waits for its model, and a key."""
    stage.studio.keys.add("web")
    place: Any = stage.app.current
    with serving(stage.studio.places) as told:
        told.documents["/requests/live"] = {"requests": [{"id": "a", "phase": "queued", "age": 1, "recipe": "r"}]}
        place.read_again()
        await stage.until(lambda: place.table.key == "a", "the request")
        await stage.press(*keys_of("requests"))
        await stage.press("v", "v")
        await stage.press(*keys_of("requests"))
        await stage.press("escape")


async def on_every_host(stage: Staged) -> None:
    save_host(stage.studio.places, "l40s-a", {"connect": "ssh://l40s-a"})
    stage.app.current.read_again()
    await stage.settle()
    await cursor(stage, "#hosts-table", "l40s-a")
    await stage.press(*keys_of("hosts"))


async def on_models_and_downloads(stage: Staged) -> None:
    """A model that no recipe has, one that comes and one that has stopped coming."""
    for key in ("/srv/models/SmolLM2-135M-Instruct", "openai/gpt-oss-120b", "Qwen/Qwen3-235B-A22B-FP8"):
        await cursor(stage, "#models-table", key)
        await stage.press(*keys_of("models"))


async def on_the_page_of_a_new_recipe(stage: Staged) -> None:
    stage.app.open_page("create", "Qwen/Qwen3-32B")
    await stage.settle()
    page: Any = stage.app.current
    await stage.until(lambda: page._made is not None, "it is worked out")
    await stage.press("f2", "ctrl+r", "escape")
    await stage.until(lambda: stage.app.place_name == "dashboard", "back where one was")


async def on_every_process(stage: Staged) -> None:
    """One of a run, and one of somebody else."""
    await stage.press("v")
    for key in ("pid:48812:488120", "pid:60412:604120"):
        await cursor(stage, "#processes-table", key)
        await stage.press(*keys_of("processes"))


async def on_a_benchmark(stage: Staged) -> None:
    """A result, then one that is being made."""
    with_benchmarks(stage.studio)
    stage.app.current.read_again()
    await stage.settle()
    await stage.press(*keys_of("bench"))
    while_measuring(stage.studio)
    stage.app.benches.look()
    await stage.settle()
    await stage.press("s")


async def on_the_set_up_of_a_benchmark(stage: Staged) -> None:
    with_benchmarks(stage.studio)
    stage.app.open_page("measure", '{"recipe": "qwen3-32b"}')
    await stage.settle()
    await stage.press("ctrl+r", "escape")
    await stage.until(lambda: stage.app.place_name == "dashboard", "back where one was")


#: By scope: where it is, what has its methods, and how each of its actions would be reached.
async def on_a_failed_run_of_the_monitor(stage: Staged) -> None:
    """And on one that was slow, with requests of one key."""
    await cursor(stage, "#monitor-canvas", "run:llama-3.3-70b-1")
    await stage.press("f", "p", "n")
    test_actions_watching.slowed(stage.studio)
    await cursor(stage, "#monitor-canvas", "run:qwen3-32b-1")
    await stage.press("left", "w")
    await shows(stage, "the 2 requests")
    await stage.press("e", "escape", "escape")


WALKS: dict[str, tuple[str, type, Callable[[Staged], Awaitable[None]]]] = {
    "dashboard": ("dashboard", Dashboard, on_every_run),
    "recipes": ("recipes", RecipesPlace, on_every_recipe),
    "form": ("recipes", RecipeForm, in_the_form),
    "chat": ("chat", ChatPlace, in_the_chat),
    "compare": ("chat", ComparePage, beside_each_other),
    "transcript": ("chat", Transcript, on_every_message),
    "chats": ("chat", ChatFlows, in_the_list_of_chats),
    "start": ("dashboard", WhatToRun, on_an_empty_home),
    "app": ("usage", StudioApp, on_a_screen_without_new),
    "run": ("dashboard", RunPage, on_the_page_of_every_run),
    "requests": ("requests", RequestsPlace, on_requests_and_keys),
    "hosts": ("hosts", HostsPlace, on_every_host),
    "logs": ("logs", LogsPlace, on_the_log_of_a_failed_run),
    "models": ("models", ModelsPlace, on_models_and_downloads),
    "create": ("dashboard", CreatePage, on_the_page_of_a_new_recipe),
    "monitor": ("monitor", Monitor, on_a_failed_run_of_the_monitor),
    "processes": ("monitor", ProcessesView, on_every_process),
    "bench": ("bench", BenchPlace, on_a_benchmark),
    "measure": ("dashboard", MeasurePage, on_the_set_up_of_a_benchmark),
}


def test_every_scope_that_writes_is_walked_through() -> None:
    assert set(WALKS) == {action.scope for action in WRITING}


@pytest.mark.parametrize("scope", WALKS)
@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
async def test_read_only_leaves_out_what_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str, read_only: bool
) -> None:
    """The same walk reaches every such action where writing is allowed, and none where it is not."""
    place, owner, walk = WALKS[scope]
    expected = {action.id for action in WRITING if action.scope == scope}
    done: set[str] = set()
    for action in WRITING:
        if action.scope == scope:
            _stand_in(monkeypatch, owner, action, done)
    prepare = with_models if place == "models" else None
    async with staged(
        tmp_path, place=place, read_only=read_only, script=(Delta(content="x"),), prepare=prepare
    ) as stage:
        await walk(stage)
        assert done == (set() if read_only else expected)
        assert stage.calls == []
        if read_only:
            assert not any(action.writes for action, _ in stage.app.active_actions())
            assert len(stage.app.screen_stack) == 1
            assert stage.app.place_name == place


def _stand_in(monkeypatch: pytest.MonkeyPatch, owner: type, action: Action, done: set[str]) -> None:
    """Write down that the action was done, instead of doing it."""
    if owner is ChatFlows:

        async def flow(*_: object) -> None:
            done.add(action.id)

        monkeypatch.setattr(owner if hasattr(owner, action.method) else Marking, action.method, flow)
    else:
        monkeypatch.setattr(owner, f"action_{action.method}", lambda _: done.add(action.id))


def offered(stage: Staged) -> set[str]:
    """What can be chosen from the palette."""
    palette = stage.app.screen
    if not isinstance(palette, Palette) or palette._loading:
        return set()
    return {entry.id for entry in palette._entries}


@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
async def test_the_palette_offers_nothing_that_writes_read_only(tmp_path: Path, read_only: bool) -> None:
    writing = {action.id for action in WRITING}
    async with staged(tmp_path, read_only=read_only) as stage:
        for place in ("dashboard", "recipes"):
            await stage.app.show_place(place)
            await stage.settle()
            await stage.press("ctrl+p")
            await stage.until(lambda: bool(offered(stage)), "the palette")
            values = offered(stage)
            wrong = {value for value in values if value in writing or value.startswith(("launch:", "stop:"))}
            assert (wrong == set()) is read_only, wrong
            await stage.press("escape")


async def test_read_only_sends_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", read_only=True) as stage:
        await stage.type("q")
        await stage.press("enter")
        assert any("nothing is sent" in toast for toast in stage.heard)
        assert stage.engine.asked == []
        assert list(stage.studio.chat.sessions.list()) == []
