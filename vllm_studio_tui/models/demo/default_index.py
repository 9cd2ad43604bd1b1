"""Find the package index that pip or uv asks when none is configured: their own help names it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping

#: Seconds for an installer to print its help.
PATIENCE = 20.0
_DEFAULT = re.compile(r"\bdefault:?\s{1,200}<?(https?://[^\s<>()\[\]]{1,2000})")


def installer_default(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the default index of pip or uv and the words "the default of NAME"; None without either."""
    for name, command in _installers(environ):
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
                env={**environ, "COLUMNS": "500", "NO_COLOR": "1", "PIP_NO_COLOR": "1"},
            )  # fmt: skip
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
        found = _DEFAULT.search(done.stdout.decode("utf-8", "replace"))
        if found:
            return found[1].rstrip(".,"), f"the default of {name}"
    return None


def _installers(environ: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield name and command that prints the help of each installer, the nearest first."""
    yield "pip", [sys.executable, "-m", "pip", "install", "--help"]
    path = environ.get("PATH")
    for name, words in (
        ("uv", ["pip", "install", "--help"]),
        ("pip3", ["install", "--help"]),
        ("pip", ["install", "--help"]),
    ):
        program = shutil.which(name, path=path)
        if program:
            yield name, [program, *words]
