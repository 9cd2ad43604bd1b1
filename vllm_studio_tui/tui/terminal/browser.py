"""Opens an address in the browser of this machine, where there is one and somebody sees it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.kit.web_addresses import safe_address

#: Browsers that would need the terminal that the studio has.
_OF_TERMINALS = frozenset({"browsh", "carbonyl", "elinks", "links", "links2", "lynx", "w3m", "www-browser"})
#: Seconds in which a browser that cannot start has said so.
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Browser:
    """A program that opens an address.

    Attributes:
        words: Its command line; the address stands in place of `%s`, else behind it.
    """

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.words[0]).name

    def command(self, address: str) -> list[str]:
        """Return the command line for an address."""
        if any("%s" in word for word in self.words[1:]):
            return [self.words[0], *(word.replace("%s", address) for word in self.words[1:])]
        return [*self.words, address]


def find_browser(
    environ: Mapping[str, str],
    *,
    platform: str = sys.platform,
    which: Callable[[str], str | None] = shutil.which,
) -> Browser | None:
    """Return the browser that a person at this session would see; None where there is none, as over SSH.

    `$BROWSER` comes first. An editor that works from elsewhere sets it to a program that opens the address there.
    """
    far = any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"))
    seen = bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")) or (platform == "darwin" and not far)
    by_editor = bool(environ.get("VSCODE_IPC_HOOK_CLI"))
    named = [one for one in environ.get("BROWSER", "").split(os.pathsep) if one.strip()]
    if seen or by_editor:
        for one in named:
            try:
                words = shlex.split(one.strip())
            except ValueError:
                continue
            if words and Path(words[0]).name not in _OF_TERMINALS and which(words[0]):
                return Browser(tuple(words))
    if environ.get("WSL_DISTRO_NAME") and not far and which("wslview"):
        return Browser(("wslview",))
    opener = "open" if platform == "darwin" else "xdg-open"
    return Browser((opener,)) if seen and which(opener) else None


def open_address(browser: Browser, address: str, *, patience: float = PATIENCE) -> str:
    """Start a browser with an address, and return why it did not open it, empty where it did. Blocks for `patience`.

    It has no part of our terminal, and stays when the studio ends.
    """
    safe = safe_address(address)
    if safe is None:
        return "it is no web or mail address"
    try:
        process = subprocess.Popen(
            browser.command(safe),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    try:
        ended = process.wait(patience)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, name="browser", daemon=True).start()  # it shows it; its end is taken
        return ""
    return f"{browser.name} ended with {ended}" if ended else ""
