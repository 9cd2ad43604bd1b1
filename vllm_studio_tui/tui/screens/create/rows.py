"""The new recipe as rows: the model, the engines, what is suggested, what was checked, and the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row, wrap

if TYPE_CHECKING:
    from vllm_studio_tui.domain.creation import CreateCheck, Creation, EngineChoice
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Rows of the command that are drawn.
COMMAND_ROWS = 4


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the page draws.

    Attributes:
        made: The recipe and its reasons; None: not worked out yet.
        model: What was taken.
        error: Why nothing can be made, in words.
        working: Something was typed, and what comes of it is being worked out.
        read_only: Nothing can be saved.
    """

    model: str
    made: Creation | None
    glyphs: Glyphs
    error: str = ""
    working: bool = False
    read_only: bool = False


def head_rows(facts: PageFacts, size: Size, width: int) -> list[Row]:
    """Draw the model: its name, its shape, where it lies and how large it is."""
    row, made = Row(), facts.made
    x = margin(size)
    if made is None:
        row.put(x, facts.model, "fg bold", max(0, width - x - 12))
        row.put_right(width - 2, "looking", "faint") if not facts.error else None
        return [row]
    model = made.model
    size_words = _size_words(made)
    if size < Size.WIDE:
        end = row.put_right(width - 2, size_words if size >= Size.COMPACT else "", "dim")
        at = row.put(x, model.name, "fg bold", max(8, end - x - 2)) + 3
        if size >= Size.BASE:
            row.put(at, "new recipe", "dim", max(0, end - at - 2))
        return [row]
    end = row.put_right(width - 3, size_words, "dim") - 3
    where = model.where if model.where.startswith("the hub") else model.path
    where = where if len(where) <= 50 else f"{facts.glyphs.ellipsis}{where[-48:]}"
    end = row.put_right(end, where, "dim") - 3
    at = row.put(x, model.name, "fg bold", 44) + 3
    at = row.put(at, "new recipe, nothing saved yet", "dim", max(0, end - at)) + 3
    row.put(at, ", ".join(model.facts), "dim", max(0, end - at))
    line = Row()
    line.put(x, facts.glyphs.hairline * (width - x - 3), "track")
    return [row, line]


def _size_words(made: Creation) -> str:
    model = made.model
    words = [numbers.size(model.bytes)] if model.bytes else []
    if not model.here:
        words.append("to download" if words else "not here")
    elif model.complete is not None:
        words.append("whole" if model.complete else "not whole")
    return ", ".join(words)


def side_rows(facts: PageFacts, size: Size, width: int, height: int) -> list[Row]:
    """Draw the engines with their marks, then what is suggested; each can be taken."""
    made = facts.made
    if made is None:
        return []
    wide = size >= Size.WIDE
    rows: list[Row] = []
    if wide:
        rows.append(_title("ENGINES HERE"))
    shown = made.engines if wide else made.engines[: max(1, height - 1)]
    rows += [_engine(one, made, facts.glyphs, width, wide=wide) for one in shown]
    if not wide:
        reason = made.reasons.get("context", "")
        if len(rows) < height and reason:
            row = Row()
            row.put(2, reason, "dim", width - 3)
            rows.append(row)
        return rows
    if made.suggested:
        rows += [Row(), _title("SUGGESTED, TAKEN UNLESS YOU SAY NO")]
        for offer in made.suggested:
            row = Row(key=f"offer:{offer.field}")
            mark, style = (facts.glyphs.passed, "ok") if offer.taken else (facts.glyphs.pending, "faint")
            row.put(2, mark, style)
            row.put(4, offer.field, "fg" if offer.taken else "dim", 24)
            at = row.put(29, _value(offer.value), "fg bold" if offer.taken else "dim", 16) + 2
            row.put(max(at, 40), offer.why, "faint", max(0, width - max(at, 40) - 1))
            rows.append(row)
    return rows


def _title(words: str) -> Row:
    row = Row()
    row.put(2, words, "dim bold")
    return row


def _value(value: Any) -> str:
    return "yes" if value is True else str(value)


def _engine(one: EngineChoice, made: Creation, glyphs: Glyphs, width: int, *, wide: bool) -> Row:
    row = Row(key=f"engine:{one.name}")
    chosen = one.name == made.engine
    ready, _ = glyphs.state("ready")
    mark, style = (
        (ready, "accent" if one.ready else "warn") if chosen
        else (glyphs.passed, "ok") if one.ready else (glyphs.pending, "faint")
    )  # fmt: skip
    row.put(2, mark, style)
    quiet = "fg" if one.ready or chosen else "dim"
    row.put(4, one.title, f"{quiet} bold" if chosen else quiet, 13)
    if wide:
        row.put(18, one.version or glyphs.unknown, "dim" if one.version else "faint", 10)
        row.put(29, one.why, "dim" if one.ready or chosen else "faint", max(0, width - 30))
    else:
        row.put(17, one.version if one.ready and one.version else one.why, "dim", max(0, width - 18))
    return row


def check_mark(state: str, glyphs: Glyphs) -> tuple[str, str]:
    """Return the sign of a check and its colour."""
    return {
        "ok": (glyphs.passed, "ok"),
        "warning": (glyphs.warning, "warn"),
        "error": (glyphs.failed, "err"),
    }.get(state, (glyphs.pending, "faint"))


