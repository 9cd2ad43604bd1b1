"""What is known of the model under the cursor: all of it at full size or as a sheet, the main facts in few rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.download import Download
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint.downloads import facts_of, room, rows_of, state_word
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Parts
from vllm_studio_tui.tui.screens.models.fitting import here_words, tokens
from vllm_studio_tui.tui.screens.models.lines import Line
from vllm_studio_tui.tui.screens.models.rows import SOURCES, labelled
from vllm_studio_tui.tui.screens.models.words import architecture, context, kept_in, parameters

if TYPE_CHECKING:
    from vllm_studio_tui.domain.fit import Fit
    from vllm_studio_tui.domain.model import ModelDetail
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.screens.models.knowledge import Known

#: Suggestions for its recipe that are named.
SUGGESTED = 4


def detail_rows(
    line: Line | None, known: Known | None, snapshot: Snapshot | None, glyphs: Glyphs, x: int, width: int, now: float,
    *, writes: bool, alone: bool,
) -> list[Row]:  # fmt: skip
    """Draw all that is known of a model, or of a download that is none yet.

    Args:
        alone: Nothing else shows the download.
    """
    if line is None:
        return []
    rows = [_head(line, x, width)]
    if line.download is not None and alone:
        rows += [Row(), *rows_of([line.download], glyphs, x, width, now=now, writes=writes)]
    return [*rows, *labelled(_pairs(line, known, snapshot, glyphs, now), x, width)]


def few_rows(
    line: Line | None, known: Known | None, snapshot: Snapshot | None, glyphs: Glyphs, x: int, width: int, height: int,
    now: float,
) -> list[Row]:  # fmt: skip
    """Draw the main facts in so many rows."""
    if line is None or height < 1:
        return []
    head = _head(line, x, width - 14)
    key = head.put_right(width - 2, "i all of it", "dim")
    head.put(key, "i", "fg bold")
    head.link(key, width - 2, "table.info")
    return [head, *labelled(_pairs(line, known, snapshot, glyphs, now), x, width, height - 1)][:height]


def _head(line: Line, x: int, width: int) -> Row:
    row = Row()
    end = row.put(x, line.name, "fg bold", max(0, width - x - 2))
    if line.model is not None and line.model.path != line.name:
        row.put(end + 3, line.model.path, "dim", max(0, width - end - 5))
    elif line.download is not None:
        revision = f", revision {line.download.revision[:12]}" if line.download.revision else ""
        row.put(end + 3, f"{line.download.repo}{revision}", "dim", max(0, width - end - 5))
    return row


def _pairs(
    line: Line, known: Known | None, snapshot: Snapshot | None, glyphs: Glyphs, now: float
) -> list[tuple[str, Parts]]:
    """Return the facts with their labels, the most important first."""
    one = line.model
    if one is None:
        assert line.download is not None
        return _of_download(line.download, now)
    pairs: list[tuple[str, Parts]] = []
    if one.complete is False:
        pairs.append(("missing", [(one.missing or "some of its files", "warn")]))
    shape = [words for words in (
        architecture(one.architecture), f"{parameters(one.parameters)} parameters" if one.parameters else "",
        kept_in(one), f"{context(one.context)} context" if one.context else "",
    ) if words]  # fmt: skip
    pairs.append(("shape", [(", ".join(shape) or "not known", "fg" if shape else "faint")]))
    if known is not None and known.fit is not None:
        pairs += _memory(known.fit, known.here, known.gpus, known.of)
    pairs.append(("recipes", _recipes(line, snapshot, glyphs, now)))
    if known is not None:
        pairs += _found_out(known, glyphs)
    pairs.append(("where", [(_where(line), "fg")]))
    if one.modified is not None:
        pairs.append(("changed", [(numbers.day_time(one.modified, now), "dim")]))
    return pairs


def _of_download(one: Download, now: float) -> list[tuple[str, Parts]]:
    return [
        ("state", [(", ".join([state_word(one), *facts_of(one)]), "fg")]),
        ("began", [(numbers.day_time(one.started, now), "dim")] if one.started else []),
        ("into", [(one.path, "fg")] if one.path else []),
    ]


def _memory(fit: Fit, here: Sequence[tuple[int, int]], gpus: int, of: int) -> list[tuple[str, Parts]]:
    """Return what it needs of a GPU's memory, and what fits."""
    token = f"; a token costs {numbers.size(fit.kv_bytes_per_token)}" if fit.kv_bytes_per_token else ""
    words = f"{room(fit.weights_bytes)} weights{token}"
    cache = fit.parts.get("kv")
    if cache is not None and cache.likely:
        words += f"; {tokens(fit.context)} need {room(cache.likely * max(1, fit.gpus))}"
    certain = "" if fit.certain else "  likely"
    return [("memory", [(words, "fg")]), ("here", [(here_words(here, gpus, of), "fg"), (certain, "faint")])]


