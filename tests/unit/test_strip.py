"""The strip and the line: trouble first, each kind of it has a name, and nothing is hidden without a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.functional.stage import GIB, NOW, run_view
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.flows.run_facts import by_trouble
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.paint.ink import use_ellipsis
from vllm_studio_tui.tui.paint.run_parts import RunFacts, with_names
from vllm_studio_tui.tui.paint.strip import line, strip
from vllm_studio_tui.tui.screens.dashboard.rows import Picture


def crowd(folder: Path) -> Snapshot:
    """Eleven runs on eight GPUs: four failed, one without an answer, one loading, one in backoff, three ready."""
    runs = [run_view(folder, f"ready-{at}", State.READY, started_at=NOW - 900, ready_at=NOW - 800) for at in range(3)]
    runs += [
        run_view(folder, name, State.FAILED, started_at=NOW - age - 9, ended_at=NOW - age, title=title)
        for name, age, title in (
            ("llama-3.3", 660, "the KV cache does not fit"), ("gemma-3", 1440, "CUDA out of memory"),
            ("phi-4", 7200, "the port is taken"), ("mistral-small", 9000, "a file is missing"),
        )
    ]  # fmt: skip
    runs.append(
        run_view(folder, "qwen2.5-vl", State.UNHEALTHY, started_at=NOW - 900, ready_at=NOW - 800, heard_at=NOW - 14,
                 heard="ConnectionRefusedError: [Errno 111] Connection refused")
    )  # fmt: skip
    runs.append(run_view(folder, "deepseek-r1", State.LOADING, started_at=NOW - 90, stage="weights", progress=0.43))
    runs.append(
        run_view(folder, "exl3", State.BACKOFF, started_at=NOW - 90, next_start_at=NOW + 38, title="exit code 137")
    )
    runs.append(run_view(folder, "smollm2", State.STOPPING, started_at=NOW - 90))
    gpus = tuple(
        Gpu(at, f"GPU-{at}", "H100", int(79.6 * GIB), int(45 * GIB), utilization=use, temperature=60 + at,
            power_draw=289.0)
        for at, use in enumerate((97, 95, 3, 2, 97, 95, 60, 3))
    )  # fmt: skip
    metrics = EngineMetrics(running=36, waiting=0, generation_tokens_per_second=1842.0, kv_cache_usage=0.61)
    tick = Tick(NOW, GpuReport(NOW, gpus), Host(), {"ready-0-1": metrics})
    return Snapshot(tick, tuple(runs), tuple(runs))


def facts(shown: Snapshot) -> list[RunFacts]:
    return with_names(by_trouble([RunFacts(run, shown.engine(run.run_id)) for run in shown.runs]))


def test_every_kind_of_trouble_has_a_name_and_the_rest_a_number(tmp_path: Path) -> None:
    shown = crowd(tmp_path)
    rows = [row.text(40) for row in strip(shown, facts(shown), UNICODE, 40, 6, NOW)]
    assert len(rows) == 6
    assert rows[0].startswith("✕ llama-3.3") and rows[0].endswith("11m")
    assert rows[1].startswith("✕ gemma-3") and rows[1].endswith("24m")
    assert rows[2].startswith("▲ qwen2.5-vl") and rows[2].endswith("14 s") and "Errno" not in rows[2]
    assert rows[3].startswith("✕ 2 more") and "◐ 43%" in rows[3] and "● 3" in rows[3] and "1842 tok/s" in rows[3]
    assert rows[4].startswith("gpu ▇▇") and "360/637G" in rows[4] and "2.31kW" in rows[4]
    assert rows[5].startswith("newest: qwen2.5-vl") and rows[5].endswith("enter open")
    use_ellipsis(ASCII.ellipsis)
    plain = [row.text(40) for row in strip(shown, facts(shown), ASCII, 40, 6, NOW)]
    use_ellipsis(UNICODE.ellipsis)
    assert all(text.isascii() for text in plain)
    assert plain[0].startswith("x llama-3.3") and plain[2].startswith("! qwen2.5-vl")


def test_few_runs_have_a_row_each_with_the_gpus_below(tmp_path: Path) -> None:
    shown = crowd(tmp_path)
    runs = tuple(run for run in shown.runs if run.name in ("ready-0", "llama-3.3"))
    tick = replace(shown.tick, gpus=GpuReport(NOW, shown.tick.gpus.gpus[:4]))
    few = replace(shown, runs=runs, tick=tick)
    rows = [row.text(40) for row in strip(few, facts(few), UNICODE, 40, 6, NOW)]
    assert [row[0] for row in rows[:2]] == ["✕", "●"]
    assert "36 run" in rows[1] and "KV 61%" in rows[1]
    assert "97%" in rows[2] and "? help" in rows[-1]


def test_the_line_names_trouble_and_fills_the_room_that_there_is(tmp_path: Path) -> None:
    shown = crowd(tmp_path)
    for width in range(8, 200):
        text = line(shown, UNICODE, width).text(400)
        assert len(text) <= width
    assert line(shown, UNICODE, 40).text(400).startswith("✕ 4")
    wide = line(shown, UNICODE, 120).text(400)
    for words in (
        "✕ 4 llama-3.3 gemma-3",
        "▲ qwen2.5-vl",
        "◐ 43%",
        "● 3",
        "1842 tok/s",
        "KV 61%",
        "360/637G",
        "2.31 kW",
    ):
        assert words in wide
    well = replace(shown, runs=tuple(run for run in shown.runs if run.state is State.READY))
    assert "ready-0" in line(well, UNICODE, 80).text(400)


def test_trouble_stands_before_health_and_what_has_no_room_is_counted(tmp_path: Path) -> None:
    use_ellipsis(UNICODE.ellipsis)
    shown = crowd(tmp_path)
    for size, width, height in ((Size.BASE, 80, 22), (Size.COMPACT, 60, 13), (Size.FULL, 160, 43)):
        picture = Picture(shown, facts(shown), [], 0, History, UNICODE, size, NOW)
        texts = [row.text(width) for row in picture.rows(width, height)]
        names = [row for row in texts if any(run.name in row.split() for run in shown.runs)]
        assert "llama-3.3" in names[0], size
        assert "out of memory" in names[1]
        more = [row for row in texts if " more" in row and "enter" in row]
        assert bool(more) is (size < Size.FULL), texts
        assert any(row.strip().startswith("0 ") for row in texts), "GPUs keep their place"
    unfolded = Picture(shown, facts(shown), [], 0, History, UNICODE, Size.BASE, NOW, unfolded=True)
    assert sum(row.key is not None and row.key.endswith("-1") for row in unfolded.rows(80, 22)) == 11


def test_names_are_whole_and_what_belongs_together_stands_together(tmp_path: Path) -> None:
    shown = crowd(tmp_path)
    long = run_view(tmp_path, "llama-3.3-70b-instruct-128k-tools", State.READY, started_at=NOW - 9, ready_at=NOW - 5)
    shown = replace(shown, runs=(*shown.runs, long), tick=replace(shown.tick, engines={
        one: EngineMetrics(running=0, waiting=0, generation_tokens_per_second=0.0, kv_cache_usage=0.0)
        for one in (long.run_id, "ready-0-1")
    }))  # fmt: skip
    picture = Picture(shown, facts(shown), [], 0, History, UNICODE, Size.FULL, NOW)
    text = next(row.text(160) for row in picture.rows(160, 43) if row.key == long.run_id)
    assert "llama-3.3-70b-instruct-128k-tools" in text
    assert text[text.index("KV") :].split()[2] == "0%"  # beside its bar
    assert text.index("0%") - text.index("KV") < 20


def test_a_run_that_does_not_answer_says_since_when_and_why_and_what_to_do(tmp_path: Path) -> None:
    shown = crowd(tmp_path)
    one = replace(shown, runs=tuple(run for run in shown.runs if run.state is State.UNHEALTHY))
    one = replace(one, every=one.runs)
    for size, width, height in ((Size.BASE, 80, 22), (Size.FULL, 160, 43)):
        picture = Picture(one, facts(one), [("qwen2.5-vl", {"backend": "vllm"})], 0, History, UNICODE, size, NOW)
        text = "\n".join(row.text(width) for row in picture.rows(width, height))
        assert "Nothing listens on its port" in text
        assert "14 s" in text and "Errno" not in text
        assert "Nothing restarts it" in text
        assert "s stop" in text and "L log" in text
        events = text[text.index("EVENTS") :]
        assert "▲" in events and "nothing listens on its port" in events
