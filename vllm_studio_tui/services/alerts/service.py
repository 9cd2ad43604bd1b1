"""Alerts for people: the rules of a home, what they say now and said before; rules are added to the settings."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.alerts import Alert, AlertRule
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.timeline import TimelineEvent
from vllm_studio_tui.kit.paths import machine_id
from vllm_studio_tui.services.alerts.rules import built_in, make_rules, rule_of
from vllm_studio_tui.services.alerts.telling import Channels

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.store.database import Database


class Alerts:
    """The alerts of a home.

    Args:
        settings: As they are in the file now.
        latest: The last sample of this program; None: it takes none.
    """

    def __init__(
        self,
        places: Places,
        settings: Callable[[], Settings],
        db: Callable[[], Database],
        latest: Callable[[], Snapshot | None],
    ) -> None:
        self._places = places
        self._settings = settings
        self._db = db
        self._latest = latest

    def rules(self) -> builtins.list[AlertRule]:
        """Return all rules, those that are built in first. Blocking.

        Raises:
            SettingsError: One of the settings cannot be used.
        """
        return builtins.list(make_rules(self._settings().alerts).values())

    def now(self) -> tuple[Alert, ...]:
        """Return what is wrong now, trouble first: as this program sees it, else as it was kept. Blocking."""
        snapshot = self._latest()
        if snapshot is not None:
            return snapshot.alerts
        from vllm_studio_tui.store.alerts import AlertRows

        return tuple(one.alert for one in AlertRows(self._db(), machine_id()).open())

    def history(self, since: float = 0.0, limit: int = 200, *, everywhere: bool = False) -> builtins.list[Alert]:
        """Return what was said since a moment, the latest first. Blocking.

        Args:
            everywhere: Of every machine that shares this home; else of this one, and of those before machines were
                told apart.
        """
        from vllm_studio_tui.store.alerts import AlertRows

        return AlertRows(self._db(), None if everywhere else machine_id()).latest(since, limit)

    def events(self, since: float, until: float) -> Iterator[TimelineEvent]:
        """Return the alerts that began in a time, as events. Blocking."""
        for alert in self.history(since):
            if since <= alert.since < until:
                yield TimelineEvent(alert.since, "alert", f"{alert.subject}: {alert.words}", alert.run_id or "")

    def add(self, name: str, fields: Mapping[str, Any]) -> AlertRule:
        """Keep a rule in the settings, in the place of one of this name; programs that run take it up within seconds.

        Args:
            fields: As the setting `alerts` has them: what, above, below, for, clear, only, severity, tell, enabled.

        Raises:
            SettingsError: It cannot be used; nothing was changed.
        """
        from pydantic import TypeAdapter, ValidationError

        from vllm_studio_tui.config.setting_types import AlertSetting, Name

        given = {key: value for key, value in fields.items() if value is not None}
        try:
            TypeAdapter(Name).validate_python(name)
            setting = AlertSetting.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(one) for one in first["loc"]) or "its name"
            raise UsageError(
                f"the alert {name[:64]} cannot be used",
                cause=f"{where}: {first['msg'].removeprefix('Value error, ')}.",
                advice="See `vllm-studio alerts add --help`.",
            ) from None
        rule = rule_of(name, setting, built_in().get(name))
        self._save({**self._kept(), name: given})
        return rule

    def remove(self, name: str) -> AlertRule | None:
        """Take a rule out of the settings; a built-in one is switched off there. Return what is left of it: one that is
        built in.

        Raises:
            NotFound: There is no such rule.
        """
        kept = self._kept()
        base = built_in().get(name)
        if name not in kept and base is None:
            known = ", ".join([*built_in(), *(one for one in kept if one not in built_in())])
            raise NotFound(f"no alert is called {name[:64]}", advice=f"There are {known}.")
        if base is None or name in kept:
            kept.pop(name, None)
        else:
            kept[name] = {"enabled": False}
        self._save(kept)
        return base if name not in kept else None

    def test(self, name: str) -> Mapping[str, str]:
        """Tell a rule's words by command and web address, as if it fired; return what went wrong, by channel. Blocking.

        Raises:
            NotFound: There is no such rule.
            StudioError: It has no channel outside of the screens.
        """
        rule = next((one for one in self.rules() if one.name == name), None)
        if rule is None:
            raise NotFound(f"no alert is called {name[:64]}", advice="See `vllm-studio alerts list`.")
        settings = self._settings()
        if not any(way in rule.tell for way in channels_of(settings)):
            raise StudioError(
                f"{name} is told on the screens alone",
                advice="Set alert_command or alert_webhook; see docs/guide/alerts.md.",
            )
        channels = Channels(settings)
        at = time.time()
        channels.tell(
            Alert(rule.name, "test", at, rule.severity, words=f"{rule.words} (a test)", id=f"test:{at}", tell=rule.tell)
        )
        return channels.problems

    def _kept(self) -> dict[str, dict[str, Any]]:
        found = self._settings().alerts
        return {name: one.model_dump(by_alias=True, exclude_unset=True, mode="json") for name, one in found.items()}

    def _save(self, alerts: Mapping[str, Mapping[str, Any]]) -> None:
        from vllm_studio_tui.config.settings import save_setting

        save_setting(self._places, "alerts", {name: dict(one) for name, one in alerts.items()} or None)


def channels_of(settings: Settings) -> Sequence[str]:
    """Return the ways outside of the screens that are set."""
    return [name for name, there in (("command", settings.alert_command), ("webhook", settings.alert_webhook)) if there]
