"""What a benchmark is called, and its plan, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.run_words import backend_word

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchPlan, BenchResult
    from vllm_studio_tui.domain.bench_compare import BenchLimit
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

ARRIVALS = {"closed": "as soon as one ends", "constant": "evenly", "poisson": "at random, as people come"}
#: Signs and colours of how a result ended; those of running ones are of runs that load.
STATES = {
    "running": ("◐", "%", "accent"),
    "done": ("✓", "+", "ok"),
    "stopped": ("◌", "-", "dim"),
    "failed": ("✕", "x", "err"),
    "interrupted": ("▲", "!", "warn"),
}
DEFINITIONS = (
    "TTFT to the first token of any kind; ITL between tokens of one answer; good: requests that met both limits"
)


def state_of(result: BenchResult, glyphs: Glyphs) -> tuple[str, str]:
    """Return the sign and the colour of a result's state."""
    unicode, plain, colour = STATES.get(result.state, STATES["interrupted"])
    return (plain if glyphs.ascii else unicode), colour


def name_of(result: BenchResult) -> str:
    """Return what a result is of: its recipe, else its model, in a line."""
    return clean_line(result.recipe_id or result.model or result.name or "unknown", limit=80)


def title_of(result: BenchResult) -> str:
    """Return what a result is of, with the revision of the recipe."""
    return name_of(result) + (f", revision {result.revision}" if result.revision is not None else "")


def engine_of(result: BenchResult) -> str:
    """Return the engine with its version, as the other screens call it; empty where nobody knows."""
    name = backend_word(result.engine) if result.engine else ""
    return clean_line(" ".join(part for part in (name, result.engine_version or "") if part), limit=60)


def short_names(shown: BenchResult, against: BenchResult | None) -> tuple[str, str]:
    """Return what the earlier and the shown one are called in a table: by what is not the same in both."""
    if against is None:
        return "", ""
    if shown.recipe_id == against.recipe_id and shown.revision != against.revision:
        return tuple(str(one.revision or "-") for one in (against, shown))  # type: ignore[return-value]
    if name_of(shown) != name_of(against):
        old, new = name_of(against), name_of(shown)
        cut = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(0, cut - 2) if len(old) > 8 or len(new) > 8 else 0
        return (old[start : start + 8].strip("-_ ") or "old"), (new[start : start + 8].strip("-_ ") or "new")
    if shown.engine_version != against.engine_version and against.engine_version and shown.engine_version:
        return clean_line(against.engine_version, limit=8), clean_line(shown.engine_version, limit=8)
    return ("before", "now") if shown.at >= against.at else ("later", "this")


def load_words(load: float, plan: BenchPlan) -> str:
    """Return a load of a plan: `64 users`, `4 a second`."""
    if plan.arrivals != "closed":
        return f"{load:g} a second"
    return "1 user" if load == 1 else f"{load:g} users"


def prompt_words(plan: BenchPlan) -> str:
    """Return what prompts are."""
    if plan.prompts_file:
        return f"lines of {clean_line(PurePath(plan.prompts_file).name, limit=60)}"
    words = f"{plan.prompt_tokens} tokens, random"
    if plan.spread:
        words += f", {numbers.percent(plan.spread)} more or less"
    return f"{words}, {plan.shared_prefix} the same" if plan.shared_prefix else f"{words}, no cache"


def length_words(plan: BenchPlan) -> str:
    """Return how long a step takes."""
    long = f"{plan.requests} requests" if plan.requests is not None else seconds_words(plan.duration)
    warm = f" after {seconds_words(plan.warmup)} warm-up" if plan.warmup else ""
    times = f", {plan.repeats} times" if plan.repeats > 1 else ""
    return f"{long}{warm}{times}"


def speed(value: float) -> str:
    """Return tokens a second."""
    return numbers.rate(value)


