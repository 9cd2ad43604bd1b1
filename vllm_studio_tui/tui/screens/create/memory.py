"""Memory of a new recipe as rows: the bar of parts, the grid of how long for how many, and what else would go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.memory import WORDS, corrected
from vllm_studio_tui.tui.screens.create.rows import PageFacts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.fit import Fit, FitCell, FitChange
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Parts in the order of the bar: colour, sign without colours, sign in ASCII, and the word below.
PARTS = (
    ("weights", "fill", "█", "#", WORDS["weights"]),
    ("kv", "data", "▆", "+", WORDS["kv"]),
    ("activations", "dim", "▄", "-", WORDS["activations"]),
    ("graphs", "faint", "▂", "_", WORDS["graphs"]),
    ("overhead", "faint", "▂", "_", WORDS["overhead"]),
)
#: The same with the small ones taken together.
FEW = (PARTS[0], PARTS[1], ("other", "dim", "▄", "-", WORDS["overhead"]))
CELL, FIRST = 9, 18


def tokens(count: int) -> str:
    """Return a length of text as it is named in a grid: `32k`, `40k`, `512`."""
    if count >= 1024:
        whole = count / 1024
        return f"{whole:.0f}k" if whole >= 10 or whole == int(whole) else f"{whole:.1f}k"
    return str(count)


def memory_rows(facts: PageFacts, size: Size, width: int, *, plain: bool = False) -> list[Row]:
    """Draw what the memory of a GPU would be taken by, with the limit; the numbers add up to it."""
    made, x = facts.made, margin(size)
    if made is None:
        return []
    fit, wide = made.fit, size >= Size.WIDE
    where = "PER GPU" if made.gpus else "MEMORY"
    head = Row()
    at = head.put(x, "MEMORY PER GPU" if wide and made.gpus else where, "dim bold") + 2
    if fit is None:
        words = f"not known: {made.fit_unknown}" if made.fit_unknown else "not known"
        head.put(at, words, "dim", max(0, width - at - 2))
        return [head]
    end = _verdict(head, fit, facts.glyphs, width)
    head.put(at, _between(fit, wide=wide), "dim", max(0, end - at - 2))
    room = width - x - (3 if wide else 2)
    rows = [head]
    if wide:
        limit = Row()
        place = x + round(room * min(1.0, fit.limit / fit.memory)) if fit.memory else x + room
        words = f"limit {numbers.gib(fit.limit)}"
        limit.put_right(min(place, x + room), words, "faint")
        rows.append(limit)
    rows += _bar(fit, facts.glyphs, x, room, plain=plain, few=not wide)
    return rows


def _between(fit: Fit, *, wide: bool) -> str:
    total = fit.per_gpu
    if not wide:
        return f"{numbers.gib(total.likely)} of {numbers.gib(fit.memory)} GiB"
    words = f"likely; between {numbers.gib(total.low)} and {numbers.gib(total.high)} GiB"
    if fit.learned is not None:
        words = f"{words}, {corrected(fit.learned.starts)} of {fit.learned.engine}"
    return words


def _verdict(row: Row, fit: Fit, glyphs: Glyphs, width: int) -> int:
    total, free = fit.per_gpu, fit.memory - fit.per_gpu.likely
    if not fit.fits:
        over = numbers.gib(total.likely - fit.limit)
        parts = [(f"{glyphs.failed} ", "err"), ("does not fit", "fg bold"), (f", {over} GiB too much", "dim")]
    elif not fit.certain:
        parts = [
            (f"{glyphs.warning} ", "warn"),
            ("may just fit", "fg bold"),
            (f", {numbers.gib(free)} GiB free", "dim"),
        ]
    else:
        parts = [(f"{glyphs.passed} ", "ok"), ("fits", "fg bold"), (f", {numbers.gib(free)} GiB stay free", "dim")]
    start = width - 2 - sum(len(text) for text, _ in parts)
    row.run(start, parts)
    return start


def _bar(fit: Fit, glyphs: Glyphs, x: int, room: int, *, plain: bool, few: bool) -> list[Row]:
    sizes = {name: one.likely for name, one in fit.parts.items()}
    if few:
        sizes["other"] = sum(sizes.get(name, 0) for name in ("activations", "graphs", "overhead"))
    bar, below, at, edge = Row(), Row(), x, x
    scale = max(fit.memory, fit.per_gpu.likely, 1)
    done = 0
    for name, style, without, ascii_sign, word in FEW if few else PARTS:
        size = sizes.get(name, 0)
        if size <= 0:
            continue
        done += size
        stop = max(at + 1, x + round(room * done / scale))
        stop = min(stop, x + room)
        sign = ascii_sign if glyphs.ascii else without if plain else glyphs.full
        if stop > at:
            bar.put(at, sign * (stop - at), style)
        figure = numbers.gib(size)
        start = max(at, edge)
        if start + len(figure) + len(word) + 1 <= x + room:
            edge = below.run(start, [(figure, "fg bold"), (f" {word}", "dim")]) + 2
        at = stop
    if at < x + room:
        bar.put(at, glyphs.track * (x + room - at), "track")
    if fit.cache_tokens:
        words = f"{numbers.count(fit.cache_tokens)} tokens in the cache"
        if edge + len(words) + 2 <= x + room:
            below.put_right(x + room, words, "dim")
    return [bar, below]


def fits_row(facts: PageFacts, size: Size, width: int) -> Row:
    """Draw the grid in one line, for small windows: `fits 32k for 9, 8k for 37`."""
    row, made, x = Row(), facts.made, margin(size)
    if made is None:
        return row
    if made.fit is None:
        row.put(x, "whether it fits is not known", "dim", width - x)
        return row
    mark, style = (facts.glyphs.passed, "ok") if made.fit.fits else (facts.glyphs.failed, "err")
    at = row.put(x, f"{mark} ", style)
    words = [f"{tokens(made.fit.context)} for {made.fit.max_users}"] if made.fit.max_users else []
    if made.grid is not None:
        for cells in made.grid.rows:
            best = max((cell.runs for cell in cells), default=0)
            if best > made.fit.max_users and cells[0].context < made.fit.context:
                words.append(f"{tokens(cells[0].context)} for {best}")
                break
    said = f"fits {', or '.join(words)}" if made.fit.fits and words else "does not fit"
    row.put(at, said, "fg", max(0, width - at))
    return row


def grid_rows(facts: PageFacts, size: Size, width: int, height: int, at: tuple[int, int]) -> list[Row]:
    """Draw the grid; the cell of the choice stands in brackets, the one under the cursor is marked.

    Args:
        at: Row and column of the cursor; negative: it is not here.
    """
    made, x = facts.made, margin(size)
    if made is None or made.grid is None:
        return []
    head = Row()
    end = head.put(x, "HOW LONG, FOR HOW MANY", "dim bold") + 2
    head.put(end, "part of the cache; amber: so many run", "dim", max(0, width - end - 1))
    columns = Row()
    columns.put(x, "context  users", "faint")
    grid = made.grid
    count = max(1, min(len(grid.users), (width - x - FIRST + 3) // CELL))
    for column, users in enumerate(grid.users[:count]):
        columns.put_right(x + FIRST + column * CELL, str(users), "faint")
    rows = [head, columns]
    for line, cells in enumerate(grid.rows):
        row = Row()
        row.put_right(x + 8, tokens(cells[0].context if cells else 0), "dim")
        for column, cell in enumerate(cells[:count]):
            chosen = cell.context == made.context and cell.users == made.users
            _cell(row, x + FIRST + column * CELL, cell, chosen=chosen, under=(line, column) == at)
        rows.append(row)
    if size >= Size.WIDE:
        hint = Row()
        hint.put(x + 9, f"{facts.glyphs.left_right} {facts.glyphs.up_down} choose a cell: enter fills it in", "faint")
        rows.append(hint)
    return rows


def _cell(row: Row, end: int, cell: FitCell, *, chosen: bool, under: bool) -> None:
    if cell.used <= 1 and cell.runs >= cell.users:
        words, style = numbers.percent(cell.used), "fg" if cell.used > 0.5 else "dim"
    elif cell.runs:
        words, style = f"{cell.runs} run", "warn"
    else:
        words, style = "none", "faint"
    if under:
        row.put_right(end + 1, f"[{words}]", "reverse bold")
    elif chosen:
        row.put_right(end + 1, f"[{words}]", "fg bold on-sel")
    else:
        row.put_right(end, words, style)


def change_rows(facts: PageFacts, size: Size, width: int) -> list[Row]:
    """Draw what else would go, with what would come of it."""
    made = facts.made
    if made is None or made.fit is None or not (made.changes or made.grid):
        return []
    head, columns = Row(), Row()
    head.put(2, "WHAT ELSE WOULD GO", "dim bold")
    fits, end = max(30, width - 42), width - 2
    columns.put(2, "change", "faint")
    columns.put(fits, "fits", "faint")
    columns.put_right(end, "speed, one user", "faint") if any(one.speed for one in made.changes) else None
    own = Row()
    own.put(2, "this choice", "fg bold")
    _put_fit(own, fits, made.fit)
    rows = [head, columns, own]
    for index, one in enumerate(made.changes):
        rows.append(_change(one, index, facts.glyphs, fits, end))
    if any(one.speed for one in made.changes):
        note = Row()
        note.put(2, "speeds are at most so: reckoned from memory bandwidth, not measured", "faint", width - 2)
        rows.append(note)
    return rows


def _change(one: FitChange, index: int, glyphs: Glyphs, fits: int, end: int) -> Row:
    row = Row(key=f"change:{index}" if one.fields else None)
    words = f"{one.title}, download {numbers.size(one.download)}" if one.download else one.title
    row.put(2, words, "fg" if one.fields else "dim", fits - 4)
    if one.fit is not None:
        at = _put_fit(row, fits, one.fit)
        if not one.fit.fits:
            row.put(at + 2, glyphs.failed, "err")
    else:
        row.put(fits, one.note, "faint", max(0, end - fits - 12))
    if one.speed:
        row.put_right(end, f"{numbers.rate(one.speed)} tok/s", "dim")
    return row


def _put_fit(row: Row, at: int, fit: Fit) -> int:
    return row.put(at, f"{tokens(fit.context)} for {fit.max_users}", "fg" if fit.fits else "dim")
