"""A character as people see it is never taken apart, however many code points it has."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from vllm_studio_tui.tui.document.line_breaking import cells, cut, fold
from vllm_studio_tui.tui.paint.ink import Row, fit, wrap

FAMILY = "👨‍👩‍👧‍👦"
WHOLE = [FAMILY, "👍🏽", "🇩🇪", "❤️", "e\u0301", "각", "日"]


@pytest.mark.parametrize("one", WHOLE)
@pytest.mark.parametrize("width", [1, 2, 3, 5, 10])
def test_lines_break_between_characters(one: str, width: int) -> None:
    text = one * 23
    lines = [line.text for line in fold([(text, "fg")], width)]
    assert "".join(lines) == "".join(wrap(text, width)) == text
    for line in [*lines, *wrap(text, width)]:
        assert line == one * (len(line) // len(one)), "a part of one"
        assert cells(line) <= max(width, cell_len(one))
    head, rest = cut(text, width)
    assert head + rest == text
    assert len(head) % len(one) == 0


@pytest.mark.parametrize("one", WHOLE)
def test_what_is_cut_and_what_is_covered_keeps_whole_characters(one: str) -> None:
    for width in range(2, 9):
        assert fit(one * 9, width).rstrip("…") == one * ((width - 1) // cell_len(one))
    row = Row()
    row.put(0, f"a{one}b")
    row.put(6, "x")
    row.put(3, "yy")  # what overlaps is drawn cell by cell
    assert row.text(10).startswith(f"a{one}")


def test_many_accents_on_one_letter_are_one_character() -> None:
    tower = "a" + "\u0301" * 500
    head, rest = cut(tower + "bc", 1)
    assert (head, rest) == (tower, "bc")
