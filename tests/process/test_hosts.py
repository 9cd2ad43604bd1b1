"""The command over several hosts, which are real servers of other homes: well, busy, hanging, gone, hostile."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import HOSTILE, document, real_server, speaking
from tests.ports import free_port
from tests.process.house import House, wait_ready
from tests.process.serving import recipe
from vllm_studio_tui import __version__
from vllm_studio_tui.config.hosts import read_hosts, save_host
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return Places.under(tmp_path / "here")


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[House]:
    """A home in which an engine answers."""
    house = House(tmp_path / "busy")
    try:
        with Studio.open_sync(house.places) as studio:
            run = studio.launcher.launch(studio.recipes.create(recipe("sim")))
        assert wait_ready(run, 30).state == "ready"
        yield house
    finally:
        house.end()


def command(here: Places, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "vllm_studio_tui", *words]
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(here.config.parent), **more}
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, env=environ)


def test_one_that_hangs_costs_only_its_own_row(here: Places, busy: House, tmp_path: Path) -> None:
    with real_server(tmp_path / "idle") as (idle, _), real_server(busy.root, "--port", "0") as (there, _):
        with real_server(tmp_path / "stuck") as (stuck, process):
            for name, address in (("idle", idle), ("busy", there), ("stuck", stuck)):
                save_host(here, name, {"connect": address})
            save_host(here, "gone", {"connect": f"unix://{tmp_path}/nothing"})
            os.kill(process.pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                done = command(here, "hosts", "--json", "--timeout", "10")
                took = time.monotonic() - started
            finally:
                os.kill(process.pid, signal.SIGCONT)
        assert done.returncode == 1, done.stderr
        assert took < 30
        told = json.loads(done.stdout)
        found: dict[str, Any] = {one["name"]: one for one in told["hosts"]}
        assert [one["state"] for one in told["hosts"]] == ["lost", "lost", "well", "well", "well"]
        assert (found["stuck"]["trouble"], found["stuck"]["overview"]) == ("no answer", None)
        assert "within 10 s" in found["stuck"]["error"]["title"]
        assert "No such file" in found["gone"]["error"]["cause"]
        assert found["busy"]["tokens_per_second"] == 0.0
        assert [run["state"] for run in found["busy"]["overview"]["runs"]] == ["ready"]
        assert found["idle"]["overview"]["version"] == __version__
        assert sum(one["here"] for one in told["hosts"]) == 1
        shown = command(here, "hosts", "--timeout", "6").stdout
        assert "1 ready" in shown
        assert "stuck: " in shown
        for name in ("stuck", "gone"):
            assert command(here, "hosts", "remove", name).returncode == 0
        done = command(here, "hosts")
        assert done.returncode == 0, done.stdout
        # A name leads there.
        assert (
            json.loads(command(here, "--connect", "busy", "status", "--json").stdout)["runs"][0]["recipe_id"] == "sim"
        )


def test_a_key_that_may_look_is_enough_for_the_list_and_not_to_go_there(here: Places, tmp_path: Path) -> None:
    there, port = Places.under(tmp_path / "there"), free_port()
    with Studio.open_sync(there) as studio:
        _, looks = studio.keys.add("looks", scopes=["read"])
        _, asks = studio.keys.add("asks", scopes=["inference"])
    url = f"http://127.0.0.1:{port}"
    keys = {"LOOKS": looks, "ASKS": asks, "WRONG": "vs-" + "x" * 32}
    for name in keys:
        save_host(here, name.lower(), {"connect": url, "api_key": f"env:{name}"})
    save_host(here, "none", {"connect": url})
    with real_server(there.config.parent, "--port", str(port)):
        done = command(here, "hosts", "--json", **keys)
        found = {one["name"]: one for one in json.loads(done.stdout)["hosts"]}
        assert (found["looks"]["state"], found["looks"]["trouble"]) == ("well", "")
        assert "scope read" in found["asks"]["error"]["advice"]
        assert (found["wrong"]["trouble"], found["none"]["trouble"]) == ("wants a key", "wants a key")
        assert "api_key in the settings" in found["none"]["error"]["advice"]
        going = command(here, "--connect", "looks", "status", **keys)
    assert going.returncode == 1
    assert "admin" in going.stderr
    for secret in keys.values():
        assert secret not in done.stdout + done.stderr + going.stdout + going.stderr


def test_what_a_host_says_does_nothing_to_the_terminal(here: Places) -> None:
    with speaking(document(HOSTILE)) as url:
        save_host(here, "evil", {"connect": url})
        master, slave = pty.openpty()
        environ = {**os.environ, "VLLM_STUDIO_HOME": str(here.config.parent)}
        program = [sys.executable, "-m", "vllm_studio_tui", "hosts"]
        process = subprocess.Popen(program, stdout=slave, stderr=slave, stdin=slave, env=environ)
        os.close(slave)
        said = b""
        while piece := _read(master):
            said += piece
        assert process.wait(30) == 0, said
        os.close(master)
    assert b"evil" in said
    for bad in (b"\x1b", b"\x07", b"\xc2\x9b", "\u202e".encode()):
        assert bad not in said


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # the other end is gone
        return b""


def test_hosts_are_added_and_removed_by_commands(here: Places) -> None:
    done = command(here, "hosts", "add", "gpu", "ssh://ada@gpu-box", "--json")
    assert (done.returncode, json.loads(done.stdout)["connect"]) == (0, "ssh://ada@gpu-box"), done.stderr
    assert command(here, "hosts", "add", "web", "https://h", "--key", "env:K").returncode == 0
    for words, reason in (
        (("gpu", "ssh://b"), "called gpu already"),
        (("x", "gpu-box"), "an address begins"),
        (("x", "https://h", "--key", "the-key-itself"), "must refer to a secret"),
        (("x", "http://10.0.0.9"), "--plain"),
    ):
        done = command(here, "hosts", "add", *words)
        assert done.returncode == 2, done.stdout
        assert reason in done.stderr
        assert "the-key-itself" not in done.stderr
    assert command(here, "hosts", "add", "plain", "http://10.0.0.9", "--plain").returncode == 0
    assert [(name, one.api_key) for name, one in read_hosts(here, {}).items()] == [
        ("gpu", None), ("web", "env:K"), ("plain", None)
    ]  # fmt: skip
    assert command(here, "hosts", "remove", "gpu", "--json").stdout == '{"removed": "gpu"}\n'
    assert command(here, "hosts", "remove", "gpu").returncode == 1


def test_without_hosts_this_machine_is_shown_and_what_to_do(here: Places) -> None:
    done = command(here, "hosts")
    assert done.returncode == 0
    assert os.uname().nodename.partition(".")[0] in done.stdout
    assert "vllm-studio hosts add NAME ssh://HOST" in done.stdout
