"""Lines of a run on several machines: its rank before each, and what the engine wrote behind that."""

from __future__ import annotations

import pytest

from vllm_studio_tui.runs.log_folding import entries
from vllm_studio_tui.runs.log_lines import is_from, parse, sources_of
from vllm_studio_tui.runs.log_text import LogLine, frame_of, in_traceback
from vllm_studio_tui.runs.log_window import Filter

VLLM = "INFO 11-28 10:58:33 [core.py:195] init engine took 4.13 s"


@pytest.mark.parametrize(
    ("line", "source", "text", "level"),
    [
        (f"[1 node-b] {VLLM}", "r1", "init engine took 4.13 s", "info"),
        (f"[0 user@10.0.0.1:2222] (EngineCore pid=7) {VLLM}", "r0/core", "init engine took 4.13 s", "info"),
        (f"[12 b] (Worker_TP1 pid=7) {VLLM}", "r12/w1", "init engine took 4.13 s", "info"),
        ("[1 b] [2026-11-28 10:00:00 TP3] load weight end", "r1/w3", "load weight end", "info"),
        ("[1 b] [vllm-studio] attempt 1", "r1/keeper", "attempt 1", "info"),
        ("[1 b] ValueError: no", "r1", "ValueError: no", "error"),
        ("[3 a-host-with-a-name-of-more-than-seventy-letters.in.a.domain.that.is.long.example] ERROR x", "r3",
         "ERROR x", "error"),
        ("[1 b] plain", "r1", "plain", "info"),
        # What looks like it and is not.
        ("[2026-11-28 10:00:00 TP3] load weight end", "w3", "load weight end", "info"),
        ("[1] plain", "", "[1] plain", "info"),
        ("[1 two words] plain", "", "[1 two words] plain", "info"),
        ("[rank1]: plain", "w1", "plain", "info"),
    ],
)  # fmt: skip
def test_a_rank_is_who_wrote_a_line(line: str, source: str, text: str, level: str) -> None:
    parts = parse(line)
    assert (parts.prefix.source, parts.text, parts.level) == (source, text, level)


def test_the_time_of_a_line_is_found_behind_its_rank() -> None:
    assert parse(f"[1 b] {VLLM}").prefix.time == "10:58:33"


def test_a_traceback_of_a_rank_is_one() -> None:
    assert in_traceback("[1 b] Traceback (most recent call last):", False)
    assert in_traceback('[1 b]   File "x.py", line 1, in f', True)
    assert not in_traceback("[1 b] ValueError: no", True)
    assert frame_of('[1 b] (EngineCore pid=7) ERROR 11-28 10:00:00 [core.py:8]   File "x.py"') == '  File "x.py"'


def test_a_rank_can_be_chosen_with_all_of_its_processes() -> None:
    assert sources_of(["r1/w0", "", "r0", "api", "r1/core"]) == ["api", "r0", "r1", "r1/core", "r1/w0"]
    assert [one for one in ("r1", "r1/w0", "r10", "r10/w0", "w1", "") if is_from(one, "r1")] == ["r1", "r1/w0"]
    rank = Filter(source="r1")
    assert rank.keeps_text(f"[1 b] (EngineCore pid=7) {VLLM}")
    assert not rank.keeps_text(f"[10 b] {VLLM}")


def test_what_all_ranks_say_is_folded_as_of_workers() -> None:
    lines, at = [], 0
    for rank in range(4):
        text = f"[{rank} node-{rank}] {VLLM}"
        lines.append(LogLine(at, at + len(text) + 1, text))
        at += len(text) + 1
    [entry] = entries(lines)
    assert entry.kind == "workers"
    assert entry.sources == ("r0", "r1", "r2", "r3")
