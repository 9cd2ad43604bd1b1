"""What every action of the bench screen and of a set-up does, from wherever a benchmark begins."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.acting import Scene, at, cursor, fill_in, hides, shows, told
from tests.functional.benching import AFTER, NEW, OLD, PLAN, PROGRESS, StillBench, while_measuring, with_benchmarks
from tests.functional.stage import Staged, recipe, staged
from tests.functional.test_hostile import NASTY, check
from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.tui.screens.bench.flows import read_limits
from vllm_studio_tui.tui.screens.bench.place import BenchPlace
from vllm_studio_tui.tui.screens.measure.place import MeasurePage
from vllm_studio_tui.tui.sheets.chooser import Chooser
from vllm_studio_tui.tui.sheets.dialogs import Prompt, Question

READY = "qwen3-32b-1"


def bench_of(stage: Staged) -> StillBench:
    found = stage.studio.__dict__["bench"]
    assert isinstance(found, StillBench)
    return found


def place_of(stage: Staged) -> BenchPlace:
    place = stage.app.current
    assert isinstance(place, BenchPlace)
    return place


async def two_results(stage: Staged) -> None:
    with_benchmarks(stage.studio)
    place = place_of(stage)
    place._limits = place._shown = place._against = None
    place.table.clear_marks()
    place._set_view("plot")
    stage.app.benches.progress = None
    stage.app.benches.look()
    place.read_again()
    await stage.until(lambda: "revision 13 against 12" in stage.text(), "the results")


async def one_is_made(stage: Staged) -> None:
    while_measuring(stage.studio)
    place_of(stage)._shown = None
    stage.app.benches.look()
    place_of(stage).read_again()
    await stage.until(lambda: "step 6 of 7" in stage.text(), "the benchmark")


async def on_the_set_up(stage: Staged) -> None:
    with_benchmarks(stage.studio)
    stage.app.benches.progress = None
    page = await stage.app.place("measure")
    page.__dict__["_touched"] = False  # else it is as it was left
    stage.app.open_page("measure", '{"recipe": "elsewhere"}')
    await at(stage, "measure", "WHAT COMES OF IT")
    await shows(stage, "The first of this recipe")
    assert isinstance(stage.app.current, MeasurePage)


bench = Scene("bench", place="bench", begin=two_results, prepare=with_benchmarks)
making = Scene("making", place="bench", begin=one_is_made, prepare=while_measuring)
measure = Scene("measure", place="dashboard", begin=on_the_set_up, prepare=with_benchmarks)
start = Scene("start", place="dashboard", prepare=with_benchmarks)
SCENES = (bench, making, measure, start)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


# --- results --------------------------------------------------------------------------------------------------


@bench.scenario("bench.view")
async def _views(stage: Staged) -> None:
    assert "OUTPUT AND SPEED" in stage.text()
    await shows(stage, "v steps")
    await stage.press("v")
    await hides(stage, "OUTPUT AND SPEED")
    await shows(stage, "v results")
    await stage.press("v")
    await shows(stage, "RESULTS  2")
    # With two marked ones it compares them, the earlier one beside the later one.
    await stage.press("g", "space", "space")
    await shows(stage, "v compare")
    await stage.press("v")
    await shows(stage, "OUTPUT AND SPEED")
    assert (place_of(stage)._known.shown, place_of(stage)._known.against) == (NEW, OLD)


@bench.scenario("bench.mark")
async def _mark_two(stage: Staged) -> None:
    await cursor(stage, "#bench-page", "result:b12")
    await stage.press("enter")
    await stage.until(lambda: place_of(stage)._known.shown == OLD, "the earlier one alone")
    await cursor(stage, "#bench-page", "result:b12")
    await stage.press("space")
    await cursor(stage, "#bench-page", "result:b13")
    await stage.press("space")
    await stage.until(lambda: place_of(stage)._known.shown == NEW, "the later one beside it")
    assert place_of(stage)._known.against == OLD
    assert not place_of(stage).table.marks


@bench.scenario("bench.open", "bench.next-part", "bench.previous-part")
async def _open(stage: Staged) -> None:
    page = place_of(stage)._page
    assert page.key == "step:5", "the last that was measured"
    await stage.press("enter")
    await shows(stage, "first of the answer")
    assert "between +12% and +14%" in stage.text()
    assert "64 users  qwen3-32b, revision 13" in stage.text()
    await stage.press("escape")
    await stage.press("shift+tab")
    assert (page.key or "").startswith("result:")
    await stage.press("tab")
    assert (page.key or "").startswith("step:")
    await stage.press("v", "v")
    await cursor(stage, "#bench-results", "b12")
    await stage.press("enter")
    await stage.until(lambda: place_of(stage)._known.shown == OLD and "STEPS" in stage.text(), "that result, alone")


@bench.scenario("bench.previous", "bench.next")
async def _against(stage: Staged) -> None:
    assert "COMPARISON" in stage.text()
    for one, other in (("left", "right"), ("h", "l")):
        await stage.press(one)
        await hides(stage, "COMPARISON")
        await stage.press(other)
        await shows(stage, "COMPARISON")


@bench.scenario("bench.edit")
async def _limits(stage: Staged) -> None:
    await shows(stage, "64 users, then TTFT binds")
    await stage.press("e")
    await shows(stage, "How many users does it carry")
    await fill_in(stage, "soon")
    await stage.press("enter")
    await shows(stage, "such as 500 ms 25 tok/s")
    await fill_in(stage, "0.2 s 60")
    await stage.press("enter")
    await shows(stage, "at 60 tok/s a user and TTFT p95")
    await shows(stage, "● 13 8 users, then TTFT binds")


@bench.scenario("bench.why")
async def _why(stage: Staged) -> None:
    await stage.press("w")
    await shows(stage, "WHAT THE FIGURES MEAN")
    assert "Better from 8 users on" in stage.text()
    await stage.press("escape")


@bench.scenario("bench.export")
async def _export(stage: Staged) -> None:
    await stage.press("x")
    await stage.until(lambda: isinstance(stage.app.screen, Chooser), "CSV or JSON")
    await stage.press("enter")
    await stage.until(lambda: isinstance(stage.app.screen, Prompt), "where to")
    table = stage.studio.places.data / "bench.csv"
    await fill_in(stage, str(table))
    await stage.press("enter")
    await told(stage, f"written to {table}")
    rows = list(csv.DictReader(table.open()))
    assert [float(row["output_tokens_per_second"]) for row in rows] == [one[1] for one in AFTER]
    assert (rows[5]["revision"], rows[5]["concurrency"], rows[5]["ttft_p95"]) == ("13", "64", "0.318")
    await stage.press("v", "v", "g", "space", "space", "x")
    await stage.until(lambda: isinstance(stage.app.screen, Chooser), "CSV or JSON")
    await stage.press("down", "enter")
    await stage.until(lambda: isinstance(stage.app.screen, Prompt), "where to")
    document = stage.studio.places.data / "bench.json"
    await fill_in(stage, str(document))
    await stage.press("enter")
    await told(stage, f"written to {document}")
    assert [one["id"] for one in json.loads(document.read_text())] == ["b13", "b12"], "both that are marked"


@bench.scenario("bench.import")
async def _import(stage: Staged) -> None:
    await stage.press("I")
    await shows(stage, "Read results of")
    await fill_in(stage, str(stage.studio.places.data / "none.json"))
    await stage.press("enter")
    await told(stage, "is no file")
    await stage.press("I")
    await shows(stage, "Read results of")
    there = stage.studio.places.data / "guidellm.json"
    there.write_text("{}")
    await fill_in(stage, str(there))
    await stage.press("enter")
    await told(stage, "1 result is taken in from guidellm.json")
    await stage.until(lambda: (place_of(stage)._shown or "") == "from-guidellm.json", "it is shown")


@bench.scenario("bench.delete")
async def _delete(stage: Staged) -> None:
    await stage.press("d")
    await shows(stage, "Delete the result of qwen3-32b, revision 13?")
    await stage.press("escape")
    assert len(bench_of(stage).results) == 2
    await stage.press("delete")
    await shows(stage, "6 measured steps cannot be brought back")
    await stage.press("d")
    await told(stage, "revision 13 is deleted")
    assert list(bench_of(stage).results) == ["b12"]
    await stage.until(lambda: place_of(stage)._known.shown == OLD, "the other one is shown")


@bench.scenario("bench.again")
async def _again(stage: Staged) -> None:
    await stage.press("r")
    await stage.until(lambda: bool(bench_of(stage).asked), "it is measured again")
    assert bench_of(stage).asked == [(READY, PLAN)]
    await shows(stage, "step 1 of 7")
    bench_of(stage).progress = None


@bench.scenario("bench.duplicate")
async def _duplicate(stage: Staged) -> None:
    await stage.press("D")
    await at(stage, "measure", "1 4 8 16 32 64 128")
    await stage.press("escape")
    await at(stage, "bench", "COMPARISON")


@bench.scenario("bench.revisions")
async def _take_revision(stage: Staged) -> None:
    recipes = stage.studio.recipes
    for length in (16384, 8192):
        recipes.save(recipes.get("qwen3-32b").model_copy(update={"max_model_len": length}))
    bench_of(stage).results["b13"] = made = NEW.__class__(
        **{name: getattr(NEW, name) for name in NEW.__dataclass_fields__} | {"revision": 2}
    )
    place_of(stage).read_again()
    await stage.until(lambda: place_of(stage)._known.shown == made, "it is of revision 2")
    await stage.press("R")
    await shows(stage, "Take revision 2, as it was measured")
    assert "16384" in stage.text()
    await stage.press("enter")
    await told(stage, "qwen3-32b is saved")
    assert recipes.get("qwen3-32b").max_model_len == 16384


@bench.scenario("bench.new")
async def _new(stage: Staged) -> None:
    await stage.press("n")
    await at(stage, "measure", "NEW BENCHMARK  qwen3-32b")  # the only one that is ready
    await stage.press("escape")
    await at(stage, "bench", "COMPARISON")


# --- one that is made -----------------------------------------------------------------------------------------


@making.scenario("bench.stop")
async def _stop(stage: Staged) -> None:
    await shows(stage, "NOW  step 6, 64 users")
    await stage.press("s")
    await shows(stage, "5 measured steps are kept")
    await stage.press("escape")
    assert bench_of(stage).progress is not None
    await stage.press("s", "s")
    await told(stage, "is stopped; 5 of its steps are kept")
    await hides(stage, "NOW  step 6")
    assert bench_of(stage).results["b13"].state == "stopped"


# --- the set-up -----------------------------------------------------------------------------------------------


@measure.scenario("measure.up", "measure.down")
async def _fields(stage: Staged) -> None:
    await stage.press("down", "down")
    assert getattr(stage.app.focused, "field", "") == "prompt"
    await stage.press("up")
    assert getattr(stage.app.focused, "field", "") == "loads"
    await stage.press("escape")


@measure.scenario("measure.choose")
async def _kind(stage: Staged) -> None:
    await stage.press("f4")
    await stage.until(lambda: isinstance(stage.app.screen, Chooser), "the ways to ask")
    await stage.press("down", "enter")
    await shows(stage, "Users are doubled until they are too many")
    await stage.press("right")
    await shows(stage, "requests a second, evenly")
    await shows(stage, "A second")
    await stage.press("escape")


@measure.scenario("measure.launch")
async def _launch(stage: Staged) -> None:
    for name, text in (("loads", "2 4 many"), ("length", "soon"), ("ttft", "-1"), ("file", "/nowhere/at-all")):
        field = stage.app.current.query_one(f"#measure-{name}")
        field.focus()
        await stage.settle()
        before = field.value  # type: ignore[attr-defined]
        await fill_in(stage, text)
        await stage.press("ctrl+r")
        assert bench_of(stage).asked == [], text
        assert any("Users" in one or ":" in one for one in stage.heard)
        await fill_in(stage, before)
    for name, text in (("loads", "2, 1 4"), ("spread", "25"), ("shared", "100"), ("caps", "300 400")):
        stage.app.current.query_one(f"#measure-{name}").focus()
        await stage.settle()
        await fill_in(stage, text)
    stage.app.current.query_one("#measure-length").focus()
    await stage.settle()
    await fill_in(stage, "20 requests")
    await stage.press("ctrl+r")
    await stage.until(lambda: bool(bench_of(stage).asked), "it is started")
    name, plan = bench_of(stage).asked[0]
    assert (name, plan.concurrency, plan.requests, plan.duration) == ("elsewhere", (1, 2, 4), 20, None)
    assert (plan.ttft_limit, plan.speed_limit) == (0.5, 25.0)
    assert (plan.spread, plan.shared_prefix, plan.power_caps) == (0.25, 100, (300, 400))
    await at(stage, "bench", "step 1 of ")
    bench_of(stage).progress = None


# --- from a run or a recipe -----------------------------------------------------------------------------------


@start.scenario("dashboard.bench", "recipes.bench", "run.bench")
async def _from_anywhere(stage: Staged) -> None:
    await cursor(stage, "#ledger", READY)
    await stage.press("B")
    await at(stage, "measure", "NEW BENCHMARK  qwen3-32b")
    await shows(stage, "Compared with revision 13 on 7 steps")  # it begins as the last one was
    await shows(stage, "12 requests of others are answered now")
    await stage.press("escape")
    await stage.press("2")
    await at(stage, "recipes", "RECIPES")
    await cursor(stage, "#recipes-table", "gemma-3-12b")
    await stage.press("B")
    await at(stage, "measure", "NEW BENCHMARK  gemma-3-12b")
    await shows(stage, "not up: it is started first")
    await stage.press("escape")
    await at(stage, "recipes", "RECIPES")
    stage.app.open_run(READY)
    await at(stage, "run", "STAGES")
    await stage.press("B")
    await at(stage, "measure", "NEW BENCHMARK  qwen3-32b")
    await stage.press("escape", "escape")


# --- apart from single actions --------------------------------------------------------------------------------


async def test_a_benchmark_goes_on_while_one_is_elsewhere(tmp_path: Path) -> None:
    async with staged(tmp_path, place="dashboard", prepare=while_measuring) as stage:
        stage.app.benches.look()
        await shows(stage, "◐ bench 6/7")
        assert "0 Bench" in stage.text()
        await stage.press("0")
        await shows(stage, "step 6 of 7")
        assert "◐ bench 6/7" not in stage.text(), "its own screen says it at large"
        await stage.press("1")
        await shows(stage, "◐ bench 6/7")
        bench_of(stage).progress = None
        bench_of(stage).results["b13"] = NEW
        stage.app.benches.look()
        await told(stage, "The benchmark of qwen3-32b, revision 13 is done: 6 steps.")
        await hides(stage, "◐ bench")


async def test_the_cursor_goes_on_with_the_step_under_way_until_somebody_moves_it(tmp_path: Path) -> None:
    async with staged(tmp_path, place="dashboard", prepare=while_measuring) as stage:
        bench_of(stage).progress = None  # it is known a moment after the result is
        await stage.press("0")
        await shows(stage, "32 ")
        page = place_of(stage)._page
        await stage.until(lambda: page.key is not None, "the cursor is on a step")
        measured = page.key
        bench_of(stage).progress = PROGRESS
        stage.app.benches.look()
        await stage.until(lambda: page.key not in (None, measured), "it is on the one that goes on")
        under_way = page.key
        await stage.press("up", "up")
        moved = page.key
        assert moved not in (measured, under_way)
        bench_of(stage).progress = replace(PROGRESS, step=7, load=128.0)
        stage.app.benches.look()
        await shows(stage, "step 7 of 7")
        await stage.settle()
        assert page.key == moved


async def test_the_screen_is_named_from_the_first_result_on(tmp_path: Path) -> None:
    def empty(studio: object) -> None:
        studio.__dict__["bench"] = StillBench()

    async with staged(tmp_path, place="dashboard", prepare=empty) as stage:
        stage.app.benches.look()
        await stage.settle()
        assert "0 Bench" not in stage.text()
        for _ in range(5):
            stage.app.benches.look()
            await stage.settle()
        assert bench_of(stage).listed == 1, "the database is asked once, not at every look"
        await stage.press("0")
        await shows(stage, "No benchmark was made here yet.")
        await stage.press("1")
        while_measuring(stage.studio)  # another program does
        stage.app.benches.look()
        await shows(stage, "0 Bench")


async def test_leaving_while_one_is_made_is_asked_about(tmp_path: Path) -> None:
    async with staged(tmp_path, place="dashboard", prepare=with_benchmarks) as stage:
        stage.app.open_page("measure", json.dumps({"recipe": "elsewhere"}))
        await at(stage, "measure", "NEW BENCHMARK")
        await stage.press("ctrl+r")
        await at(stage, "bench", "step 1 of 6")
        await stage.press("q")
        await stage.until(lambda: isinstance(stage.app.screen, Question), "whether to leave")
        assert "what was measured is kept" in stage.text()
        await stage.press("escape")
        assert not stage.app._exit


async def test_a_page_shows_what_anybody_wrote_without_harm(tmp_path: Path) -> None:
    """Names, versions, notes and errors come from files of others."""
    from dataclasses import replace

    def hostile(studio: object) -> None:
        text = "".join(one[:400] for one in NASTY.values())
        bad = replace(
            OLD, id="bad", recipe_id=None, model=text, engine=text, engine_version=text, gpus=(text,),
            notes=(text,) * 4, error=text, state="failed", at=NEW.at + 1, source=text, name=text,
            steps=tuple(replace(one, problems={text: 3}) for one in OLD.steps), plan=replace(PLAN, prompts_file=text),
        )  # fmt: skip
        studio.__dict__["bench"] = StillBench(bad, replace(bad, id="worse", at=NEW.at))

    async with staged(tmp_path, place="bench", prepare=hostile) as stage:
        for size in ((160, 45), (120, 36), (80, 24), (60, 15), (40, 6), (20, 3)):
            await stage.pilot.resize_terminal(*size)
            for keys in ((), ("w", "escape"), ("v",), ("v",), ("escape",), ("enter", "escape")):
                await stage.press(*keys)
                check(stage, f"bench {size} {keys}")


async def test_nothing_is_measured_read_only(tmp_path: Path) -> None:
    async with staged(tmp_path, place="bench", prepare=with_benchmarks, read_only=True) as stage:
        await shows(stage, "COMPARISON")
        await stage.press("r", "n", "D", "R", "d", "I")
        assert bench_of(stage).asked == []
        assert stage.app.place_name == "bench"
        await stage.press("v", "v")
        await shows(stage, "RESULTS  2")


async def test_a_run_that_is_not_up_is_started_first(tmp_path: Path) -> None:
    """The stage's launcher says it is ready at once."""
    async with staged(tmp_path, place="recipes", prepare=with_benchmarks,
                      recipes=(recipe("gemma-3-12b"), recipe("qwen3-32b"))) as stage:  # fmt: skip
        await cursor(stage, "#recipes-table", "gemma-3-12b")
        await stage.press("B")
        await at(stage, "measure", "NEW BENCHMARK  gemma-3-12b")
        await stage.press("ctrl+r")
        await stage.until(lambda: bool(bench_of(stage).asked), "it is measured once it is ready")
        assert stage.calls == [("launch", "gemma-3-12b")]
        assert bench_of(stage).asked[0][0] == READY


