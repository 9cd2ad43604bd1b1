"""Twelve corrections of Textual 8.2: two keys, output over slow connections, frames of few changes, closed terminals,
sizes that change fast, memory, waiting for input and its errors, widgets that are removed at once, what they leave on
the screen, and pictures behind a dialog."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.events import Mount, Resize
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from vllm_studio_tui.probes.graphics import SIGN
from vllm_studio_tui.tui.terminal import direct_updates, quiet_input
from vllm_studio_tui.tui.terminal.slim_output import as_text


def install() -> None:
    """Install all corrections; where Textual no longer has what one of them changes, that one is skipped."""
    alt_digits()
    alt_enter()
    slim_updates()
    direct_updates.install()
    gone_terminals()
    last_sizes()
    whole_strips()
    input_errors()
    quiet_input.install()
    early_removals()
    drawn_maps()
    pictures_behind()


def alt_digits() -> None:
    """Report alt with a digit as that key.

    Textual reads it as the character that Apple's option key types (`¡` for alt+1), which no terminal on Linux means.
    """
    from textual import _ansi_sequences

    table: Any = getattr(_ansi_sequences, "ANSI_SEQUENCES_KEYS", {})
    for digit in "0123456789":
        table.pop(f"\x1b{digit}", None)


class _Key(Enum):
    """A key that Textual's own list of keys lacks, in the form of its table."""

    ALT_ENTER = "alt+enter"


def alt_enter() -> None:
    """Report alt with Enter as that key.

    Most terminals, and tmux, send ESC and a carriage return, which Textual reads as plain Enter.
    """
    from textual import _ansi_sequences

    table: Any = getattr(_ansi_sequences, "ANSI_SEQUENCES_KEYS", {})
    table["\x1b\r"] = (_Key.ALT_ENTER,)


def slim_updates() -> None:
    """Write only the changed cells of a line, and only the parts of their style that differ from the cell before.

    Textual crops partial updates at their right end only, so that a number at the end of a line writes the whole line.
    Also, it sets the style anew for each span and resets it after: where a few digits change, four bytes of five are
    colours that are already set.
    """
    from textual import _compositor

    update: Any = getattr(_compositor, "ChopsUpdate", None)
    if update is not None and hasattr(update, "render_segments"):
        update.render_segments = _render_segments


def gone_terminals() -> None:
    """Let the app end when its terminal has been closed.

    Textual's writer thread dies of the first write that fails. Its queue fills, the app waits for ever when it restores
    the terminal, and its process outlives the closed window.
    """
    from textual.drivers import _writer_thread

    writer: Any = getattr(_writer_thread, "WriterThread", None)
    if writer is not None and hasattr(writer, "run"):
        writer.run = _write_all


def last_sizes() -> None:
    """Draw for the size that the terminal has in the end, however fast it changes.

    Textual reads the size within the handler of a signal, which the signal of the next size may interrupt: the older
    size is then told last, and the screens stay at it.
    """
    from textual.drivers import linux_driver

    driver: Any = getattr(linux_driver, "LinuxDriver", None)
    theirs: Any = getattr(driver, "start_application_mode", None)
    if theirs is None or not hasattr(driver, "_get_terminal_size") or hasattr(theirs, "ours"):
        return

    def start(self: Any) -> None:
        def tell() -> None:
            if not self._in_band_window_resize:
                size = Size(*self._get_terminal_size())
                self._app.post_message(Resize(size, size))

        # With the hangup the kernel sends SIGCONT too, and Textual begins again while the app leaves.
        if self.input_tty and not os.isatty(self.fileno):
            return
        before = self._get_terminal_size()
        quiet_input.prepare(self)
        theirs(self)
        if self._writer_thread is not None:  # else it is in the background, and has not started
            asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, tell)  # between two messages, never within
            if self._get_terminal_size() != before:
                tell()

    start.ours = True  # type: ignore[attr-defined]
    driver.start_application_mode = start


def whole_strips() -> None:
    """Free a line's memory as soon as the line is dropped.

    A strip whose `divide` returns the strip itself holds itself in its own cache. A streamed answer makes 25 000 such
    objects within seconds; only the garbage collector frees them, in pauses of 50 to 100 ms.
    """
    theirs: Any = getattr(Strip, "divide", None)

    def divide(self: Strip, cuts: Iterable[int]) -> Sequence[Strip]:
        cuts = list(cuts)
        return [self] if cuts == [self.cell_length] else theirs(self, cuts)

    if theirs is not None:
        Strip.divide = divide  # type: ignore[method-assign]


