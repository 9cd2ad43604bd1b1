"""What every action of the monitor, of usage and of the logs does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, asked, at, cursor, editor, fill_in, hides, shows, told
from tests.functional.stage import NOW, Staged, snapshot, staged
from vllm_studio_tui.domain.series import RunSeries
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.snapshot import Replay, Snapshot
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.logs.place import LogsPlace
from vllm_studio_tui.tui.screens.logs.view import LogView
from vllm_studio_tui.tui.screens.monitor.comparing import ranges_of
from vllm_studio_tui.tui.screens.requests.place import RequestsPlace

READY, FAILED = "qwen3-32b-1", "llama-3.3-70b-1"


def with_a_long_log(folder: Path) -> Snapshot:
    """The log of the ready run is longer than any screen."""
    made = snapshot(folder)
    log = made.runs[0].log
    log.write_text(log.read_text() + "".join(f"INFO line {number} of {number % 100:02}\n" for number in range(500)))
    return made


def used(studio: Studio) -> None:
    """Two models: one that writes much and has the most tokens, one that reads more."""
    rows = RequestRows(studio.db)
    for model, prompt, completion in (("talks", 100, 900), ("reads", 500, 10)):
        rows.record(
            CompletedRequest(
                NOW - 60, "chat", "stop", id=model, model=model, prompt_tokens=prompt, completion_tokens=completion
            )
        )


async def the_long_log(stage: Staged) -> None:
    """From its end, all levels."""
    place = stage.app.current
    assert isinstance(place, LogsPlace)
    await place.open_run(READY)
    await stage.until(lambda: place.log_view.studied, "everything is known of it")


async def the_failed_run(stage: Staged) -> None:
    place = stage.app.current
    assert isinstance(place, LogsPlace)
    await place.open_run(FAILED)
    await stage.until(lambda: "root cause line" in stage.text(), "its cause is known")


class Slow:
    """Every run was slow at every moment; fp8 would help."""

    def slow(self, run_id: str, at: float | None = None) -> Why:
        moment = NOW if at is None else at
        return Why(
            "kv-preempt", "The KV cache was full, and prompts were computed twice.", True, run_id, "qwen3-32b", moment,
            moment - 65, moment + 65, (moment - 700, moment - 100),
            ("KV 98% for 62 s: 21 were preempted.", "31 requests waited, the longest 14.2 s."),
            ("power 590 of 700 W a GPU",), (), "Make more room.", {"kv_cache_dtype": "fp8"}, "fp8 cache: more room",
            "ci-bot", 2, {}, "ci-bot", 8,
        )  # fmt: skip


def slowed(studio: Studio) -> None:
    """Two requests of the slow time, of one key that may ask as it likes, one of another run, one of later."""
    studio.__dict__["why"] = Slow()
    studio.keys.add("ci-bot")
    rows = RequestRows(studio.db)
    for name, ago, run in (("slow-1", 100, READY), ("slow-2", 130, READY), ("other", 120, FAILED), ("later", 1, READY)):
        rows.record(
            CompletedRequest(NOW - ago, "proxy", "stop", id=name, key_name="ci-bot", run_id=run, total_seconds=0.5)
        )


monitor = Scene("monitor", place="monitor", prepare=slowed)


def played(folder: Path) -> Snapshot:
    """A moment of a recording: ten minutes come before it, and ten after."""
    return replace(snapshot(folder), replay=Replay("session.jsonl.gz", NOW, NOW - 600, NOW + 600))


def with_a_recording(studio: Studio) -> None:
    """What plays it only notes where it shall go, and how fast."""
    sampler: Any = studio.sampler

    def publish(**changes: float) -> None:
        sampler.latest = replace(sampler.latest, replay=replace(sampler.latest.replay, **changes))
        studio.bus.publish(sampler.latest)

    sampler.seek = lambda at: publish(at=max(NOW - 600, min(NOW + 600, at)))
    sampler.set_speed = lambda speed: publish(speed=speed)


async def at_its_middle(stage: Staged) -> None:
    sampler: Any = stage.studio.sampler
    sampler.seek(NOW)
    sampler.set_speed(1.0)
    await stage.until(lambda: where(stage) == (0.0, 1.0), "the middle of the recording")


def where(stage: Staged) -> tuple[float, float]:
    """Seconds from the middle of the recording, and its speed, as the screens know them."""
    now = stage.app.snapshot
    assert now is not None and now.replay is not None
    return now.replay.at - NOW, now.replay.speed


replayed = Scene("replay", place="monitor", shown=played, prepare=with_a_recording, begin=at_its_middle, read_only=True)
usage = Scene("usage", place="usage", prepare=used)
logs = Scene("logs", place="logs", begin=the_long_log, shown=with_a_long_log)
failed = Scene("failed", place="logs", begin=the_failed_run)
SCENES = (monitor, replayed, usage, logs, failed)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


# --- monitor --------------------------------------------------------------------------------------------------


@monitor.scenario("monitor.earlier", "monitor.later")
async def _moment(stage: Staged) -> None:
    assert "14:31:" not in stage.text()
    for earlier, later in (("left", "right"), ("h", "l")):
        await stage.press(earlier, earlier)
        await shows(stage, "14:31:")
        await stage.press(later, later)
        await hides(stage, "14:31:")


@monitor.scenario("monitor.open")
async def _open_from_the_monitor(stage: Staged) -> None:
    await cursor(stage, "#monitor-canvas", "run:qwen3-32b-1")
    await stage.press("enter")
    await stage.until(lambda: stage.app.place_name == "run", "the page of the run")
    await stage.press("escape")
    await at(stage, "monitor", "ENGINES")
    # A process leads to its run; one of somebody else has details.
    await shows(stage, "PROCESSES  tree")
    await cursor(stage, "#monitor-canvas", "pid:48120:481200")
    await shows(stage, "enter open run")
    await stage.press("enter")
    await at(stage, "run", "qwen3-32b")
    await stage.press("escape")
    await at(stage, "monitor", "ENGINES")


@monitor.scenario("axis.now", "axis.begin")
async def _ends_of_the_axis(stage: Staged) -> None:
    await cursor(stage, "#monitor-canvas", "run:deepseek-r1-70b-1")
    await stage.press("left", "left")
    await shows(stage, "14:31:")
    await stage.press("G")
    await hides(stage, "14:31:")
    canvas: Any = stage.app.current.one("#monitor-canvas")
    assert canvas.key == "run:deepseek-r1-70b-1", "the row stays: the key was for the time"
    await stage.press("g")
    assert canvas.key == f"run:{FAILED}", "the time has no beginning: the key was for the rows"
    await stage.press("v")
    await shows(stage, "Worker TP0")
    await stage.press("escape")


@replayed.scenario("monitor.stop", "monitor.run")
async def _hold_the_recording(stage: Staged) -> None:
    sampler: Any = stage.studio.sampler
    sampler.set_speed(4.0)
    await shows(stage, "s hold")
    await stage.press("s")
    await stage.until(lambda: where(stage) == (0.0, 0.0), "it is held")
    await shows(stage, "r go on")
    await hides(stage, "s hold")
    await stage.press("r")
    await stage.until(lambda: where(stage) == (0.0, 4.0), "it goes on as fast as before")


@replayed.scenario("axis.now", "axis.begin")
async def _ends_of_the_recording(stage: Staged) -> None:
    await stage.press("g")
    await stage.until(lambda: where(stage) == (-600.0, 1.0), "its beginning")
    await stage.press("G")
    await stage.until(lambda: where(stage) == (600.0, 1.0), "its end")


@replayed.scenario("monitor.open", "monitor.earlier", "monitor.later")
async def _move_in_the_recording(stage: Staged) -> None:
    for earlier, later in (("left", "right"), ("h", "l")):
        await stage.press(later)
        await stage.until(lambda: where(stage)[0] == 20.0, "a column later")
        await stage.press(earlier, earlier)
        await shows(stage, "enter play from here")
        await stage.press("enter")
        await stage.until(lambda: -40.0 < where(stage)[0] < 20.0, "where one looked")
        await hides(stage, "play from here")
        await at_its_middle(stage)


@replayed.scenario("monitor.next-stop")
async def _next_event_of_the_recording(stage: Staged) -> None:
    stage.studio.timeline.pin(NOW + 300, "later")
    await stage.press("right_square_bracket")
    await stage.until(lambda: where(stage)[0] == 300.0, "the next event")
    await stage.press("right_square_bracket")
    await told(stage, "No event is later in this recording.")


@monitor.scenario("monitor.zoom-in", "monitor.zoom-out")
async def _zoom(stage: Staged) -> None:
    await shows(stage, "TIME  30 min")
    await stage.press("plus")
    await shows(stage, "TIME  15 min")
    await stage.press("equals_sign")
    await shows(stage, "TIME  5 min")
    await stage.press("minus", "minus")
    await shows(stage, "TIME  30 min")


@monitor.scenario("monitor.mark")
async def _mark(stage: Staged) -> None:
    await stage.press("left", "left", "space")
    await shows(stage, "marked 14:31:")
    await stage.press("space")
    await hides(stage, "marked")
    await stage.press("escape")


@monitor.scenario("monitor.why", "monitor.fix")
async def _why_slow(stage: Staged) -> None:
    await cursor(stage, "#monitor-canvas", "run:qwen3-32b-1")
    await stage.press("left", "left", "left", "w")
    for words in (
        "Why slow at 14:31?",
        "computed twice",
        "KV 98% for 62 s",
        "not it: power",
        "rule kv-preempt",
        "2m10s",
    ):
        await shows(stage, words)
    await shows(stage, "f fp8 cache: more room")
    await stage.press("down", "up")  # however often it is drawn, it is there once
    await shows(stage, "Why slow at 14:31?")
    assert stage.text().count("Why slow at") == 1, stage.text()
    await stage.press("f")
    await shows(stage, "kv_cache_dtype")
    await shows(stage, "+ kv_cache_dtype")
    await stage.press("escape")
    await stage.press("escape")
    await hides(stage, "Why slow at")
    # Of a failed run the same keys lead to its cause and its fix.
    await stage.press("escape")
    await cursor(stage, "#monitor-canvas", f"run:{FAILED}")
    await stage.press("w")
    await at(stage, "run", "llama-3.3-70b")
    await stage.press("escape")
    await at(stage, "monitor", "ENGINES")
    await stage.press("f")
    await shows(stage, "18416")
    await stage.press("escape")


async def _explained(stage: Staged) -> None:
    await cursor(stage, "#monitor-canvas", "run:qwen3-32b-1")
    await stage.press("left", "left", "left", "left", "left", "w")
    await shows(stage, "Why slow at 14:3")


@monitor.scenario("monitor.open")
async def _requests_of_the_slow_time(stage: Staged) -> None:
    await _explained(stage)
    await shows(stage, "enter the 2 requests")
    await shows(stage, "enter its requests")  # the footer
    await stage.press("enter")
    await at(stage, "requests", "NOW, THEN ENDED  2 of ")
    place = stage.app.current
    assert isinstance(place, RequestsPlace)
    await stage.until(lambda: {one.key for one in place.table.shown} == {"slow-1", "slow-2"}, "those of that time")
    await shows(stage, f" {READY}")
    await stage.press("escape")
    await shows(stage, "NOW, THEN ENDED  4 ")
    await stage.press("4")
    await at(stage, "monitor", "Why slow at 14:3")
    await stage.press("escape", "escape")


@monitor.scenario("monitor.limit")
async def _limit_the_key(stage: Staged) -> None:
    await _explained(stage)
    await shows(stage, "e limit ci-bot to 8 at once")
    await stage.press("e")
    for words in ("- max_concurrent", "no limit", "+ max_concurrent"):
        await shows(stage, words)
    await stage.press("escape")
    assert stage.studio.keys.find("ci-bot").max_concurrent is None
    await stage.press("e")
    await shows(stage, "+ max_concurrent")
    await stage.press("enter")
    await told(stage, "ci-bot: at most 8 requests at once")
    assert stage.studio.keys.find("ci-bot").max_concurrent == 8
    await stage.press("escape", "escape")


@monitor.scenario("monitor.pin")
async def _pin(stage: Staged) -> None:
    await stage.press("left", "left", "left", "p")
    await shows(stage, "Pin 14:3")
    await stage.type("slow here")
    await stage.press("enter")
    await told(stage, "is pinned: slow here")
    assert [one.note for one in stage.studio.timeline.pins()] == ["slow here"]
    await stage.press("left")  # the column that is looked at covers its mark
    await shows(stage, "◆")
    await stage.press("right", "p")
    await told(stage, "is gone")
    assert stage.studio.timeline.pins() == []
    await stage.press("left")
    await hides(stage, "◆")
    await stage.press("escape")


@monitor.scenario("monitor.new")
async def _new_alert(stage: Staged) -> None:
    await stage.press("n")
    await shows(stage, "new alert: what to look at")
    await stage.press("enter")
    await shows(stage, "Tell when")
    await stage.press("enter")
    await told(stage, "Alert ")
    assert any(not rule.built_in for rule in stage.studio.alerts.rules())


@monitor.scenario("monitor.previous-stop", "monitor.next-stop")
async def _stops(stage: Staged) -> None:
    await stage.press("left_square_bracket", "left_square_bracket")
    await shows(stage, "14:20:32")
    await stage.press("right_square_bracket")
    await shows(stage, "14:30:20")
    await stage.press("escape")
    await hides(stage, "14:30:20")


@monitor.scenario("monitor.view")
async def _table(stage: Staged) -> None:
    await stage.press("v")
    await shows(stage, "Worker TP0")
    await hides(stage, "TIME  ")
    await shows(stage, "v charts")
    await hides(stage, "+ - zoom")  # there is no time axis to move on
    await stage.press("v")
    await shows(stage, "v processes")
    await shows(stage, "TIME  ")
    await stage.press("v")
    await shows(stage, "Worker TP0")
    await stage.press("escape")
    await shows(stage, "TIME  ")


async def test_two_moments_are_compared_with_all_their_figures(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        await stage.press("left", "space", *["left"] * 20, "space")
        await shows(stage, "v compare")
        await stage.press("v")
        for words in ("COMPARE  14:2", " against ", "mean", "p95", "most", "change", "output tok/s", "GPU 0 1 power"):
            await shows(stage, words)
        await hides(stage, "TIME  ")
        await stage.until(lambda: any("output tok/s" in one and "%" in one for one in stage.lines()), "its figures")
        line = next(line for line in stage.lines() if "output tok/s" in line)
        history = stage.studio.sampler.history
        axis = stage.app.current._time.axis(NOW, 90)  # type: ignore[attr-defined]
        ranges = ranges_of(axis)
        assert ranges is not None
        name = RunSeries.OUTPUT.of(READY)
        mean, p95, most = (
            [getattr(stage.studio.timeline.figures([name], *one)[name], part) for one in ranges]
            for part in ("mean", "p95", "max")
        )
        assert history is not None and None not in (*mean, *p95, *most)
        shown = [numbers.rate(value) for pair in (mean, p95, most) for value in pair]
        assert [word for word in line.split()[2:] if "%" not in word] == shown
        await stage.press("v")
        await shows(stage, "Worker TP0")
        await stage.press("escape")
        await shows(stage, "TIME  ")
        await stage.press("v")
        await shows(stage, "COMPARE")
        await shows(stage, "esc charts")
        await stage.press("escape")
        await shows(stage, "marked 14:2")
        for size, wanted in (((80, 24), 6), ((60, 15), 4)):
            await stage.pilot.resize_terminal(*size)
            await stage.settle()
            await stage.press("v")
            await shows(stage, "COMPARE")

            def figures() -> int:
                line = next((line for line in stage.lines() if "output tok/s" in line), "")
                return len(line.rstrip(" ▐").split()) - 2

            await stage.until(lambda: figures() == wanted, f"{wanted} figures")  # noqa: B023
            await stage.press("escape")


# --- usage ----------------------------------------------------------------------------------------------------


@usage.scenario("usage.zoom-in", "usage.zoom-out")
async def _days(stage: Staged) -> None:
    await shows(stage, "Nov 10 to Nov 23")
    await stage.press("plus")
    await shows(stage, "Nov 17 to Nov 23")
    await stage.press("minus")
    await shows(stage, "Nov 10 to Nov 23")
    await stage.press("equals_sign")
    await shows(stage, "Nov 17 to Nov 23")
    await stage.press("minus")
    await shows(stage, "Nov 10 to Nov 23")


@usage.scenario("usage.view")
async def _by(stage: Staged) -> None:
    await stage.press("v")
    await shows(stage, "BY RECIPE")
    await stage.press("v")
    await shows(stage, "BY DAY")
    await stage.press("v")
    await shows(stage, "BY HOUR")
    await shows(stage, "Mon ")  # in place of the days, the hours of the week
    await stage.press("v")
    await shows(stage, "BY WEEK")
    await shows(stage, "W48  Nov 23 to Nov 29")
    await stage.press("v")
    await shows(stage, "BY KEY")
    await shows(stage, "without a key")
    await stage.press("v")
    await shows(stage, "BY SOURCE")
    await shows(stage, "chats here")
    for words in ("BY CHAT", "BY MODEL"):
        await stage.press("v")
        await shows(stage, words)


async def test_usage_is_ordered_by_what_was_read_and_back(tmp_path: Path) -> None:
    def first() -> str:
        """The first model of the table."""
        lines = [line.strip("▌ ").split(" ")[0] for line in stage.lines()]
        return next((word for word in lines if word in ("talks", "reads")), "")

    async with staged(tmp_path, place="usage", prepare=used) as stage:
        await stage.until(lambda: first() == "talks", "what has most tokens stands first")
        await stage.press("o", "o", "o")
        await stage.until(lambda: first() == "reads" and "read▾" in stage.text(), "what has read most stands first")
        await stage.press("O")
        await stage.until(lambda: first() == "talks" and "read▴" in stage.text(), "what has read least stands first")


@usage.scenario("usage.previous-stop", "usage.next-stop", "usage.earlier", "usage.later")
async def _day(stage: Staged) -> None:
    for back, forth in (("left_square_bracket", "right_square_bracket"), ("left", "right"), ("h", "l")):
        await stage.press(back)
        await shows(stage, "2026-11-23   esc all days")
        await stage.press(back)
        await shows(stage, "2026-11-22   esc all days")
        await stage.press(forth)
        await shows(stage, "2026-11-23   esc all days")
        await stage.press(forth)
        await hides(stage, "esc all days")


@usage.scenario("usage.open")
async def _open(stage: Staged) -> None:
    await stage.press("v", "v")
    await shows(stage, "BY DAY")
    await stage.press("enter")
    await shows(stage, "2026-11-23   esc all days")
    await shows(stage, "BY MODEL")
    await stage.press("escape")
    await hides(stage, "esc all days")


@usage.scenario("usage.export")
async def _export(stage: Staged) -> None:
    await stage.press("x")
    await shows(stage, "Write usage to")
    await stage.press("enter")
    await told(stage, "written to")
    (written,) = stage.studio.places.exports.glob("usage-*.csv")
    head, *rows = written.read_text().splitlines()
    assert head.startswith("model,tokens,")
    assert {row.split(",")[0] for row in rows} == {"talks", "reads"}


# --- logs -----------------------------------------------------------------------------------------------------


def view(stage: Staged) -> LogView:
    place = stage.app.current
    assert isinstance(place, LogsPlace)
    return place.log_view


def under_cursor(stage: Staged) -> str:
    """The row with the cursor."""
    return next((line.strip() for line in stage.lines() if line.lstrip().startswith("▌")), "")


@logs.scenario("list.up", "list.down")
async def _lines(stage: Staged) -> None:
    for up, down in (("up", "down"), ("k", "j")):
        await shows(stage, "line 499 ")
        await stage.press(up, up)
        assert "line 498 " in under_cursor(stage)
        await stage.press(down)
        assert "line 499 " in under_cursor(stage)
        await stage.press(down)
        assert view(stage).following


@logs.scenario("list.page-up", "list.page-down")
async def _pages(stage: Staged) -> None:
    await stage.press("pageup")
    await hides(stage, "line 485 ")
    await shows(stage, "line 450 ")
    await stage.press("pagedown")
    await shows(stage, "line 499 ")


@logs.scenario("list.first", "list.last")
async def _ends(stage: Staged) -> None:
    for first, last in (("home", "end"), ("g", "G")):
        await stage.press(first)
        await shows(stage, "Initializing a V1 LLM engine")
        await stage.press(last)
        await shows(stage, "line 499 ")


@logs.scenario("logs.runs")
async def _run(stage: Staged) -> None:
    await stage.press("ctrl+o")
    await fill_in(stage, "deepseek")
    await stage.press("enter")
    await shows(stage, "deepseek-r1-70b   loading since")


@logs.scenario("logs.previous-stop", "logs.next-stop")
async def _errors(stage: Staged) -> None:
    await stage.press("left_square_bracket")
    assert "ValueError: To serve" in under_cursor(stage)
    await stage.press("left_square_bracket")
    assert "EngineCore failed to start" in under_cursor(stage)
    await stage.press("left_square_bracket")
    await told(stage, "no error before this")
    await stage.press("right_square_bracket")
    assert "ValueError: To serve" in under_cursor(stage)


@logs.scenario("logs.level")
async def _level(stage: Staged) -> None:
    await stage.press("v")
    await shows(stage, "level warnings")
    await hides(stage, "line 499 ")
    assert "a setting is odd" in stage.text()
    await stage.press("v")
    await shows(stage, "level errors")
    assert "EngineCore failed to start" in stage.text()
    await stage.press("v")
    await shows(stage, "line 499 ")


@logs.scenario("logs.source")
async def _source(stage: Staged) -> None:
    with view(stage).path.open("a") as stream:  # type: ignore[union-attr]
        stream.write("(EngineCore pid=7) INFO 11-23 14:21:06 [core.py:1] of the core\n")
    await shows(stage, "of the core")
    await stage.press("V")
    await shows(stage, "from core")
    head = next(line for line in stage.text().splitlines() if "from core" in line)
    assert head.index("from core") < head.index("level all") < head.index("following")  # nothing changes its place
    await hides(stage, "line 499 ")
    await stage.press("V")
    await shows(stage, "from all")
    await shows(stage, "line 499 ")


@logs.scenario("logs.find", "logs.filter")
async def _find(stage: Staged) -> None:
    await stage.press("slash")
    await stage.type("of 50")
    await shows(stage, "5 lines")
    await stage.press("enter")
    assert "line 450 of 50" in under_cursor(stage)
    for key, number in (("[", 350), ("[", 250), ("]", 350), ("]", 450)):
        await stage.press("left_square_bracket" if key == "[" else "right_square_bracket")
        assert f"line {number} of 50" in under_cursor(stage)
    await shows(stage, "5 of 5")
    assert stage.text().count("[ ] hit") == 2  # the line below the log and the footer say what the keys go to now
    await stage.press("right_square_bracket")
    await shows(stage, "1 of 5, from the top again")
    await stage.press("left_square_bracket")
    await shows(stage, "5 of 5, from the end again")
    assert "line 450 of 50" in under_cursor(stage)
    await stage.press("slash", "up")  # while one types, the arrows go from hit to hit
    await shows(stage, "4 of 5 ")
    assert "line 350 of 50" in under_cursor(stage)
    await stage.press("down", "enter")
    await shows(stage, "5 of 5 ")
    await stage.press("ctrl+f")
    await hides(stage, "line 451 ")
    assert "line 50 of 50" in stage.text()
    await stage.press("ctrl+f")
    await shows(stage, "line 451 ")
    assert "line 450 of 50" in under_cursor(stage)
    await stage.press("escape")


@logs.scenario("logs.follow")
async def _follow(stage: Staged) -> None:
    await stage.press("g")
    await shows(stage, "not following")
    await stage.press("G")
    await shows(stage, "line 499 ")
    await stage.press("g")
    await stage.app.run_action("follow", stage.app.current)
    await shows(stage, "line 499 ")
    assert view(stage).following


@logs.scenario("logs.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    lines = stage.clip.splitlines()
    assert len(lines) == 50
    assert "line 499 of 99" in stage.clip
    await stage.press("g", "y")
    assert stage.clip == "INFO 11-23 14:20:10 [core.py:133] Initializing a V1 LLM engine (v0.32.0)"


@logs.scenario("logs.info")
async def _info(stage: Staged) -> None:
    await stage.press("g")
    await hides(stage, "INFO 11-23 14:20:10 [core.py:133] Initializing")
    await stage.press("i")
    await shows(stage, "INFO 11-23 14:20:10 [core.py:133] Initializing")
    await stage.press("i")


@logs.scenario("logs.copy-as")
async def _copy_as(stage: Staged) -> None:
    await stage.press("Y")
    await fill_in(stage, "path of the log")
    await stage.press("enter")
    await stage.until(lambda: stage.clip.endswith("engine.log"), "the path is copied")


@logs.scenario("logs.export")
async def _export_log(stage: Staged) -> None:
    path = stage.studio.places.data / "the.log"
    await stage.press("x")
    await fill_in(stage, str(path))
    await stage.press("enter")
    await told(stage, "written to")
    assert "INFO line 499 of 99" in path.read_text()


@logs.scenario("logs.editor")
async def _editor(stage: Staged) -> None:
    seen = stage.studio.places.data / "seen"
    with editor(stage, f"-n 'w {seen}'"):
        await stage.press("E")
    assert "INFO line 499 of 99" in seen.read_text()


@failed.scenario("logs.fold", "logs.open")
async def _fold(stage: Staged) -> None:
    for key in ("z", "enter"):
        await hides(stage, 'File "core.py", line 833')
        if key == "enter":
            await stage.press("up")
        await stage.press(key)
        await shows(stage, 'File "core.py", line 833')
        await stage.press(key)
        await hides(stage, 'File "core.py", line 833')


@failed.scenario("logs.previous", "logs.next")
async def _stages(stage: Staged) -> None:
    for earlier, later in (("left", "right"), ("h", "l")):
        await stage.press("g", later)
        assert "Loading safetensors" in under_cursor(stage)
        await stage.press(later)
        assert "ValueError: To serve" in under_cursor(stage)
        await stage.press(earlier)
        assert "Loading safetensors" in under_cursor(stage)


@failed.scenario("logs.why")
async def _why(stage: Staged) -> None:
    await stage.press("w")
    await shows(stage, "Why llama-3.3-70b failed")
    await shows(stage, "18416")
    await stage.press("escape")


@failed.scenario("logs.again")
async def _again(stage: Staged) -> None:
    await stage.press("r")
    await asked(stage, ("launch", "llama-3.3-70b"))


@failed.scenario("logs.fix")
async def _fix(stage: Staged) -> None:
    await stage.press("f")
    await shows(stage, "Shorten the context")
    await stage.press("enter")
    await asked(stage, ("launch", "llama-3.3-70b"))
    assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 18416
