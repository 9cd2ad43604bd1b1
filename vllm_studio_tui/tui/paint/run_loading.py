"""A starting run as rows: its stages, its progress, and the time left."""

from __future__ import annotations

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import elsewhere_words, is_elsewhere, told_why, trouble_of
from vllm_studio_tui.runs.not_ready import SILENT_AFTER, log_silence, waiting_for
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.stage_times import ORDER
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_parts import RunFacts, left
from vllm_studio_tui.tui.paint.run_words import stage_word


def draw_loading(
    facts: RunFacts, glyphs: Glyphs, width: int, size: Size, now: float, first: Row, second: Row, body: int
) -> None:
    """Draw the stages, the progress and the time left on the two rows of a run, from column `body` on."""
    status = facts.run.status
    rest = left(facts, now)
    words = waiting_for(facts.run, now)
    if told_why(facts.run) or (status.stage is None and is_elsewhere(facts.run)):
        end = width - 2
        if status.started_at is not None:
            end = first.put_right(end, numbers.duration(now - status.started_at), "faint") - 2
        first.put(body, status.stage or before_stages(facts.run), "fg", max(0, end - body))
        told = words or (elsewhere_words(facts.run) if size < Size.WIDE else "")
        second.put(body, told, tone(facts.run, now), width - body - 2)
        return
    if status.stage is None:
        since = numbers.duration(now - status.started_at) if status.started_at else ""
        pid = f"process {status.pid} is up, " if status.pid else ""
        first.put(body, f"{pid}{before_stages(facts.run)}, {since}", "fg", width - body - 2)
        second.put(body, words, tone(facts.run, now), width - body - 2)
        return
    stages = _stages(facts.run)
    here = stages.index(status.stage) if status.stage in stages else 0
    # A stage that was skipped, as compiling and graphs are in an eager run, is not shown as passed.
    passed = [name for name in stages[:here] if name in status.marks or not status.marks]
    stages, here = [*passed, *stages[here:]], len(passed)
    end = width - 24 if size >= Size.WIDE else width - 8  # the time left has its own room
    if size >= Size.WIDE:
        x = body
        for index, name in enumerate(stages):
            word = stage_word(name)
            if index < here:
                part = [(f"{glyphs.passed} ", "ok"), (word, "dim")]
            elif index == here:
                part = [(f"{glyphs.state('loading')[0]} ", "accent"), (word, "fg bold")]
            else:
                part = [(f"{glyphs.pending} {word}", "faint")]
            length = sum(len(text) for text, _ in part)
            if x + length > end - 20:
                x = first.put(x, f"{glyphs.pending} {len(stages) - index} more", "faint") + 3
                break
            x = first.run(x, part) + 3
        bar = max(0, min(30, end - x - 8))
    else:
        x = first.put(body, stage_word(status.stage), "fg") + 2
        bar = max(0, min(20, width - x - 16))
        rest_stages = [stage_word(name) for name in stages[here + 1 :]]
        if not words and (far := elsewhere_words(facts.run)):
            second.put(body, far, "dim", width - body - 2)
        elif rest_stages and not words:
            second.put(body, f"then {', '.join(rest_stages)}", "dim", width - body - 2)
        end = x + bar + 6
    if status.progress is not None and bar >= 4:
        charts.put_bar(first, end - bar - 6, glyphs, status.progress, bar, "accent")
        first.put_right(end - 1, numbers.percent(status.progress), "fg bold")
    if rest is not None:
        text = f"about {numbers.about(rest)} left" if size >= Size.WIDE else f"~{numbers.about(rest)}"
        first.put_right(width - 2, text, "dim")
    elif status.started_at is not None:
        first.put_right(width - 2, numbers.duration(now - status.started_at), "faint")
    if words:
        second.put(body, words, tone(facts.run, now), width - body - 2)
    elif size == Size.FULL and facts.earlier:
        second.put_right(width - 2, f"last time {numbers.duration(facts.earlier[-1].total)}", "faint")


def tone(run: RunView, now: float) -> str:
    """Return the style of what a start waits for: a warning for a silent log, another server, or trouble elsewhere."""
    silent = log_silence(run, now) or 0.0
    return "warn" if run.status.stranger or trouble_of(run) or silent >= SILENT_AFTER else "dim"


def before_stages(run: RunView) -> str:
    """Return the words for a run without a stage: it is LOADING from the first line of its log on."""
    if is_elsewhere(run):
        words = "submitted" if run.status.handle else "being submitted"
        return words if run.state is State.STARTING else "it runs, no stage seen yet"
    return "no log line yet" if run.state is State.STARTING else "no stage seen yet"


def _stages(run: RunView) -> list[str]:
    names = {stage.name for stage in run.spec.stages} if run.spec is not None else set()
    if run.status.stage:
        names.add(run.status.stage)
    if run.status.stage != "downloading":
        names.discard("downloading")
    names.discard("config")
    if run.status.stage == "config":
        names.add("config")
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else 99)