def input_errors() -> None:
    """Hand an error of the thread that reads the terminal to the app, as any other.

    Textual hands over only a picture of it, with its traceback.
    """
    from textual.drivers import linux_driver

    driver: Any = getattr(linux_driver, "LinuxDriver", None)
    if driver is not None and hasattr(driver, "_run_input_thread"):
        driver._run_input_thread = _read_input


def early_removals() -> None:
    """Mount and lay out no widget that is being removed.

    Where it is removed before it is composed, it has no parts, and is told all the same that it is mounted and how
    large it is: what handles that looks for the parts, and ends the app. A dialog that is closed by keys typed ahead
    is such a widget, and a row of a form that is left.
    """
    theirs: Any = getattr(Widget, "_dispatch_message", None)

    async def dispatch(self: Any, message: Message) -> None:
        if not isinstance(message, Mount | Resize) or not (self._pruning or self._closing):
            await theirs(self, message)

    if theirs is not None and "_dispatch_message" not in vars(Widget):
        Widget._dispatch_message = dispatch  # type: ignore[method-assign]


def drawn_maps() -> None:
    """Compare a new layout with the one that was drawn last.

    Whoever asks where a widget is may make Textual lay out all widgets anew, without drawing them. It compares the next
    layout with that one, finds no difference, and leaves on the terminal what was removed in between.
    """
    from textual._compositor import Compositor

    theirs: Any = getattr(Compositor, "reflow", None)
    if theirs is None or hasattr(theirs, "ours"):
        return

    def reflow(self: Any, parent: Widget, size: Any) -> Any:
        self._full_map = getattr(self, "_drawn_map", self._full_map)
        result = theirs(self, parent, size)
        self._drawn_map = self._full_map
        return result

    reflow.ours = True  # type: ignore[attr-defined]
    Compositor.reflow = reflow  # type: ignore[method-assign]


def pictures_behind() -> None:
    """Leave pictures of the terminal as they are behind a dialog.

    Textual mixes the dialog's colour into all others, and the colour of a picture's cells says which picture it is.
    """
    from textual.filter import ANSIToTruecolor
    from textual.renderables.background_screen import BackgroundScreen

    mix: Any = getattr(BackgroundScreen, "process_segments", None)
    translate: Any = getattr(ANSIToTruecolor, "apply", None)
    if mix is None or translate is None or hasattr(BackgroundScreen, "ours"):
        return

    def mixed(cls: Any, segments: Iterable[Segment], color: Any) -> Iterator[Segment]:
        given = list(segments)
        return iter(_as_pictures(given, list(mix(given, color))))

    def translated(self: Any, segments: list[Segment], background: Any) -> list[Segment]:
        return _as_pictures(segments, translate(self, segments, background))

    BackgroundScreen.process_segments = classmethod(mixed)  # type: ignore[assignment, method-assign]
    BackgroundScreen.ours = True  # type: ignore[attr-defined]
    ANSIToTruecolor.apply = translated  # type: ignore[method-assign]


def _as_pictures(before: Sequence[Segment], after: list[Segment]) -> list[Segment]:
    """Give the cells of pictures the colour back that they had, where there is one segment for each."""
    if len(before) == len(after) and any(one.text[:1] == SIGN for one in before):
        for at, one in enumerate(before):
            style = after[at].style
            if one.text[:1] == SIGN and one.style is not None and style is not None:
                after[at] = Segment(one.text, style + Style(color=one.style.color))
    return after


def _read_input(self: Any) -> None:
    quiet_input.begin(self)
    try:
        self.run_input_thread()
    except quiet_input.TerminalGone:
        os.kill(os.getpid(), signal.SIGHUP)  # as the kernel does where it is the terminal of the session
    except Exception as error:  # noqa: BLE001, RUF100
        self._app.call_later(self._app._handle_exception, error)


def _write_all(self: Any) -> None:
    """Write the queued texts until None comes; after a write fails, drop them."""
    gone = False
    while (text := self._queue.get()) is not None:
        if gone:
            continue
        try:
            self._file.write(text)
            if self._queue.qsize() == 0:
                self._file.flush()
        except (OSError, ValueError):
            gone = True
    with contextlib.suppress(OSError, ValueError):
        self._file.flush()


def _render_segments(self: Any, console: Console) -> str:
    """Return the changed spans as text for the terminal."""
    return as_text(_changed(self), console)


def _changed(update: Any) -> Iterator[tuple[int, int, Strip]]:
    """Yield column, line and cells of each changed span."""
    for y, x1, x2 in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x > x2 or end <= x1:
                continue
            start, stop = max(x, x1), min(end, x2)
            if stop > start:
                yield start, y, strip if (start, stop) == (x, end) else strip.crop(start - x, stop - x)
