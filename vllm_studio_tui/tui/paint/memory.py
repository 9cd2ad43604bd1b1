"""The memory of a GPU that a recipe would take, as rows: one bar with its limit, or each part with its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint.ink import Row

if TYPE_CHECKING:
    from vllm_studio_tui.domain.fit import Fit
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

WORDS = {
    "weights": "weights", "kv": "KV cache", "activations": "activations", "graphs": "graphs", "overhead": "other",
}  # fmt: skip
#: Columns of a part's name and figure, and of the shortest bar that says anything.
NAMED, LEAST = 20, 8


def verdict(fit: Fit) -> tuple[str, str]:
    """Return in words whether it fits, and the style of that."""
    need = fit.per_gpu.likely
    sure = "" if fit.certain else "likely "
    if fit.fits:
        return f"{sure}fits", "fg" if fit.certain else "dim"
    return f"{sure}{numbers.gib(need - fit.limit)} too much", "err" if fit.certain else "warn"


def lead_of(fit: Fit) -> str:
    """Return whose memory it is."""
    return "per GPU" if fit.gpus > 1 else "memory"


def memory_line(fit: Fit, glyphs: Glyphs, x: int, end: int, *, lead: str = "") -> Row:
    """Draw `per GPU ━━━━━│━━ 88.8 of 73.2 GiB, 15.6 too much`."""
    row = Row()
    at = row.put(x, lead or lead_of(fit), "dim bold" if lead else "dim") + 2
    words, style = verdict(fit)
    said = f"{numbers.gib(fit.per_gpu.likely)} of {numbers.gib(fit.limit)} GiB, "
    start = max(at, end - len(said) - len(words))
    if start - at - 2 >= LEAST:
        _bar(row, fit.per_gpu.likely, fit, glyphs, at, min(start - 2, at + 40), style)
        start = min(start, at + 42)
    row.put(row.put(start, said, "fg", max(0, end - start)), words, style, max(0, end - start - len(said)))
    return row


def memory_parts(fit: Fit, glyphs: Glyphs, x: int, end: int) -> list[Row]:
    """Draw each part with its figure and a bar, their sum, and what the engine may take."""
    rows = [Row()]
    rows[0].put(x, "MEMORY PER GPU  GiB" if fit.gpus > 1 else "MEMORY  GiB", "dim bold")
    for name, part in fit.parts.items():
        if not part.likely:
            continue
        row = Row()
        row.put(x, WORDS.get(name, name), "dim")
        row.put_right(x + NAMED, numbers.gib(part.likely), "fg")
        if end - x - NAMED - 2 >= LEAST:
            _bar(row, part.likely, fit, glyphs, x + NAMED + 2, end, "fill", limit=False)
        rows.append(row)
    total = Row()
    total.put(x, "sum", "dim")
    total.put_right(x + NAMED, numbers.gib(fit.per_gpu.likely), "fg bold")
    words, style = verdict(fit)
    at = total.put(x + NAMED + 2, f"of {numbers.gib(fit.limit)} allowed: ", "dim", max(0, end - x - NAMED - 2))
    total.put(at, words, style, max(0, end - at))
    rows.append(total)
    for text in said_of(fit):
        row = Row()
        row.put(x, text, "dim", end - x)
        rows.append(row)
    return rows


def said_of(fit: Fit) -> list[str]:
    """Return what follows for a person, in short lines."""
    said = []
    if fit.max_context:
        users = f" for {fit.users} at once" if fit.users > 1 else ""
        said.append(f"up to {fit.max_context} tokens{users}")
    if fit.fits and fit.max_users > 1:
        said.append(f"{fit.max_users} texts of {fit.context} tokens at once")
    if fit.learned is not None:
        said.append(corrected(fit.learned.starts))
    return said


def corrected(starts: int) -> str:
    """Return that a figure was learned from so many starts."""
    return f"corrected by {starts} earlier start{'s' if starts > 1 else ''}"


def _bar(row: Row, size: int, fit: Fit, glyphs: Glyphs, at: int, end: int, style: str, *, limit: bool = True) -> None:
    room = end - at
    scale = max(fit.memory, fit.per_gpu.likely, 1)
    full = min(room, max(1, round(room * size / scale)))
    row.put(at, glyphs.bar * full, "fill" if style in ("fg", "dim") else style)
    row.put(at + full, glyphs.track * (room - full), "track")
    if limit and fit.limit < scale:
        row.put(at + min(room - 1, round(room * fit.limit / scale)), glyphs.inside, "fg bold")
