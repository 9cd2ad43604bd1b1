"""Two nodes of SLURM in namespaces of their own, for a test: nothing outlives it, and nothing outside is touched.

Needs root, `slurm-wlm` and `munge` of Debian. The nodes `n1` and `n2` have two GPUs each, which are device nodes like
/dev/null, and addresses of their own on a network that only this cluster sees.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NODES = {"n1": "10.77.0.1", "n2": "10.77.0.2"}
#: What accounting needs beside: `apt install slurmdbd mariadb-server`.
ACCOUNTING = ("slurmdbd", "mariadbd", "mysql_install_db")
NEEDED = ("unshare", "nsenter", "ip", "munged", "slurmctld", "slurmd", "sbatch")
#: Seconds that the start of the cluster and a command in it may take.
START, COMMAND = 60.0, 30.0

_CONF = """ClusterName=test
SlurmctldHost={host}(10.77.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CryptoType=crypto/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
SlurmctldPort=7001
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
MpiDefault=none
SlurmdParameters=config_overrides
SlurmctldParameters=node_reg_mem_percent=1
SchedulerParameters=bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
ReturnToService=2
SlurmdTimeout=6
MessageTimeout=5
KillWait=3
MinJobAge=600
AccountingStorageType=accounting_storage/{accounting}
AccountingStorageHost=10.77.0.1
AccountingStoragePort=7021
AccountingStoragePass={root}/munge/socket
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeHostname={host} NodeAddr=10.77.0.1 Port=7011 CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=10.77.0.2 Port=7012 CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
PartitionName=short Nodes=n1,n2 MaxTime=1 OverTimeLimit=0 State=UP
"""

_ACCOUNTS = """AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
DbdHost={host}
DbdAddr=10.77.0.1
DbdPort=7021
SlurmUser=root
LogFile={root}/slurmdbd.log
PidFile={root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


@dataclass
class Slurm:
    """A cluster that runs.

    Attributes:
        root: Its folder.
        init: The process that everything of it descends from.
        started: What leads programs into it: they stand outside, and stop where those are stopped.
    """

    root: Path
    init: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *words: str | Path) -> list[str]:
        """Return the words that run a command inside of the cluster's namespaces."""
        return [
            "nsenter",
            "--target",
            str(self.init),
            "--net",
            "--mount",
            "--pid",
            f"--wd={self.root}",
            "--",
            *map(str, words),
        ]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.root / "slurm.conf"), **(more or {})}

    def run(
        self, *words: str | Path, ok: bool = True, limit: float = COMMAND, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; it fails the test where it fails, unless it may."""
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            env=self.environment(env),
            cwd=self.root,
        )
        if ok and done.returncode:
            raise AssertionError(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *words: str | Path, log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program inside. It ends with the cluster."""
        with log.open("ab") as file:
            one = subprocess.Popen(
                self.command(*words), stdout=file, stderr=file, env=self.environment(env), cwd=self.root
            )
        self.started.append(one)
        return one

    def job(self, job: str) -> dict[str, str]:
        """Return what `scontrol show job` tells, by its names."""
        text = self.run("scontrol", "--oneliner", "show", "job", job).stdout
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def fill(self, *, gpus: int = 2, nodes: int = 2) -> str:
        """Have another job take the nodes; return its number."""
        script = self.root / "fill.sh"
        script.write_text("#!/bin/sh\nexec srun sleep 600\n")
        options = (f"--nodes={nodes}", f"--gpus-per-node={gpus}", "--output=/dev/null", "--job-name=other")
        job = self.run("sbatch", "--parsable", *options, script).stdout.strip()
        wait_for(lambda: self.job(job)["JobState"] == "RUNNING", "the other job runs")
        return job

    def both_idle(self) -> bool:
        told = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T", ok=False).stdout
        return told.split() == ["n1", "idle", "n2", "idle"]

    def both_idle_or_busy(self) -> bool:
        told = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T", ok=False).stdout
        return set(told.split()) <= {"idle", "mixed", "allocated"}

    def start_node(self, node: str) -> None:
        self.start("slurmd", "-D", "-N", node, log=self.root / f"slurmd-{node}.out")

    def start_controller(self) -> None:
        self.start("slurmctld", "-D", log=self.root / "slurmctld.out")
        wait_for(lambda: self.run("scontrol", "ping", ok=False).returncode == 0, "the controller answers")

    def wait_until_saved(self, name: str) -> None:
        """Wait until the controller has written down a job of this name: one that is killed before has lost it."""
        kept = self.root / "state" / "job_state"
        wait_for(lambda: kept.exists() and name.encode() in kept.read_bytes(), f"{name} is saved")

    def kill_controller(self) -> None:
        """Kill the controller, which then does not answer: connections are refused."""
        self.kill(int((self.root / "slurmctld.pid").read_text()))

    def kill_node(self, node: str) -> None:
        """Kill the daemon of a node and everything that it runs, as if the machine was gone."""
        everything = self.processes()
        gone = {int((self.root / f"slurmd-{node}.pid").read_text())}
        for pid, (_, words) in everything.items():
            if words.startswith("slurmstepd: ["):
                files = self.run("ls", "-l", f"/proc/{pid}/fd", ok=False).stdout
                gone |= {pid} if f"slurmd-{node}.log" in files else set()
        while more := {pid for pid, (parent, _) in everything.items() if parent in gone} - gone:
            gone |= more
        # All at once: none of them may tell the controller how another ended.
        for name in ("-STOP", "-KILL"):
            self.run("kill", name, *map(str, gone), ok=False)

    def kill(self, pid: int) -> None:
        self.run("kill", "-KILL", str(pid), ok=False)

    def processes(self) -> dict[int, tuple[int, str]]:
        """Return parent and words of each process of the cluster, by numbers as they are inside."""
        rows = self.run("ps", "-eo", "pid=,ppid=,args=").stdout.splitlines()
        parts = [row.split(None, 2) for row in rows]
        return {int(pid): (int(parent), words) for pid, parent, words in parts}


def wait_for(what: Callable[[], Any], words: str, limit: float = START) -> Any:
    """Return what is waited for, once it is true."""
    end = time.monotonic() + limit
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit:.0f} s in vain: {words}")
        time.sleep(0.1)


