"""The monitor's table of engines: what is told of each, in its columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_studio_tui.domain.engine_metrics import EngineMetrics, Percentiles
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.sample import EngineHere
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.screens.monitor.engine_rows import engines, shortest

GLYPHS = UNICODE
BUSY = EngineMetrics(
    running=36, waiting=0, generation_tokens_per_second=1842.0, prompt_tokens_per_second=2100.0,
    prefix_cache_hit_rate=0.74, kv_cache_usage=0.61, kv_tokens_used=188_000, kv_tokens_total=309_000, preemptions=0,
    ttft=Percentiles(0.121, 0.182, 0.2, 90), itl=Percentiles(0.0194, 0.0228, 0.03, 900),
)  # fmt: skip


def text(row: Row) -> str:
    line: list[str] = [" "] * 200
    for start, part, _ in row.pieces:
        line[start : start + len(part)] = part
    return "".join(line).rstrip()


def facts(metrics: EngineMetrics | None, state: State = State.READY, **status: object) -> RunFacts:
    run = RunView(Path("/nowhere"), "r-1", None, RunState("r-1", state=state, **status), True, True, False)  # type: ignore[arg-type]
    return RunFacts(run, metrics)


def drawn(metrics: EngineMetrics | None, width: int, size: Size, **status: object) -> list[str]:
    return [text(one) for one in engines([facts(metrics, **status)], GLYPHS, width, size, 200_000.0)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "size"), [(160, Size.FULL), (150, Size.FULL), (120, Size.WIDE), (80, Size.BASE), (60, Size.COMPACT)]
)
def test_every_size_has_room_for_all_that_it_shows(width: int, size: Size) -> None:
    head, row = drawn(BUSY, width, size, ready_at=20_000.0)
    assert len(head) <= width - 1
    assert len(row) <= width - 1
    for part in ("1842", "36", "61%", "182"):
        assert part in row.split() or f"{part} ms" in row


def test_the_widest_is_as_it_was_drawn() -> None:
    head, row = drawn(BUSY, 160, Size.FULL, ready_at=20_000.0)
    assert " ".join(head.split()) == (
        "ENGINES out tok/s prompt hits run wait KV cache tokens preempt TTFT p50 p95 ITL p50 p95 up"
    )
    assert row.endswith("61%    188k/309k       0     121 ms    182     19.4 22.8 2d02h")
    assert row[22:27] == "ready"


def test_what_is_at_an_end_of_the_buckets_is_told_as_no_more_than_is_known() -> None:
    edges = EngineMetrics(
        ttft=Percentiles(None, None, None, 5, over=80.0), itl=Percentiles(0.005, 0.0228, 0.03, 9, under=0.01)
    )
    assert "<10" in drawn(edges, 160, Size.FULL)[1].split()
    assert ">1m20s" in drawn(edges, 80, Size.BASE)[1]


def test_nothing_known_is_a_dash_and_never_zero() -> None:
    row = drawn(EngineMetrics(), 160, Size.FULL)[1]
    assert "0" not in row.replace("r-1", "")
    assert row.count(GLYPHS.unknown) >= 9
    assert GLYPHS.unknown in drawn(EngineMetrics(ttft=Percentiles(count=0)), 80, Size.BASE)[1]


@pytest.mark.parametrize(("width", "size"), [(160, Size.FULL), (120, Size.WIDE), (80, Size.BASE), (60, Size.COMPACT)])
def test_an_engine_that_tells_nothing_says_why_instead_of_dashes(width: int, size: Size) -> None:
    silent = EngineMetrics(error="transformers has no metrics endpoint")
    row = drawn(silent, width, size, ready_at=1.0)[1]
    assert "ready   transformers has no metrics" in row and len(row) <= width - 1
    assert "–" not in row
    unsafe = EngineMetrics(error="\x1b[2J" + "w" * 900)
    assert len(drawn(unsafe, width, size)[1]) <= width and "\x1b" not in drawn(unsafe, width, size)[1]


def test_preemptions_of_its_whole_life_are_not_shown_as_those_of_now() -> None:
    assert "925" not in drawn(EngineMetrics(preemptions=925, since_start=("preemptions",)), 160, Size.FULL)[1]
    assert "925" in drawn(EngineMetrics(preemptions=925), 160, Size.FULL)[1]


def test_one_that_sleeps_says_so() -> None:
    assert "asleep" in drawn(EngineMetrics(sleep="weights_offloaded"), 160, Size.FULL)[1]


def test_an_engine_of_somebody_else_is_below_and_not_ours() -> None:
    here = EngineHere(7, 1, "vllm", "acme/Qwen3-8B", 8000, "http://127.0.0.1:8000/v1", "alice")
    refused = EngineHere(8, 1, "sglang", None, 8001, "http://127.0.0.1:8001/v1", "bob")
    rows = engines([facts(BUSY)], GLYPHS, 160, Size.FULL, 1.0, [(here, BUSY), (refused, EngineMetrics(error="404"))])
    assert "Qwen3-8B" in text(rows[2]) and "not ours" in text(rows[2]) and "1842" in text(rows[2])
    assert "sglang" in text(rows[3]) and "404" in text(rows[3])
    alone = engines([], GLYPHS, 80, Size.BASE, 1.0, [(here, None)])
    assert "Nothing runs" not in text(alone[-1])


@pytest.mark.parametrize("seconds", [0.0000001, 0.00123, 0.0996, 0.9994, 0.9996, 1.5, 9.96, 99.6, 3600.0, 86400.0])
def test_the_shortest_latency_has_at_most_five_cells(seconds: float) -> None:
    assert len(shortest(seconds, "")) <= 5
