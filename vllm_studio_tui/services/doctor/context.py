"""The directories, environment and settings that the doctor checks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.config.settings import Settings, load_settings
from vllm_studio_tui.domain.check import Check, warn
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.terminal import Answers
from vllm_studio_tui.services.launching.preflight import fault

#: Seconds that another program may take to answer.
ASK_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class Ground:
    """What the checks look at.

    Attributes:
        root: Replaces `/` for paths of the system, in tests.
        answers: What the terminal said when it was asked.
    """

    places: Places
    environ: Mapping[str, str]
    root: Path = Path("/")
    answers: Answers | None = None

    def settings(self) -> Settings:
        """Return the settings; the defaults where they cannot be read, which is another check's finding."""
        try:
            return load_settings(self.places, self.environ)
        except (SettingsError, OSError):
            return Settings()


def ask(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return what another program prints; None when it is not there, fails, or takes too long."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT,
            env=dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout[:10_000].decode("utf-8", errors="replace").strip() if done.returncode == 0 else None


def unchecked(error: Exception, *, whose: str = "vllm-studio") -> Check:
    """Return a warning that a check met an error of its own.

    Args:
        whose: The program whose fault it is, unless a file cannot be read.
    """
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        reason = f"cannot be checked: {what}{error.strerror or error}"
        return warn(reason, f"It needs to be readable for user {os.getuid()}.")
    fix = f"This is a fault of {whose}; please report it."
    return warn(f"cannot be checked: {fault(error)}", fix)
