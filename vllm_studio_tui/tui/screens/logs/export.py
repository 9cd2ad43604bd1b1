"""Writing a log to a file that a person names, secrets masked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.runs.log_text import LogText
from vllm_studio_tui.runs.log_window import Filter, groups
from vllm_studio_tui.runs.logs import known_secrets
from vllm_studio_tui.tui.flows.export import export

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.shell import Shell

#: Lines that are read at once.
STEP = 5000


async def export_log(shell: Shell, run: RunView, wanted: Filter) -> None:
    """Ask for a path, and write the lines there that the filter lets through."""
    await export(shell, run.run_id, ".log", partial(lines_of, run, wanted), f"the log of {run.name}")


def lines_of(run: RunView, wanted: Filter) -> Iterator[str]:
    """Yield the lines of a log that a filter lets through, secrets masked, each with its line feed. For a thread.

    Raises:
        OSError: It cannot be read.
    """
    file = LogText(run.log, known_secrets(run))
    try:
        at, end = 0, file.size
        while at < end:
            lines = file.after(at, STEP, end=end)
            if not lines:
                return
            at = lines[-1].end
            for group, level in groups(lines) if wanted else [(lines, "info")]:
                if not wanted or wanted.keeps(group, level):
                    yield from (f"{line.text}\n" for line in group)
    finally:
        file.close()
