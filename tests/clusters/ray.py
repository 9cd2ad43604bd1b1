"""A real Ray cluster of two nodes, each in a network namespace of its own; all of it ends with one process.

The head is at `HEAD`, the other node at `OTHER`; this machine reaches both through a veth, and nobody else does. It
needs root, the Ray of `VLLM_STUDIO_TEST_RAY` (else it is installed, 350 MB), 3 GB of memory and half a minute.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

#: An environment with `ray[serve]`: a folder with `bin/ray`, or one where it is installed for the next time.
VARIABLE = "VLLM_STUDIO_TEST_RAY"
RELEASE = "ray[serve]==2.60.0"
NET, HERE, HEAD, OTHER = "198.18.15", "198.18.15.1", "198.18.15.2", "198.18.15.3"
DASHBOARD, GCS = 8265, 6399
#: One cluster at a time on a machine, whoever runs the tests.
LOCK = Path(tempfile.gettempdir()) / "ray-cluster.lock"

#: The first process of the cluster: a bridge, a namespace a node, and what it reads tells it to start nodes again.
INIT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /tmp/ray
mount -t tmpfs none /tmp/ray
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
for n in 2 3; do
  ip netns add "n$n"
  ip link add "to$n" type veth peer name eth0 netns "n$n"
  ip link set "to$n" master br0 up
  ip -n "n$n" link set lo up
  ip -n "n$n" addr add "$NET.$n/24" dev eth0
  ip -n "n$n" link set eth0 up
  ip -n "n$n" route add default via "$NET.1"
done
echo made
read -r _
ip link set up0 master br0 up
start() {
  n=$1; shift
  ip netns exec "n$n" "$RAY" start "$@" --node-ip-address "$NET.$n" --num-cpus 4 --num-gpus "$GPUS" \
    --object-store-memory 80000000 --disable-usage-stats --block >>"$LOGS/node$n.log" 2>&1 &
}
while read -r what; do
  case $what in
    head) start 2 --head --port "$GCS" --dashboard-host 0.0.0.0 --dashboard-port "$DASHBOARD" ;;
    other) start 3 --address "$NET.2:$GCS" ;;
    cut) ip link set up0 down ;;
    mend) ip link set up0 up ;;
    cut3) ip link set to3 down ;;
    mend3) ip link set to3 up ;;
  esac
  echo "$what"
done
"""


def installed() -> Path:
    """The folder of an environment with Ray; installed where there is none, or the test is skipped."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"vllm-studio-tests-ray-{os.getuid()}"
    if not (folder / "bin/ray").exists():
        with Path(f"{folder}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "bin/ray").exists():
                _install(folder)
    return folder


def _install(folder: Path) -> None:
    uv = shutil.which("uv")
    subprocess.run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(folder)], check=True)
    python = str(folder / "bin/python")
    tool = [uv, "pip", "install", "-q", "-p", python] if uv else [python, "-m", "pip", "install", "-q"]
    done = subprocess.run([*tool, RELEASE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"Ray cannot be installed ({VARIABLE} may name an environment): {done.stdout[-300:]}")


def wait_for(what: Callable[[], Any], seconds: float = 60, words: str | Callable[[], str] = "") -> Any:
    """The first true answer of a question that is asked five times a second."""
    until = time.monotonic() + seconds
    while not (found := what()):
        told = words if isinstance(words, str) else words() if time.monotonic() >= until else ""
        assert time.monotonic() < until, f"not within {seconds:.0f} s: {told}"
        time.sleep(0.2)
    return found


class Cluster:
    """Two nodes that run.

    Attributes:
        dashboard: Where its HTTP interface is, seen from this machine.
        proxy: Host and port of Serve's proxy on the head.
        environment: The folder of the environment with Ray.
    """

    dashboard = f"http://{HEAD}:{DASHBOARD}"
    proxy = (HEAD, 8000)

    def __init__(self, init: subprocess.Popen[str], namespace: int, environment: Path, token: str) -> None:
        self._init, self._namespace, self.environment, self.token = init, namespace, environment, token

    def tell(self, what: str) -> None:
        """Have the first process do one of: head, other, cut, mend, cut3, mend3."""
        assert self._init.stdin is not None and self._init.stdout is not None
        self._init.stdin.write(f"{what}\n")
        self._init.stdin.flush()
        assert self._init.stdout.readline().strip() == what

    def get(self, path: str) -> Any:
        """The JSON of a path of the dashboard; None: it does not answer, or refuses."""
        try:
            with urllib.request.urlopen(self._request(path), timeout=20) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def put(self, path: str, body: Any, method: str = "PUT") -> None:
        """Send JSON, or bytes, to a path of the dashboard; what it refuses is a failure with its words."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = self._request(path, method=method, data=data)
        request.add_header("Content-Type", "application/json")
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode(errors="replace")) from None

    def _request(self, path: str, **options: Any) -> urllib.request.Request:
        request = urllib.request.Request(f"{self.dashboard}{path}", **options)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        return request

    def nodes(self) -> dict[str, str]:
        """The state of the newest raylet of each address."""
        told = self.get("/api/v0/nodes?detail=true")
        rows = told["data"]["result"]["result"] if told else []
        rows.sort(key=lambda one: one.get("start_time_ms") or 0)
        return {one["node_ip"]: one["state"] for one in rows}

    def applications(self) -> dict[str, Any]:
        """What Serve tells of its applications, by their names."""
        told = self.get("/api/serve/applications/")
        return dict(told["applications"]) if told else {}

    def processes(self, *words: str) -> list[psutil.Process]:
        """The processes of the cluster, replicas' children too, that have each of these words in their command."""
        found = []
        for one in psutil.process_iter():
            try:
                inside = os.stat(f"/proc/{one.pid}/ns/pid").st_ino == self._namespace
                if inside and all(word in " ".join(one.cmdline()) for word in words):
                    found.append(one)
            except (OSError, psutil.Error):
                continue
        return found

    def kill_raylet(self, address: str) -> None:
        """Kill the raylet of a node; its workers end with it."""
        found = self.processes("raylet/raylet", f"--node_ip_address={address}")
        assert len(found) == 1, found
        found[0].kill()

    def signal_dashboard(self, number: signal.Signals) -> None:
        """Stop, or let go on, all that answers at the dashboard's port."""
        found = [*self.processes("dashboard/dashboard.py"), *self.processes("ray-dashboard-")]
        assert found
        for one in found:
            one.send_signal(number)


