"""Edits text in the user's own editor."""

from __future__ import annotations

import os
import shlex
import shutil
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


def open_text(shell: Shell, text: str, suffix: str = ".md") -> None:
    """Open a text in `$VISUAL`, `$EDITOR` or `$PAGER` to be read; what is changed of it is not kept."""
    with tempfile.TemporaryDirectory(prefix="vllm-studio-") as folder:
        path = Path(folder) / f"text{suffix}"
        path.write_text(text, "utf-8", "replace")
        path.chmod(0o400)
        open_file(shell, path)


#: Programs that take the line to begin at as `+N`.
_WITH_LINE = frozenset({"vi", "vim", "nvim", "view", "nano", "emacs", "less", "most", "micro", "kak", "joe", "ne"})


def open_file(shell: Shell, path: Path, line: int | None = None) -> None:
    """Open a file in `$VISUAL`, `$EDITOR` or `$PAGER`, else in less or vi, at a line where the program can do that.

    The studio is suspended meanwhile.
    """
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or os.environ.get("PAGER")
    command = named or ("less" if shutil.which("less") else "vi")
    try:
        words = shlex.split(command)
        at = [f"+{line}"] if line is not None and words and Path(words[0]).name in _WITH_LINE else []
        with shell.suspend():
            subprocess.run([*words, *at, str(path)], check=False)
    except SuspendNotSupported:
        shell.tell("An editor cannot be opened on this terminal.", "warning")
    except (OSError, ValueError) as error:
        shell.tell(f"The editor did not start: {command}: {error}. Set EDITOR.", "error")
