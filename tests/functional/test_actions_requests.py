"""What every action of the requests screen does, and what it shows."""

from __future__ import annotations

import csv
import io
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import TextArea

from tests.functional.acting import Scene, asked, at, cursor, fill_in, hides, shows, told
from tests.functional.stage import NOW, Staged, bare, snapshot, staged
from tests.unit.serving_socket import Serving, serving
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.requests import rows as paint
from vllm_studio_tui.tui.screens.requests.lines import lead
from vllm_studio_tui.tui.screens.requests.place import RequestsPlace

HOSTILE = "x\x1b[31m\x9b2J\u202eevil[red]"
BIG = CompletedRequest(
    NOW - 60, "proxy", "stop", id="big", run_id="qwen3-32b-1", recipe_id="qwen3-32b", model="/srv/qwen",
    requested_model="Qwen3", key_name="opencode", prompt_tokens=18_200, cached_tokens=16_700, completion_tokens=1710,
    ttft=0.171, total_seconds=33.5, tokens_per_second=51.3, endpoint="/v1/messages", status=200,
    queued_seconds=0.0, load_seconds=0.0, overhead_seconds=0.0004, client="127.0.0.1:51544", streamed=True,
)  # fmt: skip


def logged(studio: Studio) -> None:
    """Four that ended: one good, one refused, one too long, and one of a chat."""
    rows = RequestRows(studio.db)
    rows.record(BIG)
    rows.record(
        replace(BIG, id="no", at=NOW - 70, finish="refused", key_name="laptop", recipe_id=None, run_id=None, status=403,
                error="this key may not have models loaded", prompt_tokens=None, completion_tokens=None)
    )  # fmt: skip
    rows.record(replace(BIG, id="long", at=NOW - 80, finish="length", key_name=HOSTILE, requested_model=HOSTILE))
    session = ChatRows(studio.db).create("Greetings", model="m")
    rows.record(CompletedRequest(NOW - 90, "chat", "stop", id="chat", model="m", session_id=session.id))


def live(*names: str) -> dict[str, Any]:
    every = {
        "run": {"id": "run", "key": "opencode", "model": "qwen3-32b", "phase": "streaming", "age": 34.0, "ttft": 0.171,
                "completion_tokens": 1710, "tokens_per_second": 51.3, "run_id": "qwen3-32b-1"},
        "load": {"id": "load", "key": "ci-bot", "model": "deepseek-r1-70b", "recipe": "deepseek-r1-70b", "eta": 128,
                 "phase": "loading", "stage": "weights 13/30", "progress": 0.43, "age": 72.0},
        "wait": {"id": "wait", "key": "web", "model": "gemma-3-12b", "recipe": "gemma-3-12b", "phase": "queued",
                 "position": 3, "age": 24.0},
    }  # fmt: skip
    return {"requests": [every[name] for name in names], "queue": []}


async def under_way(stage: Staged, told_: Serving, *names: str) -> RequestsPlace:
    """Have these under way, and wait until they are shown."""
    place = stage.app.current
    assert isinstance(place, RequestsPlace)
    told_.documents["/requests/live"] = live(*names)
    place.read_again()
    wanted = set(names)
    await stage.until(lambda: {one.key for one in place.table.shown if one.live} == wanted, f"{names} under way")
    return place


async def on_the_good_one(stage: Staged) -> None:
    place = stage.app.current
    assert isinstance(place, RequestsPlace)
    place._choose_view("live")
    place.read_again()
    await stage.until(lambda: place.table.item("big") is not None, "the log")
    await cursor(stage, "#requests-table", "big")


