"""Runs as they are launched, waited for, followed and stopped through the server: with engines, simulated ones."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.ports import free_port
from tests.process.house import House
from tests.unit.http_ground import Ground, ScriptedEngine, serving, until
from tests.unit.test_serve_controller import ENGINE, call, recipe
from tests.unit.test_serve_events import listen
from vllm_studio_tui.http import server
from vllm_studio_tui.studio import Studio


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    house = House(tmp_path / "home")
    try:
        async with serving(house.root, monkeypatch) as made:
            yield made
    finally:
        house.end()


async def test_a_model_is_launched_waited_for_and_stopped(ground: Ground) -> None:
    await call(ground, "POST", "/recipes", recipe("sim"))
    await call(ground, "POST", "/recipes", {**recipe("slow"), "command": f"{ENGINE} --load-seconds 60"})
    assert (await call(ground, "GET", "/status"))[1]["running"] is False
    _, launched, _ = await call(ground, "POST", "/launch/sim")
    assert (launched["success"], launched["recipe_id"]) == (True, "sim")
    assert {"pid", "message", "log_file", "run_id"} <= launched.keys()
    _, ready, _ = await call(ground, "GET", "/wait-ready?timeout=60&recipe=sim")
    assert (ready["ready"], ready["run_id"], "error" in ready) == (True, launched["run_id"], False)
    _, told, _ = await call(ground, "GET", "/status")
    assert (told["running"], told["launching"], told["process"]["port"]) == (True, None, told["inference_port"])
    assert {"pid", "backend", "model_path", "port", "served_model_name"} <= told["process"].keys()
    assert [one["status"] for one in (await call(ground, "GET", "/recipes"))[1]] == ["stopped", "running"][::-1]
    status, slow, headers = await call(ground, "POST", "/launch/slow", headers={"Prefer": "respond-async"})
    assert (status, headers["Preference-Applied"]) == (202, "respond-async")
    assert headers["Location"] == f"/runs/{slow['run_id']}"
    assert (slow["success"], (await call(ground, "GET", "/status"))[1]["launching"]) == (True, "slow")
    status, refused, _ = await call(ground, "POST", "/launch/sim/cancel")
    assert (status, refused["code"]) == (409, "not_loading")
    _, waited, _ = await call(ground, "GET", "/wait-ready?timeout=0.3&recipe=slow")
    assert waited["ready"] is False
    assert waited["error"].startswith("not ready within 0.3 s")
    done = threading.Event()
    launches = [asyncio.ensure_future(ground.context.launch(done.wait, 30)) for _ in range(3)]
    _, cancelled, _ = await call(ground, "POST", "/launch/slow/cancel")
    assert (cancelled["success"], cancelled["state"]) == (True, "exited"), "although other launches wait for each other"
    assert not any(one.done() for one in launches)
    done.set()
    await asyncio.gather(*launches)
    assert (await call(ground, "POST", "/launch/slow/cancel"))[0] == 404
    _, runs, _ = await call(ground, "GET", "/runs?all=true")
    assert [(one["recipe_id"], one["state"]) for one in runs["runs"]] == [("sim", "ready"), ("slow", "exited")]
    assert (await call(ground, "GET", f"/runs/{launched['run_id']}"))[1]["state"] == "ready"
    assert (await call(ground, "DELETE", "/logs/sim"))[1]["code"] == "run_lives"
    status, stopped, _ = await call(ground, "POST", f"/runs/{launched['run_id']}/stop")
    assert (status, stopped["success"], stopped["run"]["state"]) == (200, True, "exited")
    assert (await call(ground, "POST", "/evict"))[1] == {"success": True, "evicted_pid": None, "evicted": []}
    _, again, _ = await call(ground, "POST", f"/switch/sim?port={free_port()}")
    _, evicted, _ = await call(ground, "POST", "/evict?force=true")
    assert (evicted["success"], evicted["evicted_pid"], evicted["evicted"][0]["run_id"]) == (
        True, again["pid"], again["run_id"],
    )  # fmt: skip
    for path, status in (
        ("/launch/nobody", 404), ("/switch/nobody", 404), ("/launch/sim?port=0", 400), ("/launch/sim?port=x", 400),
        ("/launch/sim?force=perhaps", 400), ("/runs/nobody/stop", 404), ("/evict?run=nobody", 404),
    ):  # fmt: skip
        assert (await call(ground, "POST", path))[0] == status, path
    for query in ("timeout=x", "timeout=-1", "timeout=nan", "timeout=1e99"):
        assert (await call(ground, "GET", f"/wait-ready?{query}"))[0] == 400, query
    assert (await call(ground, "GET", "/wait-ready?recipe=nobody"))[1]["ready"] is False


async def test_a_log_is_followed_while_it_is_written(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSE_TOKEN", "hide-this-value")
    slow = {**recipe("slow"), "command": f"{ENGINE} --load-seconds 1", "env_vars": {"A_TOKEN": "env:HOUSE_TOKEN"}}
    await call(ground, "POST", "/recipes", slow)
    _, launched, _ = await call(ground, "POST", "/launch/slow")
    run_id = launched["run_id"]
    path = Path(launched["log_file"])
    reader = await listen(ground, "/logs/slow/stream")

    def size() -> int | None:
        return path.stat().st_size if path.exists() else None

    found = [await reader.next()]
    assert {"session_id", "line"} == found[0][2].keys()
    assert (found[0][1], found[0][2]["session_id"]) == ("log", run_id)
    while "startup complete" not in found[-1][2]["line"]:
        found.append(await reader.next())
    with path.open("ab") as log:  # noqa: ASYNC230
        log.write(b"one more \xf0\x9f\x8d\x95 with hide-this-value\xff\n\nhalf")
        log.flush()
        while not found[-1][2]["line"].startswith("one more"):
            found.append(await reader.next())
        assert "hide-this-value" not in found[-1][2]["line"]
        found.append(await reader.next())
        assert found[-1][2]["line"] == ""
        log.write(b" and half\n")
    found.append(await reader.next())
    assert found[-1][2]["line"] == "half and half"
    await call(ground, "POST", "/evict")
    with pytest.raises(EOFError):
        while True:
            found.append(await reader.next())
    _, whole, _ = await call(ground, "GET", "/logs/slow?limit=20000")
    assert [data["line"] for _, _, data in found] == whole["logs"]
    assert (whole["id"], whole["content"]) == (run_id, "\n".join(whole["logs"]))
    # Who comes back goes on where it was, however long ago that is.
    for seen in (0, len(found) // 2):
        again = await listen(ground, f"/logs/{run_id}/stream", found[seen][0])
        assert [await again.next() for _ in found[seen + 1 :]] == found[seen + 1 :]
    for last in (found[-1][0], f"{run_id}@{size()}"):
        async with ground.client.get(f"{ground.url}/logs/slow/stream", headers={"Last-Event-ID": last}) as answered:
            assert answered.status == 204, "nothing more will come"
    few = await listen(ground, "/logs/slow/stream?limit=2", "nonsense@-5")
    assert [await few.next() for _ in range(2)] == found[-2:]
    _, listed, _ = await call(ground, "GET", "/logs")
    entry = listed["sessions"][0]
    assert (entry["id"], entry["recipe_id"], entry["status"], entry["size"]) == (
        run_id, "slow", "stopped", size(),
    )  # fmt: skip
    assert {"recipe_name", "model_path", "model", "backend", "created_at"} <= entry.keys()
    assert (await call(ground, "DELETE", f"/logs/{run_id}"))[1] == {"success": True, "id": run_id}
    assert size() is None
    assert (await call(ground, "DELETE", f"/logs/{run_id}"))[0] == 404
    assert (await call(ground, "GET", f"/logs/{run_id}"))[1]["logs"] == []
    for bad in ("/logs/nobody", "/logs/nobody/stream"):
        assert (await call(ground, "GET", bad))[0] == 404
    assert (await call(ground, "GET", "/logs/slow?limit=0"))[0] == 400


async def test_a_running_engine_is_measured_asked_for_a_title_and_asked_directly(ground: Ground) -> None:
    sim = {**recipe("sim"), "served_model_name": "served", "api_key": "env:SIM_KEY"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIM_KEY", "engine-secret")
        await call(ground, "POST", "/recipes", sim)
        await call(ground, "POST", "/launch/sim")
        _, ready, _ = await call(ground, "GET", "/wait-ready?timeout=60")
        run_id = ready["run_id"]
        _, measured, _ = await call(ground, "POST", "/benchmark?prompt_tokens=200&max_tokens=40")
        shown = measured["benchmark"]
        assert (measured["success"], measured["run_id"]) == (True, run_id)
        assert {
            "prompt_tokens",
            "completion_tokens",
            "total_time_s",
            "prefill_tps",
            "generation_tps",
            "ttft_ms",
        } == set(shown)
        assert 16 <= shown["completion_tokens"] <= 40
        assert 0 < shown["ttft_ms"] / 1000 < shown["total_time_s"]
        assert shown["prefill_tps"] == pytest.approx(shown["prompt_tokens"] / shown["ttft_ms"] * 1000)
        peaks = measured["peak_metrics"]
        assert (peaks["model_id"], peaks["generation_tps"]) == (measured["model_id"], shown["generation_tps"])
        _, title, _ = await call(ground, "POST", "/api/title", {"user": "How are you?", "assistant": "Well."})
        assert 0 < len(title["title"]) <= 60
        _, rows, _ = await call(ground, "GET", "/requests")
        _, past, _ = await call(ground, "GET", "/requests?until=1h")
        assert past["requests"] == []
        _, near, _ = await call(ground, "GET", "/requests?since=1h")
        assert near == rows
        assert [(one["source"], one["run_id"]) for one in rows["requests"]] == [("chat", run_id), ("bench", run_id)]
        # One run directly: its own paths, its own key, whatever the client sent.
        _, text, headers = await call(
            ground, "GET", f"/upstream/{run_id}/metrics", headers={"Authorization": "Bearer x"}
        )
        assert (headers["x-vllm-studio-run"], "vllm:num_requests_running" in text) == (run_id, True)
        asked = {"model": "served", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
        status, answered, _ = await call(ground, "POST", "/upstream/sim/v1/chat/completions?a=b", asked)
        assert (status, answered["usage"]["completion_tokens"]) == (200, 3)
        status, streamed, headers = await call(
            ground, "POST", "/upstream/sim/v1/chat/completions", {**asked, "stream": True}
        )
        assert streamed.endswith("data: [DONE]\n\n")
        # What was posted is a request as any other; a look at the engine is none.
        assert [(one.source, one.run_id, one.endpoint, one.completion_tokens, one.finish) for one in ground.rows] == [
            ("proxy", run_id, "/upstream/chat/completions", 3, "length")
        ] * 2
        assert {one.requested_model for one in ground.rows} == {"served"}
        assert (await call(ground, "GET", "/upstream/sim/no/such"))[0] == 404
        await call(ground, "POST", "/evict")
    assert (await call(ground, "GET", f"/upstream/{run_id}/metrics"))[0] == 404
    assert (await call(ground, "POST", "/benchmark"))[0] == 404


async def test_a_launch_is_told_of_while_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the dispatcher itself: launched by a person, asked for by a program, stopped."""
    house = House(tmp_path / "home")
    try:
        with Studio.open_sync(house.places) as studio:
            async with (
                aiohttp.ClientSession() as client,
                server.running(studio, server.Options("127.0.0.1", free_port())) as context,
            ):
                ground = Ground(context, ScriptedEngine(), client, f"http://127.0.0.1:{_port(house)}")
                reader = await listen(ground, "/events?types=launch_progress,run,request,queue,recipe,alert")
                long = "--load-seconds 1 --answer long:9000"
                slow = {**recipe("slow"), "command": f"{ENGINE} {long}", "served_model_name": "served"}
                await call(ground, "POST", "/recipes", slow)
                began_at = int(time.time()) - 1
                entry: dict[str, Any] = {}
                while not entry:  # its recipe is seen soon
                    entry = next(iter((await call(ground, "GET", "/v1/models"))[1]["data"]), {})
                assert entry["state"] == "stopped"
                assert began_at <= entry["created"] <= time.time(), "of what does not run: when its recipe was changed"
                assert entry["created_at"][:2] == "20"
                _, launched, _ = await call(ground, "POST", "/launch/slow")
                stages: list[str] = []
                while "ready" not in stages:
                    _, _, told = await reader.next("launch_progress")
                    assert (told["recipe_id"], told["run_id"]) == ("slow", launched["run_id"])
                    assert told["message"]
                    stages.append(told["stage"])
                assert stages[0] == "waiting"
                assert told["progress"] == 1.0
                asked = {"model": "served", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
                assert (await call(ground, "POST", "/v1/chat/completions", asked))[0] == 200
                ends = [await reader.next("request") for _ in range(2)]
                assert [(told["what"], told["run_id"]) for _, _, told in ends][-1] == ("end", launched["run_id"])
                assert (await call(ground, "GET", "/status"))[1]["serving"]["in_flight"] in ({}, {"slow": 0})
                _, text, _ = await call(ground, "GET", "/metrics")
                assert 'vllm_studio_sse_active_connections{channel="events"} 1.0' in text
                assert 'vllm_studio_requests_total{endpoint="/v1/chat/completions"' in text
                # Asked itself, it is in use too, from the first byte to the last.
                asked = {**asked, "stream": True, "max_tokens": 9000}
                url = f"{ground.url}/upstream/slow/v1/chat/completions"
                async with client.post(url, json=asked) as answered:
                    await answered.content.readline()
                    assert (await call(ground, "GET", "/status"))[1]["serving"]["in_flight"] == {"slow": 1}
                    await call(ground, "GET", "/upstream/slow/metrics")
                    live = (await call(ground, "GET", "/requests/live"))[1]["requests"]
                    assert [(one["run_id"], one["endpoint"]) for one in live] == [
                        (launched["run_id"], "/upstream/chat/completions")
                    ]
                while (await reader.next("request"))[2]["what"] != "end":
                    pass
                assert (await call(ground, "GET", "/status"))[1]["serving"]["in_flight"] in ({}, {"slow": 0})
                _, listed, _ = await call(ground, "GET", "/v1/models")
                assert listed["data"][0]["created"] >= began_at
                await call(ground, "POST", "/evict")
                while (await reader.next("run"))[2]["state"] != "exited":
                    pass
                bad = {**recipe("bad"), "command": "{python} -c 'raise SystemExit(3)'"}
                await call(ground, "POST", "/recipes", bad)
                await call(ground, "POST", "/launch/bad")
                _, _, alarm = await reader.next("alert")
                assert (alarm["recipe_id"], alarm["state"]) == ("bad", "failed")
                assert alarm["title"]
                began = time.monotonic()
            assert time.monotonic() - began < 25, "a stream that is open does not hold the server up"
    finally:
        house.end()


def _port(house: House) -> int:
    told = json.loads((house.places.state / "serve" / "serve.json").read_text())
    return int(told["url"].rpartition(":")[2])


async def test_a_launch_that_fails_says_why(ground: Ground) -> None:
    await call(ground, "POST", "/recipes", {**recipe("bad"), "command": "{python} -c 'raise SystemExit(3)'"})
    _, launched, _ = await call(ground, "POST", "/launch/bad")
    _, waited, _ = await call(ground, "GET", "/wait-ready?recipe=bad&timeout=60")
    assert waited["ready"] is False
    assert waited["error"] == waited["title"]
    assert waited["run_id"] == launched["run_id"]
    await call(ground, "POST", "/recipes", {**recipe("none"), "command": "/no/such/program"})
    status, refused, _ = await call(ground, "POST", "/launch/none")
    assert (status, refused["code"]) == (409, "launch_refused")


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_is_answered_by_a_run_that_is_stopped_is_told_just_that(tmp_path: Path, streamed: bool) -> None:
    house = House(tmp_path / "home")
    try:
        with Studio.open_sync(house.places, {"inference_port": free_port()}) as studio:
            async with (
                aiohttp.ClientSession() as client,
                server.running(studio, server.Options("127.0.0.1", free_port())) as context,
            ):
                ground = Ground(context, ScriptedEngine(), client, f"http://127.0.0.1:{_port(house)}")
                slow = f"{ENGINE} --answer long:2000 --tokens-per-second 20"
                await call(ground, "POST", "/recipes", {**recipe("sim"), "command": slow})
                _, launched, _ = await call(ground, "POST", "/launch/sim")
                ready = (await call(ground, "GET", "/wait-ready?timeout=60&recipe=sim"))[1]
                assert ready["ready"], ready
                await context.dispatcher.refresh()
                messages = [{"role": "user", "content": "count"}]
                asked = {"model": "sim", "messages": messages, "max_tokens": 2000, "stream": streamed}
                asking = asyncio.ensure_future(ground.post("/v1/chat/completions", asked))
                await until(lambda: any(one.sent_at is not None for one in context.live), "its engine has it")
                if streamed:
                    await until(lambda: any(one.first_at is not None for one in context.live), "its answer comes")
                await call(ground, "POST", f"/runs/{launched['run_id']}/stop")
                status, data, got = await asyncio.wait_for(asking, 60)
                if streamed:
                    data = json.loads(data.strip().split(b"\n\n")[-1].removeprefix(b"data: "))
                    assert "sim was stopped in the middle of its answer" in data["error"]["message"]
                else:
                    assert (status, got.headers["x-should-retry"]) == (503, "false")
                    assert "sim was stopped before it answered. Start it again: vllm-studio" in data["error"]["message"]
                assert data["error"]["code"] == "model_stopped"
                row = ground.rows[-1]
                assert (row.finish, row.status) == ("failed", 503)
                assert "was stopped" in (row.error or "")
    finally:
        house.end()
