"""What stands above the requests, their details, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.cells import cell_len

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.requests import LiveRequests
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.screens.requests.lines import GROUPS, Line, wait

VIEWS = ("live", "past", "keys")
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of all requests.

    Attributes:
        tally: How many ended in the last hour, by how; None: not known yet.
        error: Why what is shown may be out of date.
    """

    live: LiveRequests = field(default_factory=LiveRequests)
    tally: Mapping[str, int] | None = None
    error: StudioError | None = None

    @property
    def running(self) -> int:
        return sum(1 for one in self.live.requests if not one.waits)

    @property
    def waiting(self) -> int:
        return sum(1 for one in self.live.requests if one.waits)


def above(facts: Facts, view: str, glyphs: Glyphs, size: Size, width: int) -> list[Row]:
    """Draw the title, the sums of the last hour, and what is wrong."""
    x = margin(size)
    rows = [Row()] if size >= Size.WIDE else []
    rows.append(_head(facts, view, size, width))
    for error in (facts.error, facts.live.error):
        if error is not None:
            rows += _error(error, glyphs, x, width)
    if size >= Size.BASE and facts.tally:
        rows.append(_last_hour(facts.tally, x, width))
    if size >= Size.BASE:
        rows.append(Row())
    return rows


def _head(facts: Facts, view: str, size: Size, width: int) -> Row:
    row = Row()
    x = margin(size)
    if size >= Size.COMPACT:
        x = row.put(x, "REQUESTS", "dim bold") + 2
    for number, words in ((facts.running, "running"), (facts.waiting, "wait for a model")):
        words = words if size >= Size.BASE else words.split(" ")[0]
        if number or words == "running":
            x = row.run(x, [(str(number), "fg bold"), (f" {words}", "dim")]) + 3
    at = x + 2 if size >= Size.BASE else x
    if at + 20 <= width:
        for name in VIEWS:
            end = row.put(at, name, "accent bold" if name == view else "faint")
            row.link(at, end, f"view:{name}")
            at = end + (3 if size >= Size.BASE else 1)
    url = f"{facts.live.url.rstrip('/')}/v1" if facts.live.url else "serves" if facts.live.serving else "nothing serves"
    if at + 2 + cell_len(url) < width:
        row.put_right(width - 2, url, "dim" if facts.live.serving else "faint")
    return row


def _last_hour(tally: Mapping[str, int], x: int, width: int) -> Row:
    """Draw how the requests of the last hour ended; what leads nowhere is left out."""
    whole = sum(tally.values())
    parts = [f"{whole} request{'' if whole == 1 else 's'}"]
    for words, ends in GROUPS.items():
        number = sum(tally.get(end, 0) for end in ends)
        if number:
            parts.append(f"{number} {words}")
    row = Row()
    room = max(0, width - x - 2)
    whole_words, short_words = (f"last hour  {', '.join(some)}" for some in (parts, parts[1:] or parts))
    # What is good and what is not adds up to all of them: the sum goes first, then what it is a sum of.
    forms = (whole_words, short_words, short_words.removeprefix("last hour  "))
    words = next((form for form in forms if cell_len(form) <= room), forms[-1])
    if words.startswith("last hour"):
        x = row.put(x, "last hour", "faint") + 2
        words = words.removeprefix("last hour  ")
    row.put(x, words, "dim", max(0, width - x - 2))
    return row


