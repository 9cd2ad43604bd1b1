"""Lines of real engines' logs taken apart, folded, counted, and told from echoes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends import registry
from vllm_studio_tui.runs.log_echoes import Echoes
from vllm_studio_tui.runs.log_folding import Entry, entries, progress_label, progress_text, request
from vllm_studio_tui.runs.log_index import Hits, LogIndex
from vllm_studio_tui.runs.log_lines import parse
from vllm_studio_tui.runs.log_stages import stage_at, stage_starts
from vllm_studio_tui.runs.log_text import LogLine, LogText, tells
from vllm_studio_tui.runs.log_window import Filter, LogWindow

FIXTURES = Path(__file__).parent.parent / "fixtures"


def read(name: str) -> list[LogLine]:
    return LogText(FIXTURES / name).after(0, 100_000)


def folded(name: str) -> list[Entry]:
    return list(entries(read(name)))


def made(*texts: str) -> list[LogLine]:
    """Lines that follow one another."""
    lines, at = [], 0
    for text in texts:
        lines.append(LogLine(at, at + len(text.encode("utf-8", "replace")) + 1, text))
        at = lines[-1].end
    return lines


@pytest.mark.parametrize(
    ("line", "time", "source", "where", "text"),
    [
        ("(EngineCore pid=7) ERROR 11-23 08:02:59 [core.py:842] died", "08:02:59", "core", "core.py:842", "died"),
        ("(EngineCore_DP1 pid=7) INFO 11-23 08:02:59 [core.py:1] x", "08:02:59", "core1", "core.py:1", "x"),
        ("(APIServer pid=7) WARNING 11-23 08:02:30 [a.py:2] x", "08:02:30", "api", "a.py:2", "x"),
        ("(Worker_TP1 pid=7) INFO 11-23 08:02:30 [w.py:2] x", "08:02:30", "w1", "w.py:2", "x"),
        ("(VllmWorker rank=3 pid=7) INFO 11-23 08:02:30 [w.py:2] x", "08:02:30", "w3", "w.py:2", "x"),
        ("(Worker_PP1_TP0 pid=7) x", "", "w1.0", "", "x"),
        ("INFO 05-06 01:55:00 [core.py:58] x", "01:55:00", "", "core.py:58", "x"),
        ("[2026-11-23 08:26:16] Load weight begin.", "08:26:16", "", "", "Load weight begin."),
        ("[2026-11-23 08:10:33 DP0 TP1] x", "08:10:33", "w0.1", "", "x"),
        ("[2026-11-23 08:27:18] INFO:     Started", "08:27:18", "api", "", "Started"),
        ("0.00.466.076 I srv    load_model: loading model 'x'", "+0:00.4", "srv", "load_model", "loading model 'x'"),
        ("41.22.104.655 I slot release: id 3 | task 1", "+41:22.1", "slot", "release", "id 3 | task 1"),
        ("10.00.637.246 W Wrong type supplied", "+10:00.6", "", "", "Wrong type supplied"),
        ('INFO:     ::1 - "GET /health HTTP/1.1" 200 OK', "", "api", "", '::1 - "GET /health HTTP/1.1" 200 OK'),
        ("[transformers] loading configuration file x", "", "", "", "loading configuration file x"),
        ("[rank2]:[E1125 09:30:58.411023847 Proc.cpp:685] timeout", "09:30:58", "w2", "Proc.cpp:685", "timeout"),
        ("node7:12:34 [1] NCCL INFO Bootstrap", "", "w1", "", "INFO Bootstrap"),
        ("[vllm-studio] attempt 2 at 2026-11-23T08:00:00Z", "", "keeper", "", "attempt 2 at 2026-11-23T08:00:00Z"),
        ("/opt/x/awq.py:53: UserWarning: old", "", "", "awq.py:53", "UserWarning: old"),
        ("what nobody knows: 08:00", "", "", "", "what nobody knows: 08:00"),
    ],
)  # fmt: skip
def test_what_stands_before_a_message_is_told_from_it(line: str, time: str, source: str, where: str, text: str) -> None:
    parts = parse(line)
    prefix = parts.prefix
    assert (prefix.time, prefix.source, prefix.where, parts.text) == (time, source, where, text)
    assert line[: prefix.size] + parts.text == line


@pytest.mark.parametrize(("name", "least"), [("vllm", 0.6), ("sglang", 0.5), ("llamacpp", 1.0)])
def test_lines_of_real_engines_have_their_times(name: str, least: float) -> None:
    lines = [line for line in read(f"logs/{name}.txt") if line.text.strip()]
    timed = [line for line in lines if parse(line.text).prefix.time]
    assert len(timed) >= least * len([line for line in lines if not line.text.startswith((" ", "nanobind"))])


@given(st.text(max_size=400))
def test_no_line_is_too_odd_to_be_taken_apart(text: str) -> None:
    parts = parse(text)
    assert text.endswith(parts.text)
    assert progress_text(text) is not None
    progress_label(text)
    request(text)
    Echoes(text).kind(text)


LINES = st.sampled_from(
    ["INFO x", "Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: no", "", "  more", "}",
     "Loading shards:  50% Completed | 1/2 [00:01<00:01]", '"GET /health HTTP/1.1" 200 OK', "....", "[vllm-studio] x",
     "(Worker_TP0 pid=1) same words", "(Worker_TP1 pid=2) same words", "ERROR 11-23 08:02:59 [core.py:8] Traceback x"]
)  # fmt: skip


@given(st.lists(st.one_of(LINES, st.text(max_size=60)), max_size=60), st.sets(st.integers(0, 400), max_size=3))
def test_folding_loses_no_line_and_keeps_their_order(texts: list[str], alone: set[int]) -> None:
    lines = made(*texts)
    found = list(entries(lines, alone))
    assert [line for entry in found for line in entry.lines] == lines
    assert all(len(entry.lines) == 1 or line.offset not in alone for entry in found for line in entry.lines[1:])


# --- folding --------------------------------------------------------------------------------------------------


def of_kind(found: list[Entry], kind: str) -> list[Entry]:
    return [entry for entry in found if entry.kind == kind]


def test_vllms_log_is_folded_to_what_it_says() -> None:
    found = folded("logs/vllm.txt")
    assert [entry.text for entry in of_kind(found, "progress")] == [
        "Loading safetensors checkpoint shards 1/1, 100%, 00:00"
    ]
    assert [entry.text for entry in of_kind(found, "requests")] == ["GET /v1/models 200, GET /health 200"]
    assert [entry.text for entry in of_kind(found, "traceback")][:2] == ["traceback, 15 lines", "traceback, 15 lines"]
    # The last line of a traceback says what went wrong, and is not folded away.
    assert any(entry.text.startswith("json.decoder.JSONDecodeError") and not entry.folds for entry in found)
    assert "version 0.32.0" in [entry.text for entry in of_kind(found, "below")]
    assert len(found) < 0.75 * len(read("logs/vllm.txt"))


def test_sglangs_and_transformers_logs_are_folded_too() -> None:
    sglang = folded("failures/sglang-late-decode-memory.txt")
    assert [entry.text for entry in of_kind(sglang, "traceback")] == ["Scheduler hit an exception: traceback, 9 lines"]
    transformers = folded("logs/transformers.txt")
    assert of_kind(transformers, "below")[0].text == "Model config LlamaConfig {"
    assert ("Offline mode: forcing local_files_only=True", "3 alike") in [
        (entry.text, entry.note) for entry in of_kind(transformers, "same")
    ]
    assert len(transformers) < 0.25 * len(read("logs/transformers.txt"))


def test_workers_that_say_the_same_are_one_line() -> None:
    found = folded("failures/vllm-fp8-cache-old-gpu.txt")
    (entry,) = of_kind(found, "workers")
    assert (entry.sources, entry.note) == (("w0", "w1"), "2 alike")
    took = "(Worker_TP{} pid=1) INFO 11-23 08:02:59 [x.py:1] Loading took 65.7 GiB and {} seconds"
    (entry,) = entries(made(*(took.format(rank, 70 + rank) for rank in range(4))))
    assert entry.sources == ("w0", "w1", "w2", "w3")
    other = "(Worker_TP{} pid=1) INFO 11-23 08:02:59 [x.py:1] Available: {} GiB"
    assert len(list(entries(made(other.format(0, 2.81), other.format(1, 3.5))))) == 2


def test_the_last_state_of_a_bar_is_what_shows() -> None:
    bars = [
        f"Capturing CUDA graphs:  {at:3d}%|██   | {at}/100 [00:{at % 60:02d}<00:01,  9.1it/s]"
        for at in range(0, 101, 25)
    ]
    (entry,) = entries(made(*bars))
    assert (entry.text, entry.note) == ("Capturing CUDA graphs 100/100, 100%, 00:40", "5 lines")


def test_what_follows_an_error_is_never_folded_into_it() -> None:
    found = folded("logs/vllm-fail-maxlen.txt")
    assert any(entry.text.startswith("pydantic_core") and not entry.folds for entry in found)
    cause = next(line for line in read("logs/vllm-fail-maxlen.txt") if "Value error, User-specified" in line.text)
    apart = list(entries(read("logs/vllm-fail-maxlen.txt"), {cause.offset}))
    assert any(entry.lines == (cause,) for entry in apart)


# --- echoes ---------------------------------------------------------------------------------------------------


def test_what_repeats_the_cause_is_told_from_other_errors() -> None:
    lines = [line.text for line in read("failures/vllm-fp8-cache-old-gpu.txt")]
    engine = registry.find("vllm")
    assert engine is not None
    echoes = Echoes(lines[25], engine.failures)
    kinds = {at + 1: kind for at, line in enumerate(lines) if tells(line, "warning") and (kind := echoes.kind(line))}
    assert kinds == {12: "echo", 26: "same", 30: "echo", 44: "same", 51: "echo", 63: "echo", 76: "echo", 89: "echo"}
    value = "ValueError: To serve at least one request, (20.00 GiB KV cache is needed), the maximum is 18416"
    same = Echoes(f"(EngineCore pid=1) ERROR 11-23 08:02:59 [core.py:842] {value}")
    assert same.kind(f"WARNING 11-23 08:02:59 [x.py:1] {value}") == "same"
    assert same.kind("(EngineCore pid=1) ERROR 11-23 08:02:59 [core.py:842] something else broke") == ""


# --- counting -------------------------------------------------------------------------------------------------


def test_lines_errors_and_warnings_are_counted_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("".join(f"INFO line {at}\nWARNING w\nERROR e\n" for at in range(30_000)) + "no end")
    index = LogIndex(LogText(path))
    steps = 0
    while not index.complete:
        index.step(deadline=0.005)
        steps += 1
    assert steps > 1  # none of them takes long
    assert (index.lines, index.errors, index.warnings) == (90_000, 30_000, 30_000)
    lines = LogText(path).after(0, 100_000)
    for number in (1, 2, 40_001, 77_777, 90_001):
        assert index.number(lines[number - 1].offset) == number
        assert index.offset(number) == lines[number - 1].offset
    first, second = index.error_at[:2]
    assert index.beside(first, 1, "error") == second
    assert index.beside(second, -1, "error") == first
    assert index.beside(index.error_at[-1], 1, "error") is None
    with path.open("a") as stream:
        stream.write(" of it\nERROR more\n")
    assert not index.complete
    index.step(deadline=5)
    assert (index.lines, index.errors) == (90_002, 30_001)
    path.write_text("ERROR anew\n")
    index.step(deadline=5)
    assert (index.lines, index.errors) == (1, 1)


def test_a_hole_of_a_gigabyte_is_counted_at_once(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with path.open("wb") as stream:
        stream.write(b"first\n")
        stream.truncate(1 << 30)
        stream.seek(0, 2)
        stream.write(b"ERROR last\n")
    index = LogIndex(LogText(path))
    while not index.complete:
        index.step(deadline=0.05)
    assert (index.lines, index.errors) == (2, 1)


@given(st.lists(st.sampled_from(["ERROR a", "INFO b", "", "é", "WARNING Needle", "x needle y"]), max_size=60))
def test_every_number_finds_its_line_and_every_hit_is_one(texts: list[str]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as stream:
        stream.write("".join(f"{text}\n" for text in texts).encode())
        stream.flush()
        file = LogText(Path(stream.name))
        index, hits = LogIndex(file), Hits(file, "NEEDLE")
        index.step(deadline=5)
        hits.step(deadline=5)
        lines = file.after(0, 1000)
        assert index.lines == len(texts)
        assert [index.number(line.offset) for line in lines] == list(range(1, len(lines) + 1))
        assert list(hits.at) == [line.offset for line in lines if "needle" in line.text.lower()]
        assert all(hits.place(at) == place for place, at in enumerate(hits.at, 1))
        file.close()


def test_the_stages_of_the_latest_attempt_are_found(tmp_path: Path) -> None:
    engine = registry.find("vllm")
    assert engine is not None
    path = tmp_path / "engine.log"
    log = (FIXTURES / "logs" / "vllm.txt").read_bytes()
    path.write_bytes(b"[vllm-studio] attempt 1 at x\n" + log[:4000] + b"\n[vllm-studio] attempt 2 at x\n" + log)
    file = LogText(path)
    index = LogIndex(file)
    index.step(deadline=5)
    assert len(index.attempts) == 2
    starts = stage_starts(file, index.attempts[-1], engine.stages)
    assert [start.name for start in starts] == ["config", "weights", "kv_cache", "warmup", "serving"]
    assert stage_at(starts, index.attempts[-1]) is None
    assert stage_at(starts, starts[1].offset + 5) == "weights"


def test_a_filter_keeps_lines_of_one_source_and_with_words(tmp_path: Path) -> None:
    window = LogWindow(LogText(FIXTURES / "failures" / "vllm-fp8-cache-old-gpu.txt"))
    window.set_filter(Filter(source="w1"))
    assert {parse(line.text).prefix.source for line in window.lines} == {"w1"}
    window.set_filter(Filter("error", "w1", "FAILED to start"))
    assert [parse(line.text).text for line in window.lines] == ["WorkerProc failed to start."]
