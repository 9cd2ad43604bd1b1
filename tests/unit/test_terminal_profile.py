"""What the terminal can do: read from variables, asked of it, overridden by settings."""

from __future__ import annotations

import os
import pty
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.config.startup import Startup, read_startup_settings
from vllm_studio_tui.config.themes import load_themes
from vllm_studio_tui.probes import terminal as probe
from vllm_studio_tui.probes.terminal import Answers, Asking, colours_of, look_at_terminal, read_answers, wrapped
from vllm_studio_tui.tui.look.appearance import Looks
from vllm_studio_tui.tui.terminal.profile import make_profile

LIGHT = b"\x1b]11;rgb:ffff/ffff/eeee\x1b\\"
DARK = b"\x1b]11;rgb:1111/1414/17\x07"
MODE, ATTRIBUTES = b"\x1b[?2026;2$y", b"\x1b[?62;22c"


@pytest.mark.parametrize(
    ("environ", "colours"),
    [
        ({"TERM": "xterm"}, probe.SIXTEEN),
        ({"TERM": "linux"}, probe.SIXTEEN),
        ({"TERM": "vt100"}, probe.SIXTEEN),
        ({"TERM": "no-such-terminal"}, probe.SIXTEEN),
        ({"TERM": "xterm-256color"}, probe.INDEXED),
        ({"TERM": "tmux-256color", "TMUX": "x", "VTE_VERSION": "6800"}, probe.INDEXED),
        ({"TERM": "xterm-256color", "VTE_VERSION": "6800"}, probe.TRUE),
        ({"TERM": "xterm-kitty"}, probe.TRUE),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, probe.TRUE),
        ({"TERM": "xterm-direct"}, probe.TRUE),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, probe.NONE),
    ],
)
def test_the_number_of_colours(environ: dict[str, str], colours: int) -> None:
    assert colours_of(environ) == colours


@pytest.mark.parametrize(
    ("environ", "background"),
    [({"COLORFGBG": "0;15"}, "light"), ({"COLORFGBG": "15;default;0"}, "dark"), ({}, ""), ({"COLORFGBG": "x;"}, "")],
)
def test_the_background_by_its_variable(environ: dict[str, str], background: str) -> None:
    assert look_at_terminal(environ).background == background
    assert look_at_terminal(environ, Answers("light")).background == "light", "the terminal itself knows better"


def test_answers_are_told_from_keys() -> None:
    answers = read_answers(b"l" + LIGHT + MODE + b"\r" + ATTRIBUTES + b"q")
    assert answers == Answers("light", True, True, b"l\rq")
    assert read_answers(DARK + b"\x1b[?2026;0$y" + ATTRIBUTES) == Answers("dark", False, True, b"")
    assert read_answers(b"\x1b[A") == Answers(complete=False, typed=b"\x1b[A")
    assert read_answers(b"\x1b]11;rgb:zz/q\x07" + ATTRIBUTES).background == ""


@pytest.fixture
def answered() -> Any:
    """A terminal that answers as it is told, and an `Asking` of it."""
    opened: list[int] = []

    def make(reply: bytes) -> tuple[Answers, bool]:
        pid, ours = pty.fork()
        if pid == 0:  # pragma: no cover - the child has the terminal in front
            code = 1
            try:
                import termios

                before = termios.tcgetattr(0)
                found = Asking(0, 1).answers(30.0 if reply else 0.05)
                same = termios.tcgetattr(0) == before
                os.write(1, repr((found, same)).encode() + b"\nend\n")
                code = 0
            finally:
                os._exit(code)
        opened.append(ours)
        came = b""
        while b"\x1b[c" not in came:
            came += os.read(ours, 1000)
        if reply:
            os.write(ours, reply)
        came = came.partition(b"\x1b[c")[2]  # where no answer is waited for, the end may have come with the question
        while b"end" not in came:
            came += os.read(ours, 1000)
        os.waitpid(pid, 0)
        text = came.decode().replace("\r\n", "\n").partition("\nend")[0]
        made: tuple[Answers, bool] = eval(text, {"Answers": Answers})  # noqa: RUF100, S307
        return made

    yield make
    for one in opened:
        os.close(one)


def test_a_terminal_is_asked_and_given_back_as_it_was(answered: Callable[[bytes], tuple[Answers, bool]]) -> None:
    assert answered(b"j" + LIGHT + MODE + ATTRIBUTES) == (Answers("light", True, True, b"j"), True)


