"""Opening the screens."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from vllm_studio_tui.config.startup import read_startup_settings
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit import gc_freeze
from vllm_studio_tui.probes.gpu import early
from vllm_studio_tui.tui.screens.registry import BY_NAME
from vllm_studio_tui.tui.terminal.faults import Faults
from vllm_studio_tui.tui.terminal.profile import EarlyQuestion, make_profile

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.app import StudioApp


def open_screens(
    studio: StudioApi,
    *,
    screen: str = "dashboard",
    recipe: str | None = None,
    compact: bool = False,
    read_only: bool = False,
    ascii_only: bool = False,
    no_mouse: bool = False,
    label: str = "",
    farewell: bool = True,
    become: Callable[[str], None] | None = None,
    said: str = "",
) -> int:
    """Show the screens until the person leaves; the exit code.

    Args:
        become: Told of the host that this program is to be opened on again, empty for this machine; None: it cannot be.
        said: What went wrong on the way here; shown as an error.
        farewell: Say on the way out which engines go on.

    Raises:
        UsageError: There is no terminal that could show them, or no such screen.
        StudioError: There was no first picture, because the studio does not answer any more.
    """
    if screen not in BY_NAME:
        raise UsageError(f"no screen {screen[:40]}", cause=f"There are: {', '.join(BY_NAME)}.")
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise UsageError(
            "the screens need a terminal", advice="Without one use commands: `vllm-studio status`, `--help`."
        )
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        raise UsageError(
            f"this terminal ({os.environ.get('TERM') or 'TERM is not set'}) cannot show screens",
            advice="Set TERM, such as TERM=xterm-256color, or use commands: `vllm-studio status`.",
        )
    gc_freeze.begin()
    # Nothing may be printed over the screen.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    faults = Faults(studio.places, os.environ)
    app: StudioApp | None = None
    with _quiet_threads(faults):
        try:
            # The rest of the settings is read, and checked, after the first picture.
            settings = read_startup_settings(studio.places.settings_file, os.environ)
            # Only a theme that nobody chose depends on the background.
            asked = EarlyQuestion(os.environ, wanted=settings.theme is None and not settings.background)
            try:
                from vllm_studio_tui.tui.app import StudioApp
                from vllm_studio_tui.tui.terminal import late_answers, textual_patches
            finally:
                answers = asked.answers()
            textual_patches.install()
            late_answers.install(answers)
            profile = make_profile(
                os.environ, settings, answers, ascii_only=ascii_only, mouse=not no_mouse, utf8=_utf8()
            )
            app = StudioApp(
                studio,
                place=screen,
                recipe=recipe,
                compact=compact,
                read_only=read_only,
                label=label or studio.host or ("SIMULATED" if os.environ.get("VLLM_STUDIO_SIMULATE_GPUS") else ""),
                hosts=settings.hosts,
                can_become=become is not None,
                said=said,
                theme_name=settings.theme,
                profile=profile,
                faults=faults,
            )
            for name in ("COLUMNS", "LINES"):  # of a shell that exports them: the terminal itself knows its size
                os.environ.pop(name, None)
            early.give_way()
            app.run(mouse=profile.mouse)
        except Exception as error:  # noqa: BLE001, RUF100
            faults.end(error, {})
    last_words = app.last_words if app is not None else []
    if faults.ended_by is not None:
        _print(
            sys.stderr, [*faults.last_lines(app.snapshot if app is not None else None, engines=farewell), *last_words]
        )
        return 1
    if app is not None and app.refusal is not None:
        raise app.refusal
    _print(sys.stdout, last_words if farewell else [])
    if become is not None and app is not None and app.next_host is not None:
        become(app.next_host)
    return (app.return_code if app is not None else None) or 0


def _print(stream: TextIO, lines: Iterable[str]) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        for words in lines:
            stream.write(f"{words}\n")
        stream.flush()


@contextlib.contextmanager
def _quiet_threads(faults: Faults) -> Iterator[None]:
    """Report an error that ends a thread instead of printing its traceback over the screens."""

    def report(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            faults.report(args.exc_value, {"thread": args.thread.name if args.thread is not None else ""})

    before, threading.excepthook = threading.excepthook, report
    try:
        yield
    finally:
        threading.excepthook = before


def _utf8() -> bool:
    """Whether the terminal is told text in UTF-8."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return encoding == "utf8"
