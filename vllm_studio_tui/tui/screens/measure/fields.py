"""The fields of a benchmark's set-up: what they are called, what is typed into them, and what that means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import BindingType

from vllm_studio_tui.domain.bench_plan import MAX_SECONDS, MAX_STEPS, MAX_TOKENS, MAX_USERS, BenchPlan
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.widgets.field_row import FieldInput, FieldRow

#: Name, label, whether it is chosen from a list, and the unit.
FIELDS = (
    ("kind", "Measure", True, ""),
    ("loads", "Users", False, "a step each"),
    ("prompt", "Prompt", False, "tokens"),
    ("answer", "Answer", False, "tokens"),
    ("length", "Each step", False, ""),
    ("warmup", "Warm-up", False, "s"),
    ("ttft", "Good: TTFT under", False, "ms"),
    ("speed", "Good: at least", False, "tok/s"),
    ("repeats", "Repeats", False, ""),
    ("seed", "Seed", False, ""),
    ("file", "Prompts of a file", False, ""),
    ("spread", "Lengths vary by", False, "%"),
    ("shared", "Alike beginning", False, "tokens"),
    ("caps", "Power caps", False, "W a GPU"),
)
#: Ways to ask: its name, its words, the arrivals, and whether the limit is searched.
KINDS: tuple[tuple[str, str, str, bool], ...] = (
    ("sweep", "users, step by step", "closed", False),
    ("limit", "find my limit: as many users as stay good", "closed", True),
    ("constant", "requests a second, evenly", "constant", False),
    ("poisson", "requests a second, as people come", "poisson", False),
)
HINTS = {
    "kind": "left and right change it",
    "loads": "numbers with blanks between them",
    "prompt": "random words that no cache knows",
    "answer": "each exactly so long, where the engine allows it",
    "length": "such as 30 s, 2m, or 200 requests",
    "warmup": "asked before each step, and not counted",
    "ttft": "until the first token; blank: as long as it takes",
    "speed": "that a user sees; people read some 10 a second",
    "repeats": "the spread says what is noise",
    "seed": "the same seed, the same prompts",
    "file": "a path; blank: random words",
    "spread": "evenly around both lengths; blank: all are equal",
    "shared": "with which all prompts begin, as with a system prompt; blank: none",
    "caps": "each step under each of them, set back after it; needs root; blank: as it is",
}
#: Fields that a plan can be wrong in as a whole, and a word of what is said then.
_ABOUT = (("caps", "power cap"), ("caps", "one power"), ("shared", "shared prefix"), ("spread", "spread"))
#: The actions of the page that a field does.
MOVES = frozenset({"measure.up", "measure.down"})


class MeasureInput(FieldInput):
    """The input of a field."""

    PREFIX = "measure"
    LABEL = 20
    BINDINGS: ClassVar[list[BindingType]] = [one for one in actions.bindings("measure") if one.id in MOVES]


class MeasureField(FieldRow):
    """A field of the page."""

    INPUT = MeasureInput


def first_plan() -> BenchPlan:
    """Return the plan that a set-up begins with where nothing was measured before."""
    return BenchPlan(512, 128, concurrency=(1, 2, 4, 8, 16, 32), duration=30.0, warmup=5.0,
                     ttft_limit=0.5, speed_limit=25.0)  # fmt: skip


def kind_of(plan: BenchPlan) -> str:
    """Return the name of the way in which a plan asks."""
    return next(
        (name for name, _, arrivals, search in KINDS if arrivals == plan.arrivals and search == plan.search), "sweep"
    )


def values_of(plan: BenchPlan) -> dict[str, str]:
    """Return what stands in the fields for a plan."""

    def text(value: float | None, scale: float = 1.0) -> str:
        return "" if value is None else f"{value * scale:.12g}"

    speed = plan.speed_limit or (1 / plan.tpot_limit if plan.tpot_limit else None)
    return {
        "kind": next(words for name, words, *_ in KINDS if name == kind_of(plan)),
        "loads": "" if plan.search else " ".join(f"{load:g}" for load in plan.loads),
        "prompt": str(plan.prompt_tokens),
        "answer": str(plan.output_tokens),
        "length": f"{plan.requests} requests" if plan.requests is not None else f"{text(plan.duration)} s",
        "warmup": text(plan.warmup),
        "ttft": text(plan.ttft_limit, 1000),
        "speed": text(speed if speed is None else round(speed, 3)),
        "repeats": str(plan.repeats),
        "seed": str(plan.seed),
        "file": plan.prompts_file or "",
        "spread": text(round(plan.spread * 100, 6)) if plan.spread else "",
        "shared": str(plan.shared_prefix or ""),
        "caps": " ".join(str(watts) for watts in plan.power_caps),
    }


def read_fields(plan: BenchPlan, kind: str, values: Mapping[str, str]) -> tuple[BenchPlan, dict[str, str]]:
    """Return the plan with what stands in the fields, and what is wrong by the name of its field."""
    wrong: dict[str, str] = {}
    arrivals, search = next((arrivals, search) for name, _, arrivals, search in KINDS if name == kind)
    found: dict[str, Any] = {"arrivals": arrivals, "search": search}

    def take(name: str, read: Callable[[str], dict[str, Any]]) -> None:
        try:
            found.update(read(values.get(name, "").strip()))
        except ValueError as error:
            wrong[name] = str(error)

    if not search:
        take("loads", _users if arrivals == "closed" else _rates)
    take("prompt", lambda text: {"prompt_tokens": _whole(text, "tokens", 1, MAX_TOKENS)})
    take("answer", lambda text: {"output_tokens": _whole(text, "tokens", 1, MAX_TOKENS)})
    take("length", _length)
    take("warmup", lambda text: {"warmup": _number(text or "0", "seconds", 0, MAX_SECONDS)})
    take("ttft", lambda text: {"ttft_limit": _number(text, "milliseconds", 0.001, 1e8) / 1000 if text else None})
    take("speed", _speed)
    take("repeats", lambda text: {"repeats": _whole(text or "1", "repeats", 1, 100)})
    take("seed", lambda text: {"seed": _whole(text or "7", "seed", 0, 2**31)})
    take("file", _file)
    take("spread", lambda text: {"spread": _number(text or "0", "percent", 0, 95) / 100})
    take("shared", lambda text: {"shared_prefix": _whole(text or "0", "tokens", 0, MAX_TOKENS)})
    take("caps", _caps)
    made = replace(plan, **found, prompts=())
    if not wrong:
        try:
            made.checked()
        except UsageError as error:
            name = next((name for name, word in _ABOUT if word in error.title), "ttft" if search else "loads")
            wrong[name] = " ".join(part for part in (f"{error.title}.", error.cause) if part)
    return made, wrong


def _caps(text: str) -> dict[str, Any]:
    caps = tuple(_whole(one, "watts", 1, 10_000) for one in re.split(r"[\s,;]+", text) if one)
    return {"power_caps": tuple(dict.fromkeys(caps))}


def _users(text: str) -> dict[str, Any]:
    users = tuple(_whole(one, "users", 1, MAX_USERS) for one in re.split(r"[\s,;]+", text) if one)
    return {"concurrency": _steps(users)}


def _rates(text: str) -> dict[str, Any]:
    rates = tuple(_number(one, "requests a second", 0.001, 1e5) for one in re.split(r"[\s,;]+", text) if one)
    return {"rate": _steps(rates)}


def _steps(loads: tuple[Any, ...]) -> tuple[Any, ...]:
    if not loads:
        raise ValueError("at least one number")
    if len(loads) > MAX_STEPS:
        raise ValueError(f"{MAX_STEPS} steps are the most")
    return tuple(sorted(set(loads)))


def _length(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"(\d+)\s*(?:r|req|requests?)", text)
    if match:
        return {"requests": _whole(match[1], "requests", 1, 1_000_000), "duration": None}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|sec|seconds?|m|min|minutes?)?", text)
    if not match:
        raise ValueError("such as 30 s, 2m, or 200 requests")
    scale = 60 if (match[2] or "s").startswith("m") else 1
    return {"duration": _number(match[1], "seconds", 0.1, MAX_SECONDS / scale) * scale, "requests": None}


def _speed(text: str) -> dict[str, Any]:
    return {"speed_limit": _number(text, "tokens a second", 0.001, 1e6) if text else None, "tpot_limit": None}


def _file(text: str) -> dict[str, Any]:
    if text and not Path(text).expanduser().is_file():
        raise ValueError("there is no such file")
    return {"prompts_file": str(Path(text).expanduser()) if text else None}


def _whole(text: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise ValueError(f"{what}: a whole number from {least} to {most}")
    return int(text)


def _number(text: str, what: str, least: float, most: float) -> float:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text, re.ASCII) or not least <= float(text) <= most:
        raise ValueError(f"{what}: a number from {least:g} to {most:g}")
    return float(text)
