"""`doctor`: every check, what it found, and what would fix it."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.output import emit, say
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.terminal import Answers, Asking, may_ask

if TYPE_CHECKING:
    from vllm_studio_tui.domain.check import Check
    from vllm_studio_tui.services.doctor.context import Ground

GLYPHS = {"ok": "●", "warn": "▲", "fail": "✕"}
#: For terminals and pipes whose encoding has none of these.
PLAIN = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def register(app: typer.Typer) -> None:
    @app.command("doctor")
    def doctor(
        copying: bool = typer.Option(
            False,
            "--copy",
            help="Also copy a text to the clipboard and read it back; the terminal may ask whether it may tell.",
        ),
        tools: bool = typer.Option(
            False, "--tools", help="Also start or reach the MCP servers that you have agreed to, for at most 20 s."
        ),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Check this machine and this home: each finding with its fix. Exits 1 when something stands in the way."""
        from vllm_studio_tui.services.doctor.context import Ground
        from vllm_studio_tui.services.doctor.doctor import (
            CHECKS,
            WITH_TOOLS,
            doctor_document,
            healthy,
            run_checks,
        )

        ground = Ground(Places.of(), os.environ, answers=_ask_terminal())
        results = run_checks(ground, WITH_TOOLS if tools else CHECKS)
        if copying:
            results.append(("copying", _check_copying(ground)))
        if as_json:
            emit(doctor_document(results))
        else:
            _show([(name, check.state, check.found, check.fix) for name, check in results])
        if not healthy(results):
            raise typer.Exit(1)


def _ask_terminal() -> Answers | None:
    """Ask the terminal what it can do, where there is one."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and may_ask(os.environ)):
        return None
    try:
        return Asking(sys.stdin.fileno(), sys.stdout.fileno()).answers(0.2)
    except (OSError, ValueError):
        return None


def _check_copying(ground: Ground) -> Check:
    from vllm_studio_tui.domain.check import warn
    from vllm_studio_tui.probes.clipboard import ask_clipboard, set_clipboard
    from vllm_studio_tui.services.doctor.copying import Line, check_copying

    try:
        with Path("/dev/tty").open("r+b", buffering=0) as terminal:  # what is printed may go to a file
            number = terminal.fileno()
            return check_copying(
                ground,
                Line(partial(ask_clipboard, number, number), partial(set_clipboard, number)),
            )
    except OSError as error:
        return warn(f"no terminal to copy to: {error.strerror or error}", "Run `vllm-studio doctor --copy` in one.")


def _show(rows: list[tuple[str, str, str, str]]) -> None:
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    glyphs = GLYPHS if unicode else PLAIN
    width = max(len(name) for name, _, _, _ in rows)
    for name, state, found, fix in rows:
        say(f"{glyphs[state]} {name.ljust(width)}  {found}")
        if fix and state != "ok":
            say(f"{' ' * (width + len(glyphs[state]) + 3)}{fix}")
    counts = {state: sum(1 for row in rows if row[1] == state) for state in ("ok", "warn", "fail")}
    say(f"\n{counts['ok']} fine, {counts['warn']} warnings, {counts['fail']} failures")
