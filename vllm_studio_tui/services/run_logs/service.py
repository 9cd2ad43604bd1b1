"""Logs for somebody who cannot open their files: each call opens the log, answers and closes it. Blocking.

Nothing is remembered from one call to the next: who asks says how far it was, so that a server that was started anew
goes on where the last one ended. What takes long ends in time, and is asked again from where it ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.log_index import PIECE, Hits, LogIndex
from vllm_studio_tui.runs.log_pieces import MARKED, LogCounts, LogHits, LogNews, mark_of
from vllm_studio_tui.runs.log_stages import stage_starts
from vllm_studio_tui.runs.log_text import BLOCK, LogLine, LogText
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.runs.logs import known_secrets
from vllm_studio_tui.runs.read import RunView, run_called

#: Bytes that one answer has at most, and seconds that one takes.
LARGEST = 1024 * 1024
PATIENCE = 0.25
#: Places that one answer has at most; and lines or ranges that may be asked for at once.
PLACES = 50_000
AT_ONCE = 2_000
#: Bytes before what is new that are sent again: a secret that was cut by the end of the file is hidden now.
AGAIN = 4 * 1024
#: The farthest that a file reaches.
FARTHEST = 2**62


class Logs:
    """The logs of the runs of a home."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def news(self, run_id: str, position: int, mark: int, most: int) -> LogNews:
        """Return the log's size, and what was added since.

        Args:
            position: The size that the asking one knows, 0 for none; and by what the end was known then.
            most: Bytes that are wanted at most: the last ones.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        position = _place(position)
        with self._open(run_id) as (_, file):
            size = file.size
            known = file.read(max(0, position - MARKED), min(MARKED, position))
            changed = position > 0 and (size < position or mark_of(known) != mark)
            begin = 0 if changed else max(0, position - AGAIN)
            room = min(max(BLOCK, most), LARGEST)
            if size - begin > room:
                begin = -(-(size - room) // BLOCK) * BLOCK
            data = b"" if size == position and not changed else file.masked(begin, size - begin)
            end = begin + len(data) if data else size
            return LogNews(
                end,
                file.identity,
                mark_of(file.read(max(0, end - MARKED), min(MARKED, end))),
                changed,
                tuple(file.holes()),
                begin,
                data,
            )

    def read(self, run_id: str, offset: int, size: int) -> bytes:
        """Return bytes of the log, secrets masked; at most a MiB.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            return file.masked(_place(offset), min(LARGEST, max(0, size)))

    def counts(self, run_id: str, upto: int) -> LogCounts:
        """Count lines, errors and warnings from a byte on, for a while.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            index = LogIndex(file)
            index.begin_at(_place(upto))
            if index.upto <= file.size:
                index.step(deadline=PATIENCE, most=PLACES)
            return index.found()

    def hits(self, run_id: str, words: str, wanted: Filter, upto: int) -> LogHits:
        """Find the lines with some words that a filter lets through, from a byte on, for a while.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            hits = Hits(file, words, wanted.keeps_text if wanted else None)
            hits.upto = _place(upto)
            if hits.upto <= file.size:
                hits.step(deadline=PATIENCE, most=PLACES)
            return LogHits(hits.upto, hits.count, tuple(hits.at))

    def feeds(self, run_id: str, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Return how many line feeds there are between some bytes.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            return [
                file.read(_place(begin), min(2 * PIECE, max(0, end - begin))).count(b"\n")
                for begin, end in ranges[:AT_ONCE]
            ]

    def kept(self, run_id: str, wanted: Filter, step: int, edge: int) -> tuple[list[LogLine], int]:
        """Return lines above (-1) or below (1) a byte that a filter lets through; see `log_window.LogWindow.fetch`.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            window = LogWindow(file)
            window.filter = wanted
            return window.fetch(-1 if step < 0 else 1, min(_place(edge), file.size), deadline=PATIENCE)

    def lines_at(self, run_id: str, offsets: Sequence[int]) -> list[LogLine | None]:
        """Return the lines that begin at some bytes.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            return file.lines_at([_place(at) for at in offsets[:AT_ONCE]])

    def search(self, run_id: str, words: str, offset: int, step: int) -> tuple[int | None, int]:
        """Return the next line with some words; see `log_text.LogText.search`.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (_, file):
            return file.search(words, min(_place(offset), file.size), -1 if step < 0 else 1)

    def stages(self, run_id: str, begin: int) -> list[tuple[int, str]]:
        """Return where the stages of the attempt that begins at a byte begin, and their names.

        Raises:
            NotFound: There is no such run.
            OSError: It has no log.
        """
        with self._open(run_id) as (run, file):
            stages = run.spec.stages if run.spec is not None else ()
            return [(start.offset, start.name) for start in stage_starts(file, _place(begin), stages)]

    @contextlib.contextmanager
    def _open(self, run_id: str) -> Iterator[tuple[RunView, LogText]]:
        run = run_called(self._places, run_id)
        if run is None:
            raise NotFound(f"no run called {run_id[:80]}", advice="See `vllm-studio logs --list`.")
        try:
            file = LogText(run.log, known_secrets(run))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StudioError(f"{run.log} cannot be read", cause=os.strerror(error.errno or 0)) from None
        with contextlib.closing(file):
            yield run, file


def _place(offset: int) -> int:
    return min(FARTHEST, max(0, offset))
