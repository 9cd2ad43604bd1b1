"""When a rule begins and ends to say something: beyond its limit for long enough, and back for as long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.alerts import Alert, AlertRule
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.alerts.subjects import SUBJECTS, Reading, text_of

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Seconds that it has to be well again at most, before it is over.
MOST_CALM = 60.0
#: Letters of what is said.
LETTERS = 200


@dataclass(slots=True)
class _One:
    """One rule about one thing. Times are those of samples."""

    bad_since: float | None = None
    good_since: float | None = None
    alert: Alert | None = None
    seen: float = 0.0


class AlertStates:
    """Follows every rule about every thing it is for.

    Args:
        machine, host: This machine and its name; several may share a home, and what they say is told apart by it.
    """

    def __init__(self, machine: str = "", host: str = "") -> None:
        self._machine, self._host = machine, host
        self._all: dict[tuple[str, str], _One] = {}

    def take_up(self, alerts: Iterable[tuple[str, Alert]]) -> None:
        """Go on with alerts that an earlier program left: (key of what it is about, alert)."""
        for key, alert in alerts:
            self._all[(alert.rule, key)] = _One(alert.since, None, alert)

    def look(self, rules: Mapping[str, AlertRule], snapshot: Snapshot) -> list[tuple[str, Alert]]:
        """Take one sample; return what changed: alerts that begin, and that are over, with the keys of what they are
        about."""
        at = snapshot.tick.at
        changed: list[tuple[str, Alert]] = []
        seen: set[tuple[str, str]] = set()
        for rule in rules.values():
            if not rule.enabled:
                continue
            for reading in SUBJECTS[rule.what].read(snapshot):
                if reading.meant(rule.only):
                    seen.add((rule.name, reading.key))
                    one = self._all.setdefault((rule.name, reading.key), _One())
                    changed += [(reading.key, each) for each in self._step(one, rule, reading, at)]
        for (name, key), one in list(self._all.items()):
            if (name, key) not in seen:  # the run was stopped, the rule is gone: nothing is wrong with it any more
                del self._all[(name, key)]
                if one.alert is not None:
                    changed.append((key, replace(one.alert, until=at)))
        return changed

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Return what is wrong now, trouble first, the newest first among these."""
        found = [one.alert for one in self._all.values() if one.alert is not None]
        return tuple(sorted(found, key=lambda one: (one.severity != "trouble", -one.since)))

    def _step(self, one: _One, rule: AlertRule, reading: Reading, at: float) -> list[Alert]:
        value = reading.value
        if value is None:
            return []  # what is not known is neither well nor not
        if one.bad_since is not None and at < one.bad_since:
            one.bad_since = at  # the clock was set back
        if not (well(rule, value) if one.alert is not None else not beyond(rule, value)):
            one.good_since = None
            if one.bad_since is None:
                one.bad_since = at
            if one.alert is None:
                if at - one.bad_since < rule.for_seconds:
                    return []
                one.alert = _made(rule, reading, one.bad_since, self._machine, self._host)
                return [one.alert]
            one.alert = replace(one.alert, now=_now(rule, reading), value=worse(rule, one.alert.value, value))
            return []
        one.bad_since = None
        if one.alert is None:
            return []
        one.alert = replace(one.alert, now=_now(rule, reading))
        if one.good_since is None or at < one.good_since:
            one.good_since = at
        if at - one.good_since < min(MOST_CALM, rule.for_seconds):
            return []
        over, one.alert = replace(one.alert, until=at), None
        return [over]


def beyond(rule: AlertRule, value: float) -> bool:
    """Return whether a value is on the bad side of the limit."""
    if rule.above is not None:
        return value > rule.above
    if rule.below is not None:
        return value < rule.below
    return value > 0


def well(rule: AlertRule, value: float) -> bool:
    """Return whether a value is well again: on the good side of `clear`."""
    if rule.above is not None:
        return value <= (rule.above if rule.clear is None else rule.clear)
    if rule.below is not None:
        return value >= (rule.below if rule.clear is None else rule.clear)
    return value <= 0


def worse(rule: AlertRule, before: float | None, value: float) -> float:
    if before is None:
        return value
    return min(before, value) if rule.below is not None else max(before, value)


def _now(rule: AlertRule, reading: Reading) -> str:
    subject = SUBJECTS[rule.what]
    return clean_line(reading.words, limit=LETTERS) if subject.happens else text_of(reading.value, subject.unit)


def _made(rule: AlertRule, reading: Reading, since: float, machine: str, host: str) -> Alert:
    words = rule.words or rule.name
    if reading.words:
        words = f"{words}: {reading.words}"
    return Alert(
        rule.name,
        clean_line(reading.subject, limit=80),
        since,
        rule.severity,
        value=reading.value,
        words=clean_line(words, limit=LETTERS),
        now=_now(rule, reading),
        run_id=reading.run_id,
        id=f"{rule.name}:{reading.key}:{since:.3f}" + (f"@{machine}" if machine else ""),
        machine=machine,
        host=host,
    )
