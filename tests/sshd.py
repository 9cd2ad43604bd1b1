"""A real sshd of our own on loopback, for one user with one key, which `ssh gpu-box` leads to."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MARKS = [
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="OpenSSH's server or client is not here"),
]


def wait(condition: Callable[[], object], what: str, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def ssh_children() -> list[int]:
    """The ssh that this process has started and that live."""
    import psutil

    found = []
    for one in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if one.name() == "ssh" and one.status() != "zombie":
                found.append(one.pid)
    return found


@dataclass
class Box:
    """A host.

    Attributes:
        folder: Its keys and configuration.
        programs: What `ssh` here is found in, and `vllm-studio` there; programs of the host may be put there too.
    """

    folder: Path
    programs: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Have it listen.

        Args:
            more: Further lines of its configuration.
        """
        assert SSHD is not None
        lines = [
            f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.folder}/host", "PidFile none", "UsePAM no",
            "StrictModes no", f"AuthorizedKeysFile {self.folder}/key.pub", "PermitRootLogin prohibit-password", *more,
        ]  # fmt: skip
        if not any(one.startswith("PasswordAuthentication") for one in more):
            lines.append("PasswordAuthentication no")
        (self.folder / "sshd_config").write_text("\n".join([*lines, ""]))
        with contextlib.suppress(OSError):
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            config = str(self.folder / "sshd_config")
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdout=log, stderr=log)
        wait(lambda: self.process is None or self.process.poll() is not None or listens(self.port), "sshd listens")
        if self.process.poll() is not None:
            pytest.skip(f"sshd does not start here: {(self.folder / 'log').read_text()[-300:]}")

    def stop(self) -> None:
        """End the one that listens, and all connections that it has."""
        import psutil

        process, self.process = self.process, None
        if process is None:
            return
        sessions = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(10)
        for one in sessions:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@contextlib.contextmanager
def box(folder: Path) -> Iterator[Box]:
    """Make a host that is not started yet. Its `ssh` waits while there is a file `hold` in its folder."""
    inside, programs, port = folder / "ssh", folder / "bin", free_port()
    inside.mkdir(mode=0o700)
    programs.mkdir()
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(inside / name)], check=True)
    public = (inside / "host.pub").read_text().split()
    (inside / "known_hosts").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    (inside / "config").write_text(
        f"Host gpu-box\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {inside}/key\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {inside}/known_hosts\n StrictHostKeyChecking yes\n"
    )
    ssh = programs / "ssh"
    ssh.write_text(
        f"#!/bin/sh\nwhile [ -e {inside}/hold ]; do sleep 0.05; done\n"
        f'exec {shutil.which("ssh")} -F {inside}/config "$@"\n'
    )
    ssh.chmod(0o755)
    made = Box(inside, programs, port)
    try:
        yield made
    finally:
        made.stop()