def foot_rows(facts: PageFacts, size: Size, width: int, height: int) -> list[Row]:
    """Draw what was checked, then the command that will run, and what `^r` does."""
    made, x = facts.made, margin(size)
    if made is None:
        return [] if not facts.error else _error(facts, x, width, height)
    row = Row()
    at = row.put(x, "CHECK", "dim bold") + 2
    what = "" if facts.read_only else _run_words(made)
    stop = width - len(what) - 6 if size == Size.BASE and what else width - 2
    troubles = [one for one in made.checks if one.state in ("error", "warning")]
    apart = size < Size.WIDE and height > 1  # a row of its own says what is wrong
    at = _put_checks(row, at, stop, [one for one in made.checks if not apart or one not in troubles], facts.glyphs)
    if size == Size.BASE and what and not facts.read_only and at < width - 16:
        row.run(width - len(what) - 5, [("^r", "accent bold"), (f" {what}", "fg")])
    rows = [row]
    if size >= Size.WIDE:
        rows.append(Row())
        words = made.shell or made.shell_unknown
        room = max(1, min(COMMAND_ROWS, height - 5))
        for index, line in enumerate(wrap(words, width - x - 8)[:room]):
            command = Row(plane="code")
            command.put(x + 2, line, "fg" if made.shell else "warn")
            if not index and len(line) < width - x - 20:
                command.put_right(width - 4, "what will run", "faint")
            rows.append(command)
        if made.environment and height > 7:
            extra = Row(plane="code")
            extra.put(x + 2, made.environment, "faint", width - x - 5)
            rows.append(extra)
        if what:
            last = Row()
            last.run(x, [("^r", "accent bold"), (f" {what}", "fg")])
            rows += [Row(), last]
    elif troubles and height > 1:
        extra = Row()
        mark, style = check_mark(troubles[0].state, facts.glyphs)
        extra.run(x, [(f"{mark} ", style)])
        extra.put(x + 2, troubles[0].words, "fg", width - x - 4)
        rows.append(extra)
    return rows


def _run_words(made: Creation) -> str:
    if made.fetch:
        return f"save as {made.recipe.id}, download it and run"
    where = f" on {made.gpus} of {made.gpus_here} GPUs" if made.gpus and made.gpus_here > 1 else ""
    return f"save as {made.recipe.id} and run{where}"


def _put_checks(row: Row, at: int, stop: int, checks: Sequence[CreateCheck], glyphs: Glyphs) -> int:
    shown = sorted(checks, key=lambda one: ("error", "warning", "ok", "unknown").index(one.state))
    for one in shown:
        room = stop - at - 2
        if room < 6:
            break
        if len(one.words) > room and one.state == "ok":
            continue
        mark, style = check_mark(one.state, glyphs)
        at = row.put(at, f"{mark} ", style)
        at = row.put(at, one.words, "dim" if one.state == "ok" else "fg", min(room, 60)) + 3
    return at


def _error(facts: PageFacts, x: int, width: int, height: int) -> list[Row]:
    rows = []
    for line in wrap(facts.error, max(12, width - x - 6))[: max(1, height)]:
        row = Row(bar="err")
        row.put(x, line, "fg")
        rows.append(row)
    return rows


def why_rows(facts: PageFacts, width: int) -> list[Row]:
    """Draw all that was found out, in sentences: for `w`."""
    made = facts.made
    if made is None:
        return []
    rows: list[Row] = []

    def say(head: str, lines: Sequence[tuple[str, str, str]]) -> None:
        if not lines:
            return
        if rows:
            rows.append(Row())
        title = Row()
        title.put(2, head, "dim bold")
        rows.append(title)
        for mark, style, words in lines:
            for index, line in enumerate(wrap(words, max(12, width - 8))):
                row = Row()
                row.put(2, mark if not index else "", style)
                row.put(4, line, "fg")
                rows.append(row)

    names = {"engine": "Engine", "gpus": "GPUs", "context": "Longest talk", "users": "Users at once", "name": "Name"}
    say("WHY IT IS SO", [("", "dim", f"{names[key]}: {why}") for key, why in made.reasons.items() if why])
    say("ENGINES", [(*_ready_mark(one, facts.glyphs), f"{one.title}: {one.why}") for one in made.engines])
    if made.fit is not None:
        say("MEMORY", [("", "dim", note) for note in _fit_words(made)])
    elif made.fit_unknown:
        say("MEMORY", [(facts.glyphs.pending, "faint", f"not known: {made.fit_unknown}")])
    say("CHECKED", [(*check_mark(one.state, facts.glyphs), one.words) for one in made.checks])
    say("COMMAND", [("", "dim", one) for one in (made.environment, made.shell or made.shell_unknown) if one])
    return rows


def _ready_mark(one: EngineChoice, glyphs: Glyphs) -> tuple[str, str]:
    return (glyphs.passed, "ok") if one.ready else (glyphs.pending, "faint")


def _fit_words(made: Creation) -> list[str]:
    fit = made.fit
    assert fit is not None
    total = fit.per_gpu
    words = [
        f"{numbers.gib(total.likely)} GiB likely, between {numbers.gib(total.low)} and {numbers.gib(total.high)}; "
        f"{numbers.gib(fit.limit)} of {numbers.gib(fit.memory)} GiB may be taken"
    ]
    if fit.max_users:
        words.append(f"holds {fit.max_users} talks of {fit.context} tokens, {numbers.count(fit.cache_tokens)} in all")
    if fit.learned is not None:
        starts = "start" if fit.learned.starts == 1 else "starts"
        words.append(f"corrected by {fit.learned.starts} earlier {starts} of {fit.learned.engine}")
    return [*words, *fit.notes]
