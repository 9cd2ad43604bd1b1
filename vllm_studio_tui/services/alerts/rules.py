"""The rules of a home: those that are built in, and what the settings change of them or add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.alerts import USUAL, AlertRule
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.alerts.subjects import SUBJECTS, read_limit, text_of

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import AlertSetting

GIB = 1024**3
#: Failures are told by the terminal's notices already, see `notify_failed`.
_ELSEWHERE = ("command", "webhook")

_RULES = (
    AlertRule("engine-died", "engine_died", for_seconds=0, severity="trouble", tell=_ELSEWHERE),
    AlertRule("engine-stalled", "engine_stalled", for_seconds=0, severity="trouble"),
    AlertRule("engine-restarts", "engine_restarts", for_seconds=0),
    AlertRule("kv-full", "kv_cache", above=0.95, for_seconds=30, clear=0.9),
    AlertRule("gpu-lost", "gpu_lost", for_seconds=0, severity="trouble"),
    AlertRule("gpu-error", "gpu_error", for_seconds=0, severity="trouble"),
    AlertRule("gpu-hot", "gpu_temperature", above=85, for_seconds=60, clear=80),
    AlertRule("host-memory", "host_memory", above=0.95, for_seconds=30, clear=0.9),
    AlertRule("disk", "disk_free", below=20 * GIB, for_seconds=60, clear=25 * GIB),
)


def built_in() -> dict[str, AlertRule]:
    """Return the rules that are there without being set, by name."""
    return {one.name: replace(one, built_in=True, words=words_of(one)) for one in _RULES}


def words_of(rule: AlertRule) -> str:
    """Return a rule for people: `KV cache over 95% for 30 s`."""
    subject = SUBJECTS[rule.what]
    words = subject.title
    if rule.above is not None:
        words += f" over {text_of(rule.above, subject.unit)}"
    elif rule.below is not None:
        words += f" under {text_of(rule.below, subject.unit)}"
    if rule.for_seconds >= 1:
        words += f" for {numbers.duration(rule.for_seconds)}"
    return words + (f", {rule.only}" if rule.only else "")


def make_rules(settings: Mapping[str, AlertSetting]) -> dict[str, AlertRule]:
    """Return all rules by name, the built-in ones first; what is set of these stands in place of theirs.

    Raises:
        SettingsError: One of them cannot be used; it says which, why, and what would be right.
    """
    found = built_in()
    for name, setting in settings.items():
        found[name] = rule_of(name, setting, found.get(name))
    return found


def rule_of(name: str, setting: AlertSetting, base: AlertRule | None = None) -> AlertRule:
    """Return one rule of the settings.

    Raises:
        SettingsError: It cannot be used.
    """
    what = setting.what or (base.what if base is not None else "")
    if not what:
        raise _wrong(name, "`what` is missing: what it looks at", f"One of {', '.join(SUBJECTS)}.")
    if what not in SUBJECTS:
        raise _wrong(name, f"what: {what[:40]!r} is nothing that is looked at", f"One of {', '.join(SUBJECTS)}.")
    subject = SUBJECTS[what]
    same = base is not None and base.what == what
    limits: dict[str, float | None] = {}
    for field in ("above", "below", "clear"):
        given = getattr(setting, field)
        try:
            limits[field] = read_limit(given, subject.unit) if given is not None else None
        except ValueError as error:
            raise _wrong(name, f"{field}: {error}", f"It is for {subject.title}.") from None
    above, below, clear = limits["above"], limits["below"], limits["clear"]
    if above is None and below is None and base is not None and same:
        above, below = base.above, base.below
        clear = base.clear if clear is None else clear
    if subject.happens and (above is not None or below is not None or clear is not None):
        raise _wrong(name, f"{what} happens or does not: it has no limit", "Leave out above, below and clear.")
    if not subject.happens and (above is None) == (below is None):
        raise _wrong(name, "it has one limit", "Give either `above` or `below`.")
    if clear is not None and ((above is not None and clear > above) or (below is not None and clear < below)):
        raise _wrong(
            name, "clear lies beyond the limit", "It is where all is well again: below `above`, above `below`."
        )
    default = 0.0 if subject.happens else 30.0
    rule = AlertRule(
        name,
        what,
        above,
        below,
        setting.seconds if setting.seconds is not None else (base.for_seconds if base and same else default),
        clear,
        setting.only,
        setting.severity or (base.severity if base is not None else "warning"),
        setting.tell if setting.tell is not None else (base.tell if base is not None else USUAL),
        setting.enabled,
        base is not None and base.built_in,
    )
    return replace(rule, words=words_of(rule))


def _wrong(name: str, cause: str, advice: str) -> SettingsError:
    return SettingsError(f"the alert {name} cannot be used", cause=f"{cause}.", advice=advice)
