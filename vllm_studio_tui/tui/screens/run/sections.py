"""Parts of the page of a run: endpoint, requests, GPUs, earlier runs, and the last lines of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from vllm_studio_tui.domain.memory_report import memory_words
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_data
from vllm_studio_tui.runs.log_lines import parse
from vllm_studio_tui.runs.log_text import frame_of, level_of
from vllm_studio_tui.tui.paint.gpu_columns import BASE, COLUMNS, GpuLine
from vllm_studio_tui.tui.paint.ink import Row, fit, fit_change
from vllm_studio_tui.tui.paint.table import fixed, put_values
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.stages import span

if TYPE_CHECKING:
    from vllm_studio_tui.domain.usage import CompletedRequest
    from vllm_studio_tui.runs.last_lines import NumberedLine
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.past_runs import Change, Launch
    from vllm_studio_tui.services.launching.run_story import EarlierRun

#: Beginnings of the keys of rows, by what `enter` does there.
REQUEST, RUN, LOG, FIX = "request:", "run:", "log", "fix"


def heading(x: int, title: str, words: str = "", width: int = 400) -> Row:
    """Draw the title of a part."""
    row = Row()
    at = row.put(x, title, "dim bold") + 2
    row.put(at, words, "dim", max(0, x + width - at))
    return row


# --- endpoint -------------------------------------------------------------------------------------------------


def endpoint_rows(page: PageFacts, x: int, width: int, *, lines: bool) -> list[Row]:
    """Draw where it answers and what there is to copy; with `lines` also the variables for agents."""
    endpoint, alone = page.address, page.endpoint
    if endpoint is None or alone is None:
        return []
    up, words = page.run.live, _listens(page.run)
    addresses = [("address", alone.base_url)]
    if page.served is not None:
        addresses = [("all models", page.served.base_url), ("this engine", alone.base_url)]
        words = words or "one address for every model, or this engine alone"
    column = max(len(label) for label, _ in addresses) + 2
    rows = [heading(x, "ENDPOINT", words, width)]
    for label, value in (*addresses, ("model", endpoint.model), ("key", endpoint.key or "")):
        if not value:
            continue
        row = Row()
        row.put(x, label, "dim")
        first = value is endpoint.base_url
        row.put(x + column, value, "fg" if up else "dim", width - column - (8 if first else 0))
        if first:
            start = row.put_right(x + width, "copy", "dim") - 2
            row.put(start, "y", "fg bold")
            row.link(start, x + width, "run.copy-url")
        rows.append(row)
    if lines:
        for index, text in enumerate(endpoint.env_lines()):
            row = Row()
            row.put(x + 2, text, "fg on-code", width - 2 - (12 if index == 0 else 0))
            if index == 0:
                row.put_right(x + width, "env lines", "faint")
            rows.append(row)
    row = Row()
    at = row.run(x, [("Y", "fg bold"), (" copy as  ", "dim")])
    start = at
    for snippet in endpoint.snippets()[1:]:
        short = {"python": "SDK", "env": "env lines"}.get(snippet.name, snippet.title)
        if at + cell_len(short) > x + width:
            break
        at = row.put(at, short, "fg") + 3
    row.link(x, max(start, at), "run.copy-as")
    return [*rows, row]


def _listens(run: RunView) -> str:
    """Return what a program would meet at its address; empty where it is answered."""
    if run.state is State.READY:
        return ""
    if run.state is State.UNHEALTHY:
        return "it does not answer now"
    return "answers when it is ready" if run.live else "nothing listens there now"


def endpoint_line(page: PageFacts, x: int, width: int) -> list[Row]:
    """Draw the same in a row or two, for one column."""
    endpoint = page.address
    if endpoint is None:
        return []
    row = heading(x, "ENDPOINT")
    at = row.put(x + 10, endpoint.base_url, "fg" if page.run.live else "dim", width - 18) + 3
    start = row.put_right(x + width, "y copy", "dim")
    row.put(start, "y", "fg bold")
    row.link(start, x + width, "run.copy-url")
    if at + 14 < start:
        row.run(at, [("model ", "dim"), (fit(endpoint.model, start - at - 9), "fg")])
    return [row]


# --- requests -------------------------------------------------------------------------------------------------


def request_rows(page: PageFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw the completions that the studio asked of it, or others through `serve`; those that go on first."""
    found = list(page.story.requests) if page.story is not None else []
    if not found or most < 1:
        return []
    found.sort(key=lambda one: (one.finish != "streaming", -one.at))
    going = sum(1 for one in found if one.finish == "streaming")
    words = "by the studio, and through it" + (f", {going} going on" if going else "")
    rows = [heading(x, "REQUESTS", words, width), _request_heads(x, width)]
    rows += [_request(page, one, x, width) for one in found[:most]]
    if len(found) > most:
        row = Row()
        row.put(x, f"{len(found) - most} more", "faint")
        rows.append(row)
    return rows


