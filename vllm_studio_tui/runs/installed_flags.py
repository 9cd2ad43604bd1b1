"""What flags the installed engine itself knows, from its own `--help`.

An engine takes up to half a minute to print it, so it is asked in the background by a process of its own, once for
each installed version, and the answer is kept. A launch never waits for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.kit.paths import private_dir, write_atomic

#: Seconds that an engine may take to print its help.
PATIENCE = 180.0
#: Fewer flags than this are no engine's help.
FEWEST = 10
_FLAG = re.compile(r"(?<![\w-])--([a-zA-Z][\w.-]*)")
_GROUP = re.compile(r"--\[no-\]([a-zA-Z][\w.-]*)")


@dataclass(frozen=True, slots=True)
class Installed:
    """The flags that an installed engine printed, without the dashes before them."""

    version: str | None
    flags: frozenset[str]


def place(cache: Path, argv: Sequence[str], version: str | None) -> Path:
    """Return the path of the program's cached flags; it changes with the program and its version."""
    program = Path(argv[0])
    try:
        stat = program.stat()
        mark = f"{program.resolve()} {stat.st_mtime_ns} {stat.st_size}"
    except OSError:
        mark = str(program)
    key = hashlib.sha256("\0".join([mark, version or "", *argv]).encode(errors="replace")).hexdigest()[:32]
    return cache / "flags" / f"{key}.json"


def known_flags(cache: Path, argv: Sequence[str], version: str | None) -> Installed | None:
    """Return the flags that were read of this program; None where its help was not read yet or is empty."""
    try:
        data = json.loads(place(cache, argv, version).read_bytes())
        flags = frozenset(str(one) for one in data["flags"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Installed(version, flags) if len(flags) >= FEWEST else None


def read_later(cache: Path, argv: Sequence[str], version: str | None) -> bool:
    """Start to read the help in the background, unless that was done or is under way; return whether it started."""
    target = place(cache, argv, version)
    try:
        if target.exists():
            return False
        private_dir(target.parent)
        # Whoever makes the file reads the help; what is in it meanwhile holds no flags.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        subprocess.Popen(
            [sys.executable, "-m", "vllm_studio_tui.runs.installed_flags", str(target), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True


def flags_of(text: str) -> frozenset[str]:
    """Return the long flags of a help text."""
    found = {one.rstrip(".-") for one in _FLAG.findall(text)}
    for one in _GROUP.findall(text):
        found |= {one, f"no-{one}"}
    return frozenset(one.replace("_", "-") for one in found)


def read_help(argv: Sequence[str], timeout: float = PATIENCE) -> frozenset[str]:
    """Run the program and read its flags; none where it cannot be run or takes too long."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False, env=env
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return flags_of((done.stdout + b"\n" + done.stderr).decode(errors="replace"))


def main(argv: list[str]) -> int:
    """`python -m vllm_studio_tui.runs.installed_flags FILE PROGRAM ARG..`: read the help and keep it in the file."""
    target, *command = argv
    os.nice(19)
    flags = read_help(command)
    if len(flags) < FEWEST:
        Path(target).unlink(missing_ok=True)  # an engine that is being installed: asked again another time
        return 1
    write_atomic(Path(target), json.dumps({"argv": command, "flags": sorted(flags)}).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
