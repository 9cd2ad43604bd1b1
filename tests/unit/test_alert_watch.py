"""What watches the alerts of a home: what is told and kept, by which program, and what it does with new settings."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlite_utils.db import Database as Tables

from tests.process.house import until
from tests.unit.test_alerts import BEGIN, gpu, sample
from vllm_studio_tui.config.settings import Settings, save_setting
from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.kit.file_access import version_mark
from vllm_studio_tui.kit.paths import Places, machine_id, private_dir
from vllm_studio_tui.runs.alert_line import read_worst
from vllm_studio_tui.services.alerts.watch import AlertWatch
from vllm_studio_tui.store import migrations
from vllm_studio_tui.store.alerts import AlertRows
from vllm_studio_tui.store.database import Database


class Heard:
    """Stands in for command and web address."""

    def __init__(self, settings: Settings) -> None:
        self.heard: list[tuple[str, bool]] = []
        self.problems: dict[str, str] = {}

    def tell(self, alert: Alert) -> None:
        self.heard.append((alert.rule, alert.firing))

    def close(self) -> None:
        pass


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


class Watcher:
    """A program that watches a home."""

    def __init__(self, places: Places, **given: Any) -> None:
        self.settings = Settings.model_validate({"alerts": {"hot": {"what": "gpu_temperature", "above": 85, "for": 0}}})
        self.settings = self.settings.model_copy(update=given)
        self.db = Database.open(places.database)
        self.channels = Heard(self.settings)
        self.clock = BEGIN
        self.settings_fault: SettingsError | None = None
        self.watch = AlertWatch(
            places,
            self._read,
            lambda: self.db,
            channels=lambda _: self.channels,  # type: ignore[arg-type,return-value]
            clock=lambda: self.clock,
        )

    def _read(self) -> Settings:
        if self.settings_fault is not None:
            raise self.settings_fault
        return self.settings

    def look(self, temperature: int, second: float = 0.0) -> Sequence[Alert]:
        return [one for one in self.watch.look(sample(second, gpu(temperature))) if one.rule == "hot"]

    def kept(self) -> list[tuple[str, bool]]:
        return [(one.rule, one.firing) for one in AlertRows(self.db).latest()]

    def close(self) -> None:
        self.watch.close()
        self.db.close()


@pytest.fixture
def watcher(places: Places) -> Iterator[Watcher]:
    made = Watcher(places)
    yield made
    made.close()


def test_what_begins_and_ends_is_told_once_and_kept(watcher: Watcher) -> None:
    assert [one.now for one in watcher.look(90)] == ["90 °C"]
    for second in range(1, 5):
        watcher.look(91, second)
    until(lambda: watcher.channels.heard == [("hot", True)], "it is told")
    assert watcher.look(70, 10) == []
    until(lambda: watcher.channels.heard == [("hot", True), ("hot", False)], "its end is told")
    until(lambda: watcher.kept() == [("hot", False)], "it is kept")


def test_the_program_after_goes_on_with_it_and_tells_it_not_again(places: Places) -> None:
    first = Watcher(places)
    first.look(90)
    until(lambda: first.channels.heard == [("hot", True)], "it is told")
    first.close()
    second = Watcher(places)
    second.look(90, 20)
    until(lambda: second.watch._lock is not None and second.watch._channels is not None, "it keeps them")
    until(lambda: bool(second.look(90, 30)), "it goes on")
    second.look(70, 40)
    until(lambda: second.channels.heard == [("hot", False)], "its end is told, and not its beginning")
    until(lambda: second.kept() == [("hot", False)], "there is one row")
    second.close()


def test_of_two_programs_one_tells(places: Places) -> None:
    first, second = Watcher(places), Watcher(places)
    first.look(90)
    until(lambda: first.channels.heard == [("hot", True)], "the first tells")
    assert second.look(90), "the other shows it too"
    second.look(70, 5)
    first.look(70, 5)
    until(lambda: first.channels.heard == [("hot", True), ("hot", False)], "the first tells the end")
    assert second.channels.heard == []
    first.close()
    second.close()


def test_machines_that_share_a_home_each_keep_and_tell_their_own(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for machine in ("aaa", "bbb"):
        for module in ("kit.paths", "services.alerts.watch"):
            monkeypatch.setattr(f"vllm_studio_tui.{module}.machine_id", lambda machine=machine: machine)
        made[machine] = Watcher(places)
        made[machine].watch._host = f"box-{machine}"
    first, second = made.values()
    first.look(90)
    until(lambda: first.channels.heard == [("hot", True)], "the first machine tells")
    second.look(91)
    until(lambda: second.channels.heard == [("hot", True)], "the other tells its own, while the first still watches")
    first.look(70, 5)
    until(lambda: first.channels.heard == [("hot", True), ("hot", False)], "the first tells its end")
    assert first.watch._lock is not None and second.watch._lock is not None
    rows = {machine: AlertRows(first.db, machine).latest() for machine in made}
    assert {machine: [(one.machine, one.firing) for one in of] for machine, of in rows.items()} == {
        "aaa": [("aaa", False)],
        "bbb": [("bbb", True)],
    }, "and what is over on one machine is not over on the other"
    assert len(AlertRows(first.db).latest()) == 2
    first.close()
    second.close()


def test_alerts_of_before_machines_were_told_apart_go_on_here_and_are_told_not_again(places: Places) -> None:
    path = places.database
    private_dir(path.parent)
    with contextlib.closing(sqlite3.connect(path)) as before:
        tables = Tables(before, execute_plugins=False)
        migrations.migrations.apply(tables, stop_before="0015_alert_machines")
        with before:
            for number, until_ in ((1, None), (2, BEGIN - 50)):
                before.execute(
                    "INSERT INTO alerts (id, rule, about, subject, severity, since, until, told)"
                    " VALUES (?, 'hot', ?, 'GPU', 'warning', ?, ?, 1)",
                    (f"hot:{number}", "gpu GPU-0" if number == 1 else "x", BEGIN - 100 * number, until_),
                )
    watcher = Watcher(places)
    watcher.look(90)
    until(lambda: watcher.watch._lock is not None and watcher.watch._channels is not None, "it keeps them")
    until(lambda: bool(watcher.look(90, 5)), "it goes on")
    watcher.look(70, 9)
    until(lambda: watcher.channels.heard == [("hot", False)], "its end is told, and not its beginning")
    found = {one.id: one for one in AlertRows(watcher.db).latest()}
    assert set(found) == {"hot:1", "hot:2"}
    assert (found["hot:1"].machine, found["hot:2"].machine) == (machine_id(), "")
    watcher.close()


def test_in_quiet_hours_nobody_is_told_and_afterwards_of_what_still_is(places: Places) -> None:
    at = time.mktime(time.strptime("2026-11-27 23:00", "%Y-%m-%d %H:%M"))
    watcher = Watcher(places, alert_quiet="22:00-07:00")
    watcher.clock = at
    watcher.look(90)
    until(lambda: watcher.kept() == [("hot", True)], "it is kept")
    assert watcher.channels.heard == []
    watcher.clock = at + 9 * 3600
    watcher.watch._wake.set()
    until(lambda: watcher.channels.heard == [("hot", True)], "it is told in the morning")
    watcher.close()


def test_settings_that_cannot_be_used_leave_the_built_in_rules_and_are_said(places: Places) -> None:
    watcher = Watcher(places, alerts=Settings.model_validate({"alerts": {"mine": {"what": "nothing"}}}).alerts)
    found = watcher.watch.look(sample(0, gpu(60, lost="gone")))
    assert {one.rule for one in found} == {"gpu-lost", "settings"}
    assert any("mine" in one.words for one in found)
    watcher.close()


def test_a_rule_that_is_added_or_changed_holds_without_a_restart_and_what_had_begun_goes_on(places: Places) -> None:
    private_dir(places.config)
    watcher = Watcher(places)
    assert [one.now for one in watcher.look(90)] == ["90 °C"]
    until(lambda: watcher.channels.heard == [("hot", True)], "it is told")
    warm = {"hot": {"what": "gpu_temperature", "above": 85, "for": 0}, "warm": {"what": "gpu_temperature", "above": 70}}
    warm["warm"]["for"] = 0
    watcher.settings = Settings.model_validate({"alerts": warm, "alert_quiet": None})
    save_setting(places, "alerts", warm)
    watcher.watch._wake.set()
    until(lambda: {"hot", "warm"} <= {one.rule for one in watcher.watch.look(sample(1, gpu(90)))}, "both say it")
    until(lambda: ("warm", True) in watcher.channels.heard, "the new one is told")
    assert watcher.channels.heard.count(("hot", True)) == 1
    places.settings_file.write_text("alerts: [")
    watcher.settings_fault = SettingsError("config.yaml cannot be read")
    watcher.watch._wake.set()
    until(lambda: any(one.id == "settings" for one in watcher.watch.look(sample(2, gpu(90)))), "it is said")
    assert {"hot", "warm"} <= {one.rule for one in watcher.watch.look(sample(3, gpu(90)))}, "the rules before hold"
    watcher.close()


def test_what_could_not_be_told_is_said_on_the_screens_of_every_program_until_it_can_be(places: Places) -> None:
    watcher, other = Watcher(places), Watcher(places)
    watcher.channels.problems["webhook"] = "503 from \x1b[31mhooks.example"
    watcher.look(90)

    def said(one: Watcher, second: float) -> list[str]:
        return [alert.words for alert in one.watch.look(sample(second, gpu(90))) if alert.rule == "untold"]

    until(lambda: said(watcher, 1) != [], "it is said")
    (words,) = said(watcher, 2)
    assert "not told by webhook, 503" in words and "\x1b" not in words
    said(other, 2)
    other.watch._wake.set()
    until(lambda: said(other, 3) == [words], "the program that does not tell says it too")
    until(lambda: read_worst(places) == ("alerts untold", "err"), "so does the single line")
    assert ("untold", True) in watcher.kept()
    watcher.channels.problems.clear()
    watcher.watch._wake.set()
    until(lambda: said(watcher, 4) == [], "it could be told")
    other.watch._wake.set()
    until(lambda: said(other, 5) == [], "nobody says it any more")
    watcher.close()
    other.close()
    assert read_worst(places) == ("", ""), "nobody watches, and nobody says anything"


def test_other_settings_forget_no_failure_to_tell_and_other_channels_begin_anew(places: Places) -> None:
    private_dir(places.config)
    watcher = Watcher(places)
    made: list[Heard] = []

    def make(settings: Settings) -> Any:
        made.append(Heard(settings))
        made[-1].problems.update({"webhook": "it said 503"} if len(made) == 1 else {})
        return made[-1]

    watcher.watch._make_channels = make
    until(lambda: _untold(watcher), "it is said")
    save_setting(places, "theme", "slate")
    watcher.watch._wake.set()
    until(lambda: watcher.watch._file_mark == version_mark(places.settings_file), "the settings were read")
    watcher.look(90, 2)
    until(lambda: made[0].heard == [("hot", True)], "what came after is told by the same channels")
    assert len(made) == 1
    assert _untold(watcher)
    watcher.settings = watcher.settings.model_copy(update={"alert_webhook": "https://hooks.example/other"})
    save_setting(places, "alert_webhook", "https://hooks.example/other")
    watcher.watch._wake.set()
    until(lambda: len(made) == 2, "others are made")
    until(lambda: not _untold(watcher), "nothing could not be told by them")
    watcher.close()


def _untold(watcher: Watcher) -> bool:
    return any(one.rule == "untold" for one in watcher.watch.look(sample(1, gpu(60))))


@given(st.lists(st.sampled_from(["err", "warn", "", "x"]), max_size=3), st.binary(max_size=600))
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_file_of_the_single_line_is_read_whatever_it_holds(begin: list[str], rest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        places = Places.under(Path(folder))
        private_dir(places.alert_line.parent)
        places.alert_line.write_bytes("\n".join(begin).encode() + rest)
        words, colour = read_worst(places)
        assert colour in ("", "err", "warn") and len(words) <= 400
        os.utime(places.alert_line, (BEGIN, 1000.0))
        assert read_worst(places) == ("", ""), "it is old"
