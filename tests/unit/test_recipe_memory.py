"""The memory that a recipe would take, as rows: what it is made of, and what of it is too much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vllm_studio_tui.domain.fit import Fit, Range
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.memory import memory_line, memory_parts

GIB = 1 << 30


def parts(weights: float, kv: float) -> dict[str, Range]:
    return {name: Range(round(size * GIB), round(size * GIB), round(size * GIB))
            for name, size in (("weights", weights), ("kv", kv), ("activations", 2.1), ("graphs", 1.0))}  # fmt: skip


TOO_MUCH = Fit(parts(65.7, 20.0), round(71.6 * GIB), round(79.6 * GIB), 131_072, 1, 0, 0, Range(0, 0, 0), 0, 18_416, 0,
               131_072, gpus=2)  # fmt: skip
FITS = replace(TOO_MUCH, parts=parts(30.0, 8.0), max_context=131_072, max_users=4)


def text(fit: Fit, width: int = 60) -> str:
    rows = memory_parts(fit, Glyphs(), 2, width)
    return "\n".join(row.text() for row in rows)


def test_parts_add_up_and_say_by_how_much_it_is_too_much() -> None:
    said = text(TOO_MUCH)
    assert "65.7" in said and "20.0" in said
    assert "sum 88.8 of 71.6 allowed: 17.2 too much" in " ".join(said.split())
    assert "up to 18416 tokens" in said


def test_what_fits_says_for_how_many() -> None:
    assert "4 texts of 131072 tokens at once" in text(FITS)
    assert "fits" in text(FITS)


@pytest.mark.parametrize("width", [30, 40, 58, 78, 120])
def test_a_line_ends_where_it_shall_and_keeps_its_figures(width: int) -> None:
    said = memory_line(TOO_MUCH, Glyphs(), 2, width).text()
    assert len(said.rstrip()) <= width
    assert "88.8 of 71.6 GiB" in said or width < 34