@contextmanager
def running(logs: Path, *, gpus: int = 2, token: str = "") -> Iterator[Cluster]:
    """Run a cluster of two nodes; without root the test is skipped.

    Args:
        gpus: How many GPUs each node pretends to have.
        token: Its bearer token; empty: it asks for none.
    """
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    environment = installed()
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        init, child = _namespaces(environment, logs, gpus, token)
        try:
            cluster = Cluster(init, os.stat(f"/proc/{child}/ns/pid").st_ino, environment, token)

            def said() -> str:
                return "".join(file.read_text(errors="replace")[-2000:] for file in logs.glob("node*.log"))

            cluster.tell("head")
            wait_for(lambda: cluster.nodes().get(HEAD) == "ALIVE", 120, said)
            cluster.tell("other")
            wait_for(lambda: cluster.nodes().get(OTHER) == "ALIVE", 120, said)
            yield cluster
        finally:
            os.kill(child, signal.SIGKILL)
            init.wait(20)


def _namespaces(environment: Path, logs: Path, gpus: int, token: str) -> tuple[subprocess.Popen[str], int]:
    """Start the first process in namespaces of its own, with a link to here; it, and the one inside."""
    kept = {"PATH": os.environ["PATH"], "HOME": str(logs), "LANG": "C.UTF-8", "RAY_SERVE_LOG_TO_STDERR": "1"}
    told = {"RAY": str(environment / "bin/ray"), "NET": NET, "GCS": str(GCS), "DASHBOARD": str(DASHBOARD)}
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    init = subprocess.Popen(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", INIT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(logs / "init.log").open("w"), text=True,
        env={**kept, **told, **secret, "GPUS": str(gpus), "LOGS": str(logs)},
    )  # fmt: skip
    assert init.stdin is not None and init.stdout is not None
    if init.stdout.readline().strip() != "made":
        init.wait(20)
        pytest.skip(f"no network namespaces here: {(logs / 'init.log').read_text()[-300:]}")
    child = int(Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()[0])
    commands = (
        ["ip", "link", "add", "raytest0", "type", "veth", "peer", "name", "up0", "netns", str(child)],
        ["ip", "addr", "add", f"{HERE}/24", "dev", "raytest0"],
        ["ip", "link", "set", "raytest0", "up"],
    )
    for command in commands:
        subprocess.run(command, check=True, timeout=20)
    init.stdin.write("linked\n")
    init.stdin.flush()
    return init, child
