"""The end of a command: its exit code, and its error on stderr and, with `--json`, as JSON on stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from vllm_studio_tui.cli import output
from vllm_studio_tui.domain.errors import StudioError

#: Folders of the code that writes to stdout and stderr.
PRINTERS = frozenset({"cli", "rich", "typer", "_click", "click"})


def code_of(error: BaseException, argv: Sequence[str]) -> int:
    """Tell what ended a command; its exit code.

    Raises:
        BaseException: The error itself, where it is a fault of the program.
    """
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return code_of(error.__context__, argv)  # rich takes a reader that has gone for a failure
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        with contextlib.suppress(OSError):
            sys.stderr.write("\n")
        return 130
    if isinstance(error, StudioError):
        try:
            report(error, argv)
        except OSError as again:
            return code_of(again, argv)
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # whoever read our output has what it wanted
        _silence(sys.stdout, sys.stderr)
        return 0
    if isinstance(error, OSError) and (_broken(sys.stdout) or _by_printing(error)):
        _silence(sys.stdout)
        with contextlib.suppress(OSError):
            failed = StudioError("the output could not be written", cause=error.strerror or str(error))
            output.explain(failed)
        return 1
    if isinstance(error, OSError) and _broken(sys.stderr):
        _silence(sys.stderr)
        return 1
    raise error


def report(error: StudioError, argv: Sequence[str]) -> None:
    """Print an error for a person on stderr and, with `--json`, as the only document on stdout."""
    output.explain(error)
    if wants_json(argv) and not output.emitted:
        output.emit({"error": error.to_json()})


def wants_json(argv: Sequence[str]) -> bool:
    given = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in given


def _broken(stream: TextIO) -> bool:
    """Return whether a stream's buffered output cannot be written."""
    try:
        stream.flush()
    except OSError:
        return True
    except ValueError:
        return False
    return False


def _by_printing(error: OSError) -> bool:
    """Return whether an error came from writing to stdout or stderr: these modules write nothing else."""
    if error.filename is not None or error.__traceback__ is None:
        return False
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    parts = Path(frame.tb_frame.f_code.co_filename).parts
    return parts[-1] == "__main__.py" or not PRINTERS.isdisjoint(parts[-3:-1])


def _silence(*streams: TextIO) -> None:
    """Redirect streams to the null device: Python would report the error again when it flushes them at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in streams:
            os.dup2(nowhere, stream.fileno())
