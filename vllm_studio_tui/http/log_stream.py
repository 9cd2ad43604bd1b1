"""A log as events: its lines, each with the place after it, so that who comes back goes on where it was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.json_body import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import RunsApi


class LogStream:
    """One reader of one log. Its calls are blocking.

    Attributes:
        over: The run has ended and everything is read.
    """

    def __init__(self, runs: RunsApi, run: RunView, limit: int) -> None:
        self._runs = runs
        self._run = run
        self._limit = limit
        self._reader = runs.log_reader(run)
        self.over = False

    def begin(self, last_id: str | None) -> bytes:
        """Return the end of the log, or what followed the event that was seen last."""
        run_id, _, place = (last_id or "").rpartition("@")
        if run_id == self._run.run_id and place.isascii() and place.isdigit() and len(place) < 19:
            self._reader.position = int(place)
            return self.more()
        return self._events(self._reader.last(self._limit)) or self.more()

    def more(self) -> bytes:
        """Return what was added."""
        ended = not self._live()
        lines = self._reader.more()
        if not lines and ended:
            lines = self._reader.rest()
            self.over = not lines
        return self._events(lines)

    def _live(self) -> bool:
        return next(self._runs.watch(self._run)).live

    def _events(self, lines: Iterable[tuple[int, str]]) -> bytes:
        now = iso_time(time.time())
        name = self._run.run_id
        return b"".join(
            b"id: %b@%d\nevent: log\ndata: %b\n\n"
            % (name.encode(), place, json_bytes({"data": {"session_id": name, "line": line}, "timestamp": now}))
            for place, line in lines
        )