def seconds_words(seconds: float | None) -> str:
    """Return seconds as a person writes them."""
    if seconds is None:
        return "–"
    return f"{seconds:g} s" if seconds < 120 else numbers.duration(seconds)


def milliseconds(seconds: float) -> str:
    """Return a limit as it was set: whole milliseconds, from ten seconds on seconds."""
    return f"{seconds * 1000:g} ms" if seconds < 10 else f"{seconds:g} s"


def limits_words(limits: tuple[float | None, float | None], joint: str = ", ") -> str:
    """Return what counts as good."""
    ttft, speed = limits
    parts = [f"TTFT under {milliseconds(ttft)}"] if ttft is not None else []
    return joint.join([*parts, *([f"{speed:g} tok/s"] if speed is not None else [])])


def limits_of(plan: BenchPlan) -> tuple[float | None, float | None]:
    """Return the limits of a plan: seconds to the first token, and tokens a second that a user sees."""
    ttft, tpot = plan.limits
    return ttft, (plan.speed_limit or (round(1 / tpot, 1) if tpot else None))


def setup_rows(result: BenchResult) -> list[tuple[str, str]]:
    """Return the plan as names with values."""
    plan = result.plan
    return [
        ("run", title_of(result)),
        ("prompt", prompt_words(plan)),
        ("answer", f"{plan.output_tokens} tokens"),
        ("users" if plan.arrivals == "closed" else "a second", loads_words(plan)),
        ("arrivals", ARRIVALS.get(plan.arrivals, plan.arrivals)),
        ("each step", length_words(plan)),
        ("good if", limits_words(limits_of(plan)) or "nothing was asked for"),
        ("seed", f"{plan.seed}, the same prompts each time"),
    ]


def loads_words(plan: BenchPlan) -> str:
    """Return all steps of a plan."""
    if plan.search:
        return "searched: doubled, then halved"
    return " ".join(f"{load:g}" for load in plan.loads)


def setup_line(result: BenchResult) -> str:
    """Return the plan in one line."""
    plan = result.plan
    asked = "prompts of a file" if plan.prompts_file else f"{plan.prompt_tokens} in"
    step = f"{plan.requests} requests" if plan.requests is not None else seconds_words(plan.duration)
    good = limits_words(limits_of(plan), " and ")
    return f"{asked}, {plan.output_tokens} out, {step} a step" + (f", good if {good}" if good else "")


def limit_words(limit: BenchLimit, *, rates: bool, coming: Sequence[float] = ()) -> str:
    """Return how many users, or requests a second, an engine carries, in a few words.

    Args:
        coming: The loads that are yet to be measured.
    """
    most = limit.rate if rates else limit.users
    unit = "a second" if rates else "users"
    if most is None and limit.binds:
        least = (
            f"{limit.next_users} {'user' if limit.next_users == 1 else 'users'}" if limit.next_users else "the fewest"
        )
        return f"not even {least}: {BINDS.get(limit.binds, limit.binds)}"
    if most is None:
        return "nothing is measured yet"
    unit = "user" if most == 1 and not rates else unit
    if limit.binds:
        return f"{most:g} {unit}, then {BINDS.get(limit.binds, limit.binds)}"
    ahead = min((one for one in coming if one > most), default=None)
    return f"{most:g} {unit} or more" + (f", {ahead:g} is next" if ahead is not None else "")


BINDS = {
    "ttft": "TTFT binds",
    "speed": "speed binds",
    "errors": "requests fail",
    "saturation": "it falls behind",
}


def when_words(result: BenchResult, now: float) -> str:
    """Return when a result was measured and how far that came: `today 19:26, running`."""
    steps = len(result.steps)
    how = {
        "running": "running",
        "done": f"{steps} {'step' if steps == 1 else 'steps'}",
        "stopped": f"stopped, {steps} {'step' if steps == 1 else 'steps'}",
    }.get(result.state, result.state)
    return f"{numbers.day_time(result.at, now)}, {how}"
