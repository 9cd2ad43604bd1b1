#!/usr/bin/env python3
"""A `docker` for tests: a container is a process that its client does not own, found again by its name.

As with the real one the client only shows its output, the container outlives a client that is killed, and
`docker stop` ends it wherever it was started from. Images are ignored: the entrypoint is run here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PLACE = Path(__file__).parent / "containers"
#: Options of `docker run` that take no value.
SWITCHES = {"--rm", "--init"}


def main(argv: list[str]) -> int:
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "calls").open("a") as calls:
        calls.write(" ".join(argv) + "\n")
    return run(argv[1:]) if argv[0] == "run" else stop(argv[-1], float(argv[argv.index("--time") + 1]))


def run(argv: list[str]) -> int:
    options: dict[str, list[str]] = {}
    while argv[0].startswith("-"):
        name = argv.pop(0)
        if name not in SWITCHES:
            options.setdefault(name, []).append(argv.pop(0))
    argv.pop(0)  # the image
    # A container knows nothing of the client's environment but what it is given.
    env = {"PATH": os.environ["PATH"]}
    for one in options.get("--env", []):
        name, equals, value = one.partition("=")
        env[name] = value if equals else os.environ[name]
    child = subprocess.Popen([options["--entrypoint"][0], *argv], env=env, start_new_session=True)
    (PLACE / options["--name"][0]).write_text(str(child.pid))
    code = child.wait()
    (PLACE / options["--name"][0]).unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def stop(name: str, seconds: float) -> int:
    try:
        pid = int((PLACE / name).read_text())
    except (OSError, ValueError):
        return 1  # no such container
    for number, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if not alive(pid):
                (PLACE / name).unlink(missing_ok=True)
                return 0
            time.sleep(0.02)
    return 1


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
