"""All hosts on one line, and their runs in `status`: what is shown, what it costs, and who keeps it up to date."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.functional.stage import run_view
from tests.hosts import HOSTILE, STAGE, WELL, document, hangs, speaking, still_states
from vllm_studio_tui.cli import status
from vllm_studio_tui.cli.status_hosts import document_of
from vllm_studio_tui.config.hosts import save_host
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.domain.host_overview import read_overview
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places, private_dir
from vllm_studio_tui.remote import host_line as watcher
from vllm_studio_tui.remote.host_line import line_documents
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.runs import host_line
from vllm_studio_tui.runs.host_line import HostNow, asked_file, read_heard
from vllm_studio_tui.runs.json_documents import status_document
from vllm_studio_tui.runs.one_line import cells
from vllm_studio_tui.runs.state_marks import state_mark

OWN = HostNow("here", "well")


def line(*hosts: HostNow, width: int = 100, age: float | None = 1.0) -> str:
    return host_line.host_line(hosts, age, width, lambda state: state_mark(state)[0])


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    return Places.under(tmp_path)


def staged() -> tuple[HostNow, ...]:
    return (*line_documents(still_states({name: Host(**entry) for name, entry in STAGE.items()})), OWN)


# --- the line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "text"), [
    (100, "✕ h100-d no answer  ▲ a100-b 1 unhealthy, GPU 2 hot  ● 3 of 5  5947 tok/s  6 waiting"),
    (78, "✕ h100-d no answer  ▲ a100-b 1 unhealthy, GPU 2 hot  ● 3 of 5  5947 tok/s"),
    (50, "✕ h100-d  ▲ a100-b  ● 3 of 5  5947 tok/s"),
    (30, "✕ 1  ▲ 1  ● 3  5947 tok/s"),
    (14, "✕ 1  ▲ 1  ● 3"),
])  # fmt: skip
def test_trouble_comes_first_and_figures_go_first_where_there_is_no_room(width: int, text: str) -> None:
    assert line(*staged(), width=width) == text


def test_what_is_old_or_not_known_yet_is_said() -> None:
    assert line(HostNow("a", "well", "", 5.0), OWN, age=45) == "● 2  45 s old  5 tok/s"
    assert line(OWN, age=None) == "● 1  asking"
    assert line(HostNow("a", "well"), OWN) == "● 2"


@given(
    st.lists(st.builds(HostNow, st.text(max_size=30), st.sampled_from(list(host_line.SIGNS)), st.text(max_size=40),
                       st.none() | st.floats(0, 1e12), st.none() | st.floats(0, 1e9)), max_size=12),
    st.none() | st.floats(0, 1e9), st.integers(1, 140),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_hosts_fit_any_width(hosts: list[HostNow], age: float | None, width: int) -> None:
    assert cells(line(*hosts, OWN, age=age, width=width)) <= width


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["hosts", "name", "state", "trouble", "tokens_per_second", "waiting"]), inner, max_size=6),
    max_leaves=20).map(lambda data: json.dumps(data).encode()))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_file_of_the_watcher_is_read_whatever_it_holds(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        home = Places.under(Path(folder))
        private_dir(home.host_line.parent)
        home.host_line.write_bytes(data)
        found = read_heard(home)
        assert cells(line(*found.hosts, OWN)) <= 100


# --- who keeps it -------------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert status.quick(["status", "--line", "--hosts", *words]) == 0
    return capsys.readouterr().out.rstrip("\n")


def test_without_other_hosts_nothing_is_started(
    places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_line, "_start", lambda: pytest.fail("nobody is to be watched"))
    assert said(capsys) == "● 1"


def test_a_watcher_is_started_where_none_is_and_nobody_waits_for_it(
    places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_host(places, "a", {"connect": "ssh://a"})
    started: list[int] = []
    monkeypatch.setattr(host_line, "_start", lambda: started.append(1))
    assert said(capsys) == "● 1  asking"
    assert started == [1]
    import fcntl

    lock = os.open(host_line.lock_file(places), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    watcher._write(places, [HostState("a#[fg=red]", overview=read_overview(WELL))])
    assert said(capsys, "--width", "60") == "● 2  1842 tok/s  4 waiting"
    assert started == [1], "it is watched"
    os.close(lock)
    watcher._write(places, [replace(one, name="x#(reboot)") for one in still_states({"h100-d": Host()})])
    assert "#" not in said(capsys)
    assert said(capsys, "--ascii").isascii()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PACE", 0.1), ("ALONE", 3.0), ("AGAIN", 0.2), ("STEP", 0.1)):
        monkeypatch.setattr(watcher, name, value)


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_the_watcher_asks_all_hosts_follows_the_settings_and_ends_when_nobody_asks(
    places: Places, quickly: None
) -> None:
    import threading

    private_dir(places.host_line.parent)
    asked_file(places).touch()
    with speaking(document(WELL)) as well, speaking(hangs) as stuck, speaking(document(HOSTILE)) as evil:
        save_host(places, "well", {"connect": well})
        save_host(places, "stuck", {"connect": stuck})
        ended: list[int] = []
        thread = threading.Thread(target=lambda: ended.append(watcher.main()))
        thread.start()
        until(lambda: {one.name: one.state for one in read_heard(places).hosts}.get("well") == "well", "it is heard")
        assert watcher.main() == 0, "there is one"
        save_host(places, "evil", {"connect": evil})
        asked_file(places).touch()
        until(lambda: "evil" in {one.name for one in read_heard(places).hosts}, "another host is asked too")
        heard = {one.name: one for one in read_heard(places).hosts}
        assert (heard["well"].tokens_per_second, heard["stuck"].state) == (1842.0, "asked")
        thread.join(20)
        assert ended == [0], "nobody asks any more"


# --- status --hosts -----------------------------------------------------------------------------------------


def test_the_runs_of_every_host_have_the_same_keys_and_their_host(tmp_path: Path) -> None:
    states = [*still_states({name: Host(**entry) for name, entry in STAGE.items()}), HostState("me", here=True)]
    own = status_document(
        [run_view(tmp_path, name, state) for name, state in (("a", State.READY), ("b", State.FAILED))]
    )["runs"]
    found = document_of([replace(states[-1], overview=read_overview(WELL)), *states[:-1]], own)
    assert [one["host"] for one in found["runs"]] == ["me"] * len(own) + ["a100-b"] * 3 + ["l40s-a"] + ["h100-c"] * 2
    assert len({tuple(one) for one in found["runs"]}) == 1
    assert set(own[0]) < set(found["runs"][0])
    seen = found["runs"][-2]
    assert (seen["state"], seen["name"], seen["tokens_per_second"], seen["pid"]) == (
        "seen", "Qwen/Qwen3-32B", 1490.0, None,
    )  # fmt: skip
    hosts = {one["name"]: one for one in found["hosts"]}
    assert hosts["h100-d"]["error"]["title"] == "ssh cannot connect to h100-d"
    assert (hosts["h100-d"]["state"], hosts["a100-b"]["error"]) == ("lost", None)
    json.dumps(found)
