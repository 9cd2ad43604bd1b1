"""What a check of the doctor gets and gives."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vllm_studio_tui.config.settings import Settings, load_settings
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.kit.paths import Places

#: Seconds that another program may take to answer.
ASK_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        state: `fail` stands in the way, `warn` will hurt some day.
        found: What is there, one line.
        fix: What would mend it; empty when nothing needs mending.
    """

    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the checks look at. `root` is where absolute paths of the system start."""

    places: Places
    environ: Mapping[str, str]
    root: Path = Path("/")

    def settings(self) -> Settings:
        """The settings; the defaults where they cannot be read, which is another check's finding."""
        try:
            return load_settings(self.places, self.environ)
        except (SettingsError, OSError):
            return Settings()


def ok(found: str) -> Check:
    """Nothing to do."""
    return Check("ok", found)


def warn(found: str, fix: str) -> Check:
    """It works, but not always or not well."""
    return Check("warn", found, fix)


def fail(found: str, fix: str) -> Check:
    """It does not work."""
    return Check("fail", found, fix)


def ask(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """What another program prints; None when it is not there, fails, or takes too long."""
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
