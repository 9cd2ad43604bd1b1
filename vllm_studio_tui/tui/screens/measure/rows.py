"""What stands around the fields of a set-up: which run, how long it takes, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row, wrap

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchPlan, BenchProgress, BenchResult
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.paint.glyphs import Glyphs


@dataclass(frozen=True, slots=True)
class SetUp:
    """What is known of a set-up.

    Attributes:
        recipe: Whose run is measured.
        run: Its run now; None: it has none.
        context: Tokens that a prompt and its answer may have together there; None: nobody knows.
        users: Requests that the engine takes at once; None: nobody knows.
        others: Requests that it answers now.
        earlier: The results of this recipe, the latest first; None: nobody has looked yet.
        under_way: Another benchmark that is made now.
        wrong: What is wrong, by the name of its field.
    """

    recipe: str
    plan: BenchPlan
    run: RunView | None = None
    context: int | None = None
    users: int | None = None
    others: int | None = None
    earlier: tuple[BenchResult, ...] | None = None
    under_way: BenchProgress | None = None
    wrong: bool = False
    external: bool = False
    read_only: bool = False


def seconds_of(plan: BenchPlan) -> float | None:
    """Return how long a benchmark takes; None where that depends on how fast the engine is."""
    if plan.duration is None or plan.search:
        return None
    return len(plan.loads) * max(1, len(plan.power_caps)) * plan.repeats * (plan.duration + plan.warmup)


def head_rows(one: SetUp, glyphs: Glyphs, size: Size, width: int) -> list[Row]:
    """Draw which run is measured, and in which state it is."""
    row, x = Row(), margin(size)
    at = row.run(x, [("NEW BENCHMARK", "dim bold"), ("  ", ""), (clean_line(one.recipe, limit=60), "fg bold")]) + 2
    run = one.run
    if run is not None and run.live:
        sign, colour = glyphs.state(run.state)
        row.run(at, [(f"{sign} ", colour), (str(run.state), "dim")])
    elif not one.external:
        row.put(at, "not up: it is started first", "dim", max(0, width - at))
    return [row]


def side_rows(one: SetUp, glyphs: Glyphs, x: int, width: int, height: int) -> list[Row]:
    """Draw what comes of the fields: how long it takes, whether it fits, what it is compared with."""
    rows: list[Row] = []

    def say(style: str, text: str, most: int = 3) -> None:
        sign = {"warn": glyphs.warning, "ok": glyphs.passed}.get(style, "")
        for index, line in enumerate(wrap(clean_line(text, limit=400), max(10, width - x - (2 if sign else 0)))[:most]):
            row = Row()
            if sign and not index:
                row.put(x, sign, style)
            row.put(x + (2 if sign else 0), line, "fg" if sign == glyphs.warning else "dim")
            rows.append(row)

    for style, text in sentences(one):
        say(style, text)
    return rows[:height]


def sentences(one: SetUp) -> Sequence[tuple[str, str]]:
    """Return what there is to say of a set-up, what matters most first."""
    plan, found = one.plan, []
    if one.under_way is not None:
        found.append(("warn", "A benchmark goes on. One is made at a time: stop it, or wait for its end."))
    longest = round((plan.prompt_tokens) * (1 + plan.spread)) + round(plan.output_tokens * (1 + plan.spread))
    if one.context is not None and longest > one.context and not plan.prompts_file:
        found.append(("warn", f"A prompt with its answer has {longest} tokens; the engine takes {one.context}."))
    most = max(plan.concurrency, default=0) if plan.arrivals == "closed" and not plan.search else 0
    if one.users is not None and most > one.users:
        found.append(
            ("warn", f"The engine takes {one.users} requests at once: of {most} users some wait in its queue.")
        )
    if one.others:
        words = "1 request of others is" if one.others == 1 else f"{one.others} requests of others are"
        found.append(("warn", f"{words} answered now: they change what is measured."))
    if not one.wrong:
        found.append(("", _how_long(plan)))
    if not plan.search and plan.limits == (None, None):
        found.append(("", "Without limits nobody can say how many users it carries; every answer is good."))
    if one.earlier is not None:
        found.append(("", _compared(one)))
    return found


def _how_long(plan: BenchPlan) -> str:
    took = seconds_of(plan)
    count = len(plan.loads) * max(1, len(plan.power_caps))
    steps = f"{count} {'step' if count == 1 else 'steps'}"
    times = f", each {plan.repeats} times" if plan.repeats > 1 else ""
    if plan.search:
        return "Users are doubled until they are too many, then the limit is halved in: some 6 to 10 steps."
    if took is None:
        return f"{steps}{times}, {plan.requests} requests a step: how long that takes the engine decides."
    return f"{steps}{times}: about {numbers.about(took)}."


def _compared(one: SetUp) -> str:
    earlier = one.earlier or ()
    loads = set(one.plan.loads)
    fit = next((result for result in earlier if loads & set(result.plan.loads)), None)
    if fit is None:
        return "The first of this recipe: there is nothing to compare it with yet."
    what = f"revision {fit.revision}" if fit.revision is not None else "an earlier result"
    shared = len(loads & set(fit.plan.loads))
    steps = f"{shared} {'step' if shared == 1 else 'steps'}"
    same = (fit.plan.prompt_tokens, fit.plan.output_tokens) == (one.plan.prompt_tokens, one.plan.output_tokens)
    if not same:
        return f"Compared with {what} on {steps}; its prompts or answers had another length."
    return f"Compared with {what} on {steps}: same prompts, so a change is seen."