def _recipes(line: Line, snapshot: Snapshot | None, glyphs: Glyphs, now: float) -> Parts:
    if not line.recipes:
        return [("none", "dim"), ("   r makes one", "faint")]
    last = {run.recipe_id: run for run in snapshot.every} if snapshot is not None else {}
    parts: list[tuple[str, str]] = []
    for recipe in line.recipes[:12]:
        run = last.get(recipe)
        if run is not None:
            mark, colour = glyphs.state(run.state)
            parts.append((f"{mark} ", colour))
        parts.append((recipe, "fg"))
        words = "never run" if run is None else str(run.state) if run.live else numbers.ago(
            run.status.ended_at or run.status.started_at, now)  # fmt: skip
        parts.append((f" {words}   ", "dim"))
    if len(line.recipes) > 12:
        parts.append((f"{len(line.recipes) - 12} more", "faint"))
    return parts


def _found_out(known: Known, glyphs: Glyphs) -> list[tuple[str, Parts]]:
    """Return what was found out of its files."""
    if known.error is not None:
        return [("files", [(f"{known.error.title}. {known.error.cause}".rstrip(), "warn")])]
    pairs = [("engines", _engines(known, glyphs))]
    detail = known.detail
    if detail is None:
        return pairs
    for index, (name, value, why) in enumerate(detail.suggestions[:SUGGESTED]):
        parts = [(f"{name} ", "dim"), (value, "fg"), (f"  {why}" if why else "", "faint")]
        pairs.append(("" if index else "suggested", parts))
    pairs.append(("files", _files(detail)))
    about = "   ".join(f"{name} {value}" for name, value in detail.about.items() if value)
    pairs.append(("about", [(about, "fg")] if about else []))
    pairs += [("note" if not index else "", [(note, "dim")]) for index, note in enumerate(detail.notes)]
    return pairs


def _files(detail: ModelDetail) -> Parts:
    """Return how many files it has, by what they are for, and those that hold most."""
    sizes: dict[str, list[int]] = {}
    for one in detail.files:
        sizes.setdefault(one.role, []).append(one.bytes)
    parts = []
    for role, found in sorted(sizes.items(), key=lambda one: -sum(one[1])):
        files = f" in {len(found)} files" if len(found) > 1 else ""
        parts.append(f"{role} {room(sum(found))}{files}")
    shared = sum(one.bytes for one in detail.files if one.shared)
    if shared:
        parts.append(f"{room(shared)} used by something else too")
    return [("   ".join(parts), "fg")] if parts else []


def _engines(known: Known, glyphs: Glyphs) -> Parts:
    parts: list[tuple[str, str]] = []
    if not any(one.usable for one in known.engines):
        if not known.engines:
            return [("none reads this format", "warn")]
        parts.append((f"{glyphs.warning} ", "warn"))
        parts.append(("none is installed that reads it:   ", "fg"))
    for one in known.engines[:6]:
        parts += (
            [(f"{glyphs.passed} ", "ok"), (f"{one.words}   ", "fg")] if one.usable else [(f"{one.title}   ", "faint")]
        )
    return parts


def _where(line: Line) -> str:
    one = line.model
    assert one is not None
    source = SOURCES.get(one.source, one.source)
    words = [room(one.bytes)]
    if one.source == "folder":
        words.append(f"in {one.origin}")
    else:
        words.append(f"of {source}, {one.origin}" if one.origin and one.origin != one.source else f"of {source}")
    return " ".join(words)
