"""Chats, usage, models and settings as the studio's own API tells of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.http_ground import Ground, serving
from tests.unit.test_serve_controller import call, recipe
from vllm_studio_tui.domain.usage import CompletedRequest, UsageQuery
from vllm_studio_tui.services.chat.titles import clean_title
from vllm_studio_tui.services.usage_overview import DAY, HOUR, overview
from vllm_studio_tui.store.requests import RequestRows


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path / "home", monkeypatch) as made:
        yield made


async def test_a_chat_is_made_written_forked_and_deleted(ground: Ground) -> None:
    status, made, headers = await call(ground, "POST", "/chats", {"title": "One", "model": "m"})
    chat = made["session"]
    assert (status, chat["title"], chat["model"], chat["messages"], headers["Location"]) == (
        201, "One", "m", [], f"/chats/{chat['id']}",
    )  # fmt: skip
    path = f"/chats/{chat['id']}"
    question = {"id": "q-1", "role": "user", "content": [{"type": "text", "text": "Hi"}]}
    status, first, _ = await call(ground, "POST", f"{path}/messages", question)
    assert (status, first["id"], first["content"], first["parent_id"]) == (200, "q-1", "Hi", None)
    answer = {
        "id": "a-1", "role": "assistant", "content": "<think>hm</think>Hello", "model": "m",
        "request_prompt_tokens": 7, "request_tools_tokens": 3, "request_completion_tokens": 2,
        "tool_calls": [{"id": "c-1", "function": {"name": "now", "arguments": "{}"}, "result": {"content": "noon"}}],
    }  # fmt: skip
    _, second, _ = await call(ground, "POST", f"{path}/messages", answer)
    assert (second["content"], second["reasoning"], second["parent_id"]) == ("Hello", "hm", "q-1")
    assert [second[f"request_{name}"] for name in ("prompt_tokens", "tools_tokens", "total_input_tokens")] == [7, 3, 10]
    # Sent again it is replaced, and the result of its tool is there once.
    _, again, _ = await call(ground, "POST", f"{path}/messages", {**answer, "content": "Hello!"})
    assert (again["id"], again["content"]) == ("a-1", "Hello!")
    _, whole, _ = await call(ground, "GET", path)
    messages = whole["session"]["messages"]
    assert [(one["role"], one["content"]) for one in messages] == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("tool", "noon"),
    ]
    assert (await call(ground, "GET", f"{path}/usage"))[1] == {
        "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
    }  # fmt: skip
    status, forked, _ = await call(ground, "POST", f"{path}/fork", {"message_id": "q-1", "title": "Two", "model": "n"})
    fork = forked["session"]
    assert (status, fork["title"], fork["model"], fork["parent_id"]) == (201, "Two", "n", chat["id"])
    assert [one["content"] for one in fork["messages"]] == ["Hi"]
    _, changed, _ = await call(ground, "PUT", path, {"title": "Renamed"})
    assert (changed["success"], changed["session"]["title"], changed["session"]["model"]) == (True, "Renamed", "m")
    assert (await call(ground, "DELETE", path))[1] == {"success": True, "id": chat["id"]}
    assert [one["id"] for one in (await call(ground, "GET", "/chats"))[1]] == [fork["id"]]
    assert [one["id"] for one in (await call(ground, "GET", "/chats?trash=true"))[1]] == [chat["id"]]
    await call(ground, "PUT", path, {"deleted": False})
    assert len((await call(ground, "GET", "/chats?limit=5&search=renamed"))[1]) == 1
    await call(ground, "DELETE", f"{path}?purge=true")
    assert (await call(ground, "GET", path))[0] == 404
    stolen = await call(ground, "POST", f"/chats/{fork['id']}/messages", {**question, "id": fork["messages"][0]["id"]})
    assert stolen[0] == 200
    other = (await call(ground, "POST", "/chats", {}))[1]["session"]["id"]
    assert (await call(ground, "POST", f"/chats/{other}/messages", {**question, "id": fork["messages"][0]["id"]}))[
        0
    ] == 400


BAD: list[tuple[str, str, Any, int]] = [
    ("POST", "/chats", {"title": 3}, 400),
    ("POST", "/chats", {"title": "x" * 1000}, 400),
    ("POST", "/chats", {"settings": []}, 400),
    ("PUT", "/chats/none", {"title": "x"}, 404),
    ("DELETE", "/chats/none", None, 404),
    ("POST", "/chats/none/messages", {"role": "user", "content": "x"}, 404),
    ("POST", "/chats/none/messages", {"role": "root", "content": "x"}, 400),
    ("POST", "/chats/none/messages", {"role": "user", "id": "a b\n"}, 400),
    ("POST", "/chats/none/fork", {}, 404),
    ("GET", "/chats/none/usage", None, 404),
    ("GET", "/chats?limit=0", None, 400),
    ("POST", "/api/title", {}, 400),
    ("GET", "/usage?days=-1", None, 400),
    ("GET", "/usage?by=moon", None, 400),
    ("POST", "/benchmark?max_tokens=0", None, 400),
    ("POST", "/benchmark", None, 404),
    ("GET", "/upstream/none/metrics", None, 404),
    ("GET", "/no/such/path", None, 404),
    ("PUT", "/status", None, 405),
]


async def test_bad_input_is_refused_in_words(ground: Ground) -> None:
    for method, path, body, status in BAD:
        answered, refused, _ = await call(ground, method, path, body)
        assert (method, path, answered) == (method, path, status)
        assert refused["error"]


async def test_a_title_without_a_ready_model_is_the_first_words(ground: Ground) -> None:
    asked = {"user": "How do I write a parser for a small language in Rust without any library at all?"}
    assert (await call(ground, "POST", "/api/title", asked))[1] == {
        "title": "How do I write a parser for a small language in Rust…"
    }


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ('"Parsers in Rust"', "Parsers in Rust"),
        ("Title: **Parsers in Rust**\nmore", "Parsers in Rust"),
        ("\n\n# Parsers", "Parsers"),
        ("", ""),
        ("***", ""),
    ],
)
def test_a_title_is_taken_out_of_what_a_model_says(said: str, title: str) -> None:
    assert clean_title(said) == title


async def test_usage_has_ours_and_the_originals_names(ground: Ground) -> None:
    rows, now = RequestRows(ground.context.studio.db), 1_800_000_000.0

    def add(at: float, finish: str = "stop", tokens: int = 10, seconds: float = 2.0) -> None:
        rows.record(
            CompletedRequest(
                at, "proxy", finish, model="m", prompt_tokens=tokens, completion_tokens=tokens, cached_tokens=4,
                ttft=0.5, total_seconds=seconds, tokens_per_second=20.0,
            )
        )  # fmt: skip

    add(now - 60)
    add(now - 2 * HOUR, "failed")
    add(now - 1.5 * DAY)
    for _ in range(2):
        add(now - 8 * DAY, seconds=4.0)
    made = overview(ground.context.studio.usage, UsageQuery(), now)
    totals = made["totals"]
    assert (totals["total_tokens"], totals["total_requests"]) == (100, 5)
    assert (totals["successful_requests"], totals["failed_requests"], totals["success_rate"]) == (4, 1, 0.8)
    assert (made["latency"]["avg_ms"], made["latency"]["p50_ms"], made["ttft"]["p99_ms"]) == (3000.0, 2000.0, 500.0)
    assert made["tokens_per_request"] == {"avg": 20.0, "avg_prompt": 10.0, "avg_completion": 10.0}
    assert (made["cache"]["hit_tokens"], made["cache"]["miss_tokens"]) == (20, 30)
    week = made["week_over_week"]
    assert (week["this_week"], week["change_pct"]["requests"]) == ({"requests": 3, "tokens": 60, "successful": 2}, 50.0)
    assert week["last_week"]["requests"] == 2
    assert made["recent_activity"] == {
        "last_hour_requests": 1, "last_24h_requests": 2, "prev_24h_requests": 1, "last_24h_tokens": 40,
        "change_24h_pct": 100.0,
    }  # fmt: skip
    (model,) = made["by_model"]
    assert {"requests", "successful", "success_rate", "tokens", "avg_tokens", "avg_latency_ms", "avg_ttft_ms"} <= set(
        model
    )
    assert (model["model"], model["requests"], model["tokens"], model["tokens_per_sec"]) == ("m", 5, 100, 20.0)
    assert sum(one["requests"] for one in made["hourly_pattern"]) == 5
    assert made["peak_hours"][0]["requests"] >= 2
    assert made["daily"][0]["requests"] == 2
    assert (await call(ground, "GET", "/usage?days=7&by=session"))[1]["by_session"][0]["session"] is None


async def test_models_on_disk_are_listed_with_their_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    folder = tmp_path / "big" / "Some-8B-AWQ"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 64)
    config = {
        "architectures": ["SomeForCausalLM"],
        "text_config": {"num_hidden_layers": 2, "hidden_size": 8, "max_position_embeddings": 4096},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "big" / "tiny.gguf").write_bytes(b"x" * 32)
    (tmp_path / "big" / "broken").mkdir()
    (tmp_path / "big" / "broken" / "config.json").write_text("[")
    (tmp_path / "big" / "broken" / "a.bin").write_bytes(b"x")
    async with serving(tmp_path / "home", monkeypatch, settings=f"models_dirs: [{tmp_path / 'big'}]\n") as ground:
        await call(ground, "POST", "/recipes", {**recipe("mine"), "model_path": f"{folder}/"})
        _, found, _ = await call(ground, "GET", "/v1/studio/models")
    by_name = {one["name"]: one for one in found["models"]}
    some = by_name["Some-8B-AWQ"]
    assert (some["path"], some["size_bytes"], some["architecture"], some["quantization"], some["context_length"]) == (
        str(folder), 64, "SomeForCausalLM", "awq", 4096,
    )  # fmt: skip
    assert (some["recipe_ids"], some["has_recipe"], by_name["tiny"]["has_recipe"]) == (["mine"], True, False)
    assert (by_name["tiny"]["quantization"], by_name["broken"]["architecture"]) == ("gguf", None)
    assert some["modified_at"].endswith("Z")
    (root,) = [one for one in found["roots"] if one["path"] == str(tmp_path / "big")]
    assert (root["exists"], root["sources"], root["recipe_ids"]) == (True, ["config", "recipe_parent"], ["mine"])
    assert found["configured_models_dir"] == str(tmp_path / "big")


async def test_the_settings_are_told_without_secrets(ground: Ground) -> None:
    _, told, _ = await call(ground, "GET", "/config")
    config = told["config"]
    assert {"host", "port", "inference_port", "api_key_configured", "models_dir", "data_dir", "db_path"} <= set(config)
    assert config["api_key_configured"] is False
    assert told["environment"]["controller_url"] == ground.url
    # The port that it really has, not the one of the settings; the gateway's is that of the settings.
    assert (config["host"], config["port"]) == ("127.0.0.1", int(ground.url.rpartition(":")[2]))
    assert told["environment"]["litellm_url"] == "http://127.0.0.1:4100"
    ground.context.settings = ground.context.settings.model_copy(update={"gateway_port": 4199})
    _, later, _ = await call(ground, "GET", "/config")
    assert later["environment"]["litellm_url"] == "http://127.0.0.1:4199"
    ports = {one["name"]: one["port"] for one in later["services"]}
    assert (ports["Controller"], ports["LiteLLM"]) == (config["port"], 4199)
    names = [one["name"] for one in told["services"]]
    assert names == ["Controller", "LiteLLM", "Prometheus", "Grafana", "PostgreSQL", "Redis"]
    for service in told["services"]:
        assert service["status"] in ("running", "stopped", "error", "degraded", "unknown")
        assert {"name", "port", "internal_port", "protocol", "status", "description"} == set(service)
