"""`diagnose`: why an engine failed, from its log alone."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from vllm_studio_tui.cli import connecting
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.diagnose import Diagnosis, diagnose_bytes, diagnose_file
from vllm_studio_tui.runs.find import find_run
from vllm_studio_tui.services.diagnosis import diagnose_run, diagnosis_document, redacted

#: Bytes that are read from a pipe at most.
MOST = 256 * 1024 * 1024
#: Bytes that are read from a device at most.
DEVICE = 1024 * 1024
#: Exit code for a failure without a known cause.
UNEXPLAINED = 3


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
        return redacted(diagnose_bytes(sys.stdin.buffer.read(MOST), failures))
    path = Path(what).expanduser()
    try:
        if path.is_file():
            return redacted(diagnose_file(path, failures))
        if path.exists() and not path.is_dir():  # a pipe with a name, or a device, which may never end
            with path.open("rb") as stream:
                return redacted(diagnose_bytes(stream.read(MOST if path.is_fifo() else DEVICE), failures))
        if connecting.chosen is not None:
            return _elsewhere(what, backend)
        run = find_run(Places.of(), what)
    except NotFound:
        raise NotFound(
            f"there is no log {what!r}",
            cause="It is a folder." if path.is_dir() else "It is neither a file nor the name of a run or recipe.",
            advice="See `vllm-studio logs --list`.",
        ) from None
    except OSError as error:
        raise StudioError("the log cannot be read", cause=f"{error.strerror}: {path}") from error
    return diagnose_run(run, failures if backend else None)


def _elsewhere(name: str, backend: str | None) -> Diagnosis:
    """Explain a run of the studio that the command line names; its machine reads the log."""
    if backend is not None:
        raise UsageError("--backend is for a log file of this machine", advice="A run elsewhere knows its engine.")
    with open_studio() as studio:
        return studio.runs.diagnosis(studio.runs.find(name))


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