@pytest.mark.parametrize(
    ("text", "limits"),
    [("500 ms 25 tok/s", (0.5, 25.0)), ("0.5 s", (0.5, None)), ("25", (None, 25.0)), ("", (None, None)),
     ("25 t/s, 1.5s", (1.5, 25.0))],
)  # fmt: skip
def test_limits_are_read_as_people_write_them(text: str, limits: tuple[float | None, float | None]) -> None:
    assert read_limits(text) == limits


@pytest.mark.parametrize("text", ["soon", "500", "0 ms", "-1", "1e9 s", "5 ms ms", "٥ ms"])
def test_limits_that_are_none_are_refused(text: str) -> None:
    if text == "500":
        assert read_limits(text) == (None, 500.0)  # a number alone is a speed
        return
    with pytest.raises(ValueError, match=r"such as|more than"):
        read_limits(text)


def test_a_plan_survives_its_fields() -> None:
    from vllm_studio_tui.tui.screens.measure.fields import kind_of, read_fields, values_of

    for plan in (
        PLAN,
        BenchPlan(search=True, ttft_limit=0.4),
        BenchPlan(arrivals="poisson", rate=(0.5, 2.0), requests=200, duration=None),
        BenchPlan(arrivals="constant", rate=(4.0,), warmup=0.0),
        BenchPlan(spread=0.3, shared_prefix=64, power_caps=(300, 250)),
    ):
        made, wrong = read_fields(plan, kind_of(plan), values_of(plan))
        assert wrong == {}
        assert made == plan
    good = values_of(BenchPlan())
    for name, text, words in (
        ("spread", "99", "from 0 to 95"), ("shared", "9999", "longer than the prompt"), ("caps", "3 W", "whole number"),
    ):  # fmt: skip
        _, wrong = read_fields(BenchPlan(), "sweep", {**good, name: text})
        assert list(wrong) == [name] and words in wrong[name]
    _, wrong = read_fields(BenchPlan(), "limit", {**good, "ttft": "500", "caps": "300"})
    assert list(wrong) == ["caps"]
