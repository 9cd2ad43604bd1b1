"""The page of a run as rows, in a layout for each size."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import runs
from vllm_studio_tui.tui.paint.beside import beside
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.screens.run import sections, stages
from vllm_studio_tui.tui.screens.run.cause import cause_rows, fix_rows
from vllm_studio_tui.tui.screens.run.elsewhere import elsewhere_rows, trouble_rows
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.head import figure_rows, state_row

#: Parts of a run elsewhere that have a row of the page where there is room.
PARTS = 8


def page_rows(page: PageFacts) -> list[Row]:
    """Draw the page of a run."""
    if page.size <= Size.STRIP:
        return _strip(page)
    if page.size >= Size.WIDE:
        return _two_columns(page)
    return _one_column(page)


def _blocks(*blocks: Sequence[Row]) -> list[Row]:
    """Put blocks below each other, with an empty row between those that are not empty."""
    out: list[Row] = []
    for block in blocks:
        if block:
            out += [*([Row()] if out else []), *block]
    return out


def _two_columns(page: PageFacts) -> list[Row]:
    full = page.size == Size.FULL
    x = margin(page.size)
    middle = 88 if full else page.width // 2 + 2
    left, right = middle - x - 3, page.width - middle - 3
    line = Row()
    line.put(x, page.glyphs.hairline * (page.width - x - 3), "track")
    head = [Row(), state_row(page)]
    failed = page.run.state is State.FAILED
    fall = [stages.heading(page, x, left), *stages.waterfall(page, x, left)] if page.stages() else []
    if failed:
        fix = fix_rows(page, x, left, notes=full)
        fall = [stages.heading(page, 0, right), *stages.waterfall(page, 0, right)] if page.stages() else []
        since = sections.since_rows(page, 0, right, 4)
        places = elsewhere_rows(page, 0, right, PARTS)
        parts = (
            beside(fix, _blocks(fall, since, places), middle)
            if fix
            else _blocks(*([_moved(row, x) for row in part] for part in (fall, since, places)))
        )
        blocks: list[Sequence[Row]] = [cause_rows(page), parts]
    else:
        ends = sections.endpoint_rows(page, 0, right, lines=full)
        requests = sections.request_rows(page, x, left, 5 if full else 3)
        memory = sections.memory_rows(page, 0, right)
        gpus = [*(elsewhere_rows(page, 0, right, PARTS) or sections.gpu_rows(page, 0, right)), *memory]
        blocks = [
            [*cause_rows(page), *trouble_rows(page)],
            figure_rows(page),
            beside(fall, ends, middle),
            beside(requests, gpus, middle) if requests else [_moved(row, x) for row in gpus],
        ]
    top = head if failed else [*head, line] if full else head
    body = _blocks(*blocks)
    wide = page.width - x - 3
    earlier = sections.earlier_rows(page, x, wide, 5 if full else 0 if failed else 3)
    used = len(top) + 1 + len(body) + 1 + (len(earlier) + 1 if earlier else 0)
    tail = sections.tail_rows(page, x, wide, max(3, page.height - used - 2))
    below = (tail, earlier) if failed else (earlier, tail)
    return [*top, Row(), *_blocks(body, *below)]


def _one_column(page: PageFacts) -> list[Row]:
    x = margin(page.size)
    width = page.width - x - 2
    compact = page.size == Size.COMPACT
    failed = page.run.state is State.FAILED
    times = stages.times(page, x, width)
    fall = [stages.heading(page, x, width), *times] if times and not compact else []
    troubled = page.troubled
    first = [*(cause_rows(page) if troubled else figure_rows(page)), *trouble_rows(page, 1 if compact else 2)]
    blocks: list[Sequence[Row]] = [[state_row(page), *first]]
    places = elsewhere_rows(page, x, width, 3 if compact else 6)
    if failed:
        blocks.append(fix_rows(page, x, width, notes=False))
        if not compact:
            blocks.append(sections.since_rows(page, x, width, 3))
            blocks.append(fall)
        blocks.append(places)
    else:
        if troubled:
            blocks.append(figure_rows(page))
        endpoint = sections.endpoint_line(page, x, width) if page.run.live else []
        if page.run.state in (State.STARTING, State.LOADING) and fall:
            blocks += [[stages.heading(page, x, width), *stages.waterfall(page, x, width)], places, endpoint]
        else:
            blocks += [endpoint, places, fall]
        blocks.append(sections.request_rows(page, x, width, 2 if compact else 3))
    body = _blocks(*blocks)
    earlier = sections.earlier_rows(page, x, width, 0 if compact else 2)
    used = (0 if compact else 1) + len(body) + (len(earlier) + 1 if earlier else 0)
    tail = sections.tail_rows(page, x, width, max(1 if compact else 2, page.height - used - 2))
    below = (tail, earlier) if failed else (earlier, tail)
    return [*([] if compact else [Row()]), *_blocks(body, *below)]


def _strip(page: PageFacts) -> list[Row]:
    """Draw the run's row of the strip, and below it what one came for: the cause and the fix, or the address."""
    rows = runs.rows(page.facts, page.glyphs, page.width, page.size, page.now)
    for row in rows:
        row.key = None
    if page.size < Size.STRIP:
        below = Row()
        if page.fixes:
            below.put(0, page.fixes[page.chosen % len(page.fixes)].change.words(2), "dim", page.width)
        elif page.address is not None and not page.troubled:
            below.put(0, page.address.base_url, "dim", page.width)
        room = page.height - len(rows)
        told = trouble_rows(page, 1) or ([below] if below.pieces else cause_rows(page, most=room))
        return [*rows, *told][: page.height]
    if page.troubled:
        fix = fix_rows(page, 0, page.width, notes=False)
        room = max(0, page.height - len(rows))
        if fix:
            return [*rows, *cause_rows(page, most=max(0, room - len(fix))), *fix][: page.height]
        return [*rows, *cause_rows(page, most=room)]
    if page.address is not None:
        for text, style in ((page.address.base_url, "fg"), (page.address.model, "dim")):
            for line in cut_lines(text, page.width, 1):
                row = Row()
                row.put(0, line, style)
                rows.append(row)
    rows += elsewhere_rows(page, 0, page.width, max(0, min(2, page.height - len(rows) - 1)))
    tail = sections.tail_rows(page, 0, page.width, max(1, page.height - len(rows)))
    return [*rows, *tail[1:]][: page.height]


def _moved(row: Row, columns: int) -> Row:
    """Return a row further to the right."""
    moved = Row(plane=row.plane, key=row.key, bar=row.bar)
    moved.pieces = [(column + columns, text, style) for column, text, style in row.pieces]
    moved.links = [(start + columns, end + columns, action) for start, end, action in row.links]
    return moved
