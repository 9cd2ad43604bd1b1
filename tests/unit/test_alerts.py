"""Alerts: when they begin and end, who is told, and that each is told once."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vllm_studio_tui.config.settings import Settings, load_settings
from vllm_studio_tui.domain.alerts import Alert, AlertRule, is_quiet
from vllm_studio_tui.domain.errors import NotFound, SettingsError, StudioError, UsageError
from vllm_studio_tui.domain.gpus import Gpu, GpuReport, Xid
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.alerts.rules import built_in, make_rules
from vllm_studio_tui.services.alerts.service import Alerts
from vllm_studio_tui.services.alerts.state import AlertStates
from vllm_studio_tui.services.alerts.subjects import SUBJECTS, read_limit
from vllm_studio_tui.services.alerts.telling import Channels
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.alerts import AlertRows
from vllm_studio_tui.store.database import Database

BEGIN = 1_800_000_000.0


def gpu(temperature: int | None = 60, **fields: Any) -> Gpu:
    return Gpu(0, "GPU-0", "H100", 80 * 2**30, 2**30, temperature=temperature, **fields)


def sample(second: float, *gpus: Gpu, host: Host | None = None) -> Snapshot:
    at = BEGIN + second
    return Snapshot(Tick(at, GpuReport(at, gpus), host or Host()))


HOT = {"hot": AlertRule("hot", "gpu_temperature", above=85, for_seconds=60, clear=80, words="GPU over 85 °C")}


def told(states: AlertStates, *temperatures: int | None) -> list[tuple[int, bool]]:
    """Return when something changed, in seconds, and whether it began, for one temperature every ten seconds."""
    found = []
    for place, one in enumerate(temperatures):
        found += [(place * 10, alert.firing) for _, alert in states.look(HOT, sample(place * 10, gpu(one)))]
    return found


def test_it_begins_when_it_was_so_for_long_enough_and_ends_when_it_was_well_for_as_long() -> None:
    states = AlertStates()
    hot, between, cool = 90, 83, 70
    assert told(states, *[cool] * 3, *[hot] * 7) == [(90, True)]
    (alert,) = states.firing
    assert (alert.since, alert.subject, alert.value, alert.now) == (BEGIN + 30, "GPU 0", 90, "90 °C")
    # Below the limit is not well yet: that is below `clear`.
    assert told(states, *[between] * 20) == []
    assert told(states, *[cool] * 7) == [(60, False)]
    assert states.firing == ()


def test_a_moment_beyond_the_limit_is_nothing_and_a_moment_of_calm_ends_nothing() -> None:
    states = AlertStates()
    assert told(states, *[90, 90, 70] * 10) == []
    assert told(states, *[90] * 7) == [(60, True)]
    assert told(states, *[70, 70, 90] * 10) == []


def test_what_is_not_known_begins_and_ends_nothing() -> None:
    states = AlertStates()
    assert told(states, *[None] * 30) == []
    assert told(states, *[90] * 7, *[None] * 30) == [(60, True)]
    assert len(states.firing) == 1


def test_what_is_gone_is_over() -> None:
    states = AlertStates()
    told(states, *[90] * 7)
    assert [alert.firing for _, alert in states.look(HOT, sample(100))] == [False]


def test_a_lost_gpu_and_an_error_of_one_are_told_at_once_with_what_they_are() -> None:
    states = AlertStates()
    bad = gpu(lost="GPU is lost", xids=(Xid(79, BEGIN, "has fallen off the bus"),))
    found = {alert.rule: alert for _, alert in states.look(built_in(), sample(0, bad))}
    assert "GPU is lost" in found["gpu-lost"].words
    assert "Xid 79" in found["gpu-error"].words
    assert {one.severity for one in found.values()} == {"trouble"}


@given(st.lists(st.none() | st.integers(0, 120), max_size=120), st.integers(0, 100))
@hypothesis_settings(max_examples=60, deadline=None)
def test_beginnings_and_ends_take_turns(temperatures: list[int | None], seconds: int) -> None:
    rule = {"hot": AlertRule("hot", "gpu_temperature", above=85, for_seconds=seconds, clear=80)}
    states, firing = AlertStates(), False
    for place, one in enumerate(temperatures):
        for _, alert in states.look(rule, sample(place * 10, gpu(one))):
            assert alert.firing is not firing
            firing = alert.firing
        assert bool(states.firing) is firing


# --- rules of the settings --------------------------------------------------------------------------------


def rules_of(**alerts: Any) -> dict[str, AlertRule]:
    return make_rules(Settings.model_validate({"alerts": alerts}).alerts)


def test_a_rule_is_written_as_people_write_it() -> None:
    found = rules_of(
        slow={"what": "ttft", "above": "2 s", "for": 45, "only": "qwen*", "tell": ["bell"]},
        room={"what": "disk_free", "below": "100 GiB", "clear": "120 GiB"},
    )
    assert found["slow"].words == "TTFT p95 over 2.00 s for 45 s, qwen*"
    assert (found["slow"].above, found["slow"].tell) == (2.0, ("bell",))
    assert (found["room"].below, found["room"].clear) == (100 * 2**30, 120 * 2**30)
    assert set(built_in()) < set(found)


def test_a_built_in_rule_is_changed_by_its_name_alone() -> None:
    found = rules_of(**{"gpu-hot": {"above": 75, "clear": 70}, "kv-full": {"enabled": False}})
    assert (found["gpu-hot"].above, found["gpu-hot"].for_seconds) == (75.0, 60)
    assert not found["kv-full"].enabled and found["kv-full"].above == 0.95


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({}, "`what` is missing"),
        ({"what": "weather", "above": 1}, "'weather' is nothing"),
        ({"what": "kv_cache"}, "one limit"),
        ({"what": "kv_cache", "above": 0.9, "below": 0.1}, "one limit"),
        ({"what": "kv_cache", "above": "lots"}, "a share such as 0.95"),
        ({"what": "kv_cache", "above": 90}, "a share such as 0.95"),
        ({"what": "disk_free", "below": "20 apples"}, "a size such as 20 GiB"),
        ({"what": "kv_cache", "above": 0.9, "clear": 0.95}, "clear lies beyond"),
        ({"what": "engine_died", "above": 1}, "happens or does not"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rules_of(mine=setting)
    assert "mine" in caught.value.title and words in (caught.value.cause or "") and caught.value.advice


@given(st.text(max_size=30) | st.floats() | st.booleans() | st.none(), st.sampled_from(sorted(SUBJECTS)))
@hypothesis_settings(deadline=None)
def test_any_limit_is_read_or_refused(given_limit: object, what: str) -> None:
    try:
        assert 0 <= read_limit(given_limit, SUBJECTS[what].unit) < 1e19
    except ValueError as error:
        assert "must be" in str(error)


@pytest.mark.parametrize(
    ("hours", "clock", "quiet"),
    [
        ("22:00-07:00", "23:30", True),
        ("22:00-07:00", "06:59", True),
        ("22:00-07:00", "07:00", False),
        ("12:00-13:00", "12:30", True),
        ("12:00-13:00", "13:00", False),
        (None, "12:30", False),
    ],
)
def test_quiet_hours_are_local_and_may_reach_over_midnight(hours: str | None, clock: str, quiet: bool) -> None:
    at = time.mktime(time.strptime(f"2026-11-27 {clock}", "%Y-%m-%d %H:%M"))
    assert is_quiet(hours, at) is quiet


# --- who is told ------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


# --- a command, a web address -----------------------------------------------------------------------------

ALERT = Alert("hot", "GPU \x1b[31m0", BEGIN, words="GPU over 85 °C", tell=("command", "webhook"), id="a")


def test_a_command_hears_of_it_in_its_environment_and_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import os,sys,json; open({str(out)!r},'w').write(json.dumps([dict(os.environ), json.load(sys.stdin)]))"
    channels = Channels(Settings.model_validate({"alert_command": [sys.executable, "-c", script]}))
    channels.tell(ALERT)
    environ, given = json.loads(out.read_text())
    assert environ["VLLM_STUDIO_ALERT"] == "hot" and environ["VLLM_STUDIO_ALERT_STATE"] == "firing"
    assert given["rule"] == "hot" and given["firing"]
    assert channels.problems == {}


def test_a_command_that_fails_or_is_not_there_says_so() -> None:
    failing = Channels(
        Settings.model_validate({"alert_command": [sys.executable, "-c", "raise SystemExit('no mail')"]})
    )
    failing.tell(ALERT)
    assert "ended with 1: no mail" in failing.problems["command"]
    absent = Channels(Settings.model_validate({"alert_command": ["/not/there"]}))
    absent.tell(ALERT)
    assert "cannot be run" in absent.problems["command"]


# --- for people -------------------------------------------------------------------------------------------


def service(places: Places) -> Alerts:
    db = Database.open(places.database)
    return Alerts(places, lambda: load_settings(places, {}), lambda: db, lambda: None)


def test_a_rule_is_added_to_the_settings_and_taken_out_again(places: Places) -> None:
    alerts = service(places)
    rule = alerts.add("slow", {"what": "ttft", "above": "2 s", "for": 30.0, "only": None})
    assert rule.words == "TTFT p95 over 2.00 s for 30 s"
    assert rule in alerts.rules()
    assert alerts.remove("slow") is None
    assert all(one.name != "slow" for one in alerts.rules())


def test_a_built_in_rule_is_switched_off_and_on_again(places: Places) -> None:
    alerts = service(places)
    assert alerts.remove("disk") is None
    assert not next(one for one in alerts.rules() if one.name == "disk").enabled
    left = alerts.remove("disk")
    assert left is not None and left.enabled
    assert next(one for one in alerts.rules() if one.name == "disk").enabled


def test_an_alert_is_an_event_on_the_time_axis(places: Places) -> None:
    alerts, db = service(places), Database.open(places.database)
    AlertRows(db).put("gpu GPU-0", replace(ALERT, until=BEGIN + 60), told=True)
    (event,) = alerts.events(BEGIN - 1, BEGIN + 1)
    assert (event.kind, event.at) == ("alert", BEGIN) and "GPU over 85 °C" in event.title
    assert list(alerts.events(BEGIN + 1, BEGIN + 100)) == []


def test_what_cannot_be_added_changes_nothing(places: Places) -> None:
    alerts = service(places)
    with pytest.raises(UsageError):
        alerts.add("a b", {"what": "ttft", "above": 1})
    with pytest.raises(UsageError):
        alerts.add("mine", {"what": "ttft", "above": 1, "tell": ["pigeon"]})
    with pytest.raises(SettingsError):
        alerts.add("mine", {"what": "kv_cache", "above": "200%"})
    with pytest.raises(NotFound):
        alerts.remove("mine")
    with pytest.raises(StudioError):
        alerts.test("disk")
    assert not places.settings_file.exists()
