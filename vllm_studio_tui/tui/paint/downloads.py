"""Downloads as rows and words: what each has, how fast it is, and what keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap

#: Each state's mark, as runs have it.
_MARKS: dict[DownloadState, str] = {
    DownloadState.QUEUED: "queued", DownloadState.RUNNING: State.LOADING, DownloadState.PAUSED: State.UNHEALTHY,
    DownloadState.FAILED: State.FAILED,
}  # fmt: skip
TIB = 1024**4
#: What can be gone on with.
STOPPED = frozenset({DownloadState.PAUSED, DownloadState.FAILED})


def room(size: float | None, unknown: str = "–") -> str:
    """Format bytes of disks: as `size`, but TiB from a tebibyte on."""
    return f"{size / TIB:.2f} TiB" if size is not None and size >= TIB else numbers.size(size, unknown)


def name_of(one: Download) -> str:
    """Return what a download is called where there is little room: the name without its owner."""
    return one.name.rsplit("/", 1)[-1] or one.name


def state_mark(one: Download, glyphs: Glyphs) -> tuple[str, str]:
    """Return the mark of its state, and its colour."""
    return (glyphs.passed, "ok") if one.state is DownloadState.DONE else glyphs.state(_MARKS[one.state])


def state_word(one: Download) -> str:
    """Return its state in a word: how far it is, while it goes on."""
    if one.state is DownloadState.RUNNING:
        return numbers.percent(one.share, "begins")
    return "waits" if one.state is DownloadState.QUEUED else str(one.state)


def facts_of(one: Download) -> list[str]:
    """Return what is known of its pace, the most important first."""
    facts = []
    if one.bytes_total:
        facts.append(numbers.memory(one.bytes_done, one.bytes_total).replace(" / ", " of "))
    elif one.bytes_done:
        facts.append(numbers.size(one.bytes_done))
    if one.state is DownloadState.RUNNING and one.speed:
        facts.append(f"{numbers.size(one.speed)}/s")
    if one.state is DownloadState.RUNNING and one.seconds_left is not None and 0 < one.seconds_left < 30 * 86400:
        facts.append(f"about {numbers.about(one.seconds_left)} left")
    if one.files_total:
        facts.append(f"{one.files_done or 0} of {one.files_total} files")
    return facts


def chip(one: Download, longest: int) -> str:
    """Return a download in a few words, for the header."""
    words = state_word(one)
    name = name_of(one)
    if cell_len(name) > longest:
        name = name[:longest].rstrip("-._ ")
    return f"{name} {words}" if name else words


def rows_of(
    downloads: Sequence[Download], glyphs: Glyphs, x: int, width: int, *, now: float, writes: bool = True
) -> list[Row]:
    """Draw downloads, each in a row where that is wide enough, else in two; what stopped one stands below it."""
    rows: list[Row] = []
    end = width - 2
    for one in downloads:
        mark, colour = state_mark(one, glyphs)
        row = Row()
        row.put(x, mark, colour)
        wide = width >= 120
        name = min(32 if wide else 18, max(8, width // 4))
        row.put(x + 2, name_of(one), "fg bold" if one.state.live else "fg", name)
        at = x + 2 + name + 2
        cells = 50 if width >= 150 else 30 if wide else 24 if width >= 78 else max(0, end - at - 7)
        style = (
            "accent" if one.state is DownloadState.RUNNING else "err" if one.state is DownloadState.FAILED else "data"
        )
        if cells >= 4:
            at = row.run(at, charts.bar(glyphs, one.share, cells, style)) + 2
        word = numbers.percent(one.share, glyphs.unknown) if one.state is not DownloadState.QUEUED else "waits"
        at = row.put(at, word.rjust(4), "fg bold" if one.state is DownloadState.RUNNING else "dim") + 2
        facts = facts_of(one)
        if one.state is DownloadState.PAUSED:
            facts = [f"paused {numbers.ago(one.changed, now)}" if one.changed else "paused", *facts]
        if one.state is DownloadState.FAILED:
            facts = ["stopped", *facts]
        left = list(facts)
        while left and at + cell_len(left[0]) <= end:
            at = row.put(at, left.pop(0), "fg" if len(left) == len(facts) - 1 else "dim") + 3
        rows.append(row)
        key = ("r", "go on") if writes and one.state in STOPPED else None
        if key is not None and at + 8 <= end:
            _key(row, at, key)
            key = None
        if left and not wide and width >= 60:
            second = Row()
            second.put(x + 2 + name + 2, ", ".join(left), "dim", max(0, end - x - name - 4))
            rows.append(second)
        if one.state is DownloadState.FAILED and one.error:
            rows += _trouble(one, x, width)
    return rows


def _key(row: Row, at: int, key: tuple[str, str]) -> None:
    end = row.run(at, [(key[0], "fg bold"), (f" {key[1]}", "dim")])
    row.link(at, end, "models.run")


def _trouble(one: Download, x: int, width: int) -> list[Row]:
    """Draw why a download stopped, and what mends that."""
    rows = []
    for text, style in ((one.error, "fg"), (one.advice, "dim")):
        for line in wrap(text or "", max(8, width - x - 4))[:3] if text else []:
            row = Row(bar="err")
            row.put(x + 2, line, style)
            rows.append(row)
    return rows
