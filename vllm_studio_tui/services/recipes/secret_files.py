"""Store secrets found in recipes, each in its own file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import private_dir
from vllm_studio_tui.kit.secrets import resolve


class SecretFiles:
    """A directory of secrets.

    Args:
        dry: Only say where a secret would be kept.
    """

    def __init__(self, folder: Path, *, dry: bool = False) -> None:
        self._folder = folder
        self._dry = dry

    def keep(self, owner: str, field: str, value: str) -> str:
        """Keep the value; the reference to it. The same value of the same owner's field is kept once.

        Raises:
            StudioError: It cannot be written.
        """
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{owner}.{field.removeprefix('env_vars.')}")[:120]
        for number in range(1, 1000):
            path = self._folder / (stem if number == 1 else f"{stem}-{number}")
            if path.exists():
                with contextlib.suppress(ValueError):
                    if resolve(f"file:{path}", {}) == value.strip():
                        return f"file:{path}"
                continue
            if not self._dry:
                self._write(path, value)
            return f"file:{path}"
        raise StudioError("a secret cannot be kept", cause=f"{self._folder} is full of them", advice="Tidy it up.")

    def _write(self, path: Path, value: str) -> None:
        try:
            private_dir(self._folder)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as stream:
                stream.write(value.strip() + "\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                if path.stat().st_size == 0:
                    path.unlink()
            cause = f"{path}: {error.strerror or error}"
            raise StudioError(
                "a secret cannot be kept", cause=cause, advice="Name it as env:NAME or file:PATH."
            ) from None
