"""Where in its log an engine reached each stage of a start."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from vllm_studio_tui.domain.spec import Stage
from vllm_studio_tui.kit.regex import regex
from vllm_studio_tui.runs.log_text import LogText

#: A start that writes more is looked at so far, in bytes; and so many characters of each line.
MOST = 2 * 1024 * 1024
LINE = 600


class StageStart(NamedTuple):
    """A stage, and where the first line that tells of it begins, in bytes."""

    offset: int
    name: str


def stage_starts(file: LogText, begin: int, stages: Sequence[Stage], *, most: int = MOST) -> list[StageStart]:
    """Return the stages of the attempt that begins at a byte, in the order in which they were reached. For a thread."""
    found: list[StageStart] = []
    reached: set[str] = set()
    at, limit = begin, min(file.size, begin + most)
    while at < limit and "serving" not in reached:
        lines = file.after(at, 2000, end=limit)
        if not lines:
            break
        for line in lines:
            if line.offset > begin and line.text.startswith("[vllm-studio] attempt "):
                return found
            name = _stage(line.text[:LINE], stages)
            if name is not None and name not in reached:
                reached.add(name)
                found.append(StageStart(line.offset, name))
        at = lines[-1].end
    return found


def stage_at(starts: Sequence[StageStart], offset: int) -> str | None:
    """Return the stage that a line belongs to; None before the first."""
    at = bisect_right(starts, offset, key=lambda start: start.offset) - 1
    return starts[at].name if at >= 0 else None


def _stage(text: str, stages: Sequence[Stage]) -> str | None:
    return next((stage.name for stage in stages if regex(stage.pattern).search(text)), None)
