"""What every action of the frame, of lists and of the dashboard does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.functional.acting import Scene, asked, at, command, cursor, fill_in, hides, shows, told
from tests.functional.stage import Staged, recipe
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.runs import foreign
from vllm_studio_tui.runs.foreign import Foreign, Orphan
from vllm_studio_tui.runs.read import DISMISSED
from vllm_studio_tui.services.launching import parser_probe
from vllm_studio_tui.services.launching.parser_probe import Finding, ParserReport
from vllm_studio_tui.tui.screens.registry import BY_NAME
from vllm_studio_tui.tui.widgets.canvas import ListCanvas

#: What each place shows that no other one does.
WORDS = {
    "dashboard": "RUNS  ",
    "recipes": "RECIPES  5",
    "chat": "Ask qwen3-32b anything.",
    "monitor": "ENGINES",
    "usage": "14 days",
    "logs": "level all",
    "requests": "nothing serves",
    "models": "No models on this machine.",
    "hosts": "No other host in the settings.",
    "bench": "No benchmark was made here yet.",
}
READY, LOADING, FAILED = "qwen3-32b-1", "deepseek-r1-70b-1", "llama-3.3-70b-1"


async def on_the_first_run(stage: Staged) -> None:
    await cursor(stage, "#ledger", READY)


app = Scene("app", place="dashboard", begin=on_the_first_run)
dashboard = Scene("dashboard", place="dashboard", begin=on_the_first_run)
leaving = Scene("leaving", place="dashboard")
interrupted = Scene("interrupted", place="dashboard")
SCENES = (app, dashboard, leaving, interrupted)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


# --- everywhere -----------------------------------------------------------------------------------------------


@app.scenario(
    "app.dashboard",
    "app.recipes",
    "app.chat",
    "app.monitor",
    "app.usage",
    "app.logs",
    "app.requests",
    "app.models",
    "app.hosts",
    "app.bench",
)
async def _places(stage: Staged) -> None:
    places = list(WORDS)
    # The chat comes last: in its prompt a digit is text, and only with alt it leads on.
    for prefix, order in (("", "2456789013"), ("alt+", "1245678903")):
        for number in order:
            place = next(name for name in places if BY_NAME[name].key == number)
            assert stage.app.place_name != place
            await stage.press(f"{prefix}{number}")
            await at(stage, place, WORDS[place])


@dashboard.scenario("dashboard.probe")
async def _the_parsers_of_a_run(stage: Staged) -> None:
    asked: list[str] = []

    def answered(target: Target, **_: object) -> ParserReport:
        asked.append(target.model)
        return ParserReport(Finding("works", "it called get_weather"), Finding("unparsed", "thinking stands there"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser_probe, "probe_parsers", answered)
        await stage.press("t")
        await stage.until(lambda: "Thinking: thinking stands there." in stage.heard, "the answer")
    assert asked == ["m"]
    assert "Tools: it called get_weather." in stage.heard


@dashboard.scenario("dashboard.import")
async def _engines_of_others(stage: Staged) -> None:
    engine = Foreign(4711, 1, "vllm", "org/theirs", 8123, "127.0.0.1", "bob")
    ended: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign, "find_foreign", lambda: [engine])
        patch.setattr(foreign, "find_orphans", lambda: [Orphan(4712, 1, "VLLM::Worker", "bob")])
        patch.setattr(foreign, "end", lambda pid, *_, **__: ended.append(pid))
        await stage.press("I")
        await shows(stage, "ENGINES OF OTHERS  2")
        assert any(
            all(word in line for word in ("org/theirs", "vLLM", "8123", "bob", "4711")) for line in stage.lines()
        )
        await stage.press("enter")
        await stage.press("a")
        await stage.until(lambda: any("http://127.0.0.1:8123/v1" in one for one in stage.heard), "attached")
        assert stage.studio.recipes.get("theirs").backend == "external"
        await stage.press("I")
        await shows(stage, "left behind")
        await stage.press("enter")
        await stage.press("s")
        assert ended == []
        await stage.press("s")
        await stage.until(lambda: ended == [4711], "stopped")
        await stage.press("I")
        await shows(stage, "left behind")
        await stage.press("down", "enter", "e")
        await stage.until(lambda: ended == [4711, 4712], "the orphan is ended")
    stage.studio.recipes.delete("theirs")


@app.scenario("app.palette")
async def _palette(stage: Staged) -> None:
    await stage.press("colon")
    await shows(stage, "stop qwen3-32b")
    await stage.press("escape", "ctrl+p")
    await shows(stage, "stop qwen3-32b")
    await fill_in(stage, "launch gemma")
    await shows(stage, "1 of")
    await stage.press("enter")
    await asked(stage, ("launch", "gemma-3-12b"))


@app.scenario("app.reload")
async def _reload(stage: Staged) -> None:
    stage.studio.recipes.create(recipe("from-elsewhere"))
    await hides(stage, "from-elsewhere")
    await stage.press("f5")
    await shows(stage, "from-elsewhere")
    await told(stage, "Read again.")
    stage.studio.recipes.delete("from-elsewhere")


@app.scenario("app.mouse")
async def _mouse(stage: Staged) -> None:
    written: list[str] = []
    driver = stage.app._driver
    assert driver is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(driver), "_disable_mouse_support", lambda _: written.append("off"), raising=False)
        patch.setattr(type(driver), "_enable_mouse_support", lambda _: written.append("on"), raising=False)
        await stage.press("f10")
        await told(stage, "The mouse selects text now")
        await stage.press("f10")
    assert written == ["off", "on"]


@app.scenario("app.help")
async def _help(stage: Staged) -> None:
    for key in ("question_mark", "f1"):
        await stage.press(key)
        await shows(stage, "EVERYWHERE")
        await shows(stage, "1-9")  # the keys that screens have
        for width in (110, 60):  # what a key does is never cut off
            assert not [row.text(width) for row in stage.app.screen._paint(width, 0) if "…" in row.text(width)]  # type: ignore[attr-defined]
        await stage.press("escape")
        await hides(stage, "EVERYWHERE")


@app.scenario("app.theme")
async def _theme(stage: Staged) -> None:
    before = stage.app.ink.style("fg")
    await command(stage, "choose a theme")
    await shows(stage, "slate")
    await fill_in(stage, "paper")
    await stage.press("enter")
    await stage.until(lambda: stage.studio.places.settings_file.exists(), "it is kept")
    assert 'theme: "paper"' in stage.studio.places.settings_file.read_text()
    assert stage.app.theme == "paper"
    assert stage.app.ink.style("fg") != before


@app.scenario("app.undo")
async def _undo(stage: Staged) -> None:
    recipes = stage.studio.recipes
    recipes.save(recipe("gemma-3-12b", max_model_len=4096))
    await stage.press("u")
    await told(stage, "Taken back: gemma-3-12b max_model_len 4096 -> 32768")
    assert recipes.get("gemma-3-12b").max_model_len == 32768


@app.scenario("app.back")
async def _back(stage: Staged) -> None:
    stage.app.tell("something was said", "error")
    await shows(stage, "something was said")
    await stage.press("escape")
    await hides(stage, "something was said")
    await stage.press("4")
    await at(stage, "monitor", "ENGINES")
    await stage.press("space")
    await shows(stage, "marked")
    await stage.press("escape")
    await hides(stage, "marked")


@app.scenario("app.suspend-process")
async def _suspend(stage: Staged) -> None:
    sent: list[tuple[int, int]] = []
    driver = stage.app._driver
    assert driver is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(driver), "can_suspend", True)
        patch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
        await stage.press("ctrl+z")
    assert sent == [(os.getpid(), signal.SIGTSTP)]


@leaving.scenario("app.quit-studio")
async def _quit(stage: Staged) -> None:
    await stage.press("q")
    await stage.until(lambda: stage.app._exit, "it leaves")
    assert stage.app.last_words == ["2 engines go on: vllm-studio status. To stop them: vllm-studio stop --all"]
    assert stage.calls == []


@interrupted.scenario("app.interrupt")
async def _interrupt(stage: Staged) -> None:
    await stage.press("6")
    await at(stage, "logs", "root cause line 8")  # what stands above the lines is known
    line = next(index for index, text in enumerate(stage.lines()) if "a setting is odd" in text)
    start = stage.lines()[line].index("a setting")
    await stage.pilot.mouse_down(offset=(start, line))
    await stage.pilot.hover(offset=(start + 9, line))
    await stage.pilot.mouse_up(offset=(start + 9, line))
    await stage.press("ctrl+c")
    assert stage.clip == "a setting"
    assert not stage.app._exit
    await stage.press("1")
    await at(stage, "dashboard", "RUNS  ")
    await cursor(stage, "#ledger", READY)
    await stage.press("s")
    await shows(stage, "Stop qwen3-32b?")
    await stage.press("ctrl+c")
    await hides(stage, "Stop qwen3-32b?")
    assert not stage.app._exit
    for _ in range(20):  # two within a moment, which a busy machine may miss
        await stage.press("ctrl+c")
        if stage.app._exit:
            break
    assert stage.app._exit, "the second one leaves"


# --- lists ----------------------------------------------------------------------------------------------------


def row(stage: Staged) -> str:
    """The key under the cursor of the dashboard."""
    ledger = stage.app.current.one("#ledger")
    assert isinstance(ledger, ListCanvas)
    assert ledger.key is not None
    return str(ledger.key)


@app.scenario("list.up", "list.down")
async def _steps(stage: Staged) -> None:
    await cursor(stage, "#ledger", FAILED)
    for down, up in (("down", "up"), ("j", "k")):
        await stage.press(down)
        assert row(stage) == LOADING
        await stage.press(up)
        assert row(stage) == FAILED


@app.scenario("list.page-up", "list.page-down")
async def _pages(stage: Staged) -> None:
    await stage.press("pagedown")
    assert row(stage) == "recipe:gemma-3-12b"
    await stage.press("pageup")
    assert row(stage) == FAILED


@app.scenario("list.first", "list.last")
async def _ends(stage: Staged) -> None:
    for last, first in (("end", "home"), ("G", "g")):
        await stage.press(last)
        assert row(stage) == "recipe:gemma-3-12b"
        await stage.press(first)
        assert row(stage) == FAILED  # trouble stands before health


# --- dashboard ------------------------------------------------------------------------------------------------


@dashboard.scenario("dashboard.open")
async def _open(stage: Staged) -> None:
    await cursor(stage, "#ledger", FAILED)
    await stage.press("enter")
    await at(stage, "run", "18416")
    await stage.press("escape")


@dashboard.scenario("dashboard.log")
async def _log(stage: Staged) -> None:
    await stage.press("L")
    await at(stage, "logs", "a setting is odd")


@dashboard.scenario("dashboard.run")
async def _run(stage: Staged) -> None:
    await cursor(stage, "#ledger", "recipe:gemma-3-12b")
    await stage.press("r")
    await asked(stage, ("launch", "gemma-3-12b"))
    stage.calls.clear()
    await cursor(stage, "#ledger", FAILED)
    await stage.press("r")
    await asked(stage, ("launch", "llama-3.3-70b"))
    stage.calls.clear()
    await cursor(stage, "#ledger", READY)  # it runs: which one is asked for
    await stage.press("r")
    await shows(stage, "never run")
    await fill_in(stage, "gemma")
    await stage.press("enter")
    await asked(stage, ("launch", "gemma-3-12b"))


@dashboard.scenario("dashboard.stop")
async def _stop(stage: Staged) -> None:
    await stage.press("s")
    await shows(stage, "Stop qwen3-32b?")
    await stage.press("s")
    await asked(stage, ("stop", "qwen3-32b"))


@dashboard.scenario("dashboard.chat")
async def _chat(stage: Staged) -> None:
    await stage.press("c")
    await at(stage, "chat", "Ask qwen3-32b anything.")
    assert stage.app.current.one("#prompt").has_focus


@dashboard.scenario("dashboard.edit")
async def _edit(stage: Staged) -> None:
    await stage.press("e")
    await at(stage, "recipes", "org/qwen3-32b")
    assert stage.app.current.one("#form").texts["id"] == "qwen3-32b"
    await stage.press("escape")


@dashboard.scenario("dashboard.new")
async def _new(stage: Staged) -> None:
    await stage.press("n")
    await shows(stage, "What do you want to run?")
    await stage.press("enter")  # an empty recipe comes first
    await at(stage, "recipes", "new recipe")
    assert stage.app.current.one("#form").recipe is None
    await stage.press("escape")


@dashboard.scenario("dashboard.dismiss")
async def _dismiss(stage: Staged) -> None:
    await cursor(stage, "#ledger", FAILED)
    run = stage.app.current.commands.run_of(FAILED)
    assert run is not None
    assert not (run.folder / DISMISSED).exists()
    await stage.press("d")
    await stage.until((run.folder / DISMISSED).exists, "it is put aside")


@dashboard.scenario("dashboard.fix")
async def _fix(stage: Staged) -> None:
    await cursor(stage, "#ledger", FAILED)
    await stage.press("f")
    await shows(stage, "Shorten the context")
    await stage.press("enter")
    await asked(stage, ("launch", "llama-3.3-70b"))
    assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 18416


@dashboard.scenario("dashboard.next-part", "dashboard.previous-part")
async def _parts(stage: Staged) -> None:
    await stage.press("tab")
    assert row(stage).startswith("recipe:")
    await stage.press("tab")
    assert row(stage).startswith("event:")
    await stage.press("enter")  # an event opens its run
    await at(stage, "run", "deepseek-r1-70b")
    await stage.press("escape")
    await at(stage, "dashboard", "RUNS")
    assert row(stage).startswith("event:")
    await stage.press("tab")
    assert row(stage) == FAILED
    await stage.press("shift+tab")
    assert row(stage).startswith("event:")
    await stage.press("shift+tab")
    assert row(stage).startswith("recipe:")


@dashboard.scenario("dashboard.filter")
async def _filter(stage: Staged) -> None:
    await stage.press("slash")
    await fill_in(stage, "deep")
    ledger = stage.app.current.one("#ledger")
    assert ledger.keys == [LOADING, "recipe:deepseek-r1-70b"]
    await stage.press("enter")
    assert ledger.has_focus
    await stage.press("slash")
    await fill_in(stage, "no such")
    await shows(stage, "No run matches.")
    await stage.press("escape")
    assert ledger.has_focus and FAILED in ledger.keys
