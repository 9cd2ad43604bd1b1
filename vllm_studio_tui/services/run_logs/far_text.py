"""A mirror of a log that lies elsewhere: the parts of it that were looked at, and what is added to it.

Pages are fetched when they are read, and only so many are kept, whatever the log's size. The thread that draws never
waits for one: there a read that needs a page that is not here raises `NotHere`, the page is brought by another thread,
and then it is read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.runs.log_pieces import LogAway, LogNews, NotHere
from vllm_studio_tui.runs.log_text import BLOCK, LogLine, LogText
from vllm_studio_tui.runs.read import RunView

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import LogsApi

T = TypeVar("T")
PAGE = BLOCK
#: Pages that are kept: 32 MiB. Pages that are fetched at once, and beside one that is missing.
KEPT = 512
AT_ONCE = 8
BESIDE = 2
#: Bytes of the end that a look at it brings at most.
END = 4 * PAGE


class FarText(LogText):
    """Random access to a log elsewhere, which is masked there. Nothing is known of it before the first `refresh`."""

    def __init__(self, logs: LogsApi, run: RunView) -> None:
        self.path = run.log
        self.run_id = run.run_id
        self._secrets = ()
        self._logs = logs
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._short: set[int] = set()  # pages that came with less than was there by the size that is known
        self._size = self._mark = 0
        self._file = ""
        self._holes: tuple[tuple[int, int], ...] = ()
        self._other = False
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._never_waits: int | None = None

    def never_wait_here(self) -> None:
        """Let no read wait that is made in this thread."""
        self._never_waits = threading.get_ident()

    @property
    def waits(self) -> bool:
        """Whether this thread may wait for what is not here."""
        return self._never_waits != threading.get_ident()

    def close(self) -> None:
        with self._lock:
            self._pages.clear()

    # --- what is there ----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self._size

    @property
    def identity(self) -> str:
        return self._file

    def replaced(self) -> bool:
        """Return whether the log is another one, or does not hold any more what it held."""
        return self._other

    def refresh(self) -> None:
        """Ask what was added; its end is brought along. For a thread.

        Raises:
            LogAway: It cannot be asked now.
            OSError: There is no such log.
        """
        with self._asking:
            news = self.ask(partial(self._logs.news, self.run_id, self._size, self._mark, END))
            if self._file and (news.changed or news.file != self._file):
                self._other = True
                return
            self._take(news)

    def _take(self, news: LogNews) -> None:
        with self._lock:
            before = self._size
            self._file, self._mark, self._size = news.file, news.mark, news.size
            if news.holes != self._holes:
                self._holes = tuple(news.holes)
            if news.data:
                self._put(news.begin, news.data)
            if before != news.size:
                self._short.clear()
                last = before // PAGE
                if not self._whole(last):
                    self._pages.pop(last, None)

    def hole_before(self, offset: int) -> tuple[int, int] | None:
        return next((hole for hole in reversed(self._holes) if hole[0] <= offset), None)

    def holes(self) -> list[tuple[int, int]]:
        return list(self._holes)

    def data_from(self, offset: int) -> int:
        if offset >= self._size:
            return self._size
        return next((min(end, self._size) for begin, end in self._holes if begin <= offset < end), offset)

    # --- pages ------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the log.

        Raises:
            NotHere: Some are not here, and this thread does not wait.
            LogAway: Some are not here, and cannot be fetched.
        """
        while True:
            with self._lock:
                end = min(offset + size, self._size)
                if offset >= end or offset < 0:
                    return b""
                first, last = offset // PAGE, (end - 1) // PAGE
                missing = [one for one in range(first, last + 1) if not self._whole(one)]
                if not missing:
                    raw = b"".join(self._page(one) for one in range(first, last + 1))
                    return raw[offset - first * PAGE : end - first * PAGE]
            if not self.waits:
                raise NotHere(missing[0], missing[-1])
            if last - first >= KEPT:  # no such range is ever here as a whole
                return b"".join(self.read(at, min(PAGE, end - at)) for at in range(offset, end, PAGE))
            self._fetch(missing[0], missing[-1])

    def bring(self, missing: NotHere) -> None:
        """Fetch what was not here, and what stands beside it. For a thread.

        Raises:
            LogAway: It cannot be fetched now.
        """
        self._fetch(max(0, missing.first - BESIDE), missing.last + BESIDE)

    def _fetch(self, first: int, last: int) -> None:
        for begin in range(first, last + 1, AT_ONCE):
            pages = range(begin, min(begin + AT_ONCE, last + 1))
            with self._lock:
                wanted = [one for one in pages if one * PAGE < self._size and not self._whole(one)]
                known = self._size
            if not wanted:
                continue
            at, count = wanted[0], wanted[-1] - wanted[0] + 1
            data = self.ask(partial(self._logs.read, self.run_id, at * PAGE, count * PAGE))
            with self._lock:
                # What came meanwhile is taken with the news of it, or the size would not fit.
                data = data[: max(0, known - at * PAGE)]
                self._put(at * PAGE, data)
                self._short.update(one for one in wanted if not self._whole(one))

    def _put(self, begin: int, data: bytes) -> None:
        """Keep bytes as pages; part of a page only where its beginning is known."""
        at = begin
        while at < begin + len(data):
            page = at // PAGE
            start = page * PAGE
            stop = min(start + PAGE, begin + len(data))
            known = self._pages.get(page, b"")
            if at - start <= len(known):
                piece = data[at - begin : stop - begin]
                self._pages[page] = known[: at - start] + piece + known[stop - start :]
                self._pages.move_to_end(page)
            at = stop
        while len(self._pages) > KEPT:
            self._short.discard(self._pages.popitem(last=False)[0])

    def _whole(self, page: int) -> bool:
        return page in self._short or len(self._pages.get(page, b"")) >= min(PAGE, self._size - page * PAGE)

    def _page(self, page: int) -> bytes:
        if page in self._pages:
            self._pages.move_to_end(page)
        return self._pages.get(page, b"")

    # --- asked there ------------------------------------------------------------------------------------

    def lines_at(self, offsets: Sequence[int]) -> list[LogLine | None]:
        return self.ask(partial(self._logs.lines_at, self.run_id, list(offsets))) if offsets else []

    def search(self, words: str, offset: int, step: int) -> tuple[int | None, int]:
        return self.ask(partial(self._logs.search, self.run_id, words, offset, step))

    def ask(self, question: Callable[[], T]) -> T:
        """Return what a question is answered with.

        Raises:
            LogAway: Nobody answers, or it is refused.
            OSError: The log cannot be read there.
        """
        try:
            return question()
        except StudioError as error:
            raise LogAway(0, error.title) from None