requests = Scene("requests", place="requests", begin=on_the_good_one, prepare=logged)
SCENES = (requests,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@requests.scenario("requests.open")
async def _open(stage: Staged) -> None:
    await stage.press("enter")
    await stage.until(lambda: len(stage.app.screen_stack) == 2, "its details")
    assert "127.0.0.1:51544" in stage.text() and "16.7k cached" in stage.text()
    await stage.press("escape")
    await cursor(stage, "#requests-table", "chat")
    await stage.press("enter")
    await at(stage, "chat", "Greetings")


@requests.scenario("requests.stop")
async def _stop(stage: Staged) -> None:
    with serving(stage.studio.places) as server:
        place = await under_way(stage, server, "run", "load")
        await cursor(stage, "#requests-table", "run")
        server.documents["/requests/run/cancel"] = {"success": True}
        server.documents["/requests/live"] = live("load")
        await stage.press("s")
        await told(stage, "cancelled the request of opencode")
        await stage.until(lambda: place.table.item("run") is None, "it is gone")
        assert server.asked.count("POST /requests/run/cancel") == 1
        assert stage.calls == []
        # One that ended a moment ago.
        await cursor(stage, "#requests-table", "load")
        await stage.press("s")
        await told(stage, "no such request")


@requests.scenario("requests.view")
async def _view(stage: Staged) -> None:
    with serving(stage.studio.places) as server:
        await under_way(stage, server, "run")
        await shows(stage, "NOW, THEN ENDED  5")
        await stage.press("v")
        await shows(stage, "ENDED  4  the latest first")
        await stage.press("v")
        await shows(stage, "No key.")
        await stage.press("v")
        await shows(stage, "NOW, THEN ENDED  5")
        await stage.press("v", "escape")
        await shows(stage, "NOW, THEN ENDED  5")


@requests.scenario("requests.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip == "big"


@requests.scenario("requests.run")
async def _run(stage: Staged) -> None:
    with serving(stage.studio.places) as server:
        await under_way(stage, server, "wait", "load")
        await cursor(stage, "#requests-table", "load")
        await stage.press("r")
        assert stage.calls == []  # it is on its way
        await cursor(stage, "#requests-table", "wait")
        await stage.press("r")
        await asked(stage, ("launch", "gemma-3-12b"))


@requests.scenario("requests.log")
async def _log(stage: Staged) -> None:
    await stage.press("L")
    await at(stage, "logs", "a setting is odd")


@requests.scenario("requests.new")
async def _new(stage: Staged) -> None:
    await stage.press("n")
    await stage.until(lambda: len(stage.app.screen_stack) == 2, "the name")
    await fill_in(stage, "opencode")
    await stage.press("enter")
    await shows(stage, "May opencode have models launched?")
    await stage.press("enter")
    await shows(stage, "It is not shown again")
    [key] = stage.studio.keys.list()
    assert (key.name, key.may_launch) == ("opencode", False)
    assert key.prefix in stage.text()
    assert stage.clip != ""  # of the scenario before
    await stage.press("escape")
    await shows(stage, f"{key.prefix}****")
    assert not stage.clip.startswith("vs-")
    await stage.press("n")
    await fill_in(stage, "ci-bot")
    await stage.press("enter", "l")
    await shows(stage, "The key of ci-bot")
    await stage.press("y")
    assert stage.clip.startswith(stage.studio.keys.find("ci-bot").prefix)
    assert stage.studio.keys.find("ci-bot").may_launch
    await stage.press("n", "escape")
    assert len(stage.studio.keys.list()) == 2


@requests.scenario("requests.edit")
async def _edit(stage: Staged) -> None:
    await stage.press("v", "v")
    await shows(stage, "KEYS  2")
    await cursor(stage, "#keys-table", stage.studio.keys.find("ci-bot").id)

    def write(text: str) -> None:
        area = stage.app.focused
        assert isinstance(area, TextArea)
        area.text = text

    await stage.press("e")
    await stage.until(lambda: "may_launch: true" in stage.text(), "what it may do")
    write("models: [qwen*]\nmax_concurrent: many\n")
    await stage.press("f2")
    await shows(stage, "max_concurrent is a whole number")
    write("models: [qwen*]\nmax_concurrent: 16\n")
    await stage.press("f2")
    await told(stage, "changed the key of ci-bot")
    await shows(stage, "qwen*; may launch; 16 at once")
    changed = stage.studio.keys.find("ci-bot")
    assert (changed.models, changed.max_concurrent, changed.may_launch) == (("qwen*",), 16, True)


@requests.scenario("requests.delete")
async def _delete(stage: Staged) -> None:
    await stage.press("v", "v")
    await shows(stage, "KEYS  2")
    await cursor(stage, "#keys-table", stage.studio.keys.find("ci-bot").id)
    await stage.press("d")
    await shows(stage, "Delete the key of ci-bot?")
    await stage.press("enter")  # the gentle answer
    assert len(stage.studio.keys.list()) == 2
    await stage.press("delete", "d")
    await told(stage, "deleted the key of ci-bot")
    await shows(stage, "KEYS  1")
    assert [key.name for key in stage.studio.keys.list()] == ["opencode"]


@requests.scenario("requests.export")
async def _export(stage: Staged) -> None:
    await stage.press("x")
    await stage.until(lambda: len(stage.app.screen_stack) == 2, "where to")
    path = stage.studio.places.data / "requests.csv"
    await fill_in(stage, str(path))
    await stage.press("enter")
    await told(stage, "written to")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["id"] for row in rows] == ["big", "no", "long", "chat"]
    assert (rows[0]["completion_tokens"], rows[1]["status"], rows[1]["completion_tokens"]) == ("1710", "403", "")


# --- what it shows --------------------------------------------------------------------------------------------


async def test_who_waits_comes_first_then_who_runs_then_what_ended(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        with serving(stage.studio.places) as server:
            place = await under_way(stage, server, "run", "wait", "load")
            assert [line.key for line in place.table.shown] == ["load", "wait", "run", "big", "no", "long", "chat"]
            text = stage.text()
            assert "1 running   2 wait for a model" in text
            assert "http://127.0.0.1:8080/v1" in text
            assert "loading, weights 13/30" in text and "waits, 3 before it" in text
            assert re.search(r"opencode +qwen3-32b +34 s.* 1710 +51\.3 +171 ms .*answers", text)
            assert "403, this" in text
            assert "you, chat" in text
            await cursor(stage, "#requests-table", "long")
            await shows(stage, "evil[red]")
            assert not {"\x1b", "\x9b", "\u202e"} & set(stage.text())
            await stage.press("slash")
            await fill_in(stage, "opencode")
            await hides(stage, "ci-bot")
            assert [line.key for line in place.table.shown] == ["run", "big"]
            await stage.press("escape")
            # The cursor stays on a request that ends.
            await cursor(stage, "#requests-table", "run")
            RequestRows(stage.studio.db).record(replace(BIG, id="run", at=NOW, finish="cancelled"))
            server.documents["/requests/live"] = live("wait")
            place.update_place()
            await shows(stage, "client left")
            assert place.table.key == "run"


async def test_the_row_of_one_that_ended_is_found_however_late_it_comes(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        with serving(stage.studio.places) as server:
            place = await under_way(stage, server, "run")
            server.documents["/requests/live"] = live()
            place.update_place()
            await stage.until(lambda: place.table.item("run") is None, "it is under way no more")
            RequestRows(stage.studio.db).record(replace(BIG, id="run", at=NOW, finish="cancelled"))
            place.update_place()  # at the next tick, and not with the next look at everything
            await shows(stage, "client left")


async def test_an_empty_screen_says_how_there_come_to_be_requests(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", shown=bare, recipes=()) as stage:
        await shows(stage, "No request yet, and nothing serves from this home.")
        assert "vllm-studio serve" in stage.text() and "n new key" in stage.text()
        with serving(stage.studio.places):
            stage.app.current.read_again()
            await shows(stage, "No request yet. Point a program at http://127.0.0.1:8080/v1.")


async def test_a_server_that_cannot_be_asked_is_said_and_hides_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", prepare=logged) as stage:
        with serving(stage.studio.places) as server:
            server.raw = b"garbage"
            stage.app.current.read_again()
            await shows(stage, "vllm-studio serve cannot be asked")
            assert "opencode" in stage.text()


async def test_a_hidden_screen_asks_nobody(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests") as stage:
        with serving(stage.studio.places) as server:
            await under_way(stage, server, "run")
            await stage.press("1")
            server.asked.clear()
            for _ in range(3):
                stage.studio.sampler.show(stage.studio.sampler.latest)  # type: ignore[attr-defined]
                await stage.settle()
            assert server.asked == []
            await stage.press("7")
            await stage.until(lambda: bool(server.asked), "it looks again")


@pytest.mark.parametrize("size", [(160, 45), (120, 36), (80, 24), (60, 15), (40, 6), (30, 3), (12, 2)])
async def test_the_keys_that_say_what_waits_are_there_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path, place="requests", size=size, prepare=logged) as stage:
        with serving(stage.studio.places) as server:
            await under_way(stage, server, "run", "load", "wait")
            if size[0] >= 40:
                assert "1 running   2 wait" in stage.text()
                assert "loading" in stage.text()
            await stage.press("v", "v", "v")


async def test_a_filter_knows_what_the_sums_and_the_command_call_an_end(tmp_path: Path) -> None:
    def ended(studio: Studio) -> None:
        rows = RequestRows(studio.db)
        for number, finish in enumerate(("stop", "length", "cancelled", "refused", "failed", "interrupted")):
            error = "the engine said no" if finish in ("refused", "failed") else None
            rows.record(replace(BIG, id=f"id{number}", at=time.time() - number, finish=finish, error=error))

    async with staged(tmp_path, place="requests", prepare=ended) as stage:
        place = stage.app.current
        assert isinstance(place, RequestsPlace)
        await shows(stage, "6 requests, 2 good, 1 cut off, 1 refused, 2 failed")
        found = {}
        for words in ("good", "length", "cut off", "refused", "failed", "cancelled", "interrupted"):
            await stage.press("slash")
            await fill_in(stage, words)
            found[words] = [line.ended.finish for line in place.table.shown if line.ended is not None]
            await stage.press("escape")
        assert found == {
            "good": ["stop", "length"], "length": ["length"], "cut off": ["cancelled"], "refused": ["refused"],
            "failed": ["failed", "interrupted"], "cancelled": ["cancelled"], "interrupted": ["interrupted"],
        }  # fmt: skip
        whole = next(line for line in place.table.shown if line.ended is not None and line.ended.finish == "length")
        assert lead(whole, stage.app.ink.glyphs) == (stage.app.ink.glyphs.passed, "ok"), "its client's own limit"


async def test_a_filter_knows_times(tmp_path: Path) -> None:
    def ended(studio: Studio) -> None:
        rows = RequestRows(studio.db)
        for number, (ago, seconds) in enumerate([(60, 5.0), (1000, 5.0), (900, 250.0)]):
            rows.record(replace(BIG, id=f"id{number}", at=NOW - ago, total_seconds=seconds))
        # More than are read where no time is asked for.
        for number in range(210):
            rows.record(replace(BIG, id=f"fill{number}", at=NOW - 50, total_seconds=1.0))

    async with staged(tmp_path, place="requests", prepare=ended) as stage:
        place = stage.app.current
        assert isinstance(place, RequestsPlace)
        await shows(stage, "NOW, THEN ENDED  200")
        since, until = (time.strftime("%H:%M:%S", time.localtime(NOW - ago)) for ago in (1002, 990))
        await stage.press("slash")
        await fill_in(stage, f"{since}..{until}")
        await stage.until(lambda: {line.key for line in place.table.shown} == {"id1", "id2"}, "those of that time")
        await shows(stage, f"/ {since}..{until}")
        await fill_in(stage, f"{since}..{until} laptop")
        await shows(stage, "Nothing matches")
        await fill_in(stage, "2020-01-01..2020-01-02")
        await shows(stage, 'Nothing matches "2020-01-01..2020-01-02"')
        await stage.press("escape")
        await shows(stage, "NOW, THEN ENDED  200")


async def test_a_stop_says_how_many_are_under_way_where_the_engine_counts_nothing(tmp_path: Path) -> None:
    def uncounted(folder: Path) -> Snapshot:
        one = snapshot(folder)
        return replace(one, tick=replace(one.tick, engines={}))

    async with staged(tmp_path, shown=uncounted) as stage:
        with serving(stage.studio.places) as server:
            server.documents["/requests/live"] = live("run", "load", "wait")
            assert stage.app.snapshot is not None
            stage.app.spawn(stage.app.current.commands.stop(stage.app.snapshot.runs[0]))
            await shows(stage, "Stop qwen3-32b?")
            assert "1 running request is cut off." in stage.text()
            await stage.press("escape")


async def test_a_small_window_begins_with_requests_even_after_keys(tmp_path: Path) -> None:
    async with staged(tmp_path, place="requests", size=(40, 6), prepare=logged) as stage:
        await shows(stage, "NOW, THEN ENDED")
        await stage.press("v", "v")
        await hides(stage, "NOW, THEN ENDED")
        await stage.press("1", "7")
        await shows(stage, "NOW, THEN ENDED")
    async with staged(tmp_path / "large", place="requests", size=(120, 36), prepare=logged) as stage:
        await stage.press("v", "v", "1", "7")
        assert stage.app.focused is stage.app.current.one("#keys-table"), "where there is room one stays where one was"


def test_the_sums_of_the_last_hour_are_whole_numbers_at_every_width() -> None:
    tally = {"stop": 1234, "length": 45, "cancelled": 12, "refused": 17, "failed": 11}
    for width in range(52, 120):
        facts = paint.Facts(tally=tally)
        row = paint.above(facts, "live", UNICODE, Size.BASE, width)[1]
        text = "".join(piece[1] for piece in row.pieces)
        assert "1279 good, 12 cut off, 17 refused, 11 failed" in text, (width, text)
