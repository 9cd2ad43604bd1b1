"""What the terminal can do: from its variables, its terminfo entry, and what it answers when it is asked.

Asking costs no time that a person would see: the question is sent, other work goes on, and what has come by then
counts.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

#: Numbers of colours that make a difference.
NONE, SIXTEEN, INDEXED, TRUE = 0, 16, 256, 1 << 24
#: The words of the setting `colours`.
SETTINGS = {"none": NONE, "16": SIXTEEN, "256": INDEXED, "true": TRUE}
#: Background (OSC 11), synchronised output (DECRQM 2026), and device attributes, which every terminal answers, last.
QUESTION = b"\x1b]11;?\x1b\\\x1b[?2026$p\x1b[c"
#: Terminals with all colours that do not say so in COLORTERM.
_TRUE_TERMS = ("kitty", "ghostty", "alacritty", "wezterm", "foot", "contour", "rio")
_TRUE_PROGRAMS = frozenset({"iTerm.app", "WezTerm", "ghostty", "vscode", "rio"})
#: Terminals that are not asked: they would show the question, or never answer.
_SILENT = ("linux", "vt", "ansi", "dumb", "screen", "cons", "sun")
_BACKGROUND = re.compile(
    r"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})[^\x07\x1b]*(?:\x07|\x1b\\)"
)
_ATTRIBUTES = re.compile(r"\x1b\[\?[\d;]*c")
_SYNCHRONISED = re.compile(r"\x1b\[\?2026;(\d)\$y")
#: Any of the answers, and the beginning of one whose end has not come.
ANSWER = re.compile(r"\x1b\]1[01];[^\x07\x1b]{0,60}(?:\x07|\x1b\\)|\x1b\[\?[\d;]{1,60}c|\x1b\[\?2026;\d\$y")
BEGINNING = re.compile(r"\x1b(?:\](?:1(?:[01](?:;[^\x07\x1b]{0,60}\x1b?)?)?)?|\[\?[\d;]{0,60}\$?)\Z")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the terminal answered.

    Attributes:
        background: `dark` or `light`; empty: it did not say.
        synchronised: Whether it knows synchronised output; None: it did not say.
        complete: It has answered everything that it will.
        typed: What else came: keys that a person pressed meanwhile.
    """

    background: str = ""
    synchronised: bool | None = None
    complete: bool = True
    typed: bytes = b""


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a terminal can do.

    Attributes:
        colours: NONE, SIXTEEN, INDEXED or TRUE.
        background: `dark`, `light`, or empty for unknown.
        console: It has few characters beyond ASCII: the Linux console.
        inside: The multiplexer between us and the terminal: `tmux`, `screen` or empty.
        synchronised: Whether it shows a picture at once; None: unknown.
        links: It takes hyperlinks (OSC 8), or passes over them without harm.
    """

    name: str
    colours: int
    background: str = ""
    console: bool = False
    inside: str = ""
    synchronised: bool | None = None
    links: bool = True

    def words(self) -> str:
        """Describe it in one line."""
        colours = {NONE: "no colours", SIXTEEN: "16 colours", INDEXED: "256 colours", TRUE: "16 million colours"}
        known = {None: "", True: "synchronised output", False: "no synchronised output"}
        through = f" through {self.inside}" if self.inside else ""
        return ", ".join(
            part
            for part in (
                colours[self.colours],
                f"{self.background or 'unknown'} background",
                "console characters" if self.console else "",
                f"inside {self.inside}" if self.inside else "",
                known[self.synchronised],
                f"clipboard by OSC 52{through}",
            )
            if part
        )


def look_at_terminal(environ: Mapping[str, str], answers: Answers | None = None) -> Terminal:
    """Return what the terminal of this environment can do."""
    term = environ.get("TERM", "")
    said = answers.background if answers is not None else ""
    inside = _multiplexer(environ, term)
    return Terminal(
        term,
        colours_of(environ),
        said or _background_of(environ.get("COLORFGBG", "")),
        term == "linux",
        inside,
        answers.synchronised if answers is not None else None,
        _takes_links(term, inside),
    )


def overridden(found: Terminal, *, colours: str = "", background: str = "", multiplexer: str = "") -> Terminal:
    """Return a terminal with what the settings of these names say; other words change nothing. NO_COLOR holds."""
    if colours in SETTINGS and found.colours != NONE:
        found = replace(found, colours=SETTINGS[colours])
    if background in ("dark", "light"):
        found = replace(found, background=background)
    if multiplexer in ("tmux", "screen", "none"):
        found = replace(found, inside=multiplexer.replace("none", ""))
        found = replace(found, links=found.inside != "screen" and (found.links or found.name.startswith("screen")))
    return found


def colours_of(environ: Mapping[str, str]) -> int:
    """Return how many colours can be shown."""
    term = environ.get("TERM", "")
    if environ.get("NO_COLOR") is not None:
        return NONE
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return TRUE
    if not environ.get("TMUX") and not environ.get("STY"):  # else these are of the terminal outside
        vte = environ.get("VTE_VERSION", "")
        if any(name in term for name in _TRUE_TERMS) or environ.get("TERM_PROGRAM") in _TRUE_PROGRAMS:
            return TRUE
        if (vte.isdigit() and int(vte) >= 3600) or environ.get("WT_SESSION"):
            return TRUE
    if "256color" in term:
        return INDEXED
    found = _terminfo_colours(term)
    return TRUE if found >= TRUE else INDEXED if found >= INDEXED else SIXTEEN


def _terminfo_colours(term: str) -> int:
    """Return what terminfo says; 0 where it knows no such terminal."""
    try:
        import curses  # deferred: most terminals say it in their name

        curses.setupterm(term, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        return max(0, curses.tigetnum("colors"))
    except Exception:  # noqa: BLE001, RUF100
        return 0


def _background_of(colorfgbg: str) -> str:
    """Return the background that COLORFGBG tells (rxvt, Konsole): `text;background`, as numbers of ANSI colours."""
    last = colorfgbg.rpartition(";")[2]
    if not last.isdigit():
        return ""
    return "light" if int(last) in (7, *range(9, 16)) else "dark"


def forced_links(environ: Mapping[str, str]) -> bool | None:
    """Return what FORCE_HYPERLINK, which other programs know too, says of hyperlinks; None: nothing."""
    forced = environ.get("FORCE_HYPERLINK", "")
    return forced.lower() not in ("0", "false", "no") if forced else None


def _takes_links(term: str, inside: str) -> bool:
    """Return whether hyperlinks may be written.

    A terminal that knows none passes over them. The Linux console and old terminals show them as text, and so does
    screen where they are long.
    """
    return inside != "screen" and not (term.startswith(_SILENT) and inside != "tmux")


def _multiplexer(environ: Mapping[str, str], term: str) -> str:
    if environ.get("TMUX") or term.startswith("tmux"):
        return "tmux"
    return "screen" if environ.get("STY") or term.startswith("screen") else ""


class Asking:
    """A question to the terminal that is on its way. It ends with `answers`, which gives the terminal back.

    Raises:
        OSError: There is no terminal to ask, or it is somebody else's now.
    """

    def __init__(self, source: int, target: int) -> None:
        if os.tcgetpgrp(source) != os.getpgrp():
            raise OSError("in the background")
        self._source = source
        self._came = b""
        self._began = time.monotonic()
        self._before = _quiet(source)
        os.write(target, QUESTION)

    def answers(self, least: float) -> Answers:
        """Return what has come, waiting until `least` seconds after the question at most."""
        try:
            while not _ATTRIBUTES.search(self._came.decode("latin-1")):
                left = max(0.0, self._began + least - time.monotonic())
                if not select.select([self._source], [], [], left)[0]:
                    break
                if not (piece := os.read(self._source, 4096)):
                    break
                self._came += piece
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._source, termios.TCSANOW, self._before)
        return read_answers(self._came)


def raw_answer(source: int, target: int, question: bytes, whole: Callable[[str], bool], patience: float) -> bytes:
    """Ask a terminal something, and return what came until it was whole or `patience` seconds have passed.

    What comes later is thrown away: a shell would take it for a command.

    Raises:
        OSError: There is no terminal to ask, or it is somebody else's now.
    """
    if os.tcgetpgrp(source) != os.getpgrp():
        raise OSError("in the background")
    before, came = _quiet(source), b""
    end = time.monotonic() + patience
    try:
        os.write(target, question)
        while not whole(came.decode("latin-1")):
            if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
                break
            if not (piece := os.read(source, 65536)):
                break
            came += piece
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(source, termios.TCSAFLUSH, before)
    return came


def _quiet(source: int) -> list[int | list[bytes | int]]:
    """Let a terminal give what comes at once and show none of it; return how it was."""
    try:
        before = termios.tcgetattr(source)
        quiet = termios.tcgetattr(source)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 0, 0
        termios.tcsetattr(source, termios.TCSANOW, quiet)
    except termios.error as error:
        raise OSError(*error.args) from None
    return before


def may_ask(environ: Mapping[str, str]) -> bool:
    """Return whether this terminal can be asked without harm."""
    term = environ.get("TERM", "")
    return not term.startswith(_SILENT) and not environ.get("STY")


def read_answers(came: bytes) -> Answers:
    """Read the answers out of what came from a terminal."""
    text = came.decode("latin-1")
    background = ""
    if found := _BACKGROUND.search(text):
        # Of 1 to 4 hexadecimal digits each; weighted as the eye does (ITU-R BT.601).
        red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
        background = "light" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "dark"
    mode = _SYNCHRONISED.search(text)
    return Answers(
        background,
        mode[1] in "123" if mode is not None else None,
        _ATTRIBUTES.search(text) is not None,
        ANSWER.sub("", text).encode("latin-1"),
    )


def wrapped(sequence: str, inside: str) -> str:
    """Return a control sequence so that tmux or screen passes it on to the terminal outside.

    tmux takes its content with every ESC doubled; screen takes at most 76 bytes at a time.
    """
    if inside == "tmux":
        inner = sequence.replace("\x1b", "\x1b\x1b")
        return f"\x1bPtmux;{inner}\x1b\\"
    if inside == "screen":
        pieces = [sequence[index : index + 76] for index in range(0, len(sequence), 76)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return sequence
