"""What the server tells Prometheus, and whom."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.stage import snapshot
from tests.unit.http_ground import serving, still, stream, until
from tests.unit.test_exposition import engine, value
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.services.serving.exposition import CONTENT_TYPE

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def test_requests_are_counted_and_runs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine("k") as port:
        monkeypatch.setenv("ENGINE_KEY", "k")
        shown = snapshot(tmp_path / "stage")
        ready = shown.runs[0]
        assert ready.spec is not None
        spec = replace(ready.spec, base_url=f"http://127.0.0.1:{port}/v1", api_key_ref="env:ENGINE_KEY")
        shown = replace(shown, runs=(replace(ready, spec=spec), *shown.runs[1:]))
        async with serving(tmp_path / "home", monkeypatch) as ground:
            still(ground, monkeypatch, shown)
            pause = asyncio.Event()
            ground.engine.script = stream("a", "b", usage=2, pause=pause)
            asking = asyncio.ensure_future(ground.post(CHAT, ASK))
            await until(lambda: bool(ground.engine.asked), "the engine is asked")
            _, text, answered = await ground.get("/metrics")
            assert answered.headers["Content-Type"] == CONTENT_TYPE
            assert value(text, "vllm_studio_in_flight", recipe="rec") == 1
            assert value(text, "vllm_studio_serve_degraded") == 0
            pause.set()
            await asking
            _, text, _ = await ground.get("/metrics")
            assert value(text, "vllm_studio_in_flight", recipe="rec") is None
            assert value(text, "vllm_studio_in_flight", recipe="qwen3-32b") == 0
            assert value(text, "vllm_studio_requests_total", recipe="rec", endpoint=CHAT, status="200") == 1
            assert value(text, "vllm_studio_request_tokens_total", recipe="rec", kind="completion") == 2
            assert value(text, "vllm_studio_proxy_overhead_seconds_count") == 1
            _, (own, found), _ = await ground.get("/prometheus/sd")
            assert own["targets"] == found["targets"] == [ground.url.removeprefix("http://")]
            _, text, _ = await ground.get(found["labels"]["__metrics_path__"])
            assert text == b"vllm:num_requests_running 1\n"
            assert (await ground.get("/metrics/runs/nobody"))[0] == 404
            assert (await ground.get("/metrics/runs/deepseek-r1-70b-1"))[0] == 404  # it loads


async def test_metrics_need_a_key_with_their_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path / "home", monkeypatch) as ground:
        studio = ground.context.studio
        still(ground, monkeypatch, snapshot(tmp_path / "stage"))
        _, mine = studio.keys.add("prometheus", scopes=(Scope.METRICS,))
        _, other = studio.keys.add("agent", scopes=(Scope.INFERENCE,))
        await until(lambda: not ground.context.open_locally, "the keys are known")
        for path in ("/metrics", "/prometheus/sd", "/metrics/runs/qwen3-32b-1"):
            statuses = [
                (await ground.get(path, headers={"Authorization": f"Bearer {secret}"} if secret else {}))[0]
                for secret in ("", other)
            ]
            assert statuses == [401, 403]
        assert (await ground.get("/metrics", headers={"Authorization": f"Bearer {mine}"}))[0] == 200
        text = (await ground.get("/metrics", headers={"Authorization": f"Bearer {mine}"}))[1]
        assert mine.encode() not in text
        assert other.encode() not in text
