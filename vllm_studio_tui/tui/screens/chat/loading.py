"""What a chat says of a model that is not ready: its stages, how long it will take, or why it did not come up."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.runs.estimate import Start, time_left
from vllm_studio_tui.runs.not_ready import waiting_for
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.stage_times import Mark, StageTime, stages_of
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit, wrap
from vllm_studio_tui.tui.paint.run_words import stage_word

#: States in which a run is on its way to answer.
COMING = (State.STARTING, State.LOADING, State.BACKOFF)
#: Seconds below which an estimate is no figure.
FEW = 5.0
_COLOURS = {Mark.DONE: "ok", Mark.NOW: "accent", Mark.FAILED: "err", Mark.PENDING: "faint"}


def left_words(run: RunView, earlier: Sequence[Start], now: float, *, sources: bool = True) -> str:
    """Return how long a start will still take, as an estimate: `about 40s left, from 3 launches`; empty: unknown."""
    rest = time_left(run.status, list(earlier), now)
    if rest is None:
        return ""
    launches = f"{len(earlier)} launches" if len(earlier) > 1 else "one launch"
    if rest <= 0:
        return f"longer than {launches} before" if sources else "longer than before"
    about = f"about {numbers.about(rest)} left" if rest >= FEW else "a few seconds left"
    return f"{about}, from {launches}" if sources else about


def stage_words(run: RunView) -> str:
    """Return the stage of a start, and how far it is: `weights 43%`; empty: its log showed none yet."""
    part = "" if run.status.progress is None else numbers.percent(run.status.progress)
    return f"{stage_word(run.status.stage)} {part}".rstrip() if run.status.stage else ""


def why_not(run: RunView) -> str:
    """Return why a run did not come up, in a line; empty: nothing says it."""
    status = run.status
    said = status.title or status.reason or ""
    if not said and status.exit_code:
        said = f"its engine ended with exit code {status.exit_code}"
    elif not said and status.exit_signal:
        said = f"its engine was ended by signal {status.exit_signal}"
    return clean_line(said, limit=200)


def gone_words(run: RunView | None) -> str:
    """Return what is told when the run ended that a question waits for."""
    if run is None:
        return "The engine did not come up; the question is back in the prompt."
    name = clean_line(run.name, limit=40)
    if run.state is not State.FAILED:
        return f"{name} was stopped before it was ready; the question is back in the prompt."
    why, advice = why_not(run), clean_line(run.status.advice or "", limit=200)
    ends = (f"{name} did not come up: {why}." if why else f"{name} did not come up, and nothing says why.", advice)
    return " ".join([*filter(None, ends), "The question is back in the prompt."])


def status_parts(
    run: RunView, earlier: Sequence[Start], waits: bool, glyphs: Glyphs, width: int, now: float
) -> list[tuple[str, str]]:
    """Return a start for the line below the prompt; where the room is short, the first thing to go is its source."""
    mark, colour = glyphs.state(run.state)
    why = why_not(run) if run.state is State.BACKOFF else ""
    stage = stage_words(run)
    if run.state is State.BACKOFF and run.status.next_start_at is not None:
        stage = f"again in {numbers.duration(max(0.0, run.status.next_start_at - now))}"
    sent = "sent when it is ready" if waits else ""
    parts: list[tuple[str, str]] = []
    whole = clean_line(run.name, limit=40)
    for name, sources in (
        (f"{whole} is {run.state}", True),
        (f"{whole} is {run.state}", False),
        (whole, False),
        (fit(whole, 14), False),
    ):
        left = left_words(run, earlier, now, sources=sources)
        told = [(name, "fg"), (stage, "fg"), (left, "fg"), (why, "dim")]
        parts = [(text, style) for text, style in (*told, (sent, "dim")) if text]
        if sum(len(text) + 3 for text, _ in parts) + 2 <= width:
            break
    return [(f"{mark} ", colour), parts[0], *((f"   {text}", style) for text, style in parts[1:])]


def head_words(run: RunView, earlier: Sequence[Start], now: float) -> str:
    """Return a start, or a failure, for the only line that a very small window has for it; empty: neither."""
    if run.state in COMING:
        left = left_words(run, earlier, now, sources=False).replace("about ", "~").removesuffix(" left")
        return ", ".join(filter(None, (stage_words(run) or str(run.state), left)))
    return why_not(run) if run.state is State.FAILED and not run.live and not run.dismissed else ""


def failed_parts(run: RunView, glyphs: Glyphs, size: Size, width: int) -> list[tuple[str, str]]:
    """Return a run that failed for the line below the prompt: the cause, cut to the room, and how to try again."""
    mark, colour = glyphs.state(State.FAILED)
    name = clean_line(run.name, limit=40 if size >= Size.BASE else 16)
    again = [("   /load", "fg bold"), (" tries again", "dim")] if size >= Size.BASE else [("   /load", "fg bold")]
    room = width - len(f"{mark} {name}: ") - sum(len(text) for text, _ in again) - 4
    why = why_not(run) or "it failed, and nothing says why"
    return [(f"{mark} ", colour), (f"{name}: ", "fg"), (fit(why, max(8, room)), "fg"), *again]


def rail_rows(run: RunView, earlier: Sequence[Start], glyphs: Glyphs, x: int, width: int, now: float) -> list[Row]:
    """Draw the stages of a start, each with what it took, or took before; then how long is left."""
    rows = []
    for one in stages_of(run, now, earlier):
        row = Row()
        mark, colour = _mark(glyphs, one)
        end = row.put_right(width - 1, _time(one), "fg" if one.mark is Mark.NOW else "dim")
        row.put(x, mark, colour)
        words = stage_words(run) if one.mark is Mark.NOW and one.name == run.status.stage else stage_word(one.name)
        style = {Mark.NOW: "fg bold", Mark.PENDING: "faint"}.get(one.mark, "fg")
        row.put(x + 2, words, style, max(4, end - x - 3))
        rows.append(row)
    left, _, source = left_words(run, earlier, now).partition(", ")
    for text, style in ((left, "fg"), (source, "dim"), (waiting_for(run, now), "warn")):
        for line in wrap(text, max(8, width - x - 1)) if text else ():
            row = Row()
            row.put(x, line, style, width - x - 1)
            rows.append(row)
    return rows


def _mark(glyphs: Glyphs, one: StageTime) -> tuple[str, str]:
    text = {
        Mark.DONE: glyphs.passed,
        Mark.NOW: glyphs.state(State.LOADING)[0],
        Mark.FAILED: glyphs.failed,
        Mark.PENDING: glyphs.pending,
    }[one.mark]
    return text, _COLOURS[one.mark]


def _time(one: StageTime) -> str:
    """Return what a stage took, has taken of what it took in earlier starts, or took in these."""
    took = "" if one.took is None else numbers.latency(one.took)
    if one.mark is Mark.DONE or one.usual is None:
        return took
    usual = f"~{numbers.latency(one.usual)}"
    return f"{took} of {usual}" if took else usual
