"""Writes the changed cells of a frame straight from the lines of their widgets, where nothing lies before them.

Textual renders every widget that a frame touches anew, containers too, cuts all lines where any widget begins, and
crops each piece twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.segment import Segment
from textual._compositor import Compositor, CompositorUpdate
from textual.geometry import Region
from textual.strip import Strip

from vllm_studio_tui.tui.paint.cutting import one_cell_each
from vllm_studio_tui.tui.terminal.slim_output import Span, as_text
from vllm_studio_tui.tui.widgets.whole_lines import WholeLines

#: A widget in the open: where it lies, and what of it is seen.
_Open = tuple[WholeLines, Region, Region]


class DirectUpdate(CompositorUpdate):
    """The changed spans of a frame."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans

    def render_segments(self, console: Any) -> str:
        return as_text(self.spans, console)


def install() -> None:
    """Have partial updates made so where that can be; Textual makes all others."""
    theirs: Any = getattr(Compositor, "render_partial_update", None)
    known = ("_regions_to_spans", "visible_widgets")
    if theirs is None or hasattr(theirs, "ours") or not all(hasattr(Compositor, name) for name in known):
        return

    def render_partial_update(self: Any) -> Any:
        spans = _spans(self, self._dirty_regions) if self._dirty_regions else None
        if spans is None:
            return theirs(self)
        self._dirty_regions.clear()
        return DirectUpdate(spans)

    render_partial_update.ours = True  # type: ignore[attr-defined]
    Compositor.render_partial_update = render_partial_update  # type: ignore[method-assign]


def _spans(compositor: Any, regions: Iterable[Region]) -> list[Span] | None:
    """Return the cells of regions; None where one of them is not wholly a part of one widget in the open."""
    open_ones = _in_the_open(compositor)
    found: dict[int, list[Region]] = {}
    for region in regions:
        at = next((at for at, one in enumerate(open_ones) if one[2].contains_region(region)), None)
        if at is None:
            return None
        found.setdefault(at, []).append(region)
    spans: list[Span] = []
    for at, parts in found.items():
        widget, place, _ = open_ones[at]
        wanted = list(compositor._regions_to_spans(parts))
        lines = widget.whole_lines({y - place.y for y, _, _ in wanted})
        if lines is None:
            return None
        for y, start, end in wanted:
            spans.append((start, y, cut(lines[y - place.y], start - place.x, end - place.x)))
    return spans


def _in_the_open(compositor: Any) -> list[_Open]:
    """Return the widgets of whole lines that no other widget covers in any part; kept until the layout changes."""
    visible = compositor.visible_widgets
    kept = getattr(compositor, "_in_the_open", None)
    if kept is not None and kept[0] is visible:
        return kept[1]  # type: ignore[no-any-return]
    before: list[Region] = []
    found: list[_Open] = []
    for widget, (region, clip) in visible.items():  # the foremost comes first
        seen = region.intersection(clip)
        whole = isinstance(widget, WholeLines) and type(widget).render_lines is WholeLines.render_lines
        if whole and seen and not any(seen.overlaps(other) for other in before):
            found.append((widget, region, seen))
        before.append(seen)
    compositor._in_the_open = visible, found
    return found


def cut(strip: Strip, start: int, end: int) -> Strip | list[Segment]:
    """Return the cells of a line from a column to before another; without the strip that Textual makes of each part."""
    if start <= 0 and end >= strip.cell_length:
        return strip
    found: list[Segment] = []
    at = 0
    for segment in strip._segments:
        if at >= end:
            break
        text = segment.text
        if not one_cell_each(text):
            return strip.crop(start, end)
        after = at + len(text)
        if after > start:
            found.append(
                segment
                if at >= start and after <= end
                else Segment(text[max(0, start - at) : end - at], segment.style, segment.control)
            )
        at = after
    return found
