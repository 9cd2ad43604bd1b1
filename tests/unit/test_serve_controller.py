"""The studio's own API: the shapes that the original's clients read, what ours has more, and bad input."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import snapshot
from tests.unit.http_ground import Ground, serving, still, until
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.store.peaks import PeakRows
from vllm_studio_tui.store.requests import RequestRows

ENGINE = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"


def recipe(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "name": name, "model_path": "/models/sim", "backend": "custom", "command": ENGINE, **fields}


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path / "home", monkeypatch) as made:
        yield made


async def call(ground: Ground, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any, Any]:
    async with ground.client.request(method, ground.url + path, json=body, **options) as answered:
        data = await answered.json() if "json" in answered.content_type else await answered.text()
        return answered.status, data, answered.headers


async def test_recipes_are_made_changed_and_deleted(ground: Ground) -> None:
    status, made, headers = await call(ground, "POST", "/recipes", recipe("one", max_model_len=4096))
    assert (status, made["success"], made["id"], headers["Location"]) == (201, True, "one", "/recipes/one")
    status, again, _ = await call(ground, "POST", "/recipes", recipe("one"))
    assert (status, again["code"]) == (409, "recipe_exists")
    status, listed, _ = await call(ground, "GET", "/recipes")
    assert [(one["id"], one["status"], one["state"], one["max_model_len"]) for one in listed] == [
        ("one", "stopped", "stopped", 4096)
    ]
    status, read, headers = await call(ground, "GET", "/recipes/one")
    tag = headers["ETag"]
    assert (read["command"], tag) == (ENGINE, f'"{read["revision"]}"')
    # What was read can be sent back: what was told of it beside its fields becomes no flag of the engine.
    status, saved, headers = await call(
        ground, "PUT", "/recipes/one", {**read, "max_model_len": 8192}, headers={"If-Match": tag}
    )
    assert (status, saved["success"]) == (200, True)
    assert headers["ETag"] != tag
    _, read, _ = await call(ground, "GET", "/recipes/one")
    assert (read["max_model_len"], read["extra_args"]) == (8192, {})
    for method in ("PUT", "DELETE"):
        status, refused, _ = await call(ground, method, "/recipes/one", recipe("one"), headers={"If-Match": tag})
        assert (status, refused["code"]) == (412, "recipe_changed")
    status, command, _ = await call(ground, "GET", "/recipes/one/command")
    assert (status, command["command"]) == (200, command["shell"])
    assert "vllm_studio_tui.simulation.engine" in command["command"]
    assert (await call(ground, "DELETE", "/recipes/one"))[:2] == (200, {"success": True, "id": "one"})
    for method, path in (("GET", "/recipes/one"), ("DELETE", "/recipes/one"), ("GET", "/recipes/one/command")):
        status, missing, _ = await call(ground, method, path)
        assert (status, missing["code"]) == (404, "not_found"), path


async def test_a_recipe_that_is_not_there_is_put_only_where_that_is_wanted(ground: Ground) -> None:
    assert (await call(ground, "PUT", "/recipes/two", recipe("two")))[0] == 404
    assert (await call(ground, "PUT", "/recipes/two?upsert=true", recipe("two")))[0] == 201
    assert (await call(ground, "POST", "/recipes?upsert=true", {**recipe("two"), "name": "changed"}))[0] == 200
    assert (await call(ground, "GET", "/recipes/two"))[1]["name"] == "changed"
    assert (await call(ground, "PUT", "/recipes/two", recipe("three")))[1]["code"] == "id_differs"


async def test_a_bad_recipe_is_refused_with_its_fields(ground: Ground) -> None:
    status, refused, _ = await call(ground, "POST", "/recipes", {**recipe("bad"), "port": 99_999_999})
    assert (status, refused["code"]) == (422, "invalid_recipe")
    assert "port" in refused["detail"]
    for body in (b"", b"[1]", b"{", b"\xff"):
        async with ground.client.post(f"{ground.url}/recipes", data=body) as answered:
            assert answered.status in (400, 422), body
            assert (await answered.json())["error"]


async def test_recipes_are_imported_each_with_what_became_of_it(ground: Ground) -> None:
    good, bad = recipe("good"), {"id": "bad", "name": "bad", "model_path": "/m", "tensor_parallel_size": -4}
    status, dry, _ = await call(ground, "POST", "/recipes/import?dry_run=true", [good, bad])
    assert (status, dry["imported"], (await call(ground, "GET", "/recipes"))[1]) == (200, ["good"], [])
    status, report, _ = await call(ground, "POST", "/recipes/import", [good, bad])
    assert (status, report["success"], report["count"], report["failed"][0]["id"]) == (200, False, 1, "bad")
    async with ground.client.post(
        f"{ground.url}/recipes/import", data=b"vllm serve Qwen/Qwen3-8B --max-model-len 8k"
    ) as answered:
        assert (answered.status, (await answered.json())["count"]) == (200, 1)
    async with ground.client.post(f"{ground.url}/recipes/import", data=b"\x00\x01 {") as answered:
        assert (answered.status, (await answered.json())["code"]) == (400, "unreadable")


async def test_what_is_measured_is_told_by_both_names(ground: Ground, tmp_path: Path, monkeypatch: Any) -> None:
    shown = snapshot(tmp_path / "stage")
    still(ground, monkeypatch, shown)
    _, gpus, _ = await call(ground, "GET", "/gpus")
    assert (await call(ground, "GET", "/metrics/gpu"))[1] == gpus
    first = gpus["gpus"][0]
    assert gpus["count"] == 4
    assert {"index", "name", "memory_total", "memory_used", "utilization", "temperature"} <= first.keys()
    assert first["memory_free"] == first["memory_total"] - first["memory_used"]
    assert (first["power_draw"], first["power_limit"]) == (412.0, 700.0)
    _, engine, _ = await call(ground, "GET", "/v1/metrics/vllm")
    assert (await call(ground, "GET", "/metrics/vllm"))[1] == engine
    assert (engine["running_requests"], engine["pending_requests"], engine["generation_throughput"]) == (12, 0, 1842.0)
    assert (engine["kv_cache_usage"], engine["current_power_watts"], engine["avg_ttft_ms"]) == (0.61, 1051.0, None)
    assert (engine["recipe_id"], engine["detail"]["itl"]["p50"]) == ("qwen3-32b", 0.009)
    status, missing, _ = await call(ground, "GET", "/v1/metrics/vllm?run=nobody")
    assert (status, missing["error"]["code"]) == (404, "not_found")


async def test_peaks_and_totals(ground: Ground, tmp_path: Path, monkeypatch: Any) -> None:
    still(ground, monkeypatch, snapshot(tmp_path / "stage"))
    db = ground.context.studio.db
    PeakRows(db).offer("m", prefill_tps=900.0, generation_tps=50.0, ttft=0.25)
    RequestRows(db).record(CompletedRequest(1.0, "chat", "stop", model="m", prompt_tokens=10, completion_tokens=5))
    _, one, _ = await call(ground, "GET", "/peak-metrics?model_id=m")
    assert one == {"model_id": "m", "prefill_tps": 900.0, "generation_tps": 50.0, "ttft_ms": 250.0}
    assert (await call(ground, "GET", "/metrics/peak"))[1] == {"metrics": [one]}
    assert (await call(ground, "GET", "/peak-metrics?model_id=none"))[0] == 404
    _, totals, _ = await call(ground, "GET", "/lifetime-metrics")
    assert (totals["tokens_total"], totals["requests_total"], totals["energy_wh"]) == (15, 1, None)
    assert {"energy_kwh", "uptime_seconds", "uptime_hours", "first_started_at", "kwh_per_million_tokens"} <= set(totals)
    assert totals["current_power_watts"] == 1051.0


async def test_keys_are_made_once_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWNER_KEY", "the-owner")
    owner = {"Authorization": "Bearer the-owner"}
    async with serving(tmp_path / "home", monkeypatch, settings="api_key: env:OWNER_KEY\n") as ground:
        wanted = {"name": "agent", "models": ["q*"], "expires_in": 3600, "requests_per_minute": 5}
        status, made, headers = await call(ground, "POST", "/keys", wanted, headers=owner)
        secret = made["key"]
        assert (status, made["scopes"], headers["Cache-Control"]) == (201, ["inference"], "no-store")
        assert (secret[:3], made["requests_per_minute"], headers["Location"]) == ("vs-", 5, f"/keys/{made['id']}")
        _, listed, _ = await call(ground, "GET", "/keys", headers=owner)
        assert [(one["name"], one["models"], one["tokens_today"]) for one in listed["keys"]] == [("agent", ["q*"], 0)]
        assert secret not in str(listed)
        assert (await call(ground, "GET", "/keys/agent", headers=owner))[1] == listed["keys"][0]
        await until(lambda: ground.context.keys.check(secret) is not None, "the key is known")
        status, refused, _ = await call(ground, "GET", "/keys", headers={"x-api-key": secret})
        assert (status, refused["code"]) == (403, "scope_missing")
        for body in (
            {},
            {"name": 3},
            {"name": "x", "scopes": "all"},
            {"name": "x", "scopes": ["root"]},
            {"name": "x", "hash": "1"},
            {"name": "x", "expires_in": -1},
            {"name": "x", "expires_in": float("1e300")},
            {"name": "x", "max_concurrent": "3"},
            {"name": "x", "max_concurrent": 0},
            {"name": "x", "may_launch": 1},
            {"name": "agent"},
        ):
            status, refused, _ = await call(ground, "POST", "/keys", body, headers=owner)
            assert status == 400, body
            assert refused["error"], body
        assert (await call(ground, "DELETE", "/keys/agent", headers=owner))[1]["success"] is True
        assert (await call(ground, "DELETE", "/keys/agent", headers=owner))[0] == 404


async def test_requests_are_listed_the_latest_first(ground: Ground) -> None:
    rows = RequestRows(ground.context.studio.db)
    for number in range(3):
        rows.record(CompletedRequest(float(number), "proxy", "stop", f"r{number}", model="m", key_name=f"k{number}"))
    _, all_of_them, _ = await call(ground, "GET", "/requests?limit=2")
    assert [one["id"] for one in all_of_them["requests"]] == ["r2", "r1"]
    assert [one["id"] for one in (await call(ground, "GET", "/requests?key=k0"))[1]["requests"]] == ["r0"]
    assert (await call(ground, "GET", "/requests?model=other"))[1] == {"requests": []}
    for query in ("limit=0", "limit=x", "limit=-1", f"limit={'9' * 400}", f"key={'a' * 300}"):
        assert (await call(ground, "GET", f"/requests?{query}"))[0] == 400, query
