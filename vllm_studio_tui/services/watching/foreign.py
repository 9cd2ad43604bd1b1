"""Engines that no run of the studio started: found now and then, and read more rarely than our own.

They are somebody else's: of a process nothing but its command line is looked at, no key is taken from it, and an
engine that has no /metrics for us is not asked again until the next look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.sample import EngineHere
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes.engine.reader import EngineProbe

#: Seconds from one look at all processes to the next, before the first, and from one question to an engine to the next.
LOOK_EVERY, FIRST_LOOK, ASK_EVERY = 30.0, 3.0, 5.0
#: Seconds over which percentiles and shares are taken.
WINDOW = 60.0
#: Engines that are read.
MOST = 16
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Foreign:
    here: EngineHere
    probe: EngineProbe
    next_at: float = 0.0
    asked: Future[EngineMetrics] | None = None
    last: EngineMetrics | None = None


def engines_here() -> list[EngineHere]:
    """Return the inference servers that no run of the studio started. Goes through all processes."""
    from vllm_studio_tui.runs.foreign import find_foreign  # every engine's own file is read to know them

    return [
        EngineHere(
            one.pid, one.start, one.backend, clean_line(one.model, limit=200) if one.model else None,
            one.port, one.base_url, one.user,
        )
        for one in find_foreign()
    ]  # fmt: skip


class ForeignEngines:
    """Finds and reads them, in threads of a pool.

    Args:
        find: Looks for them; for tests.
    """

    def __init__(self, pool: ThreadPoolExecutor, find: Callable[[], list[EngineHere]] = engines_here) -> None:
        self._pool = pool
        self._find = find
        self._engines: dict[str, _Foreign] = {}
        self._look_at = time.monotonic() + FIRST_LOOK
        self._looking: Future[list[EngineHere]] | None = None

    def work(self, ours: Collection[str]) -> None:
        """Take what has come, and ask for more where it is time. Waits for nothing.

        Args:
            ours: Addresses of the runs' engines: an engine that was attached is read as a run.
        """
        now = time.monotonic()
        if self._looking is None and now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._looking = self._pool.submit(self._find)
        elif self._looking is not None and self._looking.done():
            self._take(self._looking)
            self._looking = None
        taken = {_place(url) for url in ours}
        for key in [key for key, one in self._engines.items() if _place(one.here.base_url) in taken]:
            del self._engines[key]
        for one in self._engines.values():
            self._read(one, now)

    def engines(self) -> tuple[tuple[EngineHere, ...], dict[str, EngineMetrics]]:
        """Return those that are there, and what was last read of each, by its key."""
        found = {key: one.last for key, one in self._engines.items() if one.last is not None}
        return tuple(one.here for one in self._engines.values()), found

    def _take(self, looking: Future[list[EngineHere]]) -> None:
        try:
            there = looking.result()
        except Exception as error:  # noqa: BLE001, RUF100
            _log.info("foreign engines: %s", error)
            return
        before = self._engines
        self._engines = {}
        for here in _first(there):
            known = before.get(here.key)
            same = known is not None and known.here.start == here.start
            self._engines[here.key] = (
                known if known and same else _Foreign(here, EngineProbe(here.backend, window=WINDOW))
            )

    def _read(self, one: _Foreign, now: float) -> None:
        if one.asked is not None and one.asked.done():
            try:
                one.last = one.asked.result()
            except Exception as error:  # noqa: BLE001, RUF100
                one.last = EngineMetrics(error=str(error)[:200])
            one.asked = None
            if one.last.error is not None:
                one.next_at = now + LOOK_EVERY
        if one.asked is None and now >= one.next_at and one.here.base_url is not None:
            one.next_at = now + ASK_EVERY
            one.asked = self._pool.submit(one.probe.read, one.here.base_url, timeout=2.0)


def _first(there: Iterable[EngineHere]) -> list[EngineHere]:
    """Return one process of each address, the oldest, up to a number that can be read."""
    found: dict[object, EngineHere] = {}
    for here in sorted(there, key=lambda one: (one.start, one.pid)):
        found.setdefault(_place(here.base_url) or here.pid, here)
    return list(found.values())[:MOST]


def _place(url: str | None) -> tuple[str, int] | None:
    """Return host and port of an address; every name of this machine is the same."""
    try:
        parts = urlsplit(url or "")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None
    if not host or port is None:
        return None
    return ("127.0.0.1" if host in ("localhost", "::1", "0.0.0.0", "::") else host, port)  # noqa: S104
