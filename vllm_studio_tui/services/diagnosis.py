"""Diagnoses of failures for every face: of a run from its state and its log, and any diagnosis as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.keeper.port import OTHER_PORT
from vllm_studio_tui.keeper.verdict import NO_CAUSE
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.runs.diagnose import Diagnosis, diagnose_file
from vllm_studio_tui.runs.logs import known_secrets
from vllm_studio_tui.runs.read import RunView


def diagnose_run(run: RunView, failures: Sequence[Failure] | None = None) -> Diagnosis:
    """Return why a run failed: what its keeper recorded, with the matching line of the log; known secrets masked.

    Args:
        failures: The known failures that the log is compared with; None: those of the run's backend, or of every
            backend where its spec cannot be read.
    """
    if failures is None and run.spec is not None:
        failures = run.spec.failures
    if failures is None:
        from vllm_studio_tui.backends.failures.table import FAILURES

        failures = FAILURES
    return redacted(_diagnose_run(run, failures), known_secrets(run))


def _diagnose_run(run: RunView, failures: Sequence[Failure]) -> Diagnosis:
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


def redacted(found: Diagnosis, secrets: Iterable[str] = ()) -> Diagnosis:
    """Return a diagnosis with secrets masked in all of its texts: these, and what looks like one."""
    hidden = list(secrets)

    def masked(text: str | None) -> str | None:
        return redact(text, hidden) if text else text

    return replace(
        found,
        title=masked(found.title),
        cause=masked(found.cause),
        advice=masked(found.advice),
        line=masked(found.line),
        evidence=tuple(redact(line, hidden) for line in found.evidence),
    )


def diagnosis_document(found: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as `diagnose --json` prints it.

    `reason` is null when nothing in the log speaks of a failure; `fix` has the fields of a recipe that would be
    changed, with their values, null where no change is known.
    """
    from vllm_studio_tui.services.launching.fixes import fix_without_recipe  # pydantic: only where it is needed

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
