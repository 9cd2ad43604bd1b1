"""Our own metrics as Prometheus reads them: names, labels, what is left out, and how few series there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.functional.stage import bare, run_view, snapshot
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.gpus import GIB, Gpu, GpuReport, Throttle
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.serving.discovery import discovery_document, engine_text
from vllm_studio_tui.services.serving.exposition import KEYS, SETS, ServeMetrics
from vllm_studio_tui.services.serving.label_values import FewSets
from vllm_studio_tui.services.watching.snapshot import Snapshot


def request(**facts: object) -> CompletedRequest:
    given: dict[str, object] = {
        "at": 1.0, "source": "proxy", "finish": "stop", "recipe_id": "qwen", "endpoint": "/v1/chat/completions",
        "status": 200, "key_name": "agents", "prompt_tokens": 10, "completion_tokens": 5, "ttft": 0.3,
        "total_seconds": 1.2, "queued_seconds": 0.0, "overhead_seconds": 0.0015,
    }  # fmt: skip
    return CompletedRequest(**{**given, **facts})  # type: ignore[arg-type]


def samples(text: bytes) -> dict[str, list[Sample]]:
    """All samples by name. What a parser reads twice with the same labels is an error for Prometheus."""
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            assert one.labels not in [other.labels for other in found.get(one.name, ())], one
            found.setdefault(one.name, []).append(one)
    return found


def value(text: bytes, name: str, **labels: str) -> float | None:
    """The value of the one sample that has these labels among its own; None where there is none."""
    fitting = [one for one in samples(text).get(name, ()) if labels.items() <= one.labels.items()]
    assert len(fitting) <= 1, fitting
    return fitting[0].value if fitting else None


def with_runs(shown: Snapshot, runs: Sequence[RunView]) -> Snapshot:
    return replace(shown, runs=tuple(runs), every=tuple(runs))


def test_every_family_has_help_a_type_and_a_name_without_a_colon(tmp_path: Path) -> None:
    metrics = ServeMetrics()
    metrics.observe(request(load_seconds=3.0))
    metrics.stream_opened("default")
    metrics.published("status")
    text = metrics.text(snapshot(tmp_path), queue_length={"qwen": 1}, in_flight={}, degraded=False).decode()
    names = set(re.findall(r"^([^#{ ]+)", text, re.M))
    described = re.findall(r"^# HELP (\S+) \S", text, re.M)
    typed = re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.M)
    assert described == typed
    assert len(set(described)) == len(described)
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    assert bases <= set(described)
    assert not [name for name in names if ":" in name or name.endswith("_created")]
    assert all(name.startswith(("vllm_studio_", "process_")) for name in names)


def test_what_the_snapshot_says_is_there_by_the_names_of_the_original(tmp_path: Path) -> None:
    text = ServeMetrics().text(snapshot(tmp_path))
    gpu = {"gpu_id": "1", "gpu_name": "NVIDIA H100 80GB HBM3"}
    assert value(text, "vllm_studio_gpu_memory_used_bytes", **gpu) == int(71.2 * GIB)
    assert value(text, "vllm_studio_gpu_memory_total_bytes", **gpu) == int(79.6 * GIB)
    assert value(text, "vllm_studio_gpu_utilization_percent", **gpu) == 95
    assert value(text, "vllm_studio_gpu_temperature_celsius", **gpu) == 62
    assert value(text, "vllm_studio_inference_server_up") == 1
    active = samples(text)["vllm_studio_active_model_info"]
    assert [one.labels["served_model_name"] for one in active] == ["org/qwen3-32b"]
    info = [one.labels["run"] for one in samples(text)["vllm_studio_run_info"]]
    assert info == ["qwen3-32b-1", "deepseek-r1-70b-1", "llama-3.3-70b-1"]
    states = [one.labels for one in samples(text)["vllm_studio_run_state"] if one.value == 1]
    assert [one["state"] for one in states] == ["ready", "loading", "failed"]
    assert value(text, "vllm_studio_engine_requests_running", run="qwen3-32b-1") == 12
    assert value(text, "vllm_studio_engine_kv_cache_usage_ratio", run="qwen3-32b-1") == 0.61


def test_what_an_engine_tells_more_closely_is_there_and_nothing_beyond_its_buckets(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    engine = replace(
        shown.tick.engines["qwen3-32b-1"],
        waiting_by_reason={"capacity": 3},
        kv_tokens_used=188_000,
        kv_tokens_total=309_000,
        sleep="weights_offloaded",
        ttft=Percentiles(0.12, None, None, 9, over=2.5),
        itl=Percentiles(0.004, 0.02, 0.03, 9, under=0.01),
    )
    text = ServeMetrics().text(replace(shown, tick=replace(shown.tick, engines={"qwen3-32b-1": engine})))
    assert value(text, "vllm_studio_engine_requests_waiting_by_reason", reason="capacity") == 3
    assert value(text, "vllm_studio_engine_kv_tokens") == 188_000
    assert value(text, "vllm_studio_engine_kv_tokens_capacity") == 309_000
    assert value(text, "vllm_studio_engine_asleep", how="weights_offloaded") == 1
    told = {(one.labels["of"], one.labels["quantile"]) for one in samples(text)["vllm_studio_engine_latency_seconds"]}
    assert told & {("ttft", "0.5"), ("ttft", "0.95"), ("itl", "0.5"), ("itl", "0.95")} == {
        ("ttft", "0.5"),
        ("itl", "0.95"),
    }


def test_what_is_unknown_is_absent_and_not_zero(tmp_path: Path) -> None:
    text = ServeMetrics().text(bare(tmp_path))
    names = samples(text)
    assert value(text, "vllm_studio_inference_server_up") == 0
    assert not [name for name in names if name.startswith(("vllm_studio_gpu", "vllm_studio_engine"))]
    assert not {"vllm_studio_queue_length", "vllm_studio_in_flight", "vllm_studio_serve_degraded"} & set(names)
    gpus = (Gpu(0, "GPU-0", "one", 80, None, temperature=40), Gpu(1, "GPU-1", "two", 80, 7, lost="fell off the bus"))
    shown = replace(bare(tmp_path), tick=replace(bare(tmp_path).tick, gpus=GpuReport(1.0, gpus)))
    text = ServeMetrics().text(shown)
    assert "vllm_studio_gpu_memory_used_bytes" not in samples(text)
    assert value(text, "vllm_studio_gpu_temperature_celsius", gpu_id="0") == 40
    assert [one.value for one in samples(text)["vllm_studio_gpu_lost"]] == [0, 1]
    assert {one.labels["gpu_id"] for one in samples(text)["vllm_studio_gpu_throttled"]} == {"0"}
    assert ServeMetrics().text(None).startswith(b"# HELP vllm_studio_build_info")


def test_where_nobody_serves_nothing_is_told_of_serve(tmp_path: Path) -> None:
    text = ServeMetrics(process=False).text(snapshot(tmp_path)).decode()
    told = set(re.findall(r"^# TYPE vllm_studio_(\S+)", text, re.M))
    assert "run_info" in told
    assert "model_switches_total" in told, "launches are seen without serve"
    of_serve = {"proxy_overhead_seconds", "request_seconds", "requests_total", "request_tokens_total", "queue_seconds",
                "load_seconds", "time_to_first_token_seconds", "sse_active_connections"}  # fmt: skip
    assert not told & of_serve
    serving = ServeMetrics(process=False).text(snapshot(tmp_path), degraded=False).decode()
    assert "vllm_studio_proxy_overhead_seconds_count 0.0" in serving, "there was no request, which is known"


def test_energy_and_reasons_of_throttling_are_told(tmp_path: Path) -> None:
    gpu = Gpu(0, "GPU-ab", "one", energy_mj=12_500, throttle=(Throttle.POWER_CAP,))
    shown = replace(bare(tmp_path), tick=replace(bare(tmp_path).tick, gpus=GpuReport(1.0, (gpu,), simulated=True)))
    text = ServeMetrics().text(shown)
    assert value(text, "vllm_studio_gpu_energy_joules_total", gpu_uuid="GPU-ab") == 12.5
    assert value(text, "vllm_studio_gpu_throttled", reason="power cap") == 1
    assert value(text, "vllm_studio_gpu_throttled", reason="hardware thermal") == 0
    assert value(text, "vllm_studio_gpus_simulated") == 1


def test_requests_are_counted_with_tokens_and_seconds(tmp_path: Path) -> None:
    metrics = ServeMetrics(process=False)
    metrics.observe(request())
    metrics.observe(request(finish="streaming"))  # goes on: not yet
    metrics.observe(request(status=429, finish="failed", prompt_tokens=None, completion_tokens=None, ttft=None))
    metrics.observe(request(finish="stopped", cached_tokens=4, load_seconds=2.0))
    metrics.observe(request(finish="failed", endpoint="/v1/responses/resp_123", key_name=None))
    text = metrics.text(None)

    def count(**labels: str) -> float | None:
        return value(text, "vllm_studio_requests_total", recipe="qwen", **labels)

    assert count(status="200", endpoint="/v1/chat/completions", key="agents") == 1
    assert count(status="429") == 1
    assert count(status="cancelled") == 1
    assert count(status="failed", endpoint="/v1/responses", key="") == 1
    assert value(text, "vllm_studio_request_tokens_total", kind="prompt") == 30
    assert value(text, "vllm_studio_request_tokens_total", kind="cached") == 4
    assert value(text, "vllm_studio_request_tokens_total", kind="reasoning") is None
    assert value(text, "vllm_studio_time_to_first_token_seconds_count") == 3
    assert value(text, "vllm_studio_time_to_first_token_seconds_bucket", le="0.25") == 0
    assert value(text, "vllm_studio_time_to_first_token_seconds_bucket", le="0.5") == 3
    assert value(text, "vllm_studio_load_seconds_sum") == 2.0
    assert value(text, "vllm_studio_queue_seconds_count") == 4
    assert value(text, "vllm_studio_proxy_overhead_seconds_bucket", le="0.001") == 0
    assert value(text, "vllm_studio_proxy_overhead_seconds_bucket", le="0.002") == 4


def test_queue_and_requests_in_flight_are_zero_for_a_live_recipe_that_has_none(tmp_path: Path) -> None:
    text = ServeMetrics().text(snapshot(tmp_path), queue_length={"deepseek-r1-70b": 3}, in_flight={}, degraded=True)
    assert value(text, "vllm_studio_queue_length", recipe="deepseek-r1-70b") == 3
    assert value(text, "vllm_studio_queue_length", recipe="qwen3-32b") == 0
    assert value(text, "vllm_studio_queue_length", recipe="llama-3.3-70b") is None  # it has ended
    assert value(text, "vllm_studio_in_flight", recipe="qwen3-32b") == 0
    assert value(text, "vllm_studio_serve_degraded") == 1


def test_a_launch_counts_once_when_it_is_ready_or_has_failed(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    metrics = ServeMetrics()
    text = metrics.text(shown)  # what was before this process is not counted, but begins at 0
    assert value(text, "vllm_studio_model_switches_total", recipe_id="qwen3-32b", backend="vllm") == 0
    assert value(text, "vllm_studio_model_launch_failures_total", recipe_id="llama-3.3-70b") == 0
    _, loading, failed = shown.runs
    ready = replace(
        loading, status=replace(loading.status, state=State.READY, ready_at=(loading.status.started_at or 0) + 42)
    )
    second = run_view(tmp_path / "again", "llama-3.3-70b", State.FAILED, started_at=1.0)
    second = replace(second, run_id="llama-3.3-70b-2", status=replace(second.status, run_id="llama-3.3-70b-2"))
    for _ in range(2):  # a second look counts nothing twice
        text = metrics.text(with_runs(shown, (shown.runs[0], ready, failed, second)))
    assert value(text, "vllm_studio_model_switches_total", recipe_id="deepseek-r1-70b") == 1
    assert value(text, "vllm_studio_model_switch_duration_seconds_bucket", recipe_id="deepseek-r1-70b", le="30.0") == 0
    assert value(text, "vllm_studio_model_switch_duration_seconds_bucket", recipe_id="deepseek-r1-70b", le="60.0") == 1
    assert value(text, "vllm_studio_model_launch_failures_total", recipe_id="llama-3.3-70b") == 1
    # A restart of the same run is no other launch.
    again = replace(ready, status=replace(ready.status, attempt=2, restarts=1, ready_at=9e9))
    text = metrics.text(with_runs(shown, (again,)))
    assert value(text, "vllm_studio_model_switches_total", recipe_id="deepseek-r1-70b") == 1
    assert value(text, "vllm_studio_run_restarts_total", run="deepseek-r1-70b-1") == 1


def test_the_series_of_a_run_go_when_it_has_ended(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    metrics = ServeMetrics()
    assert b'run="qwen3-32b-1"' in metrics.text(shown)
    ended = replace(shown.runs[0], status=replace(shown.runs[0].status, state=State.EXITED))
    text = metrics.text(Snapshot(replace(shown.tick, engines={}), (), (ended,)))
    assert b"run=" not in text
    assert value(text, "vllm_studio_inference_server_up") == 0


def test_two_runs_of_one_model_are_one_active_model(tmp_path: Path) -> None:
    ready = snapshot(tmp_path).runs[0]
    twin = replace(ready, run_id="twin")
    text = ServeMetrics().text(with_runs(snapshot(tmp_path), (ready, twin)))
    assert len(samples(text)["vllm_studio_active_model_info"]) == 1


ODD = st.text(max_size=30) | st.sampled_from(
    ["\ud800", 'a"b\\c\nd', "\x1b[31m", "x" * 5000, "sk-abcdefghijklmnop", "{}"]
)
NUMBERS = st.none() | st.floats() | st.integers(-5, 10**9)
REQUESTS = st.builds(
    request,
    recipe_id=st.none() | ODD, endpoint=st.none() | ODD, key_name=st.none() | ODD, finish=ODD,
    status=st.none() | st.integers(-5, 10**6), prompt_tokens=st.none() | st.integers(-5, 10**12), ttft=NUMBERS,
    total_seconds=NUMBERS, queued_seconds=NUMBERS, load_seconds=NUMBERS, overhead_seconds=NUMBERS,
)  # fmt: skip


@given(st.lists(REQUESTS, max_size=20), ODD, ODD)
def test_hostile_text_and_numbers_are_counted_and_read_back(
    asked: list[CompletedRequest], name: str, model: str
) -> None:
    metrics = ServeMetrics(process=False)
    for one in asked:
        metrics.observe(one)
    metrics.published(name)
    metrics.stream_opened(f"logs:{name}")
    status = RunState(name or "r", State.READY)
    run = RunView(Path("/nowhere"), name or "r", None, status, True, True, False)
    shown = with_runs(bare(Path("/nowhere")), (run,))
    shown = replace(
        shown, tick=replace(shown.tick, engines={run.run_id: EngineMetrics(running=1, kv_cache_usage=float("nan"))})
    )
    text = metrics.text(shown, queue_length={model: 1})
    counted = sum(one.value for one in samples(text).get("vllm_studio_requests_total", ()))
    assert counted == sum(one.finish != "streaming" for one in asked)
    assert b"sk-abcdefghijklmnop" not in text
    assert "vllm_studio_engine_kv_cache_usage_ratio" not in samples(text)
    assert all(one.value >= 0 for many in samples(text).values() for one in many)


def test_there_are_few_series_however_many_ask() -> None:
    metrics = ServeMetrics(process=False)
    for number in range(100_000):
        metrics.observe(
            request(
                id=str(number),
                session_id=f"s{number}",
                client=f"10.0.0.{number}",
                key_name=f"key{number}",
                endpoint=f"/v1/responses/{number}",
                requested_model=f"m{number}",
                recipe_id=f"recipe{number % 300}",
            )
        )
        if number == 50_000:
            before = metrics.text(None).count(b"\n")
    text = metrics.text(None)
    assert text.count(b"\n") == before
    found = samples_by_name(text, "vllm_studio_requests_total")
    assert len({one["key"] for one in found}) == KEYS + 1
    assert "other" in {one["key"] for one in found}
    assert {one["endpoint"] for one in found} == {"/v1/responses"}
    assert len(found) <= SETS + 1


def test_sets_of_values_beyond_the_last_are_counted_together() -> None:
    few = FewSets(2)
    assert [few.of(("a", "1")), few.of(("b", "1")), few.of(("c", "1"))] == [("a", "1"), ("b", "1"), ("other", "other")]
    assert few.of(("a", "1")) == ("a", "1")


def samples_by_name(text: bytes, name: str) -> list[dict[str, str]]:
    """Labels of the samples of one name; for texts that are too long to look for twins."""
    families = text_string_to_metric_families(text.decode())
    return [one.labels for family in families for one in family.samples if one.name == name]


def test_threads_count_every_request_once() -> None:
    metrics = ServeMetrics(process=False)

    def ask() -> None:
        for _ in range(500):
            metrics.observe(request())

    threads = [Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert value(metrics.text(None), "vllm_studio_requests_total") == 4000


def test_the_folder_in_which_engines_count_stays_theirs(tmp_path: Path) -> None:
    code = (
        "from vllm_studio_tui.services.serving.exposition import ServeMetrics\n"
        "metrics = ServeMetrics(); metrics.published('status'); metrics.stream_opened('events')\n"
        "assert b'event_type=\"status\"} 1.0' in metrics.text(None)"
    )
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_streams_of_events_are_counted_by_channel_without_the_run() -> None:
    metrics = ServeMetrics(process=False)
    metrics.stream_opened("logs:run-1")
    metrics.stream_opened("logs:run-2")
    metrics.stream_closed("logs:run-1")
    metrics.published("gpu")
    text = metrics.text(None)
    assert value(text, "vllm_studio_sse_active_connections", channel="logs") == 1
    assert value(text, "vllm_studio_sse_events_published_total", event_type="gpu") == 1


def test_discovery_names_ourselves_and_each_run_that_answers(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    ready = shown.runs[0]
    assert ready.spec is not None
    without = replace(ready, run_id="none", spec=replace(ready.spec, backend="transformers"))
    stranger = replace(ready, run_id="theirs", status=replace(ready.status, stranger={"pid": 1}))
    odd = replace(ready, run_id="a/b?c")
    unheard = replace(ready, run_id="unheard", spec=replace(ready.spec, backend="custom"))
    unread = replace(ready, run_id="unread", spec=None)
    runs = (*shown.runs, without, stranger, unheard, unread, odd)
    document = discovery_document(with_runs(shown, runs), "studio:8080", scheme="https")
    assert document == [
        {"targets": ["studio:8080"], "labels": {"__scheme__": "https"}},
        {
            "targets": ["studio:8080"],
            "labels": {
                "__scheme__": "https", "__metrics_path__": "/metrics/runs/qwen3-32b-1", "run": "qwen3-32b-1",
                "recipe": "qwen3-32b", "model": "org/qwen3-32b", "backend": "vllm",
            },
        },
        {
            "targets": ["studio:8080"],
            "labels": {
                "__scheme__": "https", "__metrics_path__": "/metrics/runs/a%2Fb%3Fc", "run": "a/b?c",
                "recipe": "qwen3-32b", "model": "org/qwen3-32b", "backend": "vllm",
            },
        },
    ]  # fmt: skip
    heard = replace(shown.tick, engines={"unheard": shown.tick.engines[ready.run_id]})
    (_, only) = discovery_document(replace(with_runs(shown, (unheard,)), tick=heard), "here:1")
    assert only["labels"]["run"] == "unheard"  # type: ignore[index]
    assert discovery_document(None, "here:1") == [{"targets": ["here:1"], "labels": {"__scheme__": "http"}}]


@contextmanager
def engine(key: str) -> Iterator[int]:
    """A server with metrics behind a key."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {key}" and self.path == "/metrics"
            body = b"vllm:num_requests_running 1\n" if allowed else b""
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_an_engines_metrics_are_fetched_with_its_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "secret-of-the-engine")
    ready = snapshot(tmp_path).runs[0]
    assert ready.spec is not None

    def at(port: int, reference: str | None) -> RunView:
        assert ready.spec is not None
        spec = replace(ready.spec, base_url=f"http://127.0.0.1:{port}/v1", api_key_ref=reference)
        return replace(ready, spec=spec)

    with engine("secret-of-the-engine") as port:
        assert engine_text(at(port, "env:ENGINE_KEY")) == b"vllm:num_requests_running 1\n"
        refused = []
        for reference in (None, "env:NOT_THERE"):
            with pytest.raises(Refusal) as told:
                engine_text(at(port, reference))
            refused.append((told.value.status, told.value.code))
    assert refused == [(502, "engine_unreachable"), (502, "no_key")]
    with pytest.raises(Refusal) as told:
        engine_text(at(port, "env:ENGINE_KEY"))
    assert told.value.status == 502
    with pytest.raises(Refusal) as told:
        engine_text(snapshot(tmp_path).runs[1])  # it loads
    assert told.value.status == 404