def missing(*more: str) -> str:
    """Return why no cluster can be made here; empty where it can."""
    if os.geteuid():
        return "a network namespace needs root"
    absent = [name for name in (*NEEDED, *more) if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (apt install slurm-wlm munge slurmdbd mariadb-server)" if absent else ""


@contextlib.contextmanager
def slurm_cluster(*, accounting: bool = False) -> Iterator[Slurm]:
    """Start a cluster, and end all of it.

    Args:
        accounting: SLURM keeps what became of jobs in a database, which takes ten seconds more.
    """
    root = Path(tempfile.mkdtemp(prefix="studio-slurm-", dir="/tmp"))
    root.chmod(0o755)
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with (root / "init.log").open("ab") as log:
        process = subprocess.Popen(
            [*words, sys.executable, __file__, str(root), "slurmdbd" if accounting else "none"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
        )
    cluster: Slurm | None = None
    try:
        wait_for(lambda: (root / "up").exists() or process.poll() is not None, "the daemons are started")
        if process.poll() is not None:
            raise AssertionError((root / "init.log").read_text())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        cluster = Slurm(root, int(children[0]))
        wait_for(cluster.both_idle, "both nodes are idle")
        yield cluster
    finally:
        for one in (process, *(cluster.started if cluster is not None else ())):
            one.kill()
            one.wait(10)
        shutil.rmtree(root, ignore_errors=True)


def _init(root: Path, accounting: str) -> None:
    """Be the first process of the namespaces: make network, files and daemons, then bury what dies."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # The test holds the other end: however it ends, this process does, and with it all others of the namespace.
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    _network()
    hosts = root / "hosts"
    host = os.uname().nodename.split(".")[0]
    names = {**{name: name for name in NODES}, "n1": f"n1 {host}"}
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{NODES[one]} {names[one]}\n" for one in NODES))
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    for folder in ("state", "spool-n1", "spool-n2", "munge"):
        (root / folder).mkdir(mode=0o755)
    devices = [root / f"gpu{number}" for number in range(4)]
    for number, device in enumerate(devices):
        os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
        assert number < 4
    (root / "slurm.conf").write_text(_CONF.format(root=root, host=host, accounting=accounting))
    (root / "gres.conf").write_text(
        "".join(f"NodeName={name} Name=gpu File={root}/gpu{at}\n" for at, name in enumerate(("n1", "n1", "n2", "n2")))
    )
    _start_munge(root / "munge")
    environ = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
    if accounting != "none":
        _start_accounting(root, host, environ)
    for name, words in {
        "slurmctld": ["slurmctld", "-D"],
        "slurmd-n1": ["slurmd", "-D", "-N", "n1"],
        "slurmd-n2": ["slurmd", "-D", "-N", "n2"],
    }.items():
        with (root / f"{name}.out").open("ab") as log:
            subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ, cwd=root)
    (root / "up").touch()
    while True:
        with contextlib.suppress(ChildProcessError):
            os.wait()
            continue
        time.sleep(1)


def _network() -> None:
    lines = ["link set lo up", "link add c0 type veth peer name c1", "link set c0 up", "link set c1 up"]
    for line in [*lines, *(f"addr add {address}/24 dev c0" for address in NODES.values())]:
        subprocess.run(["ip", *line.split()], check=True)


def _start_munge(folder: Path) -> None:
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (folder, key):
        shutil.chown(path, "munge", "munge")
    words = ["munged", "--foreground", f"--key-file={key}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    words += [f"--log-file={folder}/log", f"--seed-file={folder}/seed"]
    subprocess.Popen(words, user="munge", group="munge", extra_groups=[], stdin=subprocess.DEVNULL, cwd=folder)
    wait_for((folder / "socket").exists, "munged listens")


def _start_accounting(root: Path, host: str, environ: Mapping[str, str]) -> None:
    """Start a database, and SLURM's accounting on it, which has to be there before the controller."""
    data = root / "database"
    data.mkdir()
    shutil.chown(data, "mysql", "mysql")
    where = [f"--datadir={data}", "--user=mysql"]
    make = ["mysql_install_db", *where, "--auth-root-authentication-method=normal"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    words = ["mariadbd", "--no-defaults", *where, f"--socket={data}/socket", "--skip-networking"]
    subprocess.Popen([*words, f"--pid-file={data}/pid"], stdin=subprocess.DEVNULL, cwd=data)
    wait_for((data / "socket").exists, "the database listens")
    conf = root / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(_ACCOUNTS.format(root=root, host=host))
    subprocess.Popen(["slurmdbd", "-D"], env={**environ, "MYSQL_UNIX_PORT": f"{data}/socket"}, cwd=root)
    wait_for(lambda: _listens("10.77.0.1", 7021), "accounting listens")


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    _init(Path(sys.argv[1]), sys.argv[2])
