"""The line above the footer that shows a download while it goes on.

What this program downloads itself stands there on every screen, what comes from the hub on that of the recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint.charts import bar
from vllm_studio_tui.tui.paint.downloads import facts_of, name_of, state_mark, state_word
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from textual.timer import Timer

    from vllm_studio_tui.domain.download import Download as Pull
    from vllm_studio_tui.tui.flows.downloads import Download
    from vllm_studio_tui.tui.paint.glyphs import Glyphs
    from vllm_studio_tui.tui.shell import Shell

#: Seconds between two pictures of it.
PACE = 0.5


def pull_row(pulls: Sequence[Pull], glyphs: Glyphs, width: int) -> Row:
    """Draw the first download from the hub, and the key that leads to all of them."""
    row = Row(plane="surf")
    one, end = pulls[0], width - 1
    if width >= 60:
        start = end - len("8 models")
        row.run(start, [("8", "fg bold"), (" models", "dim")])
        row.link(start, end, "app.models")
        end = start - 2
    mark, colour = state_mark(one, glyphs)
    row.put(1, mark, colour)
    more = f" and {len(pulls) - 1} more" if len(pulls) > 1 else ""
    x = row.put(3, f"{name_of(one)}{more}", "fg", max(8, end // 3)) + 2
    cells = 20 if width >= 100 else 10
    if x + cells + 6 < end:
        x = row.run(x, bar(glyphs, one.share, cells, "accent")) + 1
    word = state_word(one)
    if x + len(word) <= end:
        x = row.put(x, word.rjust(4), "fg bold") + 3
    for text in facts_of(one):
        if x + len(text) > end:
            break
        x = row.put(x, text, "dim") + 3
    return row


def download_row(downloads: list[Download], glyphs: Glyphs, width: int) -> Row:
    """Draw the first download: a bar, bytes, rate and time left as far as there is room, and the key that ends it."""
    row = Row(plane="surf")
    one = downloads[0]
    end = width - 1
    if width >= 60:
        word = "ending" if one.cancelled else "cancel"
        start = end - len(word) - 3
        row.run(start, [("^c", "fg bold"), (f" {word}", "dim")])
        row.link(start, end, "app.cancel-download")
        end = start - 2
    more = f" and {len(downloads) - 1} more" if len(downloads) > 1 else ""
    facts: list[tuple[str, str]] = []
    if one.share is not None:
        facts.append((numbers.percent(one.share).rjust(4), "fg bold"))
        facts.append((f"{numbers.size(one.done)} of {numbers.size(one.total)}", "dim"))
    elif one.done:
        facts.append((numbers.size(one.done), "dim"))
    if one.rate is not None:
        facts.append((f"{numbers.size(one.rate)}/s", "dim"))
    if one.seconds_left is not None and one.share is not None and one.share < 1:
        facts.append((f"about {numbers.about(one.seconds_left)} left", "dim"))
    x = row.put(1, f"{one.what}{more}", "fg", max(8, end // 3)) + 2
    cells = 20 if width >= 100 else 10
    if one.share is not None and x + cells + 6 < end:
        x = row.run(x, bar(glyphs, one.share, cells)) + 1
    for text, style in facts:
        if x + len(text) > end:
            break
        x = row.put(x, text, style) + 3
    return row


class DownloadLine(Canvas):
    """Shows what is being downloaded; not there while nothing is."""

    DEFAULT_CSS = "DownloadLine { height: 1; width: 100%; display: none; }"

    def __init__(self, shell: Shell) -> None:
        super().__init__(self._rows, lambda: shell.ink, id="download")
        self._shell = shell
        self._clock: Timer | None = None

    @property
    def _pulls(self) -> list[Pull]:
        """What comes from the hub, where it is shown: it is what a recipe waits for."""
        return self._shell.pulls.going if self._shell.place_name == "recipes" else []

    def follow(self) -> None:
        """Show itself while there is a download."""
        going = bool(self._shell.downloads.active)
        self.display = going or bool(self._pulls)
        if going and self._clock is None:
            self._clock = self.set_interval(PACE, self.repaint)
        elif not going and self._clock is not None:
            self._clock.stop()
            self._clock = None
        if self.display:
            self.repaint()

    def _rows(self, width: int, height: int) -> list[Row]:
        active, glyphs = self._shell.downloads.active, self._shell.ink.glyphs
        if active:
            return [download_row(list(active), glyphs, width)]
        return [pull_row(pulls, glyphs, width)] if (pulls := self._pulls) else []
