"""What the page of answers side by side is made of: its columns and the rows around them, in windows of every size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Container

from vllm_studio_tui.domain.compare import MOST, Score
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Page
from vllm_studio_tui.tui.screens.compare import rows as paint
from vllm_studio_tui.tui.screens.compare.column import Column
from vllm_studio_tui.tui.screens.compare.lanes import Lanes, Wanted
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Cells of a column beside others, at least, and of a window in which they stand so.
NARROWEST, BESIDE = 38, 120
#: Rows of one below others, at least, and rows around them all.
LOWEST, AROUND = 8, 5
#: What `view` shows, one after the other.
VIEWS = ("answers", "differences", "scores")


class CompareFrame(Page):
    """The layout of the page, and what it shows."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.state = Lanes(Wanted("", ()))
        self._columns = [Column(place, self._paint_head, self.get_ink) for place in range(MOST)]
        self._view = 0
        self._scores: Sequence[Score] = ()
        self._votes = 0

    def compose(self) -> ComposeResult:
        yield Canvas(lambda w, _: paint.head_rows(self.state, w), self.get_ink, id="compare-title")
        yield Canvas(self._paint_question, self.get_ink, plane="surf", id="compare-question")
        with Container(id="compare-columns"):
            for column in self._columns:
                if column.place:
                    yield Canvas(self._paint_rule, self.get_ink, classes="compare-rule")
                yield column
        yield ListCanvas(self._paint_sheet, self.get_ink, id="compare-sheet")
        yield Canvas(self._paint_foot, self.get_ink, id="compare-foot")
        yield Canvas(self._paint_scores, self.get_ink, id="compare-scores")

    # --- painting ---------------------------------------------------------------------------------------

    def _paint_question(self, width: int, height: int) -> list[Row]:
        return paint.question_rows(self.state.wanted.text, self.ink.glyphs, self.size_class, width)

    def _paint_head(self, place: int, width: int) -> list[Row]:
        beside = self._beside
        return paint.answer_head(self.state, place, self.ink.glyphs, self.size_class, width, beside=beside)

    def _paint_rule(self, width: int, height: int) -> list[Row]:
        rows = [Row() for _ in range(height)]
        for row in rows:
            row.put(0, self.ink.glyphs.inside, "track")
        return rows

    def _paint_sheet(self, width: int, height: int) -> list[Row]:
        if VIEWS[self._view] == "scores":
            return paint.score_rows(self.state, self._scores, width)
        return paint.difference_rows(self.state, width)

    def _paint_foot(self, width: int, height: int) -> list[Row]:
        return paint.figure_rows(self.state, width)

    def _paint_scores(self, width: int, height: int) -> list[Row]:
        return paint.score_line(self.state, self._scores, self._votes, width)

    @property
    def _beside(self) -> bool:
        """Whether the columns stand beside each other; else below, or one is open and the others show their heads."""
        width, count = self.app.size.width, max(1, len(self.state.lanes))
        return width >= BESIDE and width // count >= NARROWEST and self.size_class >= Size.BASE

    @property
    def _stacked(self) -> bool:
        """Whether all of them are open below each other."""
        rows = self.app.size.height - AROUND
        return self.size_class > Size.STRIP and rows // max(1, len(self.state.lanes)) >= LOWEST

    def update_place(self) -> None:
        state, beside, answers = self.state, self._beside, VIEWS[self._view] == "answers"
        columns = self.query_one("#compare-columns")
        columns.set_class(beside, "-beside")
        columns.set_class(not beside and self._stacked, "-stacked")
        columns.display = answers
        self.query_one("#compare-sheet").display = not answers
        tiny = self.size_class <= Size.STRIP
        for column in self._columns:
            here = column.place == state.at
            column.display = column.place < len(state.lanes) and (here or not tiny)
            column.set_class(here, "-here")
        for place, rule in enumerate(self.query(".compare-rule"), 1):
            rule.display = beside and place < len(state.lanes)
        width = self.size.width or self.app.size.width
        self.query_one("#compare-question").styles.height = max(1, len(self._paint_question(width, 0)))
        foot = len(self._paint_foot(width, 0)) if answers and beside and self.size_class >= Size.WIDE else 0
        self.query_one("#compare-foot").styles.height = foot
        super().update_place()

    def on_resize(self, event: events.Resize) -> None:
        self.update_place()
