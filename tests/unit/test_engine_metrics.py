"""An engine's numbers from its /metrics."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from vllm_studio_tui.backends import registry
from vllm_studio_tui.cli import metrics as command
from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.errors import EngineRefused, EngineUnreachable, NotFound, StudioError, UsageError
from vllm_studio_tui.domain.metric_spec import KINDS
from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.probes.engine import scrape
from vllm_studio_tui.probes.engine.quantiles import increase, percentiles
from vllm_studio_tui.probes.engine.reader import EngineProbe, read_once
from vllm_studio_tui.services.engine_readings import api_key_of

FIXTURES = Path(__file__).parent.parent / "fixtures" / "metrics"
INF = math.inf


def capture(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text()


def vllm(
    prompt: float = 0,
    generated: float = 0,
    *,
    hits: float = 0,
    queries: float = 0,
    running: float = 0,
    kv: tuple[float, ...] = (0.5,),
    ttft: tuple[float, float, float] = (0, 0, 0),
    ttft_sum: float = 0,
    created: float = 1.7e9,
) -> str:
    lines = [
        f"vllm:num_requests_running {running}",
        f"vllm:prompt_tokens_total {prompt}",
        f"vllm:prompt_tokens_created {created}",
        f"vllm:generation_tokens_total {generated}",
        f"vllm:prefix_cache_hits_total {hits}",
        f"vllm:prefix_cache_queries_total {queries}",
        f"vllm:time_to_first_token_seconds_sum {ttft_sum}",
        f"vllm:time_to_first_token_seconds_count {ttft[2]}",
        *(f'vllm:kv_cache_usage_perc{{engine="{n}"}} {share}' for n, share in enumerate(kv)),
        *(
            f'vllm:time_to_first_token_seconds_bucket{{le="{edge}"}} {count}'
            for edge, count in zip(("0.1", "0.5", "+Inf"), ttft, strict=True)
        ),
    ]
    return "\n".join(lines)


def test_every_field_of_the_tables_exists() -> None:
    fields = EngineMetrics.__dataclass_fields__
    for table in (one.metrics or () for one in registry.backends().values()):
        for spec in table:
            assert spec.field in fields
            assert spec.kind in KINDS


def test_a_real_vllm_is_read() -> None:
    m = EngineProbe("vllm").observe(capture("vllm"), 10.0)
    assert (m.running, m.waiting, m.kv_cache_usage) == (0, 0, 0.0)
    assert (m.prompt_tokens_total, m.generation_tokens_total, m.requests_total) == (867, 1367, 22)
    assert m.ttft.count == 23
    assert m.ttft.mean == pytest.approx(35.46533465385437 / 23)
    assert m.ttft.p50 is not None and 0.1 < m.ttft.p50 < 0.25
    assert m.itl.count == 1344
    assert m.e2e.count == 22
    # One scrape only: no speeds, and latencies are of its whole life.
    assert (m.interval, m.prompt_tokens_per_second, m.generation_tokens_per_second) == (None, None, None)
    assert {"ttft", "itl", "e2e", "prefix_cache_hit_rate"} <= set(m.since_start)


def test_a_real_sglang_is_read() -> None:
    m = EngineProbe("sglang").observe(capture("sglang"), 10.0)
    assert (m.running, m.waiting, m.kv_cache_usage) == (1, 0, 0.01)
    assert m.generation_tokens_per_second == pytest.approx(1.052538775301737)
    assert (m.prompt_tokens_total, m.generation_tokens_total, m.cached_tokens_total) == (90, 24, 41)
    assert m.prefix_cache_hit_rate == pytest.approx(41 / 90)
    assert (m.ttft.count, m.itl.count) == (4, 46)
    assert m.spec_acceptance is None  # its gauge is zero without speculation


def test_a_real_llama_cpp_is_read() -> None:
    m = EngineProbe("llamacpp").observe(capture("llamacpp"), 10.0)
    assert (m.running, m.waiting, m.kv_cache_usage) == (0, 0, None)
    assert (m.prompt_tokens_total, m.generation_tokens_total) == (260 + 649, 1490)
    assert m.prefix_cache_hit_rate == pytest.approx(649 / (649 + 260))
    assert (m.ttft, m.itl, m.e2e) == (Percentiles(), Percentiles(), Percentiles())


@pytest.mark.parametrize("backend", ["llamacpp", "custom"])
def test_cached_tokens_are_a_part_of_the_prompts_although_llama_cpp_counts_them_apart(backend: str) -> None:
    text = "llamacpp:prompt_tokens_total 66\nllamacpp:tokens_predicted_total 5\n"
    assert EngineProbe(backend).observe(text, 1.0).prompt_tokens_total == 66
    m = EngineProbe(backend).observe(text + "llamacpp:prompt_tokens_cached_total 414\n", 1.0)
    assert (m.prompt_tokens_total, m.cached_tokens_total) == (480, 414)


@pytest.mark.parametrize("backend", ["custom", "external", "somebody.elses"])
@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp"])
def test_an_engine_of_unknown_kind_is_recognised_by_its_names(backend: str, kind: str) -> None:
    text = capture(kind)
    assert EngineProbe(backend).observe(text, 1.0) == EngineProbe(kind).observe(text, 1.0)


def test_speeds_shares_and_percentiles_are_of_the_interval() -> None:
    probe = EngineProbe("vllm")
    probe.observe(vllm(1000, 5000, hits=900, queries=1000, ttft=(50, 80, 80), ttft_sum=99), 100.0)
    m = probe.observe(vllm(1400, 5100, hits=1000, queries=1400, kv=(0.2, 0.4), ttft=(50, 84, 90), ttft_sum=103), 102.0)
    assert m.interval == 2.0
    assert (m.prompt_tokens_per_second, m.generation_tokens_per_second) == (200.0, 50.0)
    assert m.prefix_cache_hit_rate == 0.25
    assert m.kv_cache_usage == pytest.approx(0.3)
    # 4 of 10 in 0.1-0.5 s, 6 above: the median is past the last edge.
    assert (m.ttft.p50, m.ttft.over, m.ttft.count) == (None, 0.5, 10)
    assert m.ttft.mean == pytest.approx(0.4)
    assert m.since_start == ()


def test_no_queries_give_no_hit_rate_and_no_requests_no_percentile() -> None:
    probe = EngineProbe("vllm")
    text = vllm(10, 10, hits=5, queries=10, ttft=(1, 2, 3))
    probe.observe(text, 1.0)
    m = probe.observe(text, 2.0)
    assert m.prefix_cache_hit_rate is None
    assert m.ttft == Percentiles(count=0)
    assert (m.prompt_tokens_per_second, m.generation_tokens_per_second) == (0.0, 0.0)


@pytest.mark.parametrize(
    "after",
    [
        vllm(90, 200),  # one went down
        vllm(200, 200, created=1.8e9),  # made anew
        vllm(200, 200, ttft=(0, 0, 1)),  # a histogram went down
        "\n".join(line for line in vllm(200, 200).splitlines() if "prompt_tokens_total" not in line),
    ],
)
def test_a_restart_of_the_engine_drops_the_interval(after: str) -> None:
    probe = EngineProbe("vllm")
    probe.observe(vllm(100, 100, ttft=(1, 2, 3)), 1.0)
    m = probe.observe(after, 2.0)
    assert (m.interval, m.generation_tokens_per_second) == (None, None)
    later = probe.observe(after.replace("generation_tokens_total 200", "generation_tokens_total 230"), 3.0)
    assert (later.interval, later.generation_tokens_per_second) == (1.0, 30.0)


def test_one_of_several_engines_restarting_is_noticed_though_the_sum_grows() -> None:
    def text(first: int, second: int) -> str:
        return "\n".join(
            f'vllm:generation_tokens_total{{engine="{n}"}} {value}' for n, value in enumerate((first, second))
        )

    probe = EngineProbe("vllm")
    probe.observe(text(100, 100), 1.0)
    assert probe.observe(text(10, 500), 2.0).generation_tokens_per_second is None
    assert probe.observe(text(20, 510), 3.0).generation_tokens_per_second == 20.0


def test_a_clock_that_does_not_advance_gives_no_speed() -> None:
    probe = EngineProbe("vllm")
    probe.observe(vllm(1, 1), 5.0)
    assert probe.observe(vllm(9, 9), 5.0).generation_tokens_per_second is None


def test_a_window_holds_latencies_longer_than_speeds() -> None:
    probe = EngineProbe("vllm", window=60.0)
    probe.observe(vllm(0, 0, hits=0, queries=0), 0.0)
    probe.observe(vllm(10, 100, hits=5, queries=10, ttft=(4, 4, 4)), 1.0)
    for second in range(2, 60):
        m = probe.observe(vllm(10, 100, hits=5, queries=10, ttft=(4, 4, 4)), float(second))
    assert (m.ttft.count, m.prefix_cache_hit_rate) == (4, 0.5)
    assert m.generation_tokens_per_second == 0.0
    for second in range(60, 140):
        m = probe.observe(vllm(10, 100, hits=5, queries=10, ttft=(4, 4, 4)), float(second))
    assert (m.ttft.count, m.prefix_cache_hit_rate) == (0, None)


def test_old_names_are_read_where_the_new_ones_are_missing() -> None:
    old = (
        "vllm:gpu_cache_usage_perc 0.25\nvllm:avg_generation_throughput_toks_per_s 12.5\n"
        'vllm:time_per_output_token_seconds_bucket{le="0.1"} 2\n'
        'vllm:time_per_output_token_seconds_bucket{le="+Inf"} 2\n'
    )
    m = EngineProbe("vllm").observe(old, 1.0)
    assert (m.kv_cache_usage, m.generation_tokens_per_second, m.itl.count) == (0.25, 12.5, 2)
    both = old + "vllm:kv_cache_usage_perc 0.75\n"
    assert EngineProbe("vllm").observe(both, 1.0).kv_cache_usage == 0.75


def test_counters_that_move_at_the_end_of_a_request_say_nothing_while_one_runs() -> None:
    def text(tokens: int, running: int) -> str:
        return f"llamacpp:requests_processing {running}\nllamacpp:tokens_predicted_total {tokens}"

    probe = EngineProbe("llamacpp")
    probe.observe(text(100, 1), 1.0)
    assert probe.observe(text(100, 1), 2.0).generation_tokens_per_second is None
    assert probe.observe(text(150, 0), 4.0).generation_tokens_per_second == 25.0
    assert probe.observe(text(150, 0), 5.0).generation_tokens_per_second == 0.0


def test_an_answer_that_is_counted_at_its_end_was_not_made_in_the_interval_before() -> None:
    def text(tokens: int, seconds: float, running: int) -> str:
        return (
            f"llamacpp:requests_processing {running}\nllamacpp:tokens_predicted_total {tokens}\n"
            f"llamacpp:tokens_predicted_seconds_total {seconds}"
        )

    probe = EngineProbe("llamacpp")
    probe.observe(text(100, 4.0, 1), 1.0)
    # 560 tokens of 20 s came in one second: 28 a second, and never 560.
    assert probe.observe(text(660, 24.0, 1), 2.0).generation_tokens_per_second == 28.0
    assert probe.observe(text(660, 24.0, 4), 3.0).generation_tokens_per_second is None
    # Four that ran beside each other, 100 tokens in 20 s each.
    assert probe.observe(text(1060, 104.0, 0), 4.0).generation_tokens_per_second == 20.0
    # Within the interval, the interval is what counts.
    assert probe.observe(text(1070, 104.5, 0), 6.0).generation_tokens_per_second == 5.0


def test_sglangs_prompt_speed_comes_from_its_live_counter() -> None:
    def text(compute: int, cache: int, decode: int) -> str:
        modes = {"prefill_compute": compute, "prefill_cache": cache, "decode": decode}
        return "sglang:num_running_reqs 1\n" + "\n".join(
            f'sglang:realtime_tokens_total{{mode="{mode}"}} {value}' for mode, value in modes.items()
        )

    probe = EngineProbe("sglang")
    probe.observe(text(10, 10, 10), 1.0)
    assert probe.observe(text(40, 30, 999), 2.0).prompt_tokens_per_second == 50.0


def test_a_speed_gauge_that_stayed_behind_is_no_speed() -> None:
    text = "sglang:num_running_reqs 0\nsglang:gen_throughput 88\nsglang:generation_tokens_total 5"
    probe = EngineProbe("sglang")
    probe.observe(text, 1.0)
    assert probe.observe(text, 2.0).generation_tokens_per_second == 0.0


def test_values_out_of_their_range_are_unknown() -> None:
    m = EngineProbe("vllm").observe(
        "vllm:kv_cache_usage_perc 55\nvllm:num_requests_running -1\nvllm:num_requests_waiting +Inf", 1.0
    )
    assert (m.kv_cache_usage, m.running, m.waiting) == (None, None, None)


@given(st.lists(st.sampled_from([*capture("vllm").split("\n"), "vllm:prompt_tokens_total NaN", "x"]), max_size=40))
def test_any_part_of_a_scrape_is_read_without_failing(lines: list[str]) -> None:
    probe = EngineProbe("custom")
    probe.observe("\n".join(lines[:20]), 1.0)
    m = probe.observe("\n".join(lines), 2.0)
    for share in (m.kv_cache_usage, m.prefix_cache_hit_rate):
        assert share is None or 0 <= share <= 1


def test_text_without_known_metrics_is_an_error() -> None:
    assert EngineProbe("vllm").observe("<html>hello</html>", 1.0).error


def test_percentiles_are_interpolated_between_edges() -> None:
    # 10 below 1 s, 10 in 1-2 s: the median is the edge, p95 is 90 % into the second.
    p = percentiles([(1.0, 10), (2.0, 20), (INF, 20)], total=30.0)
    assert (p.p50, p.count, p.mean, p.over) == (1.0, 20, 1.5, None)
    assert p.p95 == pytest.approx(1.9)
    assert percentiles([(1.0, 0), (INF, 0)]) == Percentiles(count=0)
    assert percentiles([]) == Percentiles()
    assert increase([(1.0, 2)], [(1.0, 5), (2.0, 6)]) == [(1.0, 3), (2.0, 6)]


@given(
    st.lists(st.floats(0.001, 9.99), min_size=1, max_size=200),
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=8, unique=True),
)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(observed: list[float], edges: list[float]) -> None:
    edges = [*sorted(edges), 10.0, INF] if 10.0 not in edges else [*sorted(edges), INF]
    p = percentiles([(edge, sum(value <= edge for value in observed)) for edge in edges])
    ordered = sorted(observed)
    for share, found in ((0.5, p.p50), (0.95, p.p95), (0.99, p.p99)):
        true = ordered[math.ceil(share * len(ordered)) - 1]
        upper = next(edge for edge in edges if true <= edge)
        lower = max((edge for edge in edges if edge < true), default=0.0)
        assert found is not None
        assert lower - 1e-9 <= found <= upper + 1e-9


class Engine(BaseHTTPRequestHandler):
    """Answers /metrics with its texts in turn, the last one for ever."""

    texts: ClassVar[list[bytes]] = []
    status: ClassVar[int] = 200
    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization")))
        body = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            return  # the client has seen enough

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, RUF100
        return


@pytest.fixture
def engine() -> Iterator[str]:
    Engine.texts, Engine.status, Engine.seen = [b""], 200, []
    server = HTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_two_scrapes_give_speeds(engine: str) -> None:
    Engine.texts = [
        vllm(100, 100, ttft=(2, 2, 2), hits=1, queries=2).encode(),
        vllm(100, 400, ttft=(2, 2, 2), hits=1, queries=2).encode(),
    ]
    m = read_once(engine, "vllm", "sk-key", 0.05)
    assert m.error is None
    assert m.interval is not None and m.interval >= 0.05
    assert m.generation_tokens_per_second == pytest.approx(300 / m.interval)
    assert Engine.seen == [("/metrics", "Bearer sk-key")] * 2
    # Nothing was asked in so short a time: latencies and shares of its whole life, and it says so.
    assert (m.ttft.count, m.prefix_cache_hit_rate) == (2, 0.5)
    assert {"ttft", "prefix_cache_hit_rate"} <= set(m.since_start)


def test_latencies_of_the_interval_win_over_those_of_the_whole_life(engine: str) -> None:
    Engine.texts = [vllm(ttft=(2, 2, 2)).encode(), vllm(ttft=(5, 5, 5)).encode()]
    m = read_once(engine, "vllm", None, 0.01)
    assert m.ttft.count == 3
    assert "ttft" not in m.since_start


@pytest.mark.parametrize(("status", "word"), [(404, "--enable-metrics"), (401, "key"), (302, ""), (500, "")])
def test_another_status_is_an_error_and_no_redirect_is_followed(engine: str, status: int, word: str) -> None:
    Engine.status = status
    with pytest.raises(EngineRefused) as error:
        scrape.fetch(engine)
    assert error.value.status == status
    assert word in error.value.advice
    assert len(Engine.seen) == 1
    assert str(status) in str(read_once(engine, "vllm").error)


def test_a_body_without_end_is_refused(engine: str) -> None:
    Engine.texts = [b"x" * (scrape.MAX_BODY + 100_000)]
    with pytest.raises(EngineRefused, match="larger"):
        scrape.fetch(engine, timeout=30)


def test_no_engine_and_no_url_are_told_apart(engine: str) -> None:
    with pytest.raises(EngineUnreachable):
        scrape.fetch("http://127.0.0.1:1/v1")
    for url in ("", "file:///etc/passwd", "http://", "http://[::1/v1", "http://h:99999/v1"):
        with pytest.raises(StudioError):
            scrape.fetch(url)
    with pytest.raises(StudioError) as error:
        scrape.fetch(engine, "bad\nkey")
    assert "bad" not in str(error.value)


def test_engines_without_metrics_say_so_without_being_asked(engine: str) -> None:
    m = read_once(engine, "transformers")
    assert m.error is not None and "transformers" in m.error
    assert Engine.seen == []


def test_the_document_has_the_promised_keys() -> None:
    document = EngineProbe("vllm").observe(capture("vllm"), 1.0).to_json()
    promised = {"running", "waiting", "prompt_tokens_per_second", "generation_tokens_per_second"}
    promised |= {"kv_cache_usage", "prefix_cache_hit_rate", "ttft", "itl", "e2e"}
    assert promised <= set(document)
    for latency in ("ttft", "itl", "e2e"):
        assert {"p50", "p95", "p99", "count"} <= set(document[latency])
    assert document["generation_tokens_per_second"] is None
    json.dumps(document, allow_nan=False)


def test_a_run_is_the_named_one_or_the_only_one() -> None:
    live: list[Any] = []
    runs: Any = SimpleNamespace(live=lambda: live)
    with pytest.raises(NotFound):
        command.chosen(runs, None)
    live.append(SimpleNamespace(run_id="a"))
    assert command.chosen(runs, None) is live[0]
    live.append(SimpleNamespace(run_id="b"))
    with pytest.raises(UsageError, match="a, b"):
        command.chosen(runs, None)


def test_the_command_prints_the_metrics_of_a_run(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, status = SimpleNamespace(api_key_ref=None), RunState("r-1")
    run = SimpleNamespace(
        run_id="r-1", recipe_id="r", backend="vllm", base_url=engine, state="ready", spec=spec, status=status
    )
    monkeypatch.setattr(command, "chosen", lambda runs, name: run)
    app = typer.Typer()
    command.register(app)
    Engine.texts = [vllm(100, 100).encode(), vllm(100, 400, ttft=(0, 3, 4), ttft_sum=2).encode()]
    done = CliRunner().invoke(app, ["r", "--json", "--interval", "0.2"])
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["run_id"], document["ttft"]["count"]) == ("r-1", 4)
    assert document["generation_tokens_per_second"] > 0

    Engine.texts = [vllm(100, 400).encode(), vllm(100, 400, running=2, ttft=(0, 3, 4)).encode()]
    text = CliRunner().invoke(app, ["--interval", "0.2"]).stdout
    assert "2 running" in text
    assert ">0.5 s" in text  # a percentile past the last edge is not a number

    Engine.status = 404
    failed = CliRunner().invoke(app, ["--json", "--interval", "0.2"])
    assert isinstance(failed.exception, EngineUnreachable)
    assert json.loads(failed.stdout)["error"] == "/metrics answered 404"


def test_a_key_that_cannot_be_read_is_named_by_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Any = SimpleNamespace(spec=SimpleNamespace(api_key_ref="env:STUDIO_TEST_KEY"))
    monkeypatch.setenv("STUDIO_TEST_KEY", "sk-1")
    assert api_key_of(run) == "sk-1"
    monkeypatch.delenv("STUDIO_TEST_KEY")
    with pytest.raises(StudioError, match="STUDIO_TEST_KEY"):
        api_key_of(run)


def test_preemptions_of_requests_that_ended_are_read_beside_all_of_them() -> None:
    text = (
        'vllm:num_preemptions_total{engine="0"} 4.0\nvllm:request_num_preemptions_bucket{engine="0",le="+Inf"} 9.0\n'
        'vllm:request_num_preemptions_count{engine="0"} 9.0\nvllm:request_num_preemptions_sum{engine="0"} 3.0\n'
    )
    m = EngineProbe("vllm").observe(text, 1.0)
    assert (m.preemptions_total, m.ended_requests_total, m.ended_preemptions_total) == (4, 9, 3)


def test_all_that_a_real_engine_tells_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run: Any = SimpleNamespace(recipe_id="smol", run_id="smol-1", backend="vllm", state="ready")
    command.show(run, EngineProbe("vllm").observe(capture("vllm"), 1.0))
    printed = capsys.readouterr().out
    assert "16 length, 6 stop  since its start" in printed
    assert "0 of 46592 tokens" in printed
    assert "<300 ms" in printed  # the queue was shorter than the engine measures
    assert "over the last" not in printed  # it was looked at once


def test_windows_ranks_and_reasons_are_printed_where_there_are_some(capsys: pytest.CaptureFixture[str]) -> None:
    run: Any = SimpleNamespace(recipe_id="smol", run_id="smol-1", backend="vllm", state="ready")
    probe = EngineProbe("vllm", window=60.0)
    for second in range(17):
        m = probe.observe(
            "\n".join(
                f'vllm:num_requests_running{{engine="{rank}"}} {rank}\n'
                f'vllm:num_requests_waiting{{engine="{rank}"}} 2\n'
                f'vllm:num_requests_waiting_by_reason{{engine="{rank}",reason="capacity"}} 2\n'
                f'vllm:generation_tokens_total{{engine="{rank}"}} {50 * second}'
                for rank in range(2)
            ),
            float(second),
        )
    command.show(run, m)
    lines = capsys.readouterr().out.splitlines()
    assert "4 waiting (4 capacity)" in lines[1]
    assert next(line for line in lines if line.startswith("over the last")).split()[3:] == ["5", "s", "15", "s"]
    assert next(line.split() for line in lines if line.startswith("generation tok/s"))[2:] == ["100.0", "100.0"]
    assert any("20.0% more" in line for line in lines)
