"""Speeds over windows, ranks, KV tokens, and answers that are still being made, held against the raw scrapes."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.metric_spec import MetricSpec, SlotsSource
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.probes.engine.quantiles import percentiles
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.probes.engine.slots import LiveTotals, read_slots
from vllm_studio_tui.probes.engine.values import Scrape, raw_value, value_of

FIXTURES = Path(__file__).parent.parent / "fixtures" / "metrics"
EDGES = (0.01, 0.1, 1.0)


def capture(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text()


# --- a reference that knows nothing of tables: it reads lines ---------------------------------------------


@lru_cache(maxsize=64)
def raw_lines(text: str) -> list[tuple[str, str, float]]:
    """Return name, labels as they stand there, and value of each line, by a pattern of its own."""
    found = [re.fullmatch(r"([a-z_:]+)(\{.*\})? (\S+)", line) for line in text.splitlines()]
    return [(one[1], one[2] or "", float(one[3])) for one in found if one]


def raw_sum(text: str, name: str, **labels: str) -> float:
    """Add up the samples of a name."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return math.fsum(
        value for one, having, value in raw_lines(text) if one == name and all(part in having for part in wanted)
    )


class Fake:
    """An engine of two ranks that counts as vLLM does, and remembers each single thing that happened."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.times: list[tuple[float, float]] = []  # when, how long
        self.kv = (0.25, 0.75)

    def step(self, now: float, events: list[tuple[int, int, int, int, float, str]]) -> str:
        for rank, prompt, cached, output, took, reason in events:
            for name, value in (
                ("prompt_tokens_total", prompt),
                ("generation_tokens_total", output),
                ("prompt_tokens_cached_total", min(cached, prompt)),
                ("prefix_cache_queries_total", prompt),
                ("prefix_cache_hits_total", min(cached, prompt)),
                (f"request_success_total,finished_reason={reason}", 1),
                ("num_preemptions_total", int(took > 0.5)),
            ):
                self.counts[name, str(rank)] += value
            self.times.append((now, took))
        return self.text()

    def text(self) -> str:
        lines = [f'vllm:kv_cache_usage_perc{{engine="{rank}"}} {share}' for rank, share in enumerate(self.kv)]
        lines += [
            f'vllm:cache_config_info{{engine="{rank}",block_size="16",num_gpu_blocks="{100 * (rank + 1)}"}} 1.0'
            for rank in range(2)
        ]
        for (name, rank), value in self.counts.items():
            name, _, reason = name.partition(",finished_reason=")
            more = f',finished_reason="{reason}"' if reason else ""
            lines.append(f'vllm:{name}{{engine="{rank}"{more}}} {value}')
        for place, edge in enumerate((*map(str, EDGES), "+Inf")):
            count = sum(bisect_left(EDGES, took) <= place for _, took in self.times)
            lines.append(f'vllm:request_queue_time_seconds_bucket{{engine="0",le="{edge}"}} {count}')
        lines.append(f'vllm:request_queue_time_seconds_sum{{engine="0"}} {math.fsum(took for _, took in self.times)}')
        return "\n".join(lines)


events = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 5000),
        st.integers(0, 5000),
        st.integers(0, 500),
        st.floats(0.0001, 5.0),
        st.sampled_from(["stop", "length", "abort"]),
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 9.0), events), min_size=2, max_size=16))
def test_rates_totals_windows_and_outcomes_are_those_of_the_raw_scrapes(
    steps: list[tuple[float, list[tuple[int, int, int, int, float, str]]]],
) -> None:
    engine, probe, now = Fake(), EngineProbe("vllm"), 1000.0
    seen: list[tuple[float, str]] = []
    for pause, happened in steps:
        now += pause
        text = engine.step(now, happened)
        seen.append((now, text))
        m = probe.observe(text, now)
    (before_at, before), (at, after) = seen[-2:]

    def grown(name: str, since: str = before, **labels: str) -> float:
        return raw_sum(after, f"vllm:{name}", **labels) - raw_sum(since, f"vllm:{name}", **labels)

    took = at - before_at
    if raw_sum(after, "vllm:prompt_tokens_total") or "vllm:prompt_tokens_total" in after:
        assert m.prompt_tokens_per_second == pytest.approx(grown("prompt_tokens_total") / took)
        assert m.generation_tokens_per_second == pytest.approx(grown("generation_tokens_total") / took)
        assert m.prompt_cached_per_second == pytest.approx(grown("prompt_tokens_cached_total") / took)
        assert m.prompt_computed_per_second == pytest.approx(
            (grown("prompt_tokens_total") - grown("prompt_tokens_cached_total")) / took
        )
        assert m.requests_per_second == pytest.approx(grown("request_success_total") / took)
        reasons = {one: grown("request_success_total", finished_reason=one) for one in ("stop", "length", "abort")}
        assert m.outcomes == {one: count for one, count in reasons.items() if count}
        for window, speeds in m.windows.items():
            old = [one for one in seen if one[0] <= at - window]
            base_at, base = old[-1] if old else seen[0]
            if "vllm:prompt_tokens_total" not in base:
                base = ""
            assert speeds.seconds == pytest.approx(at - base_at)
            assert speeds.generation_tokens_per_second == pytest.approx(
                grown("generation_tokens_total", base) / (at - base_at)
            )
            assert speeds.prompt_tokens_per_second == pytest.approx(grown("prompt_tokens_total", base) / (at - base_at))
            assert speeds.requests_per_second == pytest.approx(grown("request_success_total", base) / (at - base_at))
            assert speeds.preemptions == grown("num_preemptions_total", base)
    assert (m.reached is None) == (at - 10.0 < seen[0][0])
    # 0.25 of 1600 and 0.75 of 3200: each rank has a cache of its own.
    assert (m.kv_tokens_used, m.kv_tokens_total) == (400 + 2400, 4800)
    # Each observation since the scrape before, sorted: the value at the place of the percentile is within the bucket.
    new = sorted(value for when, value in engine.times if when > before_at)
    assert (m.queue.count or 0) == len(new)
    if new:
        assert m.queue.mean == pytest.approx(math.fsum(new) / len(new), abs=1e-6)
        for share, told in ((0.50, m.queue.p50), (0.95, m.queue.p95), (0.99, m.queue.p99)):
            true = new[max(0, math.ceil(share * len(new) - 1e-9) - 1)]
            sign, edge = m.queue.bounded(told)
            if true > EDGES[-1]:
                assert (sign, edge) == (">", EDGES[-1])
            elif true <= EDGES[0]:
                assert (sign, edge) == ("<", EDGES[0])
            else:
                assert told is not None and sign == ""
                assert bisect_left(EDGES, told) == bisect_left(EDGES, true)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=25), st.floats(0.1, 3.0))
def test_no_reset_of_a_counter_makes_a_speed_negative(counts: list[int], pause: float) -> None:
    """Whatever a counter does, what is told is zero, more, or unknown."""
    for backend, name in (
        ("vllm", "vllm:generation_tokens_total"),
        ("sglang", 'sglang:realtime_tokens_total{mode="decode"}'),
        ("llamacpp", "llamacpp:tokens_predicted_total"),
    ):
        probe, now = EngineProbe(backend, window=60.0), 0.0
        for count in counts:
            now += pause
            m = probe.observe(f"{name} {count}", now)
            speeds = [m.generation_tokens_per_second, *(one.generation_tokens_per_second for one in m.windows.values())]
            speeds += [m.reached.generation_tokens_per_second] if m.reached else []
            assert all(one is None or 0 <= one <= 10**6 / pause + 1 for one in speeds)


# --- captures of real engines -----------------------------------------------------------------------------


def test_a_real_vllm_tells_its_cache_in_tokens_its_outcomes_and_its_times() -> None:
    text = capture("vllm")
    m = EngineProbe("vllm").observe(text, 1.0)
    assert (m.kv_tokens_used, m.kv_tokens_total) == (0, 364 * 128)
    assert m.outcomes == {"stop": 6, "length": 16}
    assert m.waiting_by_reason == {}
    assert m.sleep == "awake"
    assert m.tokens_per_step == pytest.approx(2234 / 1065)
    for told, name in (
        (m.queue, "request_queue_time"), (m.prefill, "request_prefill_time"), (m.decode, "request_decode_time"),
        (m.tpot, "request_time_per_output_token"),
    ):  # fmt: skip
        assert told.count == raw_sum(text, f"vllm:{name}_seconds_count")
        assert told.mean == pytest.approx(raw_sum(text, f"vllm:{name}_seconds_sum") / (told.count or 1))
    assert (m.ranks, m.imbalance, m.spec_length) == ((), None, None)


def test_a_real_sglang_tells_its_cache_in_tokens_and_its_times() -> None:
    m = EngineProbe("sglang").observe(capture("sglang"), 1.0)
    assert m.kv_tokens_total == 8192
    assert m.kv_tokens_used is not None and m.kv_tokens_used <= 8192
    assert (m.queue.count, m.prefill.count, m.tpot.count) == (6, 6, 3)
    assert m.prefill.mean == pytest.approx(5.504522197999904 / 6)
    assert m.tokens_per_step == pytest.approx((66 + 60) / (6 + 60))
    assert m.spec_length is None


def test_a_real_llama_cpp_tells_tokens_of_a_step() -> None:
    m = EngineProbe("llamacpp").observe(capture("llamacpp"), 1.0)
    assert m.tokens_per_step == pytest.approx(1.25421)
    assert m.spec_length is None  # no drafts, no length


def test_a_mean_of_the_whole_life_becomes_one_of_the_interval() -> None:
    probe = EngineProbe("llamacpp")
    probe.observe("llamacpp:n_busy_slots_per_decode 1\nllamacpp:n_decode_total 100", 1.0)
    m = probe.observe("llamacpp:n_busy_slots_per_decode 2\nllamacpp:n_decode_total 200", 2.0)
    assert m.tokens_per_step == pytest.approx(3.0)


def test_processes_of_one_sglang_rank_are_counted_once() -> None:
    """With metrics for all schedulers each process tells what its rank does."""

    def text(decoded: int) -> str:
        return "\n".join(
            line
            for dp in (0, 1)
            for tp in (0, 1)
            for line in (
                f'sglang:num_running_reqs{{dp_rank="{dp}",tp_rank="{tp}",pid="{dp}{tp}"}} {4 if dp else 2}',
                f'sglang:token_usage{{dp_rank="{dp}",tp_rank="{tp}",pid="{dp}{tp}"}} 0.{dp + 1}',
                f'sglang:realtime_tokens_total{{dp_rank="{dp}",tp_rank="{tp}",mode="decode"}} {decoded}',
                f'sglang:queue_time_seconds_bucket{{dp_rank="{dp}",tp_rank="{tp}",le="+Inf"}} 3',
            )
        )

    probe = EngineProbe("sglang")
    probe.observe(text(100), 0.0)
    m = probe.observe(text(150), 1.0)
    assert (m.running, m.generation_tokens_per_second) == (6, 100.0)
    assert [(one.rank, one.running, one.kv) for one in m.ranks] == [(0, 2, 0.1), (1, 4, 0.2)]
    assert m.imbalance == pytest.approx(4 / 3 - 1)


def test_the_busiest_of_several_ranks_is_told_against_the_average() -> None:
    text = "\n".join(
        f'vllm:num_requests_running{{engine="{rank}"}} {count}\nvllm:num_requests_waiting{{engine="{rank}"}} {wait}'
        for rank, (count, wait) in enumerate(((1, 0), (1, 0), (1, 0), (4, 5)))
    )
    m = EngineProbe("vllm").observe(text, 1.0)
    assert m.imbalance == pytest.approx(9 / 3 - 1)
    assert [one.waiting for one in m.ranks] == [0, 0, 0, 5]
    assert (m.running, m.waiting) == (7, 5)


def test_requests_that_wait_are_told_by_what_for() -> None:
    text = "\n".join(
        f'vllm:num_requests_waiting_by_reason{{engine="{rank}",reason="{reason}"}} {count}'
        for rank, reason, count in ((0, "capacity", 3), (1, "capacity", 2), (0, "deferred", 0), (0, "\x1b[31m", 1))
    )
    m = EngineProbe("vllm").observe("vllm:num_requests_waiting 6\n" + text, 1.0)
    assert m.waiting_by_reason["capacity"] == 5
    assert "deferred" not in m.waiting_by_reason
    assert not any("\x1b" in one for one in m.waiting_by_reason)


def test_an_engine_that_sleeps_says_how() -> None:
    text = 'vllm:engine_sleep_state{sleep_state="awake"} 0\nvllm:engine_sleep_state{sleep_state="discard_all"} 1\n'
    assert EngineProbe("vllm").observe(text, 1.0).sleep == "discard_all"


def test_a_percentile_within_the_first_bucket_is_only_known_to_be_below_it() -> None:
    p = percentiles([(0.01, 90), (0.1, 100), (math.inf, 100)])
    assert p.bounded(p.p50) == ("<", 0.01)
    assert p.bounded(p.p95)[0] == ""
    assert percentiles([(0.01, 0), (0.1, 1), (math.inf, 1)]).under is None
    assert percentiles([(80.0, 0), (math.inf, 5)]).bounded(None) == (">", 80.0)
    assert Percentiles().bounded(None) == ("", None)


# --- answers that are still being made --------------------------------------------------------------------


def slots(*decoded: int, prompt: int = 10) -> bytes:
    busy = [
        {"id": at, "is_processing": True, "n_ctx": 2048, "n_prompt_tokens": prompt + made,
         "n_prompt_tokens_processed": prompt, "next_token": [{"n_decoded": made}]}
        for at, made in enumerate(decoded)
    ]  # fmt: skip
    return json.dumps([*busy, {"id": 99, "n_ctx": 2048, "is_processing": False}]).encode()


def llama(predicted: int, running: int, prompt: int = 0) -> str:
    return (
        f"llamacpp:requests_processing {running}\nllamacpp:tokens_predicted_total {predicted}\n"
        f"llamacpp:prompt_tokens_total {prompt}\nllamacpp:prompt_tokens_cached_total 0"
    )


def test_an_answer_is_counted_while_it_is_made_and_once() -> None:
    probe = EngineProbe("llamacpp")
    probe.observe(llama(100, 1), 0.0, slots(10))
    m = probe.observe(llama(100, 2), 1.0, slots(40, 5))
    assert m.generation_tokens_per_second == 35.0
    # It ended between the two questions: counted in neither, and nothing goes down.
    m = probe.observe(llama(100, 1), 2.0, slots(10))
    assert m.generation_tokens_per_second == 0.0
    m = probe.observe(llama(150, 1), 3.0, slots(15))
    assert m.generation_tokens_per_second == 20.0
    assert m.windows[5].generation_tokens_per_second == pytest.approx(55 / 3)
    assert m.generation_tokens_total == 150  # what the engine counts stays what it counts


def test_a_prompt_is_counted_while_it_is_read() -> None:
    probe = EngineProbe("llamacpp")
    probe.observe(llama(0, 1), 0.0, slots(0, prompt=100))
    m = probe.observe(llama(0, 1), 1.0, slots(0, prompt=600))
    assert (m.prompt_tokens_per_second, m.prompt_computed_per_second) == (500.0, 500.0)
    m = probe.observe(llama(0, 1, prompt=700), 2.0, slots(1, prompt=700))
    assert m.prompt_tokens_per_second == 100.0


def test_a_moment_without_slots_tells_no_speed_and_the_next_one_is_right() -> None:
    probe = EngineProbe("llamacpp")
    probe.observe(llama(0, 1), 0.0, slots(10))
    assert probe.observe(llama(0, 1), 1.0).generation_tokens_per_second is None
    assert probe.observe(llama(0, 1), 2.0, slots(50)).generation_tokens_per_second == 20.0


def test_an_idle_engine_is_not_asked_and_its_speed_is_zero() -> None:
    probe = EngineProbe("llamacpp")
    probe.observe(llama(0, 1), 0.0, slots(10))
    assert probe.observe(llama(12, 0), 1.0).generation_tokens_per_second == 2.0
    assert probe.observe(llama(12, 0), 2.0).generation_tokens_per_second == 0.0


def test_a_restart_begins_anew_also_with_what_was_being_made() -> None:
    probe = EngineProbe("llamacpp")
    probe.observe(llama(500, 1), 0.0, slots(100))
    assert probe.observe(llama(0, 1), 1.0, slots(3)).generation_tokens_per_second is None
    assert probe.observe(llama(0, 1), 2.0, slots(8)).generation_tokens_per_second == 5.0


def test_the_tokens_of_the_cache_are_told_and_its_room_where_one_slot_has_it() -> None:
    m = EngineProbe("llamacpp").observe(llama(0, 2), 0.0, slots(40, 5))
    assert (m.kv_tokens_used, m.kv_tokens_total, m.kv_cache_usage) == (65, None, None)
    alone = json.dumps([{"n_ctx": 100, "is_processing": True, "n_prompt_tokens": 25, "next_token": {"n_decoded": 5}}])
    m = EngineProbe("llamacpp").observe(llama(0, 1), 0.0, alone.encode())
    assert (m.kv_tokens_used, m.kv_tokens_total, m.kv_cache_usage) == (25, 100, 0.25)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60), st.booleans()), min_size=1, max_size=60), st.booleans()
)
def test_whatever_ends_whenever_all_tokens_are_counted_once(steps: list[tuple[int, int, bool]], races: bool) -> None:
    """Four slots make tokens and end; the speeds add up to what the counter has at the end."""
    probe, now, made, counted = EngineProbe("llamacpp"), 0.0, [0, 0, 0, 0], 0
    probe.observe(llama(0, 1), now, slots(*made))
    total = 0.0
    for slot, tokens, ends in steps:
        now += 1.0
        made[slot] += tokens
        text = llama(counted, 4)
        if ends:
            counted += made[slot]
            made[slot] = 0
            text = text if races else llama(counted, 4)
        m = probe.observe(text, now, slots(*made))
        assert m.generation_tokens_per_second is not None and m.generation_tokens_per_second >= 0
        total += m.generation_tokens_per_second
    counted += sum(made)
    total += probe.observe(llama(counted, 0), now + 1.0).generation_tokens_per_second or 0.0
    assert total == pytest.approx(counted)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_answer_of_slots_makes_it_raise(body: bytes) -> None:
    read_slots(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["is_processing", "next_token", "n_decoded", "n_ctx", "n_prompt_tokens"]), inner
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_of_slots_makes_it_raise_or_count_backwards(data: Any) -> None:
    found = read_slots(json.dumps(data).encode())
    assert found is None or (found.generated >= 0 and found.prompt >= 0)


def test_a_prompt_in_an_answer_of_slots_is_kept_nowhere() -> None:
    body = json.dumps([{"is_processing": True, "prompt": "my secret", "next_token": [{"n_decoded": 3}]}]).encode()
    probe = EngineProbe("llamacpp")
    m = probe.observe(llama(0, 1), 0.0, body)
    assert "secret" not in repr(m) + repr(read_slots(body)) + repr(vars(probe))


def test_live_totals_without_slots_are_the_counters() -> None:
    source = SlotsSource("/slots", "a_total", "b_total", "c_total", ("running",))
    samples = prometheus.parse("a_total 5\nb_total 7\nc_total 2\n")
    assert LiveTotals().of(source, samples, None) == {
        "generation_tokens_per_second": 5.0,
        "prompt_computed_per_second": 7.0,
        "prompt_tokens_per_second": 9.0,
    }


def test_an_engine_told_nothing_has_no_windows() -> None:
    m = EngineProbe("vllm").observe("vllm:num_requests_running 1\n", 1.0)
    assert (m.windows, m.reached) == ({}, None)
    assert EngineMetrics().to_json()["windows"] == {}


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_label_makes_a_product_or_a_part_raise(one: str, other: str) -> None:
    samples = {"x": [({"a": one, "b": other}, 1.0)]}
    scrape = Scrape(0.0, samples, {})
    value = raw_value(MetricSpec("f", "product", ("x",), factors=("a", "b")), scrape, None, None, busy=False)
    assert value is None or (isinstance(value, float) and value > 0)
    value_of(MetricSpec("f", "parts", ("x",), by="a"), scrape, None, None, busy=False)
    value_of(MetricSpec("f", "state", ("x",), by="b"), scrape, None, None, busy=False)
