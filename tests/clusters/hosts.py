"""Hosts with a studio each: network namespaces on a bridge, with the server of OpenSSH; all ends with one process.

This machine reaches them through a veth. Each host has a home, a name and a studio of its own, and a program `vllm`
that is the simulated engine: its ranks meet over the bridge. It needs root and sshd, and takes two seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
NET, HERE = "198.18.16", "198.18.16.1"
#: One pair at a time on a machine, whoever runs the tests.
LOCK = Path(tempfile.gettempdir()) / "vllm-studio-hosts.lock"
#: The variable of an engine that names its run.
VARIABLE = "VLLM_STUDIO_RUN"

#: The first process: a bridge, a namespace a host, and what it reads tells it what to do with one.
INIT = r"""
set -u
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/sshd /run/netns
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
n=2
for host in $HOSTS; do
  ip netns add "$host"
  ip link add "to-$host" type veth peer name eth0 netns "$host"
  ip link set "to-$host" master br0 up
  ip -n "$host" link set lo up
  ip -n "$host" addr add "$NET.$n/24" dev eth0
  ip -n "$host" link set eth0 up
  n=$((n + 1))
done
echo made
read -r _
ip link set up0 master br0 up
start() {
  unshare --uts sh -c "hostname $1; exec ip netns exec $1 $SSHD -D -e -f $ROOT/$1/sshd_config" \
    >>"$ROOT/$1/sshd.log" 2>&1 &
  echo $! > "$ROOT/$1/sshd.pid"
}
for host in $HOSTS; do start "$host"; done
while read -r what host; do
  case $what in
    cut) ip link set "to-$host" down ;;
    heal) ip link set "to-$host" up ;;
    sshd) start "$host" ;;
    nosshd) kill "$(cat "$ROOT/$host/sshd.pid")" ;;
  esac
  echo "$what"
done
"""

VLLM = """#!{python}
import os, sys
from pathlib import Path
from vllm_studio_tui.simulation import engine
from vllm_studio_tui.simulation.programs import _arguments
if "--version" in sys.argv:
    print("0.33.0")
    sys.exit(0)
if any(word.startswith("--help") for word in sys.argv):
    print("usage: vllm serve")
    sys.exit(0)
options = _arguments("vllm").parse_known_args(sys.argv[2:])[0]
model = str(options.model_path or options.model)
made = ["--model", (options.served_model_name or [model])[0], "--host", options.host, "--port", str(options.port)]
made += ["--load-seconds", "0.3"]
if options.nnodes > 1:
    made += ["--meet", f"{{options.master_addr}}:{{options.master_port}}", "--rank", str(options.node_rank)]
    made += ["--of", str(options.nnodes)]
if options.headless:
    made.append("--headless")
more = Path({folder!r}, "flags")
made += more.read_text().split() if more.exists() else []
code = engine.main(made)
sys.stdout.flush()
os._exit(code)
"""


class TestHost:
    """One host.

    Attributes:
        name: By which ssh here knows it.
        address: On the bridge.
        home: Of its studio.
    """

    __test__ = False

    def __init__(self, hosts: Hosts, name: str, number: int) -> None:
        self._hosts, self.name, self.address = hosts, name, f"{NET}.{number}"
        self.folder = hosts.root / name
        self.home = self.folder / "home"
        self.places = Places.under(self.home)
        self.program = self.folder / "vllm-studio"

    def write(self, python: str) -> None:
        """Make its files."""
        self.folder.mkdir(mode=0o700)
        (self.folder / "sshd_config").write_text(
            f"ListenAddress {self.address}\nHostKey {self._hosts.root}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {self._hosts.root}/key.pub\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\nMaxStartups 100\nAllowStreamLocalForwarding yes\n"
        )
        vllm = self.folder / "bin" / "vllm"
        vllm.parent.mkdir()
        vllm.write_text(VLLM.format(python=python, folder=str(self.folder)))
        self.program.write_text(
            f"#!/bin/sh\nexport VLLM_STUDIO_HOME={self.home} VLLM_STUDIO_VLLM_EXECUTABLE={vllm}\n"
            f'exec {python} -m vllm_studio_tui "$@"\n'
        )
        vllm.chmod(0o755)
        self.program.chmod(0o755)

    def flags(self, *words: str) -> None:
        """Have its next engines started with these options too."""
        (self.folder / "flags").write_text(" ".join(words))

    def states(self) -> dict[str, dict[str, Any]]:
        """What the keepers of its runs wrote, by the runs' ids. Its process numbers are not those of here."""
        found = {}
        for path in self.places.runs.glob("*/state.json"):
            with contextlib.suppress(OSError, ValueError):
                found[path.parent.name] = json.loads(path.read_text())
        return found

    def lines(self) -> list[str]:
        """The command lines of its processes."""
        return [_line(one.pid) for one in self.processes()]

    def end(self) -> None:
        """Whatever a test left of runs."""
        for one in self.processes():
            process.send(one.pid, one.start, signal.SIGKILL)

    def processes(self) -> list[process.Stat]:
        """Engines and keepers of its runs, by their mark and command line."""
        ids = {folder.name for folder in self.places.runs.iterdir()} if self.places.runs.is_dir() else set()
        found = []
        for one in process.all_processes():
            if one.state in "ZX":
                continue
            mark = process.environment_value(one.pid, VARIABLE)
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{one.pid}/cmdline").read_bytes().decode(errors="replace")
                if mark in ids or str(self.places.runs) in line:
                    found.append(one)
        return found

    def engines(self) -> list[process.Stat]:
        """Its engines alone."""
        return [one for one in self.processes() if "bin/vllm" in _line(one.pid)]

    def keepers(self) -> list[process.Stat]:
        return [one for one in self.processes() if "vllm_studio_tui.keeper" in _line(one.pid)]

    def kill_engine(self) -> bool:
        """Kill its engine as the kernel would; False where it has none."""
        return _kill(self.engines()[:1])

    def kill_keeper(self) -> bool:
        return _kill(self.keepers()[:1])

    def cut(self) -> None:
        """Take its network away."""
        self._hosts.tell("cut", self.name)

    def heal(self) -> None:
        self._hosts.tell("heal", self.name)

    def stop_sshd(self) -> None:
        """Have it take no further connection of ssh, and end those that there are."""
        self._hosts.tell("nosshd", self.name)
        for one in process.all_processes():
            line = _line(one.pid)
            if line.startswith("sshd: ") and process.stat(one.pid) is not None and self._inside(one.pid):
                process.send(one.pid, one.start, signal.SIGKILL)

    def start_sshd(self) -> None:
        self._hosts.tell("sshd", self.name)

    def _inside(self, pid: int) -> bool:
        """Return whether a process has its host's name."""
        with contextlib.suppress(OSError):
            mine = next(iter(self.processes()), None)
            sshd = int((self.folder / "sshd.pid").read_text() or 0) if mine is None else mine.pid
            return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(f"/proc/{sshd}/ns/net").st_ino
        return False