def _error(error: StudioError, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    row = Row(bar="warn")
    end = row.run(x, [(f"{glyphs.warning} ", "warn"), (error.title, "fg")])
    if error.cause:
        row.put(end + 2, error.cause, "dim", max(0, width - end - 4))
    return [row]


def nothing(facts: Facts, x: int, width: int) -> list[Row]:
    """Say that there is no request, and what to do for one to come."""
    if facts.live.serving:
        where = f"{facts.live.url.rstrip('/')}/v1" if facts.live.url else "its socket"
        words = f"No request yet. Point a program at {where}."
    else:
        words = "No request yet, and nothing serves from this home."
    rows = []
    for line in wrap(words, max(20, width - x - 2)):
        rows.append(Row())
        rows[-1].put(x, line, "dim")
    if not facts.live.serving:
        rows.append(Row())
        end = rows[-1].put(x, "vllm-studio serve", "fg bold", max(0, width - x - 2))
        rows[-1].put(end + 2, "in a shell gives other programs one address for every model", "faint",
                     max(0, width - end - 4))  # fmt: skip
    keys = Row()
    at = x
    for key, word, action in (("3", "chat", "app.chat"), ("n", "new key", "requests.new")):
        end = keys.run(at, [(key, "fg bold"), (f" {word}", "dim")])
        keys.link(at, end, action)
        at = end + 3
    return [*rows, Row(), keys]


def detail(line: Line | None, x: int, width: int, *, tight: bool) -> list[Row]:
    """Draw what is known of a request; with `tight` two values in a row."""
    if line is None:
        return []
    room = max(10, width - x - 2)
    rows = [Row()]
    end = rows[0].put(x, line.who, "fg bold", room) + 2
    if tight:
        rows[0].put(end, line.state(), "dim", max(0, width - end - 2))
    else:
        rows[0].put(end, line.model or "", "dim", max(0, width - end - 2))
        rows += [Row(), *(_text(x, text) for text in wrap(line.state(), room)[:6]), Row()]
    values = [(name, text) for name, text in _values(line) if text]
    columns = 2 if tight and width >= 70 else 1
    share = room // columns
    for first in range(0, len(values), columns):
        row = Row()
        for column, (name, text) in enumerate(values[first : first + columns]):
            at = x + column * share
            row.put(at, name, "dim")
            row.put(at + 11, text, "fg", max(0, share - 12))
        rows.append(row)
    return rows


def _text(x: int, text: str) -> Row:
    row = Row()
    row.put(x, text, "fg")
    return row


def _values(line: Line) -> list[tuple[str, str]]:
    live, ended = line.live, line.ended
    prompt, out, about = line.tokens
    moment = live.at if live is not None else ended.at if ended is not None else None
    cached = ended.cached_tokens if ended is not None else None
    one = live or ended
    assert one is not None
    written = f"{'~' if about else ''}{numbers.count(out)}" if out is not None else ""
    thought = ended.reasoning_tokens if ended is not None else None
    return [
        ("came" if live is not None else "ended", (iso_time(moment) or "")[:19].replace("T", " ") + " UTC"),
        ("asked for", (ended.requested_model if ended is not None else line.model) or ""),
        ("model", (ended.model if ended is not None else "") or ""),
        ("recipe", line.recipe or ""),
        ("run", line.run_id or ""),
        ("path", one.endpoint or ""),
        ("prompt", _joined(numbers.count(prompt, ""), f"{numbers.count(cached)} cached" if cached else "")),
        ("out", _joined(written, f"{numbers.count(thought)} thinking" if thought else "")),
        ("speed", f"{numbers.rate(line.speed)} tok/s" if line.speed is not None else ""),
        ("TTFT", numbers.latency(line.ttft, "")),
        ("waited", wait(live.queued if live is not None else ended.queued_seconds if ended else None, "")),
        ("loaded", wait(live.load if live is not None else ended.load_seconds if ended else None, "")),
        ("total", numbers.latency(ended.total_seconds, "") if ended is not None else numbers.duration(live.age, "")
         if live is not None else ""),
        ("own cost", wait(ended.overhead_seconds, "") if ended is not None else ""),
        ("status", str(ended.status) if ended is not None and ended.status is not None else ""),
        ("client", one.client or ""),
        ("streamed", "" if one.streamed is None else "yes" if one.streamed else "no"),
        ("id", line.key),
        ("engine id", (ended.upstream_id or "") if ended is not None else ""),
    ]  # fmt: skip


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def as_csv(lines: list[Line]) -> str:
    """Return requests that have ended as CSV."""
    import csv
    import io

    from vllm_studio_tui.domain.requests import request_document

    rows = [request_document(line.ended) for line in lines if line.ended is not None]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else ["id"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # A spreadsheet takes text that begins with one of these for a formula.
        writer.writerow(
            {name: f"'{value}" if str(value)[:1] in ("=", "+", "-", "@") and isinstance(value, str) else value
             for name, value in row.items()}
        )  # fmt: skip
    return stream.getvalue()
