"""Looks at every sample, and says what is wrong now; a thread of its own keeps and tells what changed.

Several programs may watch one home: each knows what is wrong, one of them keeps and tells it, by a lock on a file. Who
takes that over goes on with what the one before had begun. Machines that share a home see different things: each has a
lock, and alerts, of its own.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.alerts import Alert, AlertRule, is_quiet
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.file_access import version_mark
from vllm_studio_tui.kit.paths import machine_id, private_dir
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.runs.alert_line import write_worst
from vllm_studio_tui.services.alerts.rules import built_in, make_rules
from vllm_studio_tui.services.alerts.state import AlertStates
from vllm_studio_tui.services.alerts.telling import Channels, channel_settings

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.store.alerts import AlertRows, KeptAlert
    from vllm_studio_tui.store.database import Database

#: Seconds after which it is looked again whether nobody else keeps them, and whether the quiet hours are over.
AGAIN = 10.0

#: The rule of what says that alerts could not be told.
UNTOLD = "untold"

log = logging.getLogger(__name__)


class AlertWatch:
    """Follows the rules of a home, sample by sample.

    Args:
        settings: Reads them as they are now: when the first sample comes, and when their file was changed.
        db: Where alerts are kept; opened by the thread that keeps them.
        channels: How they are told; for tests.
    """

    def __init__(
        self,
        places: Places,
        settings: Callable[[], Settings],
        db: Callable[[], Database],
        *,
        channels: Callable[[Settings], Channels] = Channels,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._places = places
        self._machine, self._host = machine_id(), os.uname().nodename
        self._lock_file = places.alerts_lock
        self._settings = settings
        self._db = db
        self._make_channels = channels
        self._clock = clock
        self._states = AlertStates(self._machine, self._host)
        self._rules: Mapping[str, AlertRule] | None = None
        self._problem: Alert | None = None
        self._untold: Alert | None = None
        self._set: Settings | None = None
        self._file_mark: tuple[int, int, int] | None = None
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._lock: int | None = None
        #: What is wrong by its id, with the key of what it is about; and what is over and not kept yet.
        self._firing: dict[str, tuple[str, Alert]] = {}
        self._over: list[tuple[str, Alert]] = []
        self._left: list[tuple[str, Alert]] = []
        self._channels: Channels | None = None

    # --- in the thread that samples -----------------------------------------------------------------------

    def look(self, snapshot: Snapshot) -> tuple[Alert, ...]:
        """Take a sample; return what is wrong now, trouble first. Never waits."""
        if self._rules is None:
            self._file_mark = version_mark(self._places.settings_file)
            self._rules, self._problem = self._read_rules(snapshot.tick.at)
            self._begin()
        with self._guard:
            left, self._left = self._left, []
            rules, problem, untold = self._rules, self._problem, self._untold
        self._states.take_up(left)
        changed = self._states.look(rules, snapshot)
        firing = self._states.firing
        if changed:
            with self._guard:
                for key, alert in changed:
                    if alert.firing:
                        self._firing[alert.id] = (key, self._with_channels(alert))
                    else:
                        self._firing.pop(alert.id, None)
                        self._over.append((key, self._with_channels(alert)))
            self._wake.set()
        found = (*(self._with_channels(one) for one in firing), problem, untold)
        return tuple(one for one in found if one is not None)

    def _with_channels(self, alert: Alert) -> Alert:
        rule = (self._rules or {}).get(alert.rule)
        return replace(alert, tell=rule.tell) if rule is not None else alert

    def _read_rules(self, at: float) -> tuple[Mapping[str, AlertRule], Alert | None]:
        try:
            settings = self._set = self._settings()
            return make_rules(settings.alerts), None
        except StudioError as error:  # those that are built in hold all the same
            words = f"{error.title}: {error.cause}" if error.cause else error.title
            return built_in(), Alert("settings", "alerts", at, words=words, id="settings")

    def _follow_settings(self) -> None:
        """Read the rules and channels again where the file of settings was changed. What did not change goes on."""
        mark = version_mark(self._places.settings_file)
        if mark == self._file_mark:
            return
        self._file_mark = mark
        before = self._set
        rules, problem = self._read_rules(self._clock())
        with self._guard:
            # Rules that hold are better than those that are built in, while the file is being written.
            self._rules, self._problem = (rules if problem is None or self._rules is None else self._rules), problem
        other = before is None or self._set is None or channel_settings(before) != channel_settings(self._set)
        if problem is None and other and self._channels is not None:
            self._channels.close()  # what could not be told by the ones before says nothing of these
            self._channels = None

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Keep what is still to be kept, and end."""
        self._closed = True
        self._wake.set()
        if self._channels is not None:
            self._channels.close()
        if self._thread is not None:
            self._thread.join(2.0)

    # --- in a thread of its own ---------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while True:
                try:
                    self._follow_settings()
                    if self._mine():
                        self._keep()
                except Exception:
                    log.debug("alerts could not be kept", exc_info=True)
                if self._closed:
                    return
                self._wake.wait(AGAIN)
                self._wake.clear()
        finally:
            if self._lock is not None:
                write_worst(self._places, ())
                os.close(self._lock)

    def _mine(self) -> bool:
        """Return whether this program keeps the alerts; take it over where nobody does."""
        if self._lock is not None:
            return True
        private_dir(self._lock_file.parent)
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            with self._guard:
                self._over.clear()  # whoever has the lock knows it too
                # Only that one knows whether it could be told.
                self._untold = next((one.alert for one in self._rows().open() if one.alert.rule == UNTOLD), None)
            return False
        self._lock = lock
        left = [(one.key, one.alert) for one in self._rows().open() if one.alert.rule != UNTOLD]
        with self._guard:
            known = {(alert.rule, key): alert.id for key, alert in self._firing.values()}
            for key, alert in left:
                if (alert.rule, key) in known:  # it began before this program saw it, and is the same one
                    del self._firing[known[(alert.rule, key)]]
                    self._firing[alert.id] = (key, self._with_channels(alert))
            self._left = left
        return True

    def _rows(self) -> AlertRows:
        from vllm_studio_tui.store.alerts import AlertRows

        return AlertRows(self._db(), self._machine)

    def _keep(self) -> None:
        """Bring the table up to date, and tell what is to be told."""
        if self._channels is None and self._set is not None:
            self._channels = self._make_channels(self._set)
        rows = self._rows()
        kept: dict[str, KeptAlert] = {one.alert.id: one for one in rows.open()}
        with self._guard:
            firing, over = dict(self._firing), list(self._over)
            self._over.clear()
        # Without settings that can be read nobody is told; it is kept, and told once they are mended.
        quiet = self._set is None or is_quiet(self._set.alert_quiet, self._clock())
        try:
            while over:
                key, alert = over[0]
                before = kept.get(alert.id)
                rows.put(key, alert, told=before.told if before is not None else False)
                if before is not None and before.told and not quiet and self._channels is not None:
                    self._channels.tell(alert)
                del over[0]
        finally:
            if over:  # it is tried again
                with self._guard:
                    self._over = over + self._over
        for alert_id, (key, alert) in firing.items():
            before = kept.get(alert_id)
            told = before is not None and before.told
            if before is None or (not told and not quiet):
                rows.put(key, alert, told=told or not quiet)
            if not told and not quiet and self._channels is not None:
                self._channels.tell(alert)

        self._note_untold(rows, kept)
        untold = [self._untold] if self._untold is not None else []
        write_worst(self._places, [*(alert for _, alert in firing.values()), *untold])

    def _note_untold(self, rows: AlertRows, kept: Mapping[str, KeptAlert]) -> None:
        """Say on the screens that something could not be told, until it can be again."""
        problems = self._channels.problems if self._channels is not None else {}
        before = next((one.alert for one in kept.values() if one.alert.rule == UNTOLD), None)
        if not problems:
            if before is not None:
                rows.put(UNTOLD, replace(before, until=self._clock()), told=True)
            self._untold = None
            return
        words = clean_line("; ".join(f"{name}, {wrong}" for name, wrong in sorted(problems.items())), limit=200)
        since = before.since if before is not None else self._clock()
        now = Alert(
            UNTOLD,
            "alerts",
            since,
            "trouble",
            words=f"not told by {words}",
            id=before.id if before is not None else f"{UNTOLD}:{since:.3f}@{self._machine}",
            machine=self._machine,
            host=self._host,
        )
        if before is None or before.words != now.words:
            rows.put(UNTOLD, now, told=True)
        self._untold = now
