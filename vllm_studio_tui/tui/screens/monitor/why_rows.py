"""Why it was slow: the answer in sentences with their numbers, what it is not, and what can be done from here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len

from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.screens.monitor.time_view import moment

#: The first figure of a sentence, with its unit: it is what one looks at.
_FIGURE = re.compile(r"\d[\d.,]*(?:\s?(?:%|ms|s|kW|W|°C|GB/s|tok/s|k|M)\b|%)?")
#: Sentences that are shown, by size.
SENTENCES = {Size.FULL: 3, Size.WIDE: 3, Size.BASE: 2}


def why_rows(
    why: Why | None, name: str, at: float, now: float, width: int, size: Size, keys: Sequence[tuple[str, str, str]]
) -> list[Row]:
    """Draw the box.

    Args:
        why: The answer; None: it is being looked up, or nothing is known of the run.
        name: The run that was asked about.
        at: The moment that was asked about.
        keys: What can be done from here: the key, in words what it does, and more words that may be left out.
    """
    x = margin(size)
    room = width - x - 2
    # What is not slow is no warning.
    calm = why is None or not why.slow
    rows = [_title(why, name, at, now, x, width, size, calm)]
    if why is not None and size > Size.COMPACT:
        for number, sentence in enumerate(why.sentences[: SENTENCES.get(size, 1)], 1):
            lead = f"{number}  " if size >= Size.WIDE else ""
            for index, line in enumerate(cut_lines(sentence, room - len(lead), 2)):
                row = Row()
                after = row.put(x, lead if not index else " " * len(lead), "dim")
                row.run(after, _strong(line) if not index else [(line, "fg")])
                rows.append(row)
        if size >= Size.WIDE:
            for words in (f"not it: {', '.join(why.not_it)}" if why.not_it else "",
                          f"at the same time: {' '.join(why.also)}" if why.also else "", why.advice):  # fmt: skip
                if words:
                    row = Row()
                    row.put(x, words, "dim", room)
                    rows.append(row)
    elif why is not None and why.sentences:
        row = Row()
        row.run(x, _strong(cut_lines(why.sentences[0], room, 1)[0]))
        rows.append(row)
    if why is not None and keys and size > Size.COMPACT:  # there the charts need the row, and the footer has them
        rows.append(_keys(keys, x, width, size))
    for row in rows:
        row.plane, row.bar = ("panel", "dim") if calm else ("warnbg", "warn")
    return rows


def in_words(why: Why | None, glyphs: Glyphs) -> Why | None:
    """Return an answer in words that this terminal can show."""
    if why is None or not glyphs.ascii:
        return why
    return replace(
        why,
        sentences=tuple(glyphs.plain(one) for one in why.sentences),
        not_it=tuple(glyphs.plain(one) for one in why.not_it),
    )


def _title(why: Why | None, name: str, at: float, now: float, x: int, width: int, size: Size, calm: bool) -> Row:
    row = Row()
    end = width - 3 if size >= Size.WIDE else width - 1
    asked = f"Why slow at {moment(at, now)}?"
    if why is not None and size >= Size.BASE:
        words = []
        if why.against is not None and size >= Size.WIDE:
            since, until = (moment(one, now) for one in why.against)
            words.append(f"against {since} to {until}")
        tight = size < Size.WIDE and x + cell_len(asked) + cell_len(why.title) + 14 > end
        if why.slow and not tight:
            words.append(f"lasted {numbers.duration(why.lasted)}")
        if size >= Size.FULL:
            words.append(f"rule {why.rule}")
        end = row.put_right(end, "   ".join(words), "dim") - 2
    after = row.put(x, asked, "fg bold") + 2
    if name and size >= Size.WIDE:
        after = row.put(after, name, "dim", max(0, min(24, end - after))) + 2
    said = "looking" if why is None else why.title
    row.put(after, said, "fg" if not calm else "dim" if why is None else "fg", max(0, end - after))
    return row


def _strong(sentence: str) -> list[tuple[str, str]]:
    """Return a sentence with its first figure bold."""
    found = _FIGURE.search(sentence)
    if found is None:
        return [(sentence, "fg")]
    return [
        (sentence[: found.start()], "fg"),
        (found.group(), "fg bold"),
        (sentence[found.end() :], "fg"),
    ]


def _keys(keys: Sequence[tuple[str, str, str]], x: int, width: int, size: Size) -> Row:
    row = Row()
    gap = 5 if size >= Size.WIDE else 3
    for key, words, more in keys:
        short = cell_len(key) + 1 + cell_len(words)
        if x + short > width - 1:
            break
        x = row.run(x, [(key, "fg bold"), (f" {words}", "fg")])
        if more and x + cell_len(more) + 1 + 20 < width and size >= Size.WIDE:
            x = row.put(x + 1, more, "dim")
        x += gap
    return row
