"""What every action of the hosts screen does, and what it shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.functional.acting import Scene, cursor, fill_in, hides, shows, told
from tests.functional.stage import Staged, staged
from tests.functional.test_hostile import DANGEROUS
from tests.hosts import STAGE, StillWatch, document, hangs, real_server, speaking
from vllm_studio_tui.config.hosts import read_hosts, save_host
from vllm_studio_tui.config.startup import read_startup_settings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.remote import host_link
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.remote.host_watch import HostWatch
from vllm_studio_tui.remote.tunnel import Tunnel
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.hosts import flows
from vllm_studio_tui.tui.screens.hosts import place as hosts_place
from vllm_studio_tui.tui.screens.hosts.place import HostsPlace
from vllm_studio_tui.tui.sheets.dialogs import Prompt
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


def with_hosts(studio: Studio) -> None:
    for name, entry in STAGE.items():
        save_host(studio.places, name, entry)


def place_of(stage: Staged) -> HostsPlace:
    place = stage.app.current
    assert isinstance(place, HostsPlace)
    return place


def watch_of(stage: Staged) -> StillWatch:
    watch = place_of(stage)._watch
    assert isinstance(watch, StillWatch)
    return watch


async def on_the_well_one(stage: Staged) -> None:
    stage.app.next_host = None
    await stage.until(lambda: "l40s-a" in stage.text(), "the hosts")
    await cursor(stage, "#hosts-table", "l40s-a")


hosts = Scene("hosts", place="hosts", begin=on_the_well_one, prepare=with_hosts, can_become=True)
SCENES = (hosts,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "_check", lambda *_: None)
    monkeypatch.setattr("vllm_studio_tui.tui.app.StudioApp.leave", lambda _: None)
    await scene.play(tmp_path)


@hosts.scenario("hosts.open")
async def _open(stage: Staged) -> None:
    await stage.press("enter")
    await stage.until(lambda: stage.app.next_host == "l40s-a", "it becomes that host's")
    stage.app.next_host = None
    await cursor(stage, "#hosts-table", "h100-d")
    await stage.press("enter")
    await shows(stage, "Its engines do not need this connection")
    await stage.press("escape")
    await cursor(stage, "#hosts-table", "h100-c")
    await stage.until(lambda: "enter no studio" in stage.lines()[-1], "it is said what enter does")
    await stage.press("enter")
    await shows(stage, "Nothing of ours runs there")
    assert "ssh h100-c 'python3 -m pip install" in stage.text()
    await stage.press("escape")
    assert stage.app.next_host is None


@hosts.scenario("hosts.why")
async def _why(stage: Staged) -> None:
    await cursor(stage, "#hosts-table", "a100-b")
    await stage.press("w")
    await shows(stage, "whisper: no answer for 31 s")
    assert "slowed by software thermal, 88 °C" in stage.text()
    await stage.press("escape")
    await cursor(stage, "#hosts-table", "h100-d")
    await stage.press("w")
    await shows(stage, "14:27:48")
    assert "No route to host" in stage.text()
    assert "Last seen with 3 runs ready, 4010 tok/s." in stage.text()
    await stage.press("escape")


@hosts.scenario("hosts.retry")
async def _retry(stage: Staged) -> None:
    await cursor(stage, "#hosts-table", "h100-d")
    await stage.press("r")
    await told(stage, "Asking h100-d again.")
    assert watch_of(stage).asked == ["h100-d"]


@hosts.scenario("hosts.new")
async def _new(stage: Staged) -> None:
    before = watch_of(stage)
    await stage.press("n")
    await shows(stage, "Add a host: its name")
    await fill_in(stage, "no name")
    await stage.press("enter")
    await shows(stage, "its name must begin")
    await fill_in(stage, "new-c")
    await stage.press("enter")
    await shows(stage, "Add a host: its address")
    await fill_in(stage, "http://10.0.0.9")
    await stage.press("enter")
    await shows(stage, "can be read, and changed")
    await fill_in(stage, "https://new-c:8080")
    await stage.press("enter")
    await shows(stage, "where its key is")
    await fill_in(stage, "the-key-itself")
    await stage.press("enter")
    await shows(stage, "must refer to a secret")
    await fill_in(stage, "env:NEW_KEY")
    await stage.press("enter")
    await told(stage, "new-c is kept in the settings.")
    await stage.until(lambda: place_of(stage).table.key == "new-c", "the cursor is on it")
    found = read_hosts(stage.studio.places)["new-c"]
    assert (found.connect, found.api_key) == ("https://new-c:8080", "env:NEW_KEY")
    assert before.closed
    assert watch_of(stage).started
    await stage.press("d")
    await stage.press("d")
    await told(stage, "taken off")


@hosts.scenario("hosts.edit")
async def _edit(stage: Staged) -> None:
    await cursor(stage, "#hosts-table", "a100-b")
    await stage.press("e")
    await shows(stage, "Edit a host: its name")
    await fill_in(stage, "l40s-a")
    await stage.press("enter")
    await shows(stage, "its address")
    await stage.press("enter")
    await shows(stage, "what is there?")
    await stage.press("enter")
    await told(stage, "called l40s-a already")
    await stage.press("e")
    await shows(stage, "Edit a host: its name")
    await fill_in(stage, "a100-z")
    await stage.press("enter")
    await shows(stage, "its address")
    assert isinstance(stage.app.screen, Prompt)
    assert "ssh://ada@a100-b" in stage.text()
    await stage.press("enter")
    await shows(stage, "Edit a host: what is there?")
    await stage.press("escape")
    assert list(read_hosts(stage.studio.places)) == list(STAGE), "nothing was changed"
    await stage.press("e")
    await fill_in(stage, "a100-z")
    await stage.press("enter")
    await shows(stage, "its address")
    await stage.press("enter")
    await shows(stage, "Edit a host: what is there?")
    await stage.press("l")
    await told(stage, "a100-z is kept")
    assert list(read_hosts(stage.studio.places)) == ["a100-z", *list(STAGE)[1:]]
    assert read_hosts(stage.studio.places)["a100-z"].agentless
    save_host(stage.studio.places, "a100-b", STAGE["a100-b"], was="a100-z")


@hosts.scenario("hosts.delete")
async def _delete(stage: Staged) -> None:
    for key in ("d", "delete"):
        save_host(stage.studio.places, "gone", {"connect": "ssh://gone"})
        place_of(stage).read_again()
        await stage.until(lambda: place_of(stage).table.item("gone") is not None, "it is there")
        await cursor(stage, "#hosts-table", "gone")
        await stage.press(key)
        await shows(stage, "Nothing is stopped there.")
        await stage.press("escape")
        assert "gone" in read_hosts(stage.studio.places)
        await stage.press(key)
        await stage.press("d")
        await told(stage, "gone is taken off the list")
        await stage.until(lambda: place_of(stage).table.item("gone") is None, "it is gone")


@hosts.scenario("hosts.copy")
async def _copy(stage: Staged) -> None:
    await cursor(stage, "#hosts-table", "a100-b")
    await stage.press("y")
    assert stage.clip == "ssh -t ada@a100-b vllm-studio"
    await cursor(stage, "#hosts-table", "l40s-a")
    await stage.press("y")
    assert stage.clip == "vllm-studio --connect l40s-a"
    await cursor(stage, "#hosts-table", "h100-c")
    await stage.press("y")
    assert stage.clip == "ssh h100-c"


# --- what it shows ------------------------------------------------------------------------------------------


async def test_trouble_comes_first_with_sums_and_the_gpus_of_the_row_under_the_cursor(tmp_path: Path) -> None:
    async with staged(tmp_path, place="hosts", prepare=with_hosts) as stage:
        await stage.until(lambda: "sum of 4" in stage.text(), "the hosts")
        place = place_of(stage)
        assert [line.state.name for line in place.table.shown] == ["h100-d", "h100-a", "a100-b", "l40s-a", "h100-c"]
        assert place.table.key == "h100-d", "the cursor begins at the first"
        text = stage.text()
        assert "no answer 4m" in text
        assert "GPU 2 hot" in text
        assert "since 14:27:48" in text
        assert "enter go there" not in stage.lines()[-1]
        await cursor(stage, "#hosts-table", "a100-b")
        text = stage.text()
        assert "qwen3-235b-awq  2400 tok/s" in text
        assert "slowed: heat" in text
        assert "in use by others" not in text
        assert "enter go there" in stage.lines()[-1]
        await cursor(stage, "#hosts-table", "h100-c")
        text = stage.text()
        assert "2 seen" in text
        assert "seen over ssh, no studio" in text
        assert "load 11.4 of 96, RAM 212/1007 GiB" in text
        assert "Qwen/Qwen3-32B  1490 tok/s, 12 running, 2 waiting, vLLM, port 8000" in text
        await cursor(stage, "#hosts-table", ".")
        await stage.until(lambda: "driver 570.86" in stage.text(), "this host")
        for width, height in ((80, 24), (120, 36), (60, 15)):
            await stage.pilot.resize_terminal(width, height)
            await stage.settle()
            assert all(name in stage.text() for name in (*STAGE, "h100-a")), (width, height)
        await stage.pilot.resize_terminal(40, 6)
        await stage.settle()
        assert stage.lines()[0].startswith("✕ 1  ▲ 1  ▲ 1  ● 2  7789 tok/s")


async def test_the_header_names_the_screen_from_the_first_host_on(tmp_path: Path) -> None:
    async with staged(tmp_path, place="dashboard") as stage:
        assert "9 Hosts" not in stage.lines()[0]
        await stage.press("9")
        await shows(stage, "No other host in the settings.")
        assert "9 Hosts" in stage.lines()[0], "in front it is named"
        save_host(stage.studio.places, "a", {"connect": "ssh://a"})
        await stage.press("f5")
        await hides(stage, "No other host in the settings.")
        await stage.press("1")
        await stage.until(lambda: "9 Hosts" in stage.lines()[0], "it is named")
        assert read_startup_settings(stage.studio.places.settings_file, {}).hosts
    assert read_startup_settings(Path("/nothing"), {"VLLM_STUDIO_HOSTS": "{a: {}}"}).hosts
    (tmp_path / "empty.yaml").write_text("port: 1\nhosts: {}\n")
    assert not read_startup_settings(tmp_path / "empty.yaml", {}).hosts
    async with staged(tmp_path / "b", place="dashboard", hosts=True) as stage:
        assert "9 Hosts" in stage.lines()[0]


async def test_hosts_that_are_typed_in_the_settings_are_there_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path, place="hosts") as stage:
        await stage.press("f8")
        await shows(stage, "Settings")
        sheet = stage.app.screen
        sheet.query_one("#settings", ListCanvas).choose("hosts")
        await stage.press("e")
        await fill_in(stage, "{b: {connect: gpu-box}}")
        await shows(stage, "b: connect: an address begins")
        await fill_in(stage, "{b: {connect: ssh://gpu-box}}")
        await stage.press("enter")
        await stage.until(lambda: place_of(stage).table.item("b") is not None, "it is in the list")
        await stage.press("escape", "1")
        await stage.until(lambda: "9 Hosts" in stage.lines()[0], "the header names the screen")


async def test_hosts_are_asked_only_while_they_are_shown(tmp_path: Path) -> None:
    async with staged(tmp_path, place="hosts", prepare=with_hosts) as stage:
        await stage.until(lambda: "sum of 4" in stage.text(), "the hosts")
        first = watch_of(stage)
        assert first.started
        await stage.press("1")
        assert first.closed
        await stage.press("9")
        await stage.until(lambda: place_of(stage)._watch is not None, "they are asked again")
        assert watch_of(stage) is not first
        assert watch_of(stage).started


async def test_a_host_that_cannot_be_gone_to_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise StudioError("l40s-a has another version of this program", cause="There is 0.3.")

    monkeypatch.setattr(flows, "_check", refused)
    async with staged(tmp_path, place="hosts", prepare=with_hosts, can_become=True) as stage:
        await on_the_well_one(stage)
        await stage.press("enter")
        await told(stage, "another version of this program")
        assert stage.app.next_host is None
    async with staged(tmp_path / "b", place="hosts", prepare=with_hosts) as stage:
        await on_the_well_one(stage)
        await stage.press("enter")
        await told(stage, "vllm-studio --connect l40s-a")


async def test_settings_that_cannot_be_read_are_said_and_the_hosts_known_stay(tmp_path: Path) -> None:
    async with staged(tmp_path, place="hosts", prepare=with_hosts) as stage:
        await on_the_well_one(stage)
        with stage.studio.places.settings_file.open("a") as file:
            file.write("hosts: 5\n")
        await stage.press("f5")
        await shows(stage, "hosts is set twice")
        assert "l40s-a" in stage.text()


async def test_what_a_hostile_host_says_is_only_text(tmp_path: Path) -> None:
    async with staged(tmp_path, place="hosts") as stage:
        save_host(stage.studio.places, "evil", {"connect": "ssh://evil"})
        place_of(stage).read_again()
        await stage.until(lambda: place_of(stage).table.item("evil") is not None, "it is there")
        await cursor(stage, "#hosts-table", "evil")
        for width, height in ((160, 45), (80, 24), (60, 15), (40, 6), (20, 2)):
            await stage.pilot.resize_terminal(width, height)
            await stage.settle()
            for line in stage.lines():
                assert DANGEROUS.search(line) is None


async def test_real_hosts_are_asked_while_the_screen_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real server of another home, one that hangs, and one that answers garbage."""
    monkeypatch.undo()  # time goes on
    monkeypatch.setattr(hosts_place, "_make_watch", HostWatch)

    def prepare(studio: Studio) -> None:
        for name, address in (("there", there), ("stuck", stuck), ("odd", odd)):
            save_host(studio.places, name, {"connect": address})

    with (
        real_server(tmp_path / "there") as (there, process),
        speaking(hangs) as stuck,
        speaking(document(5)) as odd,
    ):
        async with staged(tmp_path / "here", place="hosts", prepare=prepare) as stage:
            place = place_of(stage)

            def row(name: str) -> HostState:
                line = place.table.item(name)
                return line.state if line is not None else HostState(name)

            await stage.until(lambda: row("there").answers, "it answers")
            await stage.until(lambda: row("odd").error is not None, "one is said to be odd")
            assert row("stuck") == HostState("stuck", row("stuck").host), "it costs only its own row"
            await cursor(stage, "#hosts-table", "odd")
            assert "cannot be understood" in stage.text()
            process.terminate()
            process.wait(30)
            await stage.until(lambda: row("there").error is not None, "it is lost")
            await cursor(stage, "#hosts-table", "there")
            assert "last seen with no run" in stage.text()
            watch = place._watch
            assert watch is not None
            assert watch._thread is not None
            await stage.press("1")
            watch._thread.join(15)
            assert not watch._thread.is_alive(), "nothing is asked any more"