def _request_heads(x: int, width: int) -> Row:
    row = Row()
    row.put(x, "from", "faint")
    for end, title in ((19, "when"), (28, "prompt"), (36, "cached"), (43, "out"), (50, "tok/s"), (60, "TTFT")):
        if end <= width:
            row.put_right(x + end, title, "faint")
    row.put(x + 62, "end", "faint", max(0, width - 62))
    return row


def _request(page: PageFacts, one: CompletedRequest, x: int, width: int) -> Row:
    unknown = page.glyphs.unknown
    row = Row(key=f"{REQUEST}{one.id}")
    row.put(x, one.key_name or one.source, "fg", 12)
    live = one.finish == "streaming"
    row.put_right(x + 19, "now" if live else numbers.moment(one.at, page.now), "accent" if live else "dim")
    hit = one.cached_tokens / one.prompt_tokens if one.cached_tokens is not None and one.prompt_tokens else None
    out = numbers.count(one.completion_tokens, unknown)
    for end, text in (
        (28, numbers.count(one.prompt_tokens, unknown)),
        (36, numbers.percent(hit, unknown)),
        (43, f"~{out}" if one.estimated and one.completion_tokens is not None else out),
        (50, numbers.rate(one.tokens_per_second, unknown)),
        (60, numbers.latency(one.ttft, unknown)),
    ):
        if end <= width:
            row.put_right(x + end, text, "faint" if text == unknown else "fg")
    if not live:
        failed = one.error is not None or one.finish in ("error", "interrupted")
        row.put(x + 62, one.error or one.finish, "err" if failed else "dim", max(0, width - 62))
    return row


# --- GPUs -----------------------------------------------------------------------------------------------------


def gpu_rows(page: PageFacts, x: int, width: int) -> list[Row]:
    """Draw the GPUs of the run."""
    own = page.own_gpus()
    if own is None or page.gpus is None:
        return []
    kinds = dict.fromkeys(gpu.name.removeprefix("NVIDIA ").strip() for gpu in own.gpus)
    words = f"{len(own.gpus)} of {len(page.gpus.gpus)} x {', '.join(kinds)}"
    rows = [heading(x, "GPUS", words, width)]
    for gpu in own.gpus[:8]:
        line = GpuLine(gpu, page.glyphs, BASE, own.stale is not None or gpu.stale is not None)
        row = put_values(fixed(COLUMNS, BASE, x), Row(), line, line.glyphs)
        if gpu.lost is not None:
            row = Row()
            row.run(x, [(f"{gpu.index} ", "fg bold"), (f"not answering: {gpu.lost}", "err")])
        rows.append(row)
    return rows


def memory_rows(page: PageFacts, x: int, width: int) -> list[Row]:
    """Draw in one row what the engine said of its memory when it started."""
    report = page.story.memory if page.story is not None else None
    return [] if report is None else [heading(x, "MEMORY", memory_words(report), width)]


# --- earlier runs ---------------------------------------------------------------------------------------------