class Hosts:
    """The hosts, by their names."""

    def __init__(self, root: Path, names: tuple[str, ...]) -> None:
        self.root, self.names = root, names
        self.of = {name: TestHost(self, name, number) for number, name in enumerate(names, 2)}
        self._init: subprocess.Popen[str] | None = None

    def __getitem__(self, name: str) -> TestHost:
        return self.of[name]

    def tell(self, what: str, host: str) -> None:
        """Have the first process do something with a host."""
        assert self._init is not None and self._init.stdin is not None and self._init.stdout is not None
        self._init.stdin.write(f"{what} {host}\n")
        self._init.stdin.flush()
        assert self._init.stdout.readline().strip() == what

    def write(self, python: str = sys.executable) -> None:
        """Make keys, configuration of ssh and the folders of the hosts."""
        for name in ("host", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.root / name)], check=True)
        public = " ".join((self.root / "host.pub").read_text().split()[:2])
        known, config = "", ""
        for one in self.of.values():
            one.write(python)
            known += f"{one.address} {public}\n"
            config += f"Host {one.name}\n HostName {one.address}\n"
        (self.root / "known_hosts").write_text(known)
        (self.root / "config").write_text(
            f"{config}Host *\n User root\n IdentityFile {self.root}/key\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {self.root}/known_hosts\n StrictHostKeyChecking yes\n"
        )
        programs = self.root / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.root}/config "$@"\n')
        (programs / "ssh").chmod(0o755)

    def settings(self) -> dict[str, dict[str, str]]:
        """What `hosts` of the settings says of them."""
        return {one.name: {"connect": f"ssh://{one.name}{one.program}"} for one in self.of.values()}

    def begin(self) -> None:
        """Start them; without root the test is skipped."""
        told = {"NET": NET, "HOSTS": " ".join(self.names), "ROOT": str(self.root), "SSHD": str(SSHD)}
        self._init = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", INIT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(self.root / "init.log").open("w"), text=True,
            env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(self.root), "LANG": "C.UTF-8", **told},
        )  # fmt: skip
        assert self._init.stdin is not None and self._init.stdout is not None
        if self._init.stdout.readline().strip() != "made":
            pytest.skip(f"no network namespaces here: {(self.root / 'init.log').read_text()[-300:]}")
        task = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self._child = int(task.read_text().split()[0])
        for command in (
            ["ip", "link", "add", "vsthosts0", "type", "veth", "peer", "name", "up0", "netns", str(self._child)],
            ["ip", "addr", "add", f"{HERE}/24", "dev", "vsthosts0"],
            ["ip", "link", "set", "vsthosts0", "up"],
        ):
            subprocess.run(command, check=True, timeout=20)
        self._init.stdin.write("linked\n")
        self._init.stdin.flush()

    def end(self) -> None:
        """End every process of them."""
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.kill(self._child, signal.SIGKILL)
            self._init.wait(20)


@contextmanager
def running(root: Path, names: tuple[str, ...] = ("a", "b"), python: str = sys.executable) -> Iterator[Hosts]:
    """Run hosts; without root or sshd the test is skipped."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ip") is None:
        pytest.skip("OpenSSH's server or client, or iproute2, is not here")
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hosts = Hosts(root, names)
        hosts.write(python)
        try:
            hosts.begin()
            for name in names:
                _wait_for_ssh(hosts, name)
            yield hosts
        finally:
            hosts.end()


def _wait_for_ssh(hosts: Hosts, name: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        done = subprocess.run(
            [str(hosts.root / "bin" / "ssh"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", name, "hostname"],
            capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.stdout.strip() == name:
            return
        assert time.monotonic() < deadline, (done.stderr, (hosts[name].folder / "sshd.log").read_text()[-500:])
        time.sleep(0.2)


def _line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _kill(found: list[process.Stat]) -> bool:
    for one in found:
        process.send(one.pid, one.start, signal.SIGKILL)
        process.wait_gone(one.pid, one.start, 5.0)
    return bool(found)


def settings_of(hosts: Hosts, **more: object) -> str:
    """A settings file that knows them."""
    return json.dumps({"hosts": hosts.settings(), **more})
