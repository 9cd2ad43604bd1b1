"""What stands above the models, below them, and where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from vllm_studio_tui.domain.download import Download
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.model import Model, ModelPlace, Source
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.downloads import room, rows_of
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.table import Parts

#: Whose stores models are found in, in words.
SOURCES: dict[str, str] = {
    Source.HUB: "the hub's cache", Source.OLLAMA: "Ollama", Source.LMSTUDIO: "LM Studio",
    Source.LLAMA_CPP: "llama.cpp's cache", Source.DEMO: "the demo",
}  # fmt: skip


#: Folders that are named where nothing was found.
LOOKED = 8


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of all models.

    Attributes:
        models: None: not looked for yet.
        at: When they were looked for.
        places: Where; empty: nobody asked, because there are some.
        free, total: Bytes of the disk that downloads go to.
        error: Why what is shown may be out of date.
    """

    models: Sequence[Model] | None = None
    at: float | None = None
    places: tuple[ModelPlace, ...] = ()
    free: int | None = None
    total: int | None = None
    error: StudioError | None = None
    downloads: Sequence[Download] = field(default_factory=tuple)


def above(facts: Facts, glyphs: Glyphs, size: Size, width: int) -> list[Row]:
    """Draw what is wrong."""
    rows = [Row()] if size >= Size.WIDE else []
    if facts.error is not None:
        row = Row(bar="warn")
        x = margin(size)
        end = row.run(x, [(f"{glyphs.warning} ", "warn"), (facts.error.title, "fg")])
        row.put(end + 2, facts.error.cause, "dim", max(0, width - end - 4))
        rows.append(row)
    return rows


def note(facts: Facts, size: Size, now: float) -> Parts:
    """Return what stands behind the title: how much they take, and where they were found."""
    if not facts.models or size < Size.BASE:
        return []
    parts: list[tuple[str, str]] = [(f"{room(sum(one.bytes for one in facts.models))} here   ", "dim")]
    if facts.free is not None:
        parts.append((f"{room(facts.free)} free   ", "dim"))
    if size >= Size.FULL:
        parts.append((f"{found_in(facts.models)}   ", "dim"))
        if facts.at is not None:
            parts.append((f"looked {numbers.moment(facts.at, now)}   ", "faint"))
    return parts


def found_in(models: Sequence[Model]) -> str:
    """Return where models were found, in words."""
    folders = {one.origin for one in models if one.source == "folder"}
    words = [f"{len(folders)} folders" if len(folders) > 1 else next(iter(folders))] if folders else []
    words += sorted({SOURCES.get(one.source, one.source) for one in models if one.source != "folder"})
    return f"in {', '.join(words)}" if words else ""


def nothing(places: Sequence[ModelPlace], x: int, width: int, *, read_only: bool, far: str | None) -> list[Row]:
    """Say that there is no model, where they were looked for, and what to do.

    Args:
        far: The machine that was looked at, where it is another one.
    """
    rows = [Row()]
    rows[0].put(x, f"No models on {far}." if far else "No models on this machine.", "fg bold", max(0, width - x - 2))
    if not read_only:
        rows += [Row(), Row()]
        at = x
        for key, word, action in (
            ("n", "get one by its name on the hub", "models.new"),
            ("f8", "name the folders of yours: models_dirs", "app.settings"),
        ):
            if at > x and at + len(key) + len(word) + 1 > width - 2:
                rows.append(Row())
                at = x
            end = rows[-1].run(at, [(key, "accent bold" if key == "n" else "fg bold"), (f" {word}", "dim")])
            rows[-1].link(at, end, action)
            at = end + 3
    if places:
        rows.append(Row())
    there = sorted(places, key=lambda one: not one.there)
    for index, place in enumerate(there[:LOOKED]):
        row = Row()
        row.put(x, "" if index else "looked in", "faint")
        end = row.put(x + 11, place.path, "fg" if place.there else "faint", max(0, width - x - 13))
        words = "; ".join(place.troubles[:1]) if place.troubles else place.why if place.there else "not there"
        row.put(end + 2, words, "warn" if place.troubles else "faint", max(0, width - end - 4))
        rows.append(row)
    return rows


def reading(x: int, width: int) -> list[Row]:
    """Say that models are being looked for."""
    row = Row()
    row.put(x, "looking for models", "faint", max(0, width - x))
    return [row]


def downloads(facts: Facts, glyphs: Glyphs, x: int, width: int, *, now: float, writes: bool, most: int) -> list[Row]:
    """Draw what is coming, with its heading; in at most so many rows."""
    if not facts.downloads or most < 2:
        return []
    rows: list[Row] = []
    head = Row()
    end = head.put(x, "DOWNLOADS", "dim bold")
    going = sum(1 for one in facts.downloads if one.state.live)
    words = f"{going} of {len(facts.downloads)} under way" if len(facts.downloads) > 1 else ""
    head.put(end + 2, words, "faint", max(0, width - end - 4))
    if width >= 120:
        rows.append(head)
    for at, one in enumerate(facts.downloads):
        drawn = rows_of([one], glyphs, x, width, now=now, writes=writes)
        if len(rows) + len(drawn) > most:
            more = Row()
            more.put(x + 2, f"{len(facts.downloads) - at} more", "faint")
            return [*rows[: most - 1], more]
        rows += drawn
    return rows


def disk_row(facts: Facts, glyphs: Glyphs, x: int, width: int) -> Row | None:
    """Draw how full the disk of the models is, and how much of that they are."""
    free, total = facts.free, facts.total
    if not facts.models or not total or free is None or width < 120:
        return None
    here = sum(one.bytes for one in facts.models)
    if here > total - free:  # they lie on more disks than this one
        return None
    row = Row()
    row.put(x, "ROOM", "dim bold")
    at = row.run(x + 11, charts.bar(glyphs, (total - free) / total, 60)) + 2
    for words, word in ((room(here), " models here"), (room(max(0, total - free - here)), " other"),
                        (room(free), " free")):  # fmt: skip
        if at + cell_len(words) + len(word) > width - 2:
            break
        at = row.run(at, [(words, "fg"), (word, "dim")]) + 3
    return row


def labelled(pairs: Sequence[tuple[str, Parts]], x: int, width: int, most: int = 40) -> list[Row]:
    """Draw facts with their labels, a row or more each: a text that is alone is wrapped."""
    rows: list[Row] = []
    start = x + 11
    for label, parts in pairs:
        if not parts:
            continue
        row = Row()
        row.put(x, label, "dim")
        if len(parts) == 1 and cell_len(parts[0][0]) > width - start - 2:
            lines = wrap(parts[0][0], max(8, width - start - 2))[:4]
            for index, line in enumerate(lines):
                if index:
                    rows.append(row)
                    row = Row()
                row.put(start, line, parts[0][1])
        else:
            at = start
            for text, style in parts:
                at = row.put(at, text, style, max(0, width - 2 - at))
        rows.append(row)
        if len(rows) >= most:
            break
    return rows[:most]
