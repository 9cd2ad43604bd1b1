"""The way to a studio over ssh: how it ends. The ssh is the real one, and needs no server for that."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.remote.tunnel import Tunnel

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not here")


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["", "setsid "], ids=["in ssh's group", "in a group of its own"])
def test_closing_does_not_wait_for_a_proxy_command_that_outlives_its_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how and shutil.which("setsid") is None:
        pytest.skip("setsid is not here")
    proxy = tmp_path / "proxy"
    proxy.write_text(
        f"#!/bin/sh\ntrap '' HUP TERM\necho $$ > {tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\nsleep 60\n"
    )
    proxy.chmod(0o755)
    (tmp_path / "config").write_text(f"Host far\n ProxyCommand {how}{proxy}\n")
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tunnel, said = Tunnel(Address("ssh", "far")), []

    def connect() -> None:
        try:
            tunnel.open()
        except StudioError as error:
            said.append(error)

    connecting = threading.Thread(target=connect, daemon=True)
    connecting.start()
    until((tmp_path / "pid").exists, "ssh has started it")
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    every = [left, *left.children()]
    try:
        closing = threading.Thread(target=tunnel.close, daemon=True)
        closing.start()
        closing.join(15)
        assert not closing.is_alive(), "it waits for what is left over"
        connecting.join(5)
        assert len(said) == 1
        assert not tunnel.socket.parent.exists()
        if not how:
            until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE, "it is ended with its ssh")
    finally:
        for one in [*every, *(left.children() if left.is_running() else [])]:
            if one.is_running():
                os.kill(one.pid, signal.SIGKILL)
