"""A real Kubernetes of one node, from API server to containerd; it has two GPUs, in name only.

`VLLM_STUDIO_TEST_KUBERNETES` names a folder with kube-apiserver, kube-controller-manager, kube-scheduler and kubelet
(`kubernetes_build.sh` makes them from Debian's source package); the rest is Debian's: etcd-server, containerd, runc,
containernetworking-plugins, busybox-static, openssl, curl, and a kubectl. It needs root and 1 GB of memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

VARIABLE = "VLLM_STUDIO_TEST_KUBERNETES"
BINARIES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
FROM_DEBIAN = ("etcd", "containerd", "runc", "ctr", "kubectl", "openssl", "busybox", "ip", "curl", "unshare")
SCRIPT = Path(__file__).with_name("kubernetes.sh")
REPOSITORY = Path(__file__).parent.parent.parent
#: One cluster at a time on a machine: they share cgroups and the name of the bridge's folder.
LOCK = Path(tempfile.gettempdir()) / "kubernetes-cluster.lock"
IMAGE = "docker.io/test/engine:1"
_CLONE_NEWNET = 0x40000000


class Cluster:
    """A cluster that runs, inside namespaces of its own.

    Attributes:
        folder: Its files: `admin.conf`, `logs`, `api.pid`.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.folder, self._first = folder, first
        self.config = folder / "admin.conf"
        self.environ = {"KUBECONFIG": str(self.config)}

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", *words], input=given, capture_output=True, text=True, timeout=40, check=False,
            env={**os.environ, **self.environ},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and what it starts, live in the cluster's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as own, open(f"/proc/{self._first}/ns/net") as theirs:
            assert libc.setns(theirs.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(own.fileno(), _CLONE_NEWNET) == 0

    def silence(self) -> None:
        """End the API server; it comes back with `answer`."""
        (self.folder / "api.down").touch()
        os.kill(self._pid("api.pid"), signal.SIGKILL)

    def answer(self) -> None:
        (self.folder / "api.down").unlink()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.kubectl("get", "--raw", "/readyz", check=False) == "ok":
                return
            time.sleep(0.2)
        raise AssertionError("the API server did not come back")

    def _pid(self, name: str) -> int:
        """Return a process of theirs by the number that it has here."""
        wanted = int((self.folder / name).read_text())
        for one in psutil.Process(self._first).children(recursive=True):
            status = Path(f"/proc/{one.pid}/status").read_text()
            if f"NSpid:\t{one.pid}\t{wanted}\n" in status:
                return one.pid
        raise AssertionError(f"{name} is not there")


def missing() -> str:
    """Return what keeps a cluster from being started here; empty: nothing."""
    if os.geteuid() != 0:
        return "namespaces need root"
    folder = os.environ.get(VARIABLE)
    if not folder:
        return f"{VARIABLE} names no folder with {', '.join(BINARIES)}"
    path = f"{folder}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [name for name in (*BINARIES, *FROM_DEBIAN) if shutil.which(name, path=path) is None]
    return f"not here: {', '.join(lacking)}" if lacking else ""


@contextmanager
def running() -> Iterator[Cluster]:
    """Start a cluster, and end it with all that ran in it."""
    lack = missing()
    if lack:
        pytest.skip(lack)
    folder = Path(tempfile.mkdtemp(prefix="vs-kube-"))
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_image(folder / "image.tar")
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", str(SCRIPT)]
        with (folder / "log").open("w") as log:
            outer = subprocess.Popen(
                [*words, str(folder), os.environ[VARIABLE], str(folder / "image.tar")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while not (folder / "started").exists():
                assert outer.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text() + _tails(folder)
                time.sleep(0.2)
            (first,) = psutil.Process(outer.pid).children()
            yield Cluster(folder, first.pid)
        finally:
            outer.kill()
            outer.wait()
            _clean(folder)


def _tails(folder: Path) -> str:
    return "".join(f"== {one.name}\n{one.read_text(errors='replace')[-1500:]}" for one in sorted(folder.glob("logs/*")))


def _clean(folder: Path) -> None:
    """Take away what the namespaces do not: cgroups and files."""
    deadline = time.monotonic() + 20
    tops = list(Path("/sys/fs/cgroup").glob(f"*/{folder.name}"))
    while time.monotonic() < deadline:
        for top in tops:
            for one in sorted(top.rglob("*"), key=lambda path: -len(path.parts)) if top.exists() else ():
                if one.is_dir():
                    try:
                        one.rmdir()
                    except OSError:
                        break
            if top.exists():
                try:
                    top.rmdir()
                except OSError:
                    continue
        if not any(top.exists() for top in tops):
            break
        time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)


def _make_image(path: Path) -> None:
    """Write an archive of images of busybox alone: what a pod pauses in, and a shell; Python comes from this host."""
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    rest = io.BytesIO()
    with tarfile.open(fileobj=rest, mode="w") as layer:
        for name in ("tmp", "proc", "sys", "dev", "etc", "root", "usr", "bin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(busybox), 0o755
        layer.addfile(entry, io.BytesIO(busybox))
        for name in ("sh", "sleep", "cat", "echo", "head", "tail"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(entry)
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))

        def blob(kind: str, data: bytes) -> dict[str, object]:
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

        vendor = "application/vnd.oci.image"
        filled = blob(f"{vendor}.layer.v1.tar", rest.getvalue())
        listed = []
        for name, entry_point in (("pause", ["/bin/sleep", "1000000"]), ("engine", ["/bin/sh"])):
            settings = {"Entrypoint": entry_point, "Env": ["PATH=/bin:/usr/bin"]}
            system = {"architecture": "amd64", "os": "linux", "config": settings}
            whole = {**system, "rootfs": {"type": "layers", "diff_ids": [filled["digest"]]}}
            config = blob(f"{vendor}.config.v1+json", json.dumps(whole).encode())
            manifest = {"schemaVersion": 2, "mediaType": f"{vendor}.manifest.v1+json", "config": config}
            entry_of = blob(f"{vendor}.manifest.v1+json", json.dumps({**manifest, "layers": [filled]}).encode())
            names = {"io.containerd.image.name": f"docker.io/test/{name}:1", "org.opencontainers.image.ref.name": "1"}
            listed.append({**entry_of, "annotations": names})
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": listed}).encode())


def python_volumes() -> list[str]:
    """Return the volumes by which a pod has this host's Python, and the words that start a module of ours there."""
    return [f"{path}:{path}:ro" for path in dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix, str(REPOSITORY)))]


PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