def earlier_rows(page: PageFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw the runs of the recipe with what changed from the run before each; the latest first."""
    story = page.story
    if story is None or story.of < 2 or most < 1:
        return []
    rows = [heading(x, "EARLIER RUNS", "of this recipe, and what changed against the run before", width)]
    wide = width >= 100
    head = Row()
    head.put(x, "run", "faint")
    head.put(x + 6, "when", "faint")
    head.put_right(x + 26, "ready in", "faint")
    head.put(x + 29, "state", "faint")
    at = x + 29 + (34 if wide else 20)
    if wide:
        head.put_right(at + 6, "tok/s", "faint")
        head.put_right(at + 14, "peak", "faint")
        at += 17
    head.put(at, "changed", "faint")
    rows.append(head)
    return rows + [_earlier(page, one, x, width, wide=wide) for one in story.runs[:most]]


def _earlier(page: PageFacts, one: EarlierRun, x: int, width: int, *, wide: bool) -> Row:
    unknown, launch = page.glyphs.unknown, one.launch
    here = launch.run_id == page.run.run_id
    row = Row(key=None if here else f"{RUN}{launch.run_id}")
    row.put(x, str(one.number), "fg bold" if here else "fg")
    row.put(x + 6, numbers.day_time(launch.created_at, page.now, unknown), "dim")
    took = unknown if launch.ready_after is None else span(launch.ready_after)
    row.put_right(x + 26, took, "faint" if launch.ready_after is None else "fg")
    mark, colour = page.glyphs.state(launch.state or "")
    at = x + 29
    row.put(at, mark, colour)
    room = 34 if wide else 20
    row.put(at + 2, ended(launch), "fg", room - 3)
    at += room
    if wide:
        for end, value in ((6, one.speed), (14, one.peak)):
            row.put_right(at + end, numbers.rate(value, unknown), "faint" if value is None else "fg")
        at += 17
    if one.changed is None:
        row.put(at, "the first that is known" if one.number == 1 else unknown, "faint", max(0, x + width - at))
    elif not one.changed:
        row.put(at, "nothing", "dim")
    else:
        row.put(at, _changes(one.changed, x + width - at), "fg", max(0, x + width - at))
    return row


def _changes(changes: Sequence[Change], room: int) -> str:
    """Return as many changes as fit whole; of one that does not, its name: a value is never cut."""
    shown = [change_words(change) for change in changes]
    while len(shown) > 1 and cell_len("   ".join(shown)) > room:
        shown.pop()
    return "   ".join(shown) if cell_len("   ".join(shown)) <= room else _name(changes[0])


def ended(launch: Launch) -> str:
    """Return how a run ended, or what it is."""
    if launch.state == State.EXITED:
        return {"stopped": "stopped by you"}.get(launch.reason or "", launch.title or "ended")
    return launch.title or launch.state or "unknown"


def change_words(change: Change) -> str:
    """Return a change in a few words: `max_model_len 16384 -> 131072`."""
    before, after = _values(change, 80)
    return f"{_name(change)} {before} -> {after}"


def _values(change: Change, room: int) -> tuple[str, str]:
    """Return what was and what is, in a room; neither is so long that the other is not seen."""
    old, new = (_words(mask_data(value, change.name)) for value in (change.before, change.after))
    old, new = fit_change(old, new, room)
    old = fit(old, max(8, room // 2, room - cell_len(new)))
    return old, fit(new, max(8, room - cell_len(old)))


def _words(value: object) -> str:
    return "not set" if value is None or value in ({}, [], "") else str(value)[:400]


def since_rows(page: PageFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw what has changed since the recipe last worked."""
    since = page.story.since if page.story is not None else None
    if since is None:
        return []
    before, changes = since
    number = (
        next((one.number for one in page.story.runs if one.launch.run_id == before.run_id), None)
        if page.story
        else None
    )
    words = f"{f'run {number}, ' if number is not None else ''}{numbers.day_time(before.created_at, page.now)}"
    rows = [heading(x, "SINCE IT WORKED", words, width)]
    names = max((cell_len(_name(one)) for one in changes), default=0)
    for index, one in enumerate(changes[:most]):
        row = Row()
        if index == 0:
            row.put(x, page.glyphs.block, "err")
        old, new = _values(one, width - min(names, 32) - 8)
        at = row.put(x + 2, _name(one), "fg", min(names, 32))
        row.put(max(at, x + 2 + min(names, 32)) + 2, f"{old} -> {new}", "fg", max(0, width - names - 4))
        rows.append(row)
    if not changes:
        row = Row()
        row.put(x + 2, "recipe and engine are the same", "dim", width - 2)
        rows.append(row)
    elif len(changes) > most:
        row = Row()
        row.put(x + 2, f"{len(changes) - most} more", "faint")
        rows.append(row)
    return rows


def _name(change: Change) -> str:
    return "engine" if change.kind == "engine" else change.name


# --- log ------------------------------------------------------------------------------------------------------


def tail_rows(page: PageFacts, x: int, width: int, most: int) -> list[Row]:
    """Draw the last lines of the log; of a run whose cause is known those around it."""
    end = page.end
    if end is None or most < 1:
        return []
    root = page.diagnosis.line_number if page.diagnosis is not None else None
    if end.around:
        # Where not all of them have room: the root cause and those before it, which led to it.
        at = next((index for index, line in enumerate(end.around) if line.number == root), most - 1)
        first = max(0, at + 1 - most)
        lines: Sequence[NumberedLine] = end.around[first : first + most]
        title, count = "EVIDENCE", end.count or 0
        words = f"lines {lines[0].number} to {lines[-1].number}" if len(lines) > 1 else f"line {lines[0].number}"
        words += f" of {count}" if count else ""
    else:
        lines, title = end.lines[-most:], "LAST LINES"
        words = "" if end.count is None else f"of {numbers.count(end.count)}"
    if not lines:
        return []
    digits = max(len(str(line.number or "")) for line in lines)
    rows = [heading(x, title, words, width)]
    rows[0].key = LOG
    timed = 9 if width >= 50 and any(parse(line.text).prefix.time for line in lines) else 0
    for line in lines:
        row = Row()
        row.put_right(x + digits, str(line.number or ""), "faint")
        here = line.number is not None and line.number == root
        level = level_of(line.text)
        at = x + digits + 2
        mark, colour = {"error": (page.glyphs.failed, "err"), "warning": (page.glyphs.warning, "warn")}.get(
            level, ("", "")
        )
        row.put(at, mark, colour)
        parts = parse(line.text)
        if timed:
            row.put(at + 2, parts.prefix.time[:8], "faint")
        text = frame_of(parts.text)
        style = "fg bold" if here else "fg" if level in ("error", "warning") else "dim"
        room = width - digits - 4 - (13 if here else 0)
        row.put(at + 2 + timed, text, style, max(0, room - timed))
        if here:
            row.plane = "sel"
            row.put_right(x + width, "root cause", "accent")
        rows.append(row)
    return rows
