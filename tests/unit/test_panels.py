"""Panels of other packages: what they may draw, and that none of them is ever waited for."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.functional.stage import snapshot
from vllm_studio_tui.backends.common.plug_ins import PlugIn
from vllm_studio_tui.services.watching import panels as module
from vllm_studio_tui.services.watching.panels import CELLS, ROWS, Cell, Panel, Panels, panels_of_packages
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.monitor.panel_rows import panel_rows

PLUG_INS = str(Path(__file__).parents[1] / "fixtures" / "example_plug_ins")


@pytest.fixture
def shown(tmp_path: Path) -> Snapshot:
    return snapshot(tmp_path)


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


def board(*draws: Callable[[Snapshot], Any], **options: float) -> tuple[Panels, list[int]]:
    changes: list[int] = []
    found = [PlugIn("p", "a-package", draw) for draw in draws]
    return Panels(found, lambda: changes.append(1), **options), changes


def drawn(draw: Callable[[Snapshot], Any], shown: Snapshot) -> Panel:
    made, changes = board(draw)
    assert made.look(shown)[0].rows is None, "it is not waited for"
    wait(lambda: changes, "it is drawn")
    return made.look(shown)[0]


# --- what it may draw -----------------------------------------------------------------------------------


def test_texts_numbers_and_styles(shown: Snapshot) -> None:
    panel = drawn(lambda _: ["a sentence", ("a", 12_345), [("b", "ok bold"), (0.5, "warn"), None]], shown)
    assert panel.fault == ""
    assert panel.rows == (
        (Cell("a sentence"),),
        (Cell("a"), Cell("12.3k", right=True)),
        (Cell("b", "ok bold"), Cell("0.5", "warn", right=True), Cell("–", "faint", right=True)),
    )


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda _: 1 / 0, "raises ZeroDivisionError: division by zero"),
        (lambda _: None, "raises TypeError: 'NoneType' object is not iterable"),
        (lambda _: [[object()]], "raises TypeError: a cell is object, and no text or number"),
        (lambda _: [[("a", "red")]], "raises ValueError: 'red' is no style; there are accent, bold"),
        (lambda _: [[("a", "[bold]")]], "raises ValueError: '[bold]' is no style"),
        (lambda _: exit(), "raises SystemExit: None"),
    ],
)
def test_one_that_fails_says_so_in_one_line(shown: Snapshot, draw: Callable[[Snapshot], Any], says: str) -> None:
    panel = drawn(draw, shown)
    assert panel.fault.startswith(says)
    text = [row.text() for row in panel_rows([panel], 80, Size.BASE)]
    assert len(text) == 2
    assert text[0].split() == ["P", "a-package"]
    assert says[:60] in text[1]


def test_hostile_text_is_made_safe_and_what_has_no_end_is_cut(shown: Snapshot) -> None:
    panel = drawn(lambda _: itertools.repeat(itertools.repeat("\x1b]0;x\x07[red]a\nb" + "w" * 9999)), shown)
    assert panel.rows is not None
    assert (len(panel.rows), len(panel.rows[0])) == (ROWS, CELLS)
    text = "".join(row.text(5000) for row in panel_rows([panel], 5000, Size.FULL))
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)
    assert "[red]a" in text, "it is no markup"
    assert len(panel.rows[0][0].text) <= 220


TEXT = st.one_of(st.text(max_size=50), st.integers(), st.floats(), st.none())


@given(st.lists(st.one_of(TEXT, st.lists(TEXT, max_size=6)), max_size=8), st.integers(10, 200))
def test_any_cells_are_drawn_within_the_width(rows: list[Any], width: int) -> None:
    made, fault = module._drawn(lambda _: rows, None)  # type: ignore[arg-type]
    assert fault == ""
    for size in (Size.COMPACT, Size.BASE, Size.FULL):
        for row in panel_rows([Panel("t", "p", made)], width, size):
            for column, text, _ in row.pieces:
                assert column >= 0
                assert column + cell_len(text) <= width


def test_columns_stand_below_each_other_with_numbers_at_the_right() -> None:
    rows = ((Cell("name", "dim"), Cell("count", "dim")), (Cell("a"), Cell("1234567", right=True)))
    text = [row.text() for row in panel_rows([Panel("t", "p", rows)], 80, Size.BASE)]
    assert text[1:] == ["  name    count", "  a     1234567"]
    # A number that would be cut is left out.
    narrow = [row.text() for row in panel_rows([Panel("t", "p", rows)], 12, Size.BASE)]
    assert narrow[2] == "  a"


# --- never waited for -----------------------------------------------------------------------------------


def test_one_that_hangs_is_said_and_holds_up_nobody(shown: Snapshot) -> None:
    for_ever = threading.Event()
    calls: list[int] = []

    def hangs(_: Snapshot) -> list[str]:
        calls.append(1)
        for_ever.wait(60)
        return ["late"]

    made, changes = board(hangs, lambda _: ["quick"], patience=0.05)
    made.look(shown)
    wait(lambda: changes, "the other is drawn")

    def is_seen() -> bool:
        first, second = made.look(replace(shown))
        return first.fault.startswith("has not come back for") and second.rows == ((Cell("quick"),),)

    wait(is_seen, "it is seen, and the other as it is")
    assert len(calls) == 1, "it is not asked again before it came back"
    for_ever.set()
    wait(lambda: made.look(shown)[0].rows == ((Cell("late"),),), "what came late is shown")
    made.close()


def test_one_that_is_slow_is_asked_less_often(shown: Snapshot) -> None:
    calls: list[int] = []

    def slow(_: Snapshot) -> list[str]:
        calls.append(1)
        time.sleep(0.02)
        return [str(len(calls))]

    made, _ = board(slow, share=0.0001)
    made.look(shown)
    wait(lambda: made.look(shown)[0].rows, "it is drawn")
    for _ in range(20):
        made.look(replace(shown))
        time.sleep(0.002)
    assert len(calls) == 1


def test_the_same_picture_is_no_change_and_the_same_snapshot_no_question(shown: Snapshot) -> None:
    calls: list[Snapshot] = []

    def draw(given: Snapshot) -> list[str]:
        calls.append(given)
        return ["x"]

    made, changes = board(draw, share=1.0)
    made.look(shown)
    wait(lambda: changes, "it is drawn")
    made.look(shown)
    wait(lambda: made.look(replace(shown)) and len(calls) > 3, "new snapshots are drawn")
    assert len(changes) == 1
    assert sum(one is shown for one in calls) == 1


# --- the example ----------------------------------------------------------------------------------------


def test_the_example_is_found_and_drawn(shown: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUG_INS)
    (found,), broken = panels_of_packages()
    assert (found.title, broken) == ("tokens of the package example-plug-ins", {})
    panel = drawn(found.value, shown)
    assert panel.fault == ""
    text = [row.text() for row in panel_rows([panel], 100, Size.WIDE)]
    assert [len(row) for row in panel.rows or ()] == [4] * (1 + len(shown.runs)) + [1]
    assert "ready" in "\n".join(text)


def test_what_is_no_function_is_not_taken() -> None:
    for wrong in (Panel, 5, "x"):
        with pytest.raises(Exception, match="no function"):
            module._accept("p", wrong)
