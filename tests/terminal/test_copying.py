"""Copying on real terminals: tmux is one that answers what its clipboard holds, and one that is in between."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminal.conftest import Opener

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here")

NUMBERS = itertools.count()
BEFORE = "what was there"


class Tmux:
    """A server of tmux of its own, whose newest buffer is the clipboard of what runs in it."""

    def __init__(self, folder: Path, name: str, environ: dict[str, str]) -> None:
        self._argv = ["tmux", "-S", str(folder / name), "-f", "/dev/null"]
        self._environ = environ

    @property
    def words(self) -> str:
        return shlex.join(self._argv)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._argv, *arguments], env=self._environ, capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + 40
        while not what():
            assert time.monotonic() < end, self("capture-pane", "-p")
            time.sleep(0.05)

    def screen(self) -> str:
        return self("capture-pane", "-p")

    def shows(self, text: str) -> None:
        self.until(lambda: text in self.screen().replace("\n", " "))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "VLLM_STUDIO_HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}


@pytest.fixture
def outer(tmp_path: Path, environ: dict[str, str]) -> Iterator[Tmux]:
    """The terminal: what runs in it is not told that it is tmux."""
    tmux = Tmux(tmp_path, "outer", environ)
    tmux("new-session", "-d", "-x", "120", "-y", "30", "env -u TMUX -u TERM_PROGRAM bash --norc")
    tmux("set", "-s", "set-clipboard", "on")
    tmux("set-buffer", BEFORE)
    yield tmux
    tmux("kill-server")


def studio(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "vllm_studio_tui", *arguments])


def doctor(tmux: Tmux, tmp_path: Path) -> str:
    """Run `doctor --copy` on the terminal, and return the row about copying."""
    number = next(NUMBERS)
    said = tmp_path / f"said-{number}"
    tmux("send-keys", f"TERM=xterm-256color {studio('doctor', '--copy')} > {said}; echo rea''dy-{number}", "Enter")
    tmux.shows(f"ready-{number}")
    return said.read_text().partition("copying")[2].partition("\n\n")[0].strip()


def test_a_terminal_that_answers_is_read_back_and_each_copy_is_verified(outer: Tmux, tmp_path: Path) -> None:
    assert doctor(outer, tmp_path) == "read back from the terminal: each copy will be verified"
    assert outer("show-buffer") == BEFORE, "what the person had copied is back"
    outer("send-keys", f"clear; TERM=xterm-256color {studio()}", "Enter")
    outer.shows("Dashboard")
    outer("send-keys", "F7")
    outer.shows("python")
    outer("send-keys", "Y")
    outer.shows("copied: your terminal has it")
    assert "python" in outer("show-buffer")
    assert "Doctor" in outer.screen(), "no answer of the terminal was taken for keys"


def test_a_terminal_that_keeps_what_it_is_given_to_itself_is_told_of(outer: Tmux, tmp_path: Path) -> None:
    outer("set", "-s", "set-clipboard", "off")
    said = doctor(outer, tmp_path)
    assert said.startswith("sent; the terminal does not tell what its clipboard holds")
    assert "Paste somewhere: it should say “vllm-studio copied this:" in said


def test_copies_go_through_a_tmux_as_it_comes_to_the_terminal_outside(
    outer: Tmux, tmp_path: Path, environ: dict[str, str]
) -> None:
    inner = Tmux(tmp_path, "inner", environ)
    # What tmux itself offers a terminal of this name: xterm* have the clipboard.
    outer("send-keys", f"TERM=xterm-256color {inner.words} new-session 'bash --norc'", "Enter")
    inner.until(lambda: "xterm" in inner("list-clients"))
    try:
        assert doctor(inner, tmp_path) == "read back from the terminal outside of tmux"
        assert outer("show-buffer") == BEFORE
        assert inner("list-buffers") == "", "nothing is left behind"
        outer("set", "-s", "set-clipboard", "off")
        assert doctor(inner, tmp_path).startswith("tmux gave it to the terminal, which does not tell")
        outer("set", "-s", "set-clipboard", "on")
        inner("send-keys", f"clear; {studio()}", "Enter")
        inner.shows("Dashboard")
        inner("send-keys", "F7")
        inner.shows("python")
        inner("send-keys", "Y")
        inner.shows("copied: tmux has it and gave it to your terminal")
        assert "python" in outer("show-buffer")
    finally:
        inner("kill-server")


def test_a_terminal_without_a_clipboard_behind_tmux_is_found_out(
    terminal: Opener, tmp_path: Path, environ: dict[str, str]
) -> None:
    inner = Tmux(tmp_path, "inner", environ)
    # One that says nothing of itself, as a vt100: tmux asks it, and gets no answer.
    terminal(program=[*shlex.split(inner.words), "new-session", "bash --norc"], TERM="vt100")
    inner.until(lambda: "vt100" in inner("list-clients"))
    try:
        assert doctor(inner, tmp_path).startswith("tmux holds it and does not pass it on to the terminal")
    finally:
        inner("kill-server")
