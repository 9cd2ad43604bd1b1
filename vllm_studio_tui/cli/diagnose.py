"""`diagnose`: why an engine failed, from its log alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from vllm_studio_tui.cli.output import emit, say
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.keeper.port import OTHER_PORT
from vllm_studio_tui.keeper.verdict import NO_CAUSE
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.runs import read
from vllm_studio_tui.runs.diagnose import Diagnosis, diagnose_bytes, diagnose_file
from vllm_studio_tui.runs.logs import known_secrets

#: More than this is not read from a pipe.
MOST = 256 * 1024 * 1024
#: Nor this from a device.
DEVICE = 1024 * 1024
#: Exit code of a failure of which nothing says why.
UNEXPLAINED = 3


def diagnosis_document(found: Diagnosis) -> dict[str, Any]:
    """Return what `diagnose --json` prints; `reason` is null when nothing is known."""
    from vllm_studio_tui.services.launching.fixes import fix_without_recipe

    fix = fix_without_recipe(found) if found.reason else None
    return {
        "reason": found.reason,
        "title": found.title,
        "cause": found.cause,
        "advice": found.advice,
        "line": found.line,
        "line_number": found.line_number,
        "retry": found.retry,
        "fix": fix or None,
        "evidence": list(found.evidence),
        "explained": found.explained,
    }


def register(app: typer.Typer) -> None:
    @app.command("diagnose")
    def diagnose(
        what: str = typer.Argument(metavar="RUN, FILE or -", help="A run or recipe, a log file, or - for stdin."),
        backend: str | None = typer.Option(None, "--backend", help="Whose log it is; otherwise any engine's."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Explain an engine's log: why it failed, and what to do. Also for logs from elsewhere.

        The exit code is 0 when a cause was found or nothing failed, 3 when it failed and nothing says why.
        """
        found = _diagnose(what, backend)
        if as_json:
            emit(diagnosis_document(found))
        else:
            _show(found)
        if not found.explained:
            raise typer.Exit(UNEXPLAINED)


def _diagnose(what: str, backend: str | None) -> Diagnosis:
    from vllm_studio_tui.backends import registry
    from vllm_studio_tui.backends.failures.table import FAILURES

    failures = registry.backend(backend).failures if backend else FAILURES
    if what == "-":
        return _redacted(diagnose_bytes(sys.stdin.buffer.read(MOST), failures), [])
    path = Path(what).expanduser()
    try:
        if path.is_file():
            return _redacted(diagnose_file(path, failures), [])
        if path.exists() and not path.is_dir():  # a pipe with a name, or a device, which may never end
            with path.open("rb") as stream:
                return _redacted(diagnose_bytes(stream.read(MOST if path.is_fifo() else DEVICE), failures), [])
        run = read.find_run(Places.of(), what)
    except NotFound:
        raise NotFound(
            f"there is no log {what!r}",
            cause="It is a folder." if path.is_dir() else "It is neither a file nor the name of a run or recipe.",
            advice="See `vllm-studio logs --list`.",
        ) from None
    except OSError as error:
        raise StudioError("the log cannot be read", cause=f"{error.strerror}: {path}") from error
    found = diagnose_run(run, failures if backend or run.spec is None else run.spec.failures)
    return _redacted(found, known_secrets(run))


def diagnose_run(run: read.RunView, failures: Sequence[Failure]) -> Diagnosis:
    """Return why a run failed: what its keeper saw, with the line of the log that says so."""
    status = run.status
    try:
        found = diagnose_file(run.log, failures)
    except OSError:
        found = Diagnosis()
    if run.live and status.stranger:  # its log cannot know
        return Diagnosis("port_in_use", status.heard, status.heard, OTHER_PORT, retry=False)
    if status.reason in (None, "stopped") and run.live:
        return Diagnosis() if found.reason == "engine_error" else found
    if status.reason == "stopped":
        return Diagnosis()
    if status.reason and found.reason != status.reason:
        # The keeper knows the exit code and the signal; a log does not.
        return Diagnosis(
            status.reason, status.title, status.title, status.advice, fixes=tuple(status.known_fixes),
            groups=tuple(status.groups), evidence=tuple(status.evidence),
            explained=status.reason not in NO_CAUSE or run.status.state is not State.FAILED,
        )  # fmt: skip
    if status.reason == "port_in_use":  # the keeper has seen who has it
        found = replace(found, title=status.title or found.title, advice=status.advice or found.advice)
    if status.fixes is None:  # written by an earlier version, which kept no groups
        return replace(found, fixes=(*status.known_fixes, *found.fixes))
    return replace(found, fixes=tuple(status.fixes), groups=tuple(status.groups))


def _redacted(found: Diagnosis, hidden: list[str]) -> Diagnosis:
    def one(text: str | None) -> str | None:
        return redact(text, hidden) if text else text

    return replace(
        found,
        title=one(found.title),
        cause=one(found.cause),
        advice=one(found.advice),
        line=one(found.line),
        evidence=tuple(redact(line, hidden) for line in found.evidence),
    )


def _show(found: Diagnosis) -> None:
    if found.reason is None:
        say("nothing in this log speaks of a failure")
        return
    say(f"{found.title}  [{found.reason}]")
    if found.advice:
        say(f"  {found.advice}")
    document = diagnosis_document(found)
    if document["fix"]:
        changes = ", ".join(f"{name}: {'none' if value is None else value}" for name, value in document["fix"].items())
        say(f"  change of the recipe: {changes}")
    if found.retry is False:
        say("  Another try would fail the same way.")
    if found.line:
        where = f"line {found.line_number}: " if found.line_number else ""
        say(f"  {where}{found.line[:400]}")