def test_a_terminal_that_never_answers_is_not_waited_for(answered: Callable[[bytes], tuple[Answers, bool]]) -> None:
    guard = threading.Timer(20, os._exit, (3,))
    guard.start()
    try:
        assert answered(b"") == (Answers(complete=False), True)
    finally:
        guard.cancel()


def test_settings_have_the_last_word_but_for_no_color(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text('colours: "16"\nbackground: light\nmouse: off\nmultiplexer: tmux\nascii: true\n')
    settings = read_startup_settings(file, {"VLLM_STUDIO_BACKGROUND": "dark"})
    assert settings == Startup(None, True, False, "16", "dark", "tmux")
    profile = make_profile({"TERM": "xterm-kitty"}, settings, Answers("light"))
    assert (profile.colours, profile.light, profile.ascii, profile.mouse) == (probe.SIXTEEN, False, True, False)
    assert profile.terminal.inside == "tmux"
    assert make_profile({"TERM": "xterm", "NO_COLOR": ""}, settings).colours == probe.NONE
    assert make_profile({"TERM": "linux"}, Startup()).ascii
    assert not make_profile({"TERM": "linux"}, Startup(ascii=False)).ascii
    assert make_profile({"TERM": "xterm"}, Startup(), utf8=False).ascii


@pytest.mark.parametrize(
    ("name", "environ", "answers", "theme", "own"),
    [
        (None, {"TERM": "xterm"}, None, "ansi", True),
        ("slate", {"TERM": "xterm"}, None, "slate", True),
        ("paper", {"TERM": "linux"}, None, "paper", True),
        (None, {"TERM": "xterm-256color"}, Answers("light"), "paper", False),
        ("slate", {"TERM": "xterm-256color"}, Answers("light"), "slate", False),
        (None, {"TERM": "xterm-256color"}, Answers("dark"), "slate", False),
        (None, {"TERM": "xterm-kitty", "NO_COLOR": "1"}, Answers("light"), "ansi", True),
    ],
)
def test_the_theme_suits_the_terminal(
    tmp_path: Path, name: str | None, environ: dict[str, str], answers: Answers | None, theme: str, own: bool
) -> None:
    looks = Looks(tmp_path, name, make_profile(environ, Startup(), answers))
    assert looks.name == theme
    assert (looks.ink.colour("bg") == "default") is own, "the terminal's own page"
    if own:
        ready, loading, failed = (looks.ink.colour(word) for word in ("ok", "accent", "err"))
        assert len({ready, loading, failed, "default", "white"}) == 5


def test_sixteen_colours_keep_text_apart_from_what_is_faint() -> None:
    """Where bright black is hard to see, as in many palettes, labels and log lines still can be read."""
    ansi = load_themes(None)[0]["ansi"].colours
    assert ansi["fg"] == ansi["dim"] == "default"
    assert ansi["faint"] == "bright_black"
    looks = Looks(Path("/nowhere"), None, make_profile({"TERM": "xterm"}, Startup()))
    assert looks.ink.style("dim").dim
    assert not looks.ink.style("fg").dim


def test_sequences_are_wrapped_for_what_is_between() -> None:
    assert wrapped("\x1b]9;x\x07", "") == "\x1b]9;x\x07"
    assert wrapped("\x1b]9;x\x07", "tmux") == "\x1bPtmux;\x1b\x1b]9;x\x07\x1b\\"
    assert wrapped("\x1b]9;x\x07", "screen") == "\x1bP\x1b]9;x\x07\x1b\\"


@pytest.mark.parametrize(
    ("environ", "multiplexer", "links"),
    [
        ({"TERM": "xterm-256color"}, "", True),
        ({"TERM": "linux"}, "", False),
        ({"TERM": "vt100"}, "", False),
        ({"TERM": "screen-256color", "TMUX": "x"}, "", True),
        ({"TERM": "screen", "STY": "x"}, "", False),
        ({"TERM": "screen-256color"}, "", False),
        ({"TERM": "screen-256color"}, "tmux", True),
        ({"TERM": "xterm-256color"}, "screen", False),
        ({"TERM": "linux"}, "none", False),
        ({"TERM": "linux", "FORCE_HYPERLINK": "1"}, "", True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, "", False),
        ({"TERM": "screen-256color", "FORCE_HYPERLINK": "0"}, "tmux", False),
    ],
)
def test_hyperlinks_are_written_where_they_do_no_harm(environ: dict[str, str], multiplexer: str, links: bool) -> None:
    assert make_profile(environ, Startup(multiplexer=multiplexer)).terminal.links is links
