"""Writing a log to a file that a person names, secrets masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.runs.log_pieces import LogAway
from vllm_studio_tui.runs.log_window import Filter, groups
from vllm_studio_tui.services.run_logs.run_log import open_log
from vllm_studio_tui.tui.flows.export import export

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.run_logs.run_log import RunLog
    from vllm_studio_tui.tui.shell import Shell

#: Lines that are read at once.
STEP = 5000


async def export_log(shell: Shell, run: RunView, wanted: Filter) -> None:
    """Ask for a path, and write the lines there that the filter lets through."""
    opened = partial(open_log, shell.studio, run)
    await export(shell, run.run_id, ".log", partial(lines_of, opened, wanted), f"the log of {run.name}")


def lines_of(opened: Callable[[], RunLog], wanted: Filter) -> Iterator[str]:
    """Yield the lines of a log that a filter lets through, secrets masked, each with its line feed. For a thread.

    Raises:
        OSError: It cannot be read.
        StudioError: It lies elsewhere, and cannot be read to its end.
    """
    file = opened().file
    try:
        file.refresh()
        at, end = 0, file.size
        while at < end:
            lines = file.after(at, STEP, end=end)
            if not lines:
                return
            at = lines[-1].end
            for group, level in groups(lines) if wanted else [(lines, "info")]:
                if not wanted or wanted.keeps(group, level):
                    yield from (f"{line.text}\n" for line in group)
    except LogAway as error:
        raise StudioError("the log cannot be read to its end", cause=f"{error.strerror}.") from None
    finally:
        file.close()
