"""The bench screen as rows, with a layout for each size of the window."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.screens.bench import findings, sections
from vllm_studio_tui.tui.screens.bench import words as say
from vllm_studio_tui.tui.screens.bench.facts import Facts, StepLine
from vllm_studio_tui.tui.screens.bench.plot import plot_section
from vllm_studio_tui.tui.screens.bench.steps import change_parts, step_rows, table_head

#: The columns of the full layout: where the plot begins, and how wide the rail is.
LEFT, RAIL = 47, 40
#: Rows of the upper part at least; below them the page scrolls.
UPPER = 14


def page_rows(facts: Facts, *, numbers_only: bool = False) -> list[Row]:
    """Draw the page of a result.

    Args:
        numbers_only: The steps alone, with as many figures as there is room for.
    """
    if facts.known.shown is None:
        return []
    size = facts.size
    if size <= Size.STRIP:
        return strip_rows(facts)
    if size is Size.COMPACT:
        return _compact(facts)
    if numbers_only:
        return _numbers(facts)
    return _base(facts) if size is Size.BASE else _wide(facts)


def _table(facts: Facts, lines: Sequence[StepLine]) -> list[Row]:
    return step_rows(facts, lines, margin(facts.size), facts.width)


def _hairline(facts: Facts) -> Row:
    row, x = Row(), margin(facts.size)
    row.put(x, facts.glyphs.hairline * max(0, facts.width - x - 2), "track")
    return row


def _wide(facts: Facts) -> list[Row]:
    """Draw set-up and figures, plot and what follows side by side, and the steps below."""
    full, lines = facts.size >= Size.FULL, facts.steps
    head = [Row(), *sections.head_rows(facts), _hairline(facts), *([] if full else [_setup(facts)]), Row()]
    table = [table_head(facts, facts.width), *_table(facts, lines)]
    verdict = findings.verdict_rows(facts)
    foot = [*([Row()] if verdict else []), *verdict, findings.definition_row(facts)]
    room = max(UPPER, facts.height - len(head) - 1 - len(table) - len(foot))
    x = margin(facts.size)
    if full:
        setup = sections.setup_section(facts, LEFT - x)
        left = [*setup, Row(), *sections.now_section(facts, LEFT - x, max(6, room - len(setup) - 1))]
        start, rail = x + LEFT, facts.width - RAIL
        right = _rail(facts, RAIL - 2, room)
    else:
        left = sections.now_section(facts, 30, room)
        start, rail, right = x + 34, facts.width, []
    plot = plot_section(facts, rail - start - 2, room, titled=True)
    upper = []
    for index in range(room):
        row = Row()
        for block, column in ((left, x), (plot, start), (right, rail)):
            if index < len(block):
                one = block[index]
                row.pieces += [(at + column, text, style) for at, text, style in one.pieces]
                if one.key is not None:
                    row.key, row.span = one.key, (column - 2, facts.width)
        upper.append(row)
    return [*head, *upper, Row(), *table, *foot]


def _rail(facts: Facts, width: int, height: int) -> list[Row]:
    limit, binds = findings.limit_section(facts, width), findings.binds_section(facts, width)
    above = [*limit, Row(), *([*binds, Row()] if binds else [])]
    return [*above, *findings.against_section(facts, width, max(4, height - len(above)))]


def _setup(facts: Facts) -> Row:
    row, x = Row(), margin(facts.size)
    assert facts.known.shown is not None
    row.put(x, say.setup_line(facts.known.shown), "dim", max(0, facts.width - x - 2))
    return row


def _base(facts: Facts) -> list[Row]:
    """Draw a small plot with the figures beside it, and four steps."""
    lines = facts.steps
    head = [*sections.head_rows(facts), _setup(facts)]
    shown = _around(lines, facts, 4)
    table = _table(facts, shown)
    limit = findings.limit_line(facts)
    foot = [Row(), limit] if limit.pieces else findings.verdict_rows(facts, 1)
    room = max(6, facts.height - len(head) - len(table) - len(foot) - 2)
    x, beside = margin(facts.size), 24
    plot = plot_section(facts, facts.width - x - beside - 3, room, titled=False)
    figures = sections.now_section(facts, beside, room)
    upper = []
    for index in range(room):
        row = Row()
        for block, column in ((plot, x), (figures, facts.width - beside)):
            if index < len(block):
                row.pieces += [(at + column, text, style) for at, text, style in block[index].pieces]
        upper.append(row)
    return [*head, Row(), *upper, Row(), *table, *foot]


def _around(lines: Sequence[StepLine], facts: Facts, most: int) -> list[StepLine]:
    """Return so many steps around the one under the cursor."""
    if len(lines) <= most:
        return list(lines)
    chosen = facts.chosen
    keys = [one.key for one in lines]
    key = facts.key if facts.key in keys else chosen.key if chosen is not None else None
    at = keys.index(key) if key in keys else len(lines) - 1
    start = max(0, min(at - most + 2, len(lines) - most))
    return list(lines[start : start + most])


def _numbers(facts: Facts) -> list[Row]:
    """Draw the steps alone, with the sentences that follow."""
    roomy = [Row()] if facts.size >= Size.WIDE else []
    head = [*roomy, *sections.head_rows(facts), *([_hairline(facts)] if roomy else []), _setup(facts), Row()]
    table = [table_head(facts, facts.width), *_table(facts, facts.steps)]
    limit = findings.limit_line(facts)
    foot = [*findings.verdict_rows(facts, 3), *([limit] if limit.pieces else []), findings.definition_row(facts)]
    return [*head, *table, Row(), *foot]


def _compact(facts: Facts) -> list[Row]:
    """Draw now and the change: the figures in two columns, and the steps with what changed."""
    head, line = sections.head_rows(facts), facts.chosen
    if facts.progress is not None:
        bar, x = Row(), margin(facts.size)
        end = bar.put(x, facts.progress.words or _load(facts), "fg bold", 24) + 2
        end = charts.put_bar(bar, end, facts.glyphs, facts.progress.share, max(4, facts.width - end - 7), "accent")
        bar.put_right(facts.width - 1, numbers.percent(facts.progress.share), "fg bold")
        head.append(bar)
    elif line is not None:
        row = Row()
        row.put(margin(facts.size), _load(facts), "fg bold")
        head.append(row)
    figures = sections.figure_rows(facts, line)
    kept = [one for one in figures if one[0] in ("out", "a user", "TTFT p95", "ITL p95", "errors", "power")][:6]
    for left in range(0, len(kept), 2):
        row = Row()
        for index, (name, value, unit, style) in enumerate(kept[left : left + 2]):
            at = margin(facts.size) + index * 30
            row.put(at, name, "dim")
            row.put_right(at + 16, value, style)
            row.put(at + 17, unit, "dim")
        head.append(row)
    limit = findings.limit_line(facts)
    room = facts.height - len(head) - 3
    table = _table(facts, _around(facts.steps, facts, max(1, room - 1)))
    return [*head, Row(), *table, *([limit] if limit.pieces else [])]


def _load(facts: Facts) -> str:
    shown, line = facts.known.shown, facts.chosen
    if facts.progress is not None and shown is not None:
        return say.load_words(facts.progress.load, shown.plan) if facts.progress.step else "beginning"
    return say.load_words(line.load, shown.plan) if line is not None and shown is not None else ""


def strip_rows(facts: Facts) -> list[Row]:
    """Draw what is measured now and how it compares; of one that is over its best step."""
    shown, line, width = facts.known.shown, facts.chosen, facts.width
    assert shown is not None
    row, progress = Row(), facts.progress
    sign, colour = say.state_of(shown, facts.glyphs)
    end = width
    if progress is not None:
        step = f"{progress.step}/{progress.of}" if progress.of else str(progress.step)
        end = row.put_right(width, f"{step} {numbers.percent(progress.share)}", "fg bold") - 1
    at = row.run(0, [(sign, colour), (" ", "")])
    at = row.put(at, say.name_of(shown), "fg bold", max(0, min(20, end - at))) + 1
    row.put(at, (progress.words if progress is not None else "") or _load(facts), "dim", max(0, end - at))
    rows = [row]
    if facts.height < 3:
        return rows[: facts.height]
    figures = sections.figure_rows(facts, line)
    names = {"out": "output_tokens_per_second", "a user": "user_speed", "TTFT p95": "ttft_p95", "ITL p95": "itl_p95"}
    for name, value, unit, style in figures:
        if name not in names:
            continue
        one = Row()
        one.put(0, name, "dim")
        one.put_right(16, value, style)
        one.put(17, unit, "dim")
        parts = change_parts(line, names[name]) if line is not None else []
        one.run(24, parts)
        rows.append(one)
    limit = findings.limit_line(facts)
    if limit.pieces:
        rows.append(limit)
    return rows[: facts.height]


# --- where there is nothing to show --------------------------------------------------------------------------------


def nothing_rows(error: StudioError | None, size: Size, width: int, *, read: bool, read_only: bool) -> list[Row]:
    """Draw what stands there before the first result."""
    x, rows = margin(size), [Row()] if size >= Size.WIDE else []
    if error is not None:
        head = Row(bar="err")
        head.put(x, error.title, "fg bold", max(0, width - x - 2))
        rows.append(head)
        for text in (error.cause, error.advice):
            for line in wrap(text, max(10, width - x - 2))[:3] if text else []:
                row = Row(bar="err")
                row.put(x, line, "dim")
                rows.append(row)
        return rows
    if not read:
        return rows
    title = Row()
    title.put(x, "No benchmark was made here yet.", "fg bold", max(0, width - x))
    rows.append(title)
    if size <= Size.STRIP:
        return [*rows, *([] if read_only else [_key_row(x, "n", "measures a run")])]
    words = (
        "A benchmark asks a run with more and more users at once, and shows how much it gives them, how long they wait "
        "for the first token, and how many of them it carries. Two results are compared step by step."
    )
    rows.append(Row())
    for line in wrap(words, max(10, min(90, width - x - 2))):
        row = Row()
        row.put(x, line, "dim")
        rows.append(row)
    if read_only:
        return rows
    return [
        *rows,
        Row(),
        _key_row(x, "n", "a new set-up; B on a run or recipe does the same"),
        _key_row(x, "I", "read a result of vllm bench serve or guidellm"),
    ]


def _key_row(x: int, key: str, words: str) -> Row:
    row = Row()
    after = row.run(x, [(key, "fg bold"), (f"  {words}", "dim")])
    row.link(x, after, "bench.new" if key == "n" else "bench.import")
    return row
