"""Several hosts: what the settings say of them, what each answers, and what a broken one costs the others."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.elsewhere import served, short
from tests.functional.stage import snapshot
from tests.hosts import WELL, answer, document, drips, floods, hangs, speaking
from tests.ports import free_port
from vllm_studio_tui.__main__ import CAME_FROM, main, screens
from vllm_studio_tui.cli import connecting, opening
from vllm_studio_tui.config.hosts import read_hosts, save_host
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.config.setting_values import read_setting, setting_values
from vllm_studio_tui.config.settings import load_settings
from vllm_studio_tui.domain.errors import NotFound, SettingsError, StudioError, UsageError
from vllm_studio_tui.domain.host_overview import HostOverview, read_overview
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote import host_link, host_watch
from vllm_studio_tui.remote.address import read_address
from vllm_studio_tui.remote.client import Client
from vllm_studio_tui.remote.host_link import address_of_host, check_entry, inside_line
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.remote.host_watch import HostWatch, ask_once
from vllm_studio_tui.remote.host_words import Rank, gpus_words, in_order, last_seen, rank, sums, trouble
from vllm_studio_tui.services.watching.overview import overview_of
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui import start
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.hosts.lines import HostLine, run_parts
from vllm_studio_tui.tui.screens.hosts.rows import detail


@pytest.fixture
def places(tmp_path: Path) -> Places:
    home = Places.under(tmp_path / "home")
    home.config.mkdir(parents=True, mode=0o700)
    return home


def write(places: Places, text: str) -> None:
    places.settings_file.write_text(text, encoding="utf-8")
    places.settings_file.chmod(0o600)


# --- settings -----------------------------------------------------------------------------------------------


def test_an_entry_that_cannot_be_used_says_so_and_costs_nothing_else(places: Places) -> None:
    write(
        places,
        "port: 9001\nhosts:\n  good: {connect: ssh://ada@gpu-box}\n  web: {connect: https://h, api_key: env:K}\n"
        "  empty: {}\n  word: ssh://a\n  field: {connect: ssh://a, colour: red}\n  scheme: {connect: ftp://a}\n"
        "  key: {connect: https://a, api_key: vs-very-secret}\n  -x: {connect: ssh://a}\n  7: {connect: ssh://a}\n"
        "  pass: {connect: 'https://a:vs-very-secret@b'}\n",
    )
    found = load_settings(places, {})
    assert found.port == 9001
    problems = {name: host.problem for name, host in found.hosts.items()}
    assert [name for name, words in problems.items() if not words] == ["good", "web", "7"]
    assert "connect is missing" in problems["empty"]
    assert problems["word"] == "it must be `{connect: ADDRESS}`"
    assert problems["field"] == "colour: no such field"
    assert "ssh://" in problems["scheme"]
    assert "env:NAME" in problems["key"]
    assert "letter or digit" in problems["-x"]
    assert "no password" in problems["pass"]
    assert "vs-very-secret" not in repr(found.hosts)
    for name, words in problems.items():
        if words:
            with pytest.raises(UsageError) as said:
                address_of_host(name, found.hosts[name])
            assert name in said.value.title


@pytest.mark.parametrize("value", ["5", "[a]", "text"])
def test_hosts_that_are_no_table_are_refused_with_their_line(places: Places, value: str) -> None:
    write(places, f"port: 9001\nhosts: {value}\n")
    with pytest.raises(SettingsError, match="hosts") as said:
        load_settings(places, {})
    assert "line 2" in said.value.cause


def test_hosts_come_from_a_variable_too_and_are_not_changed_in_the_file_then(places: Places) -> None:
    environ = {"VLLM_STUDIO_HOSTS": '{"a": {"connect": "ssh://b"}}'}
    assert read_hosts(places, environ)["a"].connect == "ssh://b"
    with pytest.raises(UsageError, match="not changed") as said:
        save_host(places, "c", {"connect": "ssh://c"}, environ=environ)
    assert "VLLM_STUDIO_HOSTS" in said.value.cause
    assert not places.settings_file.exists()


def test_a_host_is_kept_changed_renamed_and_taken_out_and_the_rest_of_the_file_stays(places: Places) -> None:
    write(places, "# mine\nport: 9001\nhosts:\n  odd: [1]\n  a: {connect: ssh://a}\ntheme: paper\n")
    save_host(places, "b", {"connect": "https://b", "api_key": "env:K", "insecure_http": False}, environ={})
    save_host(places, "c", {"connect": "ssh://c"}, was="a", environ={})
    save_host(places, "b", {"connect": "https://b2"}, was="b", environ={})
    found = read_hosts(places, {})
    assert list(found) == ["odd", "c", "b"]
    assert (found["b"].connect, found["b"].api_key, found["odd"].problem != "") == ("https://b2", None, True)
    for wrong in ("b", "odd"):
        with pytest.raises(UsageError, match="already"):
            save_host(places, wrong, {"connect": "ssh://c"}, was="c", environ={})
    with pytest.raises(NotFound):
        save_host(places, "nobody", None, environ={})
    with pytest.raises(UsageError, match="cannot be kept"):
        save_host(places, "x y", {"connect": "ssh://c"}, environ={})
    for name in ("odd", "c", "b"):
        save_host(places, name, None, environ={})
    assert places.settings_file.read_text() == "# mine\nport: 9001\ntheme: paper\n"


def test_hosts_are_typed_and_shown_as_other_tables_are(places: Places) -> None:
    typed = '{"a": {"connect": "ssh://b"}}'
    assert read_setting("hosts", typed) == {"a": {"connect": "ssh://b"}}
    with pytest.raises(ValueError, match=r"^a: connect: an address begins"):
        read_setting("hosts", "{a: {connect: gpu-box}}")
    write(places, f"hosts: {typed}\n")
    shown = next(one for one in setting_values(places, {}) if one.key == "hosts")
    assert shown.text == typed


def test_an_entry_is_checked_before_it_is_kept_and_its_key_need_not_be_there_yet() -> None:
    check_entry("a", {"connect": "https://h", "api_key": "env:NOT_THERE_YET"})
    for entry in (
        {"connect": "ssh://u:pw@h"}, {"connect": "http://10.0.0.9"}, {"connect": "ssh://h", "api_key": "env:K"}, {},
        {"connect": "https://h", "api_key": "the-key"},
    ):  # fmt: skip
        with pytest.raises(UsageError, match="the host a cannot be used") as said:
            check_entry("a", entry)
        assert "the-key" not in str(said.value)
        assert "pw" not in str(said.value)


def test_the_line_that_leads_inside() -> None:
    assert inside_line(Host(connect="ssh://ada@gpu:22/opt/vllm-studio")) == "ssh -t -p 22 ada@gpu /opt/vllm-studio"
    assert inside_line(Host(connect="ssh://gpu")) == "ssh -t gpu vllm-studio"
    assert inside_line(Host(connect="https://gpu")) == ""


# --- --connect NAME -----------------------------------------------------------------------------------------


def test_connect_takes_the_name_of_a_host(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Places, "of", lambda: places)
    monkeypatch.setenv("K", "the-key")
    monkeypatch.setenv("OTHER", "another-key")
    write(places, "hosts:\n  web: {connect: https://h:8443, api_key: env:K}\n  bad: {connect: ftp://a}\n")
    found = opening.address_of(connecting.Connection("web"))
    assert (found.url, found.api_key, found.name) == ("https://h:8443", "the-key", "web")
    assert opening.address_of(connecting.Connection("web", "env:OTHER")).api_key == "another-key"
    assert opening.address_of(connecting.Connection("ssh://gpu")).name == "gpu"
    with pytest.raises(UsageError, match="the host bad cannot be used"):
        opening.address_of(connecting.Connection("bad"))
    with pytest.raises(UsageError, match="no host called wep") as said:
        opening.address_of(connecting.Connection("wep"))
    assert said.value.cause == "Did you mean web?"


@pytest.mark.parametrize("value", ["nobody", "ftp://a", "https://a:pw@b"])
def test_what_the_variable_says_wrong_is_said_of_the_variable(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setattr(Places, "of", lambda: places)
    monkeypatch.setattr(connecting, "chosen", None)
    monkeypatch.setenv("VLLM_STUDIO_CONNECT", value)
    for argv in (["status"], ["status", "--json"]):
        monkeypatch.setattr(sys, "argv", ["vllm-studio", *argv])
        assert main() == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: VLLM_STUDIO_CONNECT: ")
        assert "pw" not in said.err
        assert not said.out or json.loads(said.out)["error"]["title"].startswith("VLLM_STUDIO_CONNECT: ")
    monkeypatch.setattr(sys, "argv", ["vllm-studio", "serve"])
    assert main() == 2
    said = capsys.readouterr()
    assert "VLLM_STUDIO_CONNECT names another one" in said.err
    assert "env -u VLLM_STUDIO_CONNECT" in said.err


PLAIN = connecting.Connection("http://10.0.0.9:8080", "env:K", True)


class Began(BaseException):
    """The program was to begin anew, with these arguments and this environment."""


@pytest.mark.parametrize(
    ("chosen", "back"),
    [
        (PLAIN, PLAIN),
        (connecting.Connection("web", "file:~/k", by="VLLM_STUDIO_CONNECT"), connecting.Connection("web", "file:~/k")),
        (connecting.Connection("https://h", "the-key"), connecting.Connection("https://h")),
        (None, None),
    ],
)
def test_back_from_a_host_that_does_not_answer_all_is_as_it_was_given_but_no_key_itself(
    monkeypatch: pytest.MonkeyPatch, chosen: connecting.Connection | None, back: connecting.Connection | None
) -> None:
    def begin(_: str, argv: list[str], environ: dict[str, str]) -> None:
        raise Began(argv[4:], environ)

    def open_screens(_: Any, *, become: Any, **__: Any) -> int:
        become("far")
        return 0

    monkeypatch.setattr(os, "execve", begin)
    monkeypatch.setattr(start, "open_screens", open_screens)
    monkeypatch.setenv("K", "the-key")
    monkeypatch.setattr(connecting, "chosen", chosen)
    monkeypatch.setattr(opening, "open_studio", contextlib.nullcontext)
    with pytest.raises(Began) as there:
        screens(["--ascii"])
    argv, environ = there.value.args
    assert connecting.take(argv, {}) == (["--ascii"], connecting.Connection("far"))
    new = {name: value for name, value in environ.items() if os.environ.get(name) != value}
    assert "the-key" not in str((argv, new))

    def fails() -> None:
        raise StudioError("far does not answer")

    for name, value in new.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(opening, "open_studio", fails)
    with pytest.raises(Began) as again:
        screens(argv[2:])
    argv, environ = again.value.args
    assert connecting.take(argv, {}) == (["--screen", "hosts", "--ascii"], back)
    new = {name: value for name, value in environ.items() if os.environ.get(name) != value}
    assert "far does not answer" in str(new)
    assert "the-key" not in str((argv, new))
    for odd in ("http://h", "[1]", "{}", "[" * 5000):
        monkeypatch.setenv(CAME_FROM, odd)
        with pytest.raises(Began) as here:
            screens([])
        assert here.value.args[0] == ["--screen", "hosts"]


# --- what a host says ---------------------------------------------------------------------------------------


def test_an_overview_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    sent = overview_of(snapshot(tmp_path), queue=2)
    assert read_overview(json.loads(json.dumps(sent.to_json()))) == sent
    assert (sent.tokens_per_second, sent.waiting, round(sent.power or 0), sent.hottest) == (1842.0, 2.0, 1051, 64)
    assert [run.state for run in sent.runs] == ["ready", "loading", "failed"]
    assert sent.runs[0].gpus == ("0", "1")


UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8932aaaa-6ec4-d9a6-4e5d-1b4a0d1f8b9e")


@pytest.mark.parametrize(
    ("claims", "owned", "has"),
    [
        ((), "both", ("0", "1")),  # llama.cpp without `gpus` takes what it finds
        ((UUIDS[1],), "none", ("1",)),  # what Slurm and Kubernetes set, before the engine is on the GPU
        (("GPU-8932f",), "none", ("0",)),
        (("0",), "both", ("0", "1")),
        (("1", "7", "GPU-dead", "MIG-8"), "none", ("1", "7", "GPU-dead", "MIG-8")),  # what is not there keeps its name
        (("GPU-",), "none", ("GPU-",)),
    ],
)
def test_a_run_has_the_gpus_that_it_claims_by_whatever_name_and_those_it_is_seen_on(
    tmp_path: Path, claims: tuple[str, ...], owned: str, has: tuple[str, ...]
) -> None:
    found = overview_of(_on_two_gpus(tmp_path, claims, owned))
    run = found.runs[0]
    assert run.gpus == has
    rows = _rows(found)
    here = [gpu for gpu in found.gpus if str(gpu.index) in has]
    assert sum("in use by others" in row for row in rows) == 2 - len(here)
    assert sum(run.name in row for row in rows) == 1


def test_a_gpu_is_nobodys_once_its_run_has_failed_and_of_two_runs_on_one_gpu_both_are_shown(tmp_path: Path) -> None:
    made = _on_two_gpus(tmp_path, ("0",), "none")
    ready, failed = made.runs
    assert failed.spec is not None
    failed = replace(failed, spec=replace(failed.spec, gpus=("1",)))
    assert ready.spec is not None
    second = replace(ready, run_id="second-1", spec=replace(ready.spec, name="second", recipe_id="second"))
    found = overview_of(replace(made, runs=(ready, second, failed)))
    assert [run.gpus for run in found.runs] == [("0",), ("0",), ()]
    rows = _rows(found)
    assert [row for row in rows if "in use by others" in row and " 1 " in row[:8]]
    assert ["second" in row and "GPU 0" in row for row in rows].count(True) == 1
    assert ["llama-3.3-70b" in row for row in rows].count(True) == 1


def _on_two_gpus(folder: Path, claims: tuple[str, ...], owned: str) -> Snapshot:
    """A run that claims some GPUs, and two that are in use: `both` or `none` by processes of it."""
    made = snapshot(folder)
    first, spec = made.runs[0], made.runs[0].spec
    assert spec is not None
    run_id = first.run_id if owned == "both" else None
    gpus = tuple(
        replace(gpu, uuid=uuid, processes=(replace(gpu.processes[0], run_id=run_id),))
        for gpu, uuid in zip(made.tick.gpus.gpus, UUIDS, strict=False)
    )
    runs = (replace(first, spec=replace(spec, gpus=claims)), made.runs[2])
    return replace(made, tick=replace(made.tick, gpus=replace(made.tick.gpus, gpus=gpus)), runs=runs)


def _rows(found: HostOverview) -> list[str]:
    line = HostLine(HostState("a", overview=found, here=True))
    return [row.text() for row in detail(line, UNICODE, 3, 160, 30, others=True)]


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
_fields = st.sampled_from([*WELL, *WELL["gpus"][0], *WELL["runs"][0], "progress", "since"])
_record = st.dictionaries(_fields, _anything, max_size=8)


@given(st.fixed_dictionaries({"gpus": st.lists(_record | _anything), "runs": st.lists(_record | _anything)}) | _record)
def test_no_document_does_worse_than_being_none(data: dict[str, Any]) -> None:
    try:
        found = read_overview(data)
    except ValueError:
        return
    json.dumps(found.to_json(), allow_nan=False)
    for value in (found.utilization, found.power, found.tokens_per_second, found.waiting, found.hottest):
        assert value is None or value >= 0
    assert isinstance(gpus_words(found), str)
    trouble(HostState("a", overview=found))


def test_a_studio_tells_of_itself_over_its_socket(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with short(tmp_path / "there") as there, served(there) as address:
        (state,) = ask_once({"there": Host(connect=f"unix://{address.path}")}, 20, {})
    assert state.error is None
    assert state.overview is not None
    assert state.overview.version
    assert state.seconds is not None
    assert state.how == "socket"


# --- broken hosts -------------------------------------------------------------------------------------------

BROKEN = {
    "garbage": (b"\x00\xff\x13garbage\r\n\r\n", "is lost"),
    "html": (answer(b"<html>hello</html>"), "cannot be understood"),
    "deep": (answer(b"[" * 100_000), "cannot be understood"),
    "number": (document(5), "cannot be understood"),
    "lists": (document({"gpus": 5, "runs": {}}), "cannot be understood"),
    "other": (answer(b"gone", "404 Not Found"), "no studio that tells of itself"),
    "key": (answer(b'{"error": "a key is needed"}', "401 Unauthorized"), "wants a key"),
    "scope": (answer(b'{"error": "may not", "detail": "x"}', "403 Forbidden"), "may not"),
    "fails": (answer(b'{"error": "it failed"}', "500 Oh"), "it failed"),
    "moved": (answer(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"), "no studio"),
    "packed": (answer(b"\x1f\x8b\x08", more="Content-Encoding: gzip\r\n"), "cannot be understood"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_host_that_answers_otherwise_is_said_in_words(kind: str) -> None:
    body, words = BROKEN[kind]
    with speaking(body) as url:
        (state,) = ask_once({"h": Host(connect=url)}, 10, {})
    assert state.error is not None
    assert words in state.error.title
    assert rank(state) is Rank.LOST
    assert trouble(state) == ("wants a key" if kind == "key" else "no answer")
    assert "\x00" not in str(state.error)


def test_a_host_that_hangs_drips_or_floods_costs_only_its_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_link, "LONGEST", 1024 * 1024)
    with speaking(document(WELL)) as well, speaking(hangs) as hang, speaking(drips) as drip, speaking(floods) as flood:
        started = time.monotonic()
        found = ask_once({name: Host(connect=url) for name, url in
                          {**dict.fromkeys("abcdefgh", hang), "hang": hang, "well": well, "drip": drip,
                           "flood": flood}.items()}, 3, {})  # fmt: skip
        took = time.monotonic() - started
    states = {state.name: state for state in found}
    assert took < 20, "ten that are waited for one after another take thirty seconds"
    assert states["well"].error is None
    assert states["well"].seconds is not None
    assert states["well"].seconds < 3
    for name in ("hang", "drip"):
        error = states[name].error
        assert error is not None
        assert "no answer within 3 s" in error.title
    assert states["flood"].error is not None
    assert "longer than" in states["flood"].error.cause
    assert [one.name for one in in_order(found)] == [*"abcdefgh", "hang", "drip", "flood", "well"]


def test_a_host_where_nothing_listens_is_said_in_the_words_that_connect_has() -> None:
    for name in ("127.0.0.1", "localhost"):
        url = f"http://{name}:{free_port()}"
        (found,) = ask_once({"gone": Host(connect=url)}, 20, {})
        assert found.error is not None
        assert found.error.cause == "Connection refused."
        with contextlib.closing(Client(read_address(url, {}))) as client, pytest.raises(StudioError) as error:
            client.check()
        assert error.value.cause == found.error.cause


def test_a_name_that_cannot_be_looked_up_and_a_key_that_is_not_there_are_said() -> None:
    hosts = {"dns": Host(connect="https://no-such-host.invalid"), "key": Host(connect="https://h", api_key="env:NONE")}
    dns, key = ask_once(hosts, 20, {})
    assert dns.error is not None
    assert "does not answer" in dns.error.title
    assert isinstance(key.error, UsageError)
    assert trouble(key) == "bad entry"


@pytest.mark.parametrize("then", ["answers", "hangs"])
def test_a_host_that_answers_without_a_speed_is_no_lost_one_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(host_watch, "PAUSE", 0.2 if then == "hangs" else 1000.0)
    runs = [{key: value for key, value in WELL["runs"][0].items() if key != "tokens_per_second"}]
    said = iter([document({**WELL, "runs": runs})] * (1 if then == "hangs" else 9))

    def talk(one: Any) -> None:
        while (words := next(said, None)) is not None:
            one.sendall(words)
            if not one.recv(65536):
                return
        hangs(one)

    with speaking(talk) as url:
        (found,) = ask_once({"h": Host(connect=url)}, 3, {})
    assert found.error is None
    assert found.overview is not None
    assert found.overview.tokens_per_second is None


# --- watching -----------------------------------------------------------------------------------------------


def test_a_host_that_goes_is_lost_with_what_it_was_last_seen_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = threading.Event()
    answering = [document(WELL)]

    def talk(one: Any) -> None:
        one.sendall(answering[0])

    def wait(condition: Any, what: str) -> HostState:
        deadline = time.monotonic() + 20
        while not condition(watch.states[0]):
            assert time.monotonic() < deadline, what
            changed.wait(0.2)
            changed.clear()
        return watch.states[0]

    with speaking(talk) as url:
        watch = HostWatch({"h": Host(connect=url)}, changed.set, {})
        watch.start()
        try:
            well = wait(lambda one: one.answers, "it answers")
            assert (well.since, rank(well), trouble(well)) == (None, Rank.WELL, "")
            monkeypatch.setattr(host_watch, "TRIES", (600.0,))
            answering[0] = answer(b'{"error": "it failed"}', "500 Oh")
            watch.retry("h")
            lost = wait(lambda one: one.error is not None, "it is lost")
            assert lost.overview is not None
            assert lost.since is not None
            assert last_seen(lost, "1842 tok/s") == "1 run ready, 1842 tok/s"
            assert sums(watch.states).gpus == ()
            answering[0] = document(WELL)
            watch.retry("h")
            back = wait(lambda one: one.error is None, "it is back, sooner than it would have been asked again")
            assert back.since is None
        finally:
            watch.close(wait=10)
    assert not [one for one in threading.enumerate() if one.name == "hosts"]


def test_what_was_known_of_a_host_is_taken_over_while_it_is_reached_the_same_way() -> None:
    host, error = Host(connect="http://127.0.0.1:1"), StudioError("x")
    known = {"a": HostState("a", host, error=error, since=5.0), "b": HostState("b", host, error=error, since=5.0)}
    watch = HostWatch({"a": host, "b": Host(connect="http://127.0.0.1:2")}, lambda: None, {})
    watch.keep(known)
    assert [state.since for state in watch.states] == [5.0, None]
    watch.close()


def test_trouble_comes_first() -> None:
    def state(name: str, **changes: Any) -> HostState:
        return HostState(name, overview=read_overview({**WELL, **changes}))

    hot = {**WELL["gpus"][0], "index": 2, "slowed": ["software thermal"]}
    found = [
        state("well"),
        state("hot", gpus=[hot]),
        state("ill", runs=[{"state": "unhealthy"}]),
        state("failed", runs=[{"state": "failed"}, {"state": "failed"}]),
        HostState("asked"),
        state("lost").lost(StudioError("gone")),
    ]
    assert [one.name for one in in_order(found)] == ["lost", "failed", "hot", "ill", "well", "asked"]
    assert [trouble(one) for one in found] == ["", "GPU 2 hot", "1 unhealthy", "2 failed", "", "no answer"]
    assert sums(found).tokens_per_second == 2 * 1842.0


def test_a_narrow_column_of_runs_shows_whole_counts_and_the_rest() -> None:
    runs = [
        {"id": str(at), "name": f"m{at}", "state": state}
        for at, state in enumerate(("failed", "unhealthy", "loading", "loading", "ready", "ready"))
    ]
    found = read_overview({**WELL, "runs": runs})
    for width in range(3, 40):
        words = "".join(text for text, _ in run_parts(found, UNICODE, width)).split()
        assert len(" ".join(words)) <= width
        pieces = [word for word in words if not word.startswith("+")]
        assert all(number.isdigit() for number in pieces[1::2]) and len(pieces) % 2 == 0, words
        counted = sum(int(number) for number in pieces[1::2]) + sum(int(w[1:]) for w in words if w.startswith("+"))
        assert counted == 6
