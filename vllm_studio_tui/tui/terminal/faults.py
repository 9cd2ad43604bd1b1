"""Faults of the screens: a report in a file, and what the person reads instead of a traceback.

A report has no local variables and no known secret. Few are kept.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vllm_studio_tui.kit.masking import is_secret, mask_text
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.kit.sanitize import clean, clean_line, redact

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Reports that are kept; older ones are removed.
KEPT = 5
#: Frames of a traceback, the innermost, and characters of a report.
FRAMES = 40
LONGEST = 64_000
#: Names of engines that are listed.
NAMES = 4


class Faults:
    """The faults of one session of the screens. The same fault at the same place is reported once.

    Attributes:
        errors: The errors, each place of the code once.
        ended_by: The error that ended the screens; None: they were left in order.
    """

    def __init__(self, places: Places, environ: Mapping[str, str]) -> None:
        self.errors: list[BaseException] = []
        self.ended_by: BaseException | None = None
        self._places = places
        self._environ = environ
        self._known: dict[tuple[str, str, int], str] = {}

    def report(self, error: BaseException, facts: Mapping[str, object]) -> str:
        """Write a report of an error, once; return where it lies, or in words why there is none.

        Args:
            facts: What else to write down, such as the size of the terminal.
        """
        place = _place_of(error)
        if place not in self._known:
            self.errors.append(error)
            try:
                self._known[place] = self._write(error, facts)
            except Exception as failed:  # noqa: BLE001, RUF100
                self._known[place] = f"none could be written: {type(failed).__name__}"
        return self._known[place]

    def end(self, error: BaseException, facts: Mapping[str, object]) -> None:
        """Report an error that ends the screens. The first one is what the person is told."""
        self.report(error, facts)
        self.ended_by = self.ended_by or error

    def _write(self, error: BaseException, facts: Mapping[str, object]) -> str:
        text = report_text(error, facts, self._environ)
        folder = self._places.state / "faults"
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{len(self._known)}.txt"
        try:
            write_atomic(private_dir(folder) / path.name, text.encode("utf-8", "replace"))
        except OSError as failed:
            return f"none could be written to {folder}: {failed.strerror}"
        for old in sorted(folder.glob("*.txt"))[:-KEPT]:
            with contextlib.suppress(OSError):
                old.unlink()
        return str(path)

    def words(self, error: BaseException) -> str:
        """Return an error in one safe line: its kind, and what it says."""
        return _safe(one_line(error), self._environ)

    def last_lines(self, snapshot: Snapshot | None, *, engines: bool = True) -> list[str]:
        """Return what a person reads in place of the screens that ended by a fault.

        What happened, where the report lies and, with `engines`, which engines go on.
        """
        assert self.ended_by is not None
        lines = [
            f"The screens ended: a fault of vllm-studio itself ({self.words(self.ended_by)}).",
            f"Report: {self.report(self.ended_by, {})}",
        ]
        if engines:
            lines.append(
                f"{_going_on(snapshot)} `vllm-studio` opens the screens again, `vllm-studio status` shows what runs."
            )
        return lines


def _going_on(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return "Engines go on as they were."
    live = [clean_line(run.name, limit=40) for run in snapshot.runs if run.live]
    if not live:
        return "No engine was running."
    more = f" and {len(live) - NAMES} more" if len(live) > NAMES else ""
    count = "1 engine goes" if len(live) == 1 else f"{len(live)} engines go"
    return f"{count} on: {', '.join(live[:NAMES])}{more}."


def one_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    try:
        said = str(error).strip().split("\n")[0][:160]
    except Exception:  # noqa: BLE001, RUF100
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def report_text(error: BaseException, facts: Mapping[str, object], environ: Mapping[str, str]) -> str:
    """Return the text of a report: versions, terminal, facts, and the traceback without local variables."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import platform, python_version

    from vllm_studio_tui import __version__

    versions = {"vllm-studio": __version__, "python": python_version()}
    for package in ("textual", "rich"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    lines = [
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        ", ".join(f"{name} {number}" for name, number in versions.items()),
        platform(),
        *(f"{name}={environ[name]}" for name in TERMINAL if name in environ),
        *(f"{name}: {value}" for name, value in facts.items()),
        "",
        *(line.rstrip("\n") for line in _traceback(error)),
    ]
    return _safe("\n".join(lines), environ)[:LONGEST] + "\n"


#: Variables that say what the terminal is.
TERMINAL = ("TERM", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "VTE_VERSION", "TMUX", "STY", "LANG", "LC_ALL",
            "NO_COLOR")  # fmt: skip


def _traceback(error: BaseException) -> list[str]:
    try:
        return list(traceback.TracebackException.from_exception(error, limit=-FRAMES, compact=True).format())
    except Exception as failed:  # noqa: BLE001, RUF100
        return [f"{type(error).__name__}, which cannot be written down: {type(failed).__name__}"]


def _safe(text: str, environ: Mapping[str, str]) -> str:
    secrets = [value for name, value in environ.items() if is_secret(name, value)]
    return clean(redact(mask_text(text), sorted(secrets, key=len, reverse=True)))


def _place_of(error: BaseException) -> tuple[str, str, int]:
    """Return the kind of an error with the file and line that raised it."""
    frame = error.__traceback__
    if frame is None:
        return type(error).__name__, one_line(error), 0
    while frame.tb_next is not None:
        frame = frame.tb_next
    return type(error).__name__, frame.tb_frame.f_code.co_filename, frame.tb_lineno
