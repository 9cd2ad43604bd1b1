"""What is known of a run's log beside its lines: the cause of a failure, what only repeats it, and the stages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.runs.log_echoes import Echoes
from vllm_studio_tui.runs.log_index import LogIndex
from vllm_studio_tui.runs.log_lines import parse
from vllm_studio_tui.runs.log_stages import StageStart, stage_at
from vllm_studio_tui.runs.log_text import LogText
from vllm_studio_tui.runs.read import RunView

if TYPE_CHECKING:
    from vllm_studio_tui.runs.diagnose import Diagnosis
    from vllm_studio_tui.services.run_logs.run_log import RunLog

#: Echoes are looked for so near the cause, in bytes, and among so many errors.
NEAR = 512 * 1024
MOST = 400


#: So many errors and warnings are listed.
LISTED = 6
_NAMED = re.compile(r"\b[A-Z]\w{0,60}(?:Error|Exception)\b: (?!Engine core init)|^error: |: error: ")


@dataclass(frozen=True, slots=True)
class Remark:
    """An error or a warning of a log, in a list: its line's number and place, and what it says."""

    offset: int
    number: int
    level: str
    text: str
    note: str = ""


@dataclass(slots=True)
class LogFacts:
    """What is known of a log.

    Attributes:
        diagnosis: Why the run failed; None until that was looked up, and for a run that has not failed.
        cause_at: Where the line of the cause begins, in bytes; None where it is not known.
        echoes: Where lines begin that repeat the cause, each with `echo` or `same`.
        remarks: Errors and warnings for a list, the cause among them, in the order of the log.
        first: The time of the first line that bears one.
        stages: Where the stages of the latest attempt begin.
        attempts: How many attempts there were when the stages were looked for.
        remarked: How many errors and warnings there were when `remarks` was made.
        studied: The stages, and the cause of a failure, were looked for.
        size: The size of the log when the stages were looked for, in bytes.
    """

    diagnosis: Diagnosis | None = None
    cause_at: int | None = None
    echoes: dict[int, str] = field(default_factory=dict)
    stages: list[StageStart] = field(default_factory=list)
    attempts: int = 0
    remarks: list[Remark] = field(default_factory=list)
    remarked: tuple[int, int] = (0, 0)
    first: str = ""
    studied: bool = False
    size: int = -1

    def stage_of(self, offset: int) -> str:
        """Return the stage of a line; empty before the first, and for what comes while it serves."""
        name = stage_at(self.stages, offset)
        if name == "serving":
            return name if any(start.offset == offset for start in self.stages) else ""
        return name or ""

    def role_of(self, start: int, end: int) -> str:
        """Return what the lines between two bytes are to the cause: `cause`, `echo`, `same`, or nothing."""
        if self.cause_at is not None and start <= self.cause_at < end:
            return "cause"
        return self.echoes.get(start, "")


def diagnose(log: RunLog, run: RunView) -> Diagnosis | None:
    """Return why a run failed; None where it has not. For a thread."""
    return log.diagnosis(run) if run.state is State.FAILED else None


def find_cause(file: LogText, index: LogIndex, found: Diagnosis, evidence: list[str]) -> int | None:
    """Return where the line of the cause begins: by its number, else by its words. For a thread."""
    if found.line_number is not None:
        at = index.offset(found.line_number)
        if at is not None:
            return at
    for words in (found.line, *sorted(evidence, key=lambda line: not _NAMED.search(line))):
        if words and words.strip():
            at, _ = file.search(words.strip()[:200], file.size, -1)
            if at is not None:
                return at
    return None


def find_echoes(file: LogText, index: LogIndex, cause_at: int, spec: RunSpec | None) -> dict[int, str]:
    """Return where lines begin that repeat the cause, each with `echo` or `same`. For a thread."""
    line = next(iter(file.after(cause_at, 1)), None)
    if line is None:
        return {}
    echoes = Echoes(line.text, spec.failures if spec is not None else ())
    found = {}
    for places in (index.error_at, index.warning_at):
        near = [at for at in places if at != cause_at and abs(at - cause_at) < NEAR][:MOST]
        for at, said in zip(near, file.lines_at(near), strict=True):
            if said is not None and (kind := echoes.kind(said.text)):
                found[at] = kind
    return dict(sorted(found.items()))


def find_remarks(file: LogText, index: LogIndex, facts: LogFacts) -> list[Remark]:
    """Return the cause and the latest errors and warnings, each text once. For a thread."""
    found: dict[str, Remark] = {}
    places = [facts.cause_at] if facts.cause_at is not None else []
    places += [at for at in reversed(index.error_at[-100:]) if at not in facts.echoes and at != facts.cause_at]
    places += [at for at in reversed(index.warning_at[-40:]) if at not in facts.echoes]
    for at, line, number in zip(places, file.lines_at(places), index.numbers(places), strict=True):
        if line is None or number is None:
            continue
        parts = parse(line.text)
        cause = at == facts.cause_at
        if parts.text in found or (len(found) >= LISTED and not cause):
            continue
        echoes = [one for one, kind in facts.echoes.items() if kind == "echo"][:6] if cause else []
        follow = [str(one) for one in index.numbers(echoes)]
        note = f"root cause; {' '.join(follow)} follow from it" if follow else "root cause"
        level = "error" if cause else parts.level
        found[parts.text] = Remark(at, number, level, parts.text, note if cause else "")
    return sorted(found.values(), key=lambda one: one.offset)


def first_time(file: LogText) -> str:
    """Return the time of the first line that bears one. For a thread."""
    return next((time for line in file.after(0, 60) if (time := parse(line.text).prefix.time)), "")


def find_stages(log: RunLog, index: LogIndex) -> list[StageStart]:
    """Return the stages of the latest attempt. For a thread."""
    return log.stages(index.attempts[-1] if index.attempts else 0)
