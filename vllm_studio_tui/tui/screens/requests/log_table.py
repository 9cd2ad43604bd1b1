"""The table of requests, whose filter may have a time in it: `14:10..14:20 web` are those of web at that time."""

from __future__ import annotations

import time
from collections.abc import Callable

from vllm_studio_tui.kit.moments import read_range
from vllm_studio_tui.tui.screens.requests.lines import Line
from vllm_studio_tui.tui.widgets.table import Table


def read_filter(text: str, now: float) -> tuple[tuple[float, float] | None, str]:
    """Return the range of time that a filter names, None for none, and its other words."""
    words = text.split()
    for place, word in enumerate(words):
        found = read_range(word, now)
        if found is not None:
            return found, " ".join(words[:place] + words[place + 1 :])
    return None, text


class LogTable(Table[Line]):
    """The table of requests.

    Attributes:
        asked_anew: Called when another time is asked for: what is shown has to be read again.
    """

    asked_anew: Callable[[], None] = staticmethod(lambda: None)

    def between(self) -> tuple[float, float] | None:
        """Return the time that the filter names; None: it names none."""
        return read_filter(self.filter, time.time())[0]

    def test_of(self, text: str) -> Callable[[Line], bool]:
        between, words = read_filter(text, time.time())
        has = super().test_of(words)
        return has if between is None else lambda line: line.within(*between) and has(line)

    def set_filter(self, words: str) -> None:
        before = self.filter
        super().set_filter(words)
        if [word for word in before.split() if ".." in word] != [word for word in words.split() if ".." in word]:
            self.asked_anew()
