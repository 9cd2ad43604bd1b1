"""Edits text in the user's own editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell


def edit_text(shell: Shell, text: str, suffix: str = ".md") -> str | None:
    """Open text in `$VISUAL` or `$EDITOR`, and return it as saved; None when there is no editor or it failed.

    The studio is suspended meanwhile: the editor has the terminal.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="vllm-studio-") as folder:
        path = Path(folder) / f"text{suffix}"
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        try:
            with shell.suspend():
                done = subprocess.run([*shlex.split(command), str(path)], check=False)
        except SuspendNotSupported:
            shell.tell("An editor cannot be opened on this terminal.", "warning")
            return None
        except (OSError, ValueError) as error:
            shell.tell(f"The editor did not start: {command}: {error}. Set EDITOR.", "error")
            return None
        if done.returncode != 0:
            shell.tell(f"The editor ended with {done.returncode}; nothing was taken.", "warning")
            return None
        try:
            return path.read_text("utf-8", "replace").rstrip("\n")
        except OSError:
            return None
