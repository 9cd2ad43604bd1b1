"""The server of this home: where it can be asked, and starting one that goes on by itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places, private_dir
from vllm_studio_tui.kit.unix_socket import answers

#: Seconds until a server that is started answers.
PATIENCE = 40.0
#: What stands before the socket on the line that `serve --if-needed --hold` prints.
SOCKET_LINE = "vllm-studio-socket "


def private_socket(places: Places) -> Path:
    """Return the socket on which a server of this home can be asked by its owner."""
    return places.state / "serve" / "serve.sock"


def ensure_server(places: Places) -> Path:
    """Return the private socket of this home's server; start one, without a port, where none runs. Blocking.

    It outlives whoever asks, and does not end when nobody asks it any more: engines that it launched on demand are
    its to stop by their TTL, and what it costs while nothing is asked is its memory alone.

    Raises:
        StudioError: It does not start; in its own words.
    """
    path = private_socket(places)
    folder = private_dir(path.parent)
    with _turn(folder):
        if answers(path):
            return path
        log = folder / "serve.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "vllm_studio_tui", "serve", "--no-port"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if answers(path):
                if _pid(folder) not in (None, process.pid):
                    process.terminate()  # somebody else's was quicker
                return path
            if process.poll() is not None:
                break
            time.sleep(0.05)
        else:
            process.terminate()
    words = log.read_bytes()[-2000:].decode("utf-8", "replace").strip()
    raise StudioError("the server of this home does not start", cause=words or "It said nothing.", advice=f"See {log}.")


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Two who need a server start one."""
    fd = os.open(folder / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _pid(folder: Path) -> int | None:
    try:
        pid = json.loads((folder / "serve.json").read_bytes())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None
