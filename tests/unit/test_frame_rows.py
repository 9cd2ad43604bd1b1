"""The header and the footer of the page, drawn at every width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.stage import NOW, run_view, snapshot
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.look.sizes import size_class
from vllm_studio_tui.tui.paint.footer import Hint, footer
from vllm_studio_tui.tui.paint.header import header
from vllm_studio_tui.tui.paint.ink import Ink

HINTS = [Hint(key, word, key) for key, word in (
    ("enter", "open"), ("s", "stop"), ("c", "chat"), ("L", "log"), ("e", "edit"), ("n", "new"), ("space", "mark"),
    ("o", "order"), ("/", "filter"), ("I", "import"), ("x", "export"), ("[ ]", "hit"),
)]  # fmt: skip
ALWAYS = [Hint("^p", "all", "app.palette"), Hint("?", "help", "app.help")]


@pytest.mark.parametrize("width", range(20, 201, 3))
def test_the_footer_leaves_no_key_out_that_there_is_room_for(width: int) -> None:
    (row,) = footer(width, HINTS, ALWAYS)
    text = row.text(width)
    assert len(text) <= width
    shown = [hint for hint in HINTS if f"{hint.key} {hint.word}" in text]
    left_out = [hint for hint in HINTS if hint not in shown]
    gaps = sorted(end - start for start, end in _blanks(text.ljust(width)))
    gap = 3 if width >= 120 else 2
    assert all(hint.width + 2 * gap > gaps[-1] for hint in left_out), text
    if width >= 60:
        assert [hint.word for hint in shown[:4]] == ["open", "stop", "chat", "log"]


@pytest.mark.parametrize("width", [60, 61, 70, 80, 120])
def test_the_footer_keeps_room_for_the_ways_out(width: int) -> None:
    ways = [Hint("esc", "to the end", "app.back", kept=True), Hint("tab", "prompt", "app.next-part", kept=True)]
    text = footer(width, [*HINTS[:6], *ways], ALWAYS)[0].text(width)
    assert "esc to the end" in text
    assert "tab prompt" in text
    assert text.index("enter open") < text.index("esc to the end")
    assert len(text) <= width


def _blanks(text: str) -> list[tuple[int, int]]:
    found, start = [], None
    for at, character in enumerate(f"{text}|"):
        if character == " " and start is None:
            start = at
        elif character != " " and start is not None:
            found.append((start, at))
            start = None
    return found


def drawn(shown: Snapshot, width: int, height: int = 45, place: str = "dashboard") -> str:
    size = size_class(width, height)
    (row,) = header(ink(), width, size, place, shown, host="h100-a")
    for (start, text, _), (after, _, _) in zip(sorted(row.pieces), sorted(row.pieces)[1:], strict=False):
        assert start + len(text) <= after, (width, text)
    return row.text(width)


def ink() -> Ink:
    return Ink({})


def test_trouble_keeps_its_name_in_the_header_and_the_rest_are_counts(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    for width in (160, 140, 120, 100):
        text = drawn(shown, width)
        assert "✕ llama-3.3-70b  ◐ 43%  ● 1" in text, text
        assert "qwen3-32b" not in text
    assert "6 Logs" in drawn(shown, 160)
    assert "h100-a" in drawn(shown, 160)
    assert "✕ " in drawn(shown, 80, 24)
    for width in range(30, 200):
        drawn(shown, width)


def test_the_percent_of_a_later_stage_has_its_name_so_that_no_figure_falls(tmp_path: Path) -> None:
    shown = snapshot(tmp_path)
    for stage, progress, words in (("graphs", 0.35, "◐ graphs 35%"), ("kv_cache", None, "◐ KV cache  ●")):
        runs = tuple(
            replace(run, status=replace(run.status, stage=stage, progress=progress))
            if run.state is State.LOADING
            else run
            for run in shown.runs
        )
        assert words in drawn(replace(shown, runs=runs), 160)
        for width in (60, 52):  # where there is no room for the words, no run goes for them
            text = drawn(replace(shown, runs=runs), width, 15)
            assert "✕" in text and "◐" in text and "●" in text, text


def test_of_many_in_trouble_some_have_names_and_all_are_counted(tmp_path: Path) -> None:
    failed = [run_view(tmp_path, f"model-{index}", State.FAILED, ended_at=NOW) for index in range(4)]
    shown = Snapshot(snapshot(tmp_path).tick, tuple(failed), tuple(failed))
    assert "✕ 4 model-0 model-1 model-2" in drawn(shown, 160)
    assert "✕ 4" in drawn(shown, 60, 15)


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_a_studio_elsewhere_that_is_not_heard_is_said_with_its_age(tmp_path: Path, width: int) -> None:
    shown = snapshot(tmp_path)
    assert "no connection" not in drawn(shown, width)
    assert "no connection, 12 s old" in drawn(replace(shown, stale=12.4), width)
