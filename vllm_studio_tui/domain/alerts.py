"""Alerts: rules over what is measured, and what they said."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time

#: How an alert can be told, besides on the screens: bell, title and notice of the terminal, a command, a web address.
CHANNELS = ("bell", "title", "desktop", "command", "webhook")
#: Those of a rule that names none.
USUAL = ("title", "desktop", "command", "webhook")


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When something is said.

    Attributes:
        what: What is looked at, one of `services.alerts.subjects.SUBJECTS`.
        above, below: The limit; neither: `what` is a thing that happens, such as an engine that died.
        for_seconds: How long it has to be beyond the limit before it is said, and back before it is over.
        clear: Back means beyond this value, which is on the good side of the limit; None: the limit itself.
        only: A pattern of runs, recipes or GPU indices it is for; empty: all.
        severity: `trouble` or `warning`.
        tell: Some of `CHANNELS`.
        built_in: It is there without being set.
    """

    name: str
    what: str
    above: float | None = None
    below: float | None = None
    for_seconds: float = 30.0
    clear: float | None = None
    only: str = ""
    severity: str = "warning"
    tell: tuple[str, ...] = USUAL
    enabled: bool = True
    built_in: bool = False
    words: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "what": self.what,
            "above": self.above,
            "below": self.below,
            "for": self.for_seconds,
            "clear": self.clear,
            "only": self.only,
            "severity": self.severity,
            "tell": list(self.tell),
            "enabled": self.enabled,
            "built_in": self.built_in,
            "words": self.words,
        }


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a rule said.

    Attributes:
        subject: What it is about: the name of a run, `GPU 3`, `host`.
        run_id: The run, where it is about one.
        since, until: Seconds since the epoch; `until` None while it lasts.
        value: What was measured at its worst, in the unit of its subject; None for what happens.
        words: What is said: `KV over 95% for 30 s`.
        now: The value at present, in words; empty: nothing to say.
        tell: How it is told, some of `CHANNELS`.
        machine, host: The machine that it is of, and its name: several may share a home. Empty: not known.
    """

    rule: str
    subject: str
    since: float
    severity: str = "warning"
    until: float | None = None
    value: float | None = None
    words: str = ""
    now: str = ""
    run_id: str | None = None
    id: str = ""
    tell: tuple[str, ...] = ()
    machine: str = ""
    host: str = ""

    @property
    def firing(self) -> bool:
        return self.until is None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "rule": self.rule,
            "subject": self.subject,
            "run_id": self.run_id,
            "severity": self.severity,
            "since": iso_time(self.since),
            "until": iso_time(self.until),
            "firing": self.firing,
            "value": self.value,
            "words": self.words,
            "machine": self.machine or None,
            "host": self.host or None,
        }


def is_quiet(hours: str | None, at: float) -> bool:
    """Return whether a moment lies in the quiet hours, `22:00-07:00` in local time; the end is no part of them."""
    if hours is None:
        return False
    begin, end = hours.split("-")
    now = time.strftime("%H:%M", time.localtime(at))
    return begin <= now < end if begin <= end else now >= begin or now < end
