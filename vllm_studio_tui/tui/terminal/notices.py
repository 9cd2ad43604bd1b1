"""Tells a person who looks elsewhere: a bell, a notice of the desktop (OSC 9), and the title of the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.alerts import is_quiet
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes.terminal import wrapped

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.alerts import Alert
    from vllm_studio_tui.probes.terminal import Terminal
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Seconds after which an answer counts as long.
LONG_ANSWER = 20.0
#: Seconds between two titles that differ in a number only.
TITLE_EVERY = 10.0
_TROUBLE = (State.FAILED, State.UNHEALTHY, State.BACKOFF)


class Notices:
    """Notices and the title of one terminal. Before `begin` nothing is written.

    Attributes:
        in_front: Whether the terminal has the focus; None: it has not said.
    """

    def __init__(self, write: Callable[[str], object], terminal: Terminal) -> None:
        self.in_front: bool | None = None
        self._write = write
        self._terminal = terminal
        self._settings: Settings | None = None
        self._states: Mapping[str, State] | None = None
        self._alerts: frozenset[str] | None = None
        self._title = ""
        self._titled_at = 0.0

    def begin(self, settings: Settings) -> None:
        """Write what these settings want from now on."""
        self._settings = settings
        if settings.title and self._knows_titles:
            self._write("\x1b[22;2t")  # the title that is there is kept by the terminal

    def end(self) -> None:
        """Give the terminal its title back."""
        if self._title:
            self._write("\x1b[23;2t")
            self._title = ""

    # --- what happens -----------------------------------------------------------------------------------

    def arrived(self, snapshot: Snapshot, glyphs: Glyphs) -> None:
        """Tell of runs that are ready or have failed since the last sample, and bring the title up to date."""
        if self._settings is None:
            return
        before, self._states = self._states, {run.run_id: run.state for run in snapshot.runs}
        if before is not None:
            for run in snapshot.runs:
                self._changed(run, before.get(run.run_id))
        known, self._alerts = self._alerts, frozenset(alert.id for alert in snapshot.alerts)
        for alert in snapshot.alerts:
            if known is not None and alert.id not in known:
                self._alarm(alert)
        self._show_title(snapshot, glyphs)

    def _changed(self, run: RunView, before: State | None) -> None:
        name = clean_line(run.name, limit=60)
        if run.state is State.READY and before not in (State.READY, State.UNHEALTHY):
            self._tell("ready", f"{name} is ready")
        elif run.state is State.FAILED and before is not State.FAILED:
            why = f": {clean_line(run.status.title, limit=100)}" if run.status.title else ""
            self._tell("failed", f"{name} failed{why}")

    def _alarm(self, alert: Alert) -> None:
        assert self._settings is not None
        if is_quiet(self._settings.alert_quiet, time.time()):
            return
        words = f"{clean_line(alert.subject, limit=60)}: {clean_line(alert.words, limit=100)}"
        self._tell("alert", words, bell="bell" in alert.tell, desktop="desktop" in alert.tell)

    def answered(self, seconds: float) -> None:
        """Tell that an answer which took long has ended."""
        if seconds >= LONG_ANSWER:
            self._tell("answer", f"the answer is there, after {numbers.duration(seconds)}")

    def asked(self, name: str) -> None:
        """Tell that a call of a tool waits for the person."""
        self._tell("answer", f"{clean_line(name, limit=60)} waits until you allow it")

    def _tell(self, about: str, text: str, *, bell: bool = False, desktop: bool = True) -> None:
        if (settings := self._settings) is None:
            return
        wanted = {
            "ready": settings.notify_ready, "failed": settings.notify_failed, "answer": settings.notify_answer,
            "alert": settings.notify_alert,
        }  # fmt: skip
        if not wanted[about]:
            return
        if settings.notify == "never" or (settings.notify == "away" and self.in_front is not False):
            return
        if settings.notify_bell or bell:
            self._write("\a")
        if desktop and settings.notify_desktop and self._knows_titles:
            self._write(wrapped(f"\x1b]9;vllm-studio: {text}\a", self._terminal.inside))

    # --- title ------------------------------------------------------------------------------------------

    @property
    def _knows_titles(self) -> bool:
        return not self._terminal.console and not self._terminal.name.startswith(("vt", "ansi"))

    def _show_title(self, snapshot: Snapshot, glyphs: Glyphs) -> None:
        if self._settings is None or not self._settings.title or not self._knows_titles:
            return
        title, now = title_of(snapshot, glyphs), time.monotonic()
        if title == self._title or (_steady(title) == _steady(self._title) and now - self._titled_at < TITLE_EVERY):
            return
        self._title, self._titled_at = title, now
        self._write(f"\x1b]2;{title}\x1b\\")


def title_of(snapshot: Snapshot, glyphs: Glyphs) -> str:
    """Return the state at a glance: trouble by name, else what loads, else how many serve and how fast."""
    parts = ["studio"]
    runs = snapshot.runs
    trouble = [run for state in _TROUBLE for run in runs if run.state is state]
    loading = [run for run in runs if run.state in (State.STARTING, State.LOADING)]
    ready = [run for run in runs if run.state is State.READY]
    if trouble:
        parts += _named(trouble, glyphs)
    elif alarms := [alert for alert in snapshot.alerts if "title" in alert.tell]:
        parts += [glyphs.warning, clean_line(f"{alarms[0].subject} {alarms[0].words}", limit=60)]
    elif loading:
        progress = loading[0].status.progress
        parts += _named(loading, glyphs) + ([numbers.percent(progress)] if progress is not None else [])
    if ready:
        parts += [glyphs.state(State.READY)[0], str(len(ready))]
        if not trouble and not loading:
            speeds = [metrics.generation_tokens_per_second for metrics in snapshot.of_runs]
            known = [speed for speed in speeds if speed is not None]
            parts += [f"{numbers.count(sum(known))} tok/s"] if known else []
    return clean_line(" ".join(parts), limit=120)


def _named(runs: Sequence[RunView], glyphs: Glyphs) -> list[str]:
    more = [f"+{len(runs) - 1}"] if len(runs) > 1 else []
    return [glyphs.state(runs[0].state)[0], clean_line(runs[0].name, limit=40), *more]


def _steady(title: str) -> str:
    """Return a title without the numbers that change all the time."""
    return " ".join(word for word in title.split() if not word.endswith("%") and not word[:1].isdigit())