@pytest.mark.parametrize("way", ["from another screen", "from the screen itself"])
async def test_who_leaves_the_program_waits_until_the_ssh_of_its_hosts_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.undo()  # time goes on
    monkeypatch.setattr(hosts_place, "_make_watch", HostWatch)
    begun, programs = tmp_path / "begun", tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f"#!/bin/sh\ntrap 'sleep 0.7; exit' TERM\ntouch {begun}\nsleep 60 &\nwait\n")
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    tunnels: list[Tunnel] = []

    class Noted(Tunnel):
        def __init__(self, address: Address) -> None:
            super().__init__(address)
            tunnels.append(self)

    monkeypatch.setattr(host_link, "Tunnel", Noted)
    async with staged(
        tmp_path / "here", place="hosts", prepare=lambda one: save_host(one.places, "far", {"connect": "ssh://far"})
    ) as stage:
        await stage.until(begun.exists, "ssh is there")
        watch = place_of(stage)._watch
        assert watch is not None
        if way == "from another screen":
            await stage.press("1")
            await stage.until(lambda: watch._stopped.is_set(), "the screen is left")
        stage.app.leave()
        await stage.until(lambda: stage.app._exit, "the program is left")
        assert watch.ended
        assert len(tunnels) == 1
        assert not tunnels[0].socket.parent.exists()
