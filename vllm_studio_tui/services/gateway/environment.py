"""The gateway's own Python environment: LiteLLM of one version, installed from a lock file with hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic

#: The version in the lock file, and when it was chosen.
VERSION = "1.108.7"
CHOSEN = date(2026, 11, 26)
#: Days after which a pin is old: LiteLLM releases nearly every day, security fixes among them.
OLD = 90
LOCK = Path(__file__).with_name("requirements.txt")
PROGRAMS = "bin"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the gateway is installed.

    Attributes:
        folder: Everything of the gateway.
    """

    folder: Path

    @classmethod
    def of(cls, places: Places) -> Environment:
        return cls(places.data / "gateway")

    @property
    def root(self) -> Path:
        """Return the directory of the virtual environment."""
        return self.folder / "env"

    @property
    def python(self) -> Path:
        return self.root / PROGRAMS / "python"

    @property
    def _mark(self) -> Path:
        return self.folder / "installed.json"

    def installed(self) -> bool:
        """Return whether it is installed as the lock file says now."""
        try:
            data = json.loads(self._mark.read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(data, dict) and data.get("lock") == lock_digest() and self.python.exists()

    def mark_installed(self) -> None:
        write_atomic(self._mark, json.dumps({"lock": lock_digest(), "litellm": VERSION}).encode())

    def install(self, python: str | None, said: Callable[[str], None]) -> None:
        """Make the environment anew. What installers print goes to stderr.

        Args:
            python: The interpreter that it is made of; None: ours.

        Raises:
            StudioError: A step failed; nothing is left installed.
        """
        interpreter = python or sys.executable
        private_dir(self.folder)
        with contextlib.suppress(FileNotFoundError):
            self._mark.unlink()
        if self.root.is_symlink():
            self.root.unlink()
        elif self.root.exists():
            shutil.rmtree(self.root)
        uv = shutil.which("uv")
        make = [uv, "venv", "--python", interpreter] if uv else [interpreter, "-m", "venv"]
        fill = (
            [uv, "pip", "install", "--python", str(self.python)] if uv else [str(self.python), "-m", "pip", "install"]
        )
        said(f"making an environment in {self.root}")
        self._run([*make, str(self.root)])
        said(f"installing LiteLLM {VERSION}: about 600 MB, each file compared with its hash")
        self._run([*fill, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)])
        self.mark_installed()

    def _run(self, argv: list[str]) -> None:
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        except OSError as error:
            raise StudioError(f"{argv[0]} cannot be run", cause=error.strerror or str(error)) from None
        if done.returncode:
            raise StudioError(
                "the gateway could not be installed",
                cause=f"{Path(argv[0]).name} ended with {done.returncode}; what it said is above.",
                advice="It needs a package index. Python 3.11 to 3.14: see the setting gateway_python.",
            )

    def require(self) -> None:
        """Refuse to go on where it is not installed.

        Raises:
            UsageError: It is not, or as an earlier version of the studio wanted it.
        """
        if not self.installed():
            raise UsageError(
                "the gateway is not installed",
                cause=f"{self.root} is not what this version of the studio installs (LiteLLM {VERSION}).",
                advice="Install it: vllm-studio gateway install",
            )


def lock_digest() -> str:
    """Return what tells one lock file from another."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def pin_age(today: date) -> int:
    """Return how many days ago the version was chosen."""
    return max(0, (today - CHOSEN).days)


def inherited_path(root: Path) -> str:
    """Return a PATH for programs of the environment (`prisma`), and the system's."""
    return f"{root / PROGRAMS}{os.pathsep}{os.defpath}"
