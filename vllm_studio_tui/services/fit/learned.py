"""What earlier starts of an engine reported corrects what is computed for the next one.

For each earlier start the same calculation is made for what it was asked, and what it reported is divided by that. The
factors of all starts become one, a weighted median: starts with other flags or of another version count less, starts of
other models much less and only for what does not come from the model; a factor that no flag explains is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.fit import Fit, FitQuestion, Learned, Range
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.sample import Host
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.models.facts import read_facts
from vllm_studio_tui.services.fit.estimate import cache_size, estimate
from vllm_studio_tui.services.fit.questions import question_of
from vllm_studio_tui.services.fit.reports import keep_reports
from vllm_studio_tui.services.fit.service import FitService, ask_hub
from vllm_studio_tui.store.memory_reports import MemoryReportRows

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend
    from vllm_studio_tui.domain.architecture import ModelFacts
    from vllm_studio_tui.domain.memory_report import MemoryReport
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.store.database import Database
    from vllm_studio_tui.store.memory_reports import KeptReport

#: Seconds between two looks for runs whose logs were not read yet.
KEEP_EVERY = 10.0
#: Earlier starts that are looked at.
MOST = 40
#: Factors that can be true, by part: weights and cache are computed exactly, what a step takes is not.
_TRUE = {"weights": (0.5, 2.0), "kv": (0.4, 2.5), "activations": (0.03, 30.0), "graphs": (0.03, 30.0),
         "overhead": (0.1, 10.0)}  # fmt: skip
#: What does not come from the model: it is learned of other models too.
_OF_THE_ENGINE = ("graphs", "overhead")
#: How far off a learned figure is at least: the next start is never quite the same.
_SPREAD = 0.015
#: Fields of a question that change how much a part takes; a start that differs there counts less, see `_OTHER`.
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "weights": ("quantization", "dtype", "offloaded", "expert_parallel"),
    "kv": ("kv_dtype",),
    "activations": ("batched", "context", "users"),
    "graphs": ("graphs", "users"),
    "overhead": (),
}
#: Fields by which the work is shared out; a start that was shared out otherwise says nothing of the weights.
_SHARED_OUT = ("gpus", "tensor_parallel", "pipeline_parallel", "data_parallel")
_OTHER, _OTHER_VERSION, _OLDER, _OTHER_MODEL = 0.3, 0.3, 0.95, 0.1
_EXACT = ("quantization", "dtype", "offloaded")


@dataclass(frozen=True, slots=True)
class Factor:
    """How much a start reported of a part, over what was computed for it.

    Attributes:
        weight: How much it counts.
        error: By which share it may be wrong, because it was printed with few digits.
    """

    part: str
    value: float
    weight: float
    error: float = 0.0


def learn(
    reports: Sequence[KeptReport],
    facts: ModelFacts,
    question: FitQuestion,
    backend: Backend,
    model: str,
    facts_of: Callable[[str], ModelFacts] | None = None,
) -> Learned | None:
    """Return what earlier starts of an engine say of the question; None where they say nothing.

    Args:
        reports: Of this engine, the latest first.
        facts_of: Looks up the facts of another model; None: only starts of this one count.
    """
    rules = backend.memory
    if rules is None or not reports:
        return None
    version = reports[0].engine_version
    own = [one for one in reports if _same(one.model, model)][:MOST]
    others = [] if own or facts_of is None else reports[:MOST]
    factors: list[Factor] = []
    starts = 0
    for age, one in enumerate(own or others):
        shape = facts if own else _known(facts_of, one.model)
        asked = _asked(one, backend)
        if shape is None or asked is None or one.report is None:
            continue
        trust = _OLDER**age * (1.0 if one.engine_version == version else _OTHER_VERSION)
        trust *= 1.0 if own else _OTHER_MODEL
        found = list(_factors(one.report, shape, asked, question, rules, trust, own=bool(own)))
        factors += found
        starts += bool(found)
    return _learned(factors, starts, facts, question, rules, f"{backend.title} {version}".strip(), own=bool(own))


def _learned(
    factors: Sequence[Factor],
    starts: int,
    facts: ModelFacts,
    question: FitQuestion,
    rules: MemoryRules,
    engine: str,
    *,
    own: bool,
) -> Learned | None:
    computed = estimate(facts, question, rules).parts
    parts: dict[str, Range] = {}
    cache = 1.0
    for name, likely in computed.items():
        middle = median([one for one in factors if one.part == name])
        if middle is None:
            continue
        value, spread = middle
        if not own:  # half of the way: another model may differ
            value, spread = 1 + (value - 1) / 2, max(spread, 0.25)
        if name == "kv":
            cache = value
        elif likely.likely:
            whole = likely.likely * value
            parts[name] = Range(*(round(whole * one) for one in (1 - spread, 1, 1 + spread)))
    if not parts and cache == 1.0:
        return None if not starts or not own else Learned({}, starts, engine, own)
    return Learned(parts, starts, engine, own, cache)


def _factors(
    report: MemoryReport,
    facts: ModelFacts,
    asked: FitQuestion,
    question: FitQuestion,
    rules: MemoryRules,
    trust: float,
    *,
    own: bool,
) -> Iterable[Factor]:
    """Yield by part what a start reported over what is computed for it."""
    fit = estimate(facts, asked, rules)
    told = dict(report.parts)
    for name in fit.parts:
        if not own and name not in _OF_THE_ENGINE:
            continue
        if name in ("weights", "activations") and any(
            getattr(asked, one) != getattr(question, one) for one in _SHARED_OUT
        ):
            continue
        if name == "weights" and any(getattr(asked, one) != getattr(question, one) for one in _EXACT):
            continue
        value = _cache_factor(report, facts, asked, rules, fit) if name == "kv" else _over(told.get(name), fit, name)
        least, most = _TRUE[name]
        if value is None or not least <= value <= most:
            continue
        same = all(getattr(asked, flag) == getattr(question, flag) for flag in _FLAGS[name])
        held = told.get(name) or report.room or 0
        error = report.rounding.get(name, 0) / held if held else 0.0
        yield Factor(name, value, trust * (1.0 if same else _OTHER), min(error, 1.0))


def _over(told: int | None, fit: Fit, name: str) -> float | None:
    likely = fit.parts[name].likely
    return told / likely if told is not None and likely > 0 else None


def _cache_factor(
    report: MemoryReport, facts: ModelFacts, asked: FitQuestion, rules: MemoryRules, fit: Fit
) -> float | None:
    """Return what the cache takes, over what is computed: of all that was reserved, or of each token in it."""
    kept = report.parts.get("kv")
    if rules.shared_context:
        needed = fit.parts["kv"].likely
        # It may have shortened the context that nobody asked for.
        apart = abs((report.kv_tokens or fit.context * fit.users) - fit.context * fit.users)
        return kept / needed if kept and needed and apart < rules.block * fit.users else None
    room = kept or report.room
    context = report.context or fit.context
    if not room or not report.kv_tokens or not context:
        return None
    one = cache_size(facts, asked, rules).bytes(context, 1)
    return room / report.kv_tokens * context / one if one else None


def median(factors: Sequence[Factor]) -> tuple[float, float] | None:
    """Return the weighted median, and how far off it is, as a share; None without factors.

    What half of all that counts says is hardly wrong: a single start, however far off, does not move it.
    """
    total = sum(one.weight for one in factors)
    if total <= 0:
        return None
    ordered = sorted(factors, key=lambda one: one.value)
    value = _middle([(one.value, one.weight) for one in ordered], total)
    near = [one for one in factors if abs(one.value / value - 1) <= 0.5] or list(factors)
    weight = sum(one.weight for one in near)
    off = _middle(sorted((abs(one.value / value - 1), one.weight) for one in near), weight)
    error = min(one.error for one in near)
    few = 0.05 * max(0.0, 1 - weight)  # of little weight: few starts, with other flags or of another version
    return value, min(0.5, max(_SPREAD, 2 * off, error) + few)


def _middle(ordered: Sequence[tuple[float, float]], total: float) -> float:
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= total / 2:
            return value
    return ordered[-1][0]


def _asked(one: KeptReport, backend: Backend) -> FitQuestion | None:
    """Return what a start was asked; None where its recipe is none any more."""
    try:
        recipe = Recipe.model_validate(dict(one.fields))
        question = question_of(recipe, backend, GpuReport(0.0), Host())
    except (StudioError, ValueError, TypeError, AttributeError):
        return None
    memory = one.report.total if one.report is not None else None
    gpus = sum(1 for device in one.report.devices if device.name not in ("", "host")) if one.report is not None else 0
    on_host = (
        one.report is not None
        and bool(one.report.devices)
        and all(device.name == "host" for device in one.report.devices)
    )
    count = 0 if on_host else max(gpus, len(one.gpus))
    return replace(question, gpus=count, memory=memory or 0)


def _same(one: str, other: str) -> bool:
    return one == other or expanded(one) == expanded(other)


def _known(facts_of: Callable[[str], ModelFacts] | None, model: str) -> ModelFacts | None:
    try:
        return None if facts_of is None else facts_of(model)
    except StudioError:
        return None


class LearnedLookup:
    """Looks up what earlier starts reported, see `FitService`. What cannot be read has taught nothing.

    Args:
        facts_of: Returns the facts of a model on this machine.
    """

    def __init__(
        self, places: Places, db: Callable[[], Database], facts_of: Callable[[str], ModelFacts] = read_facts
    ) -> None:
        self._places = places
        self._db = db
        self._facts_of = facts_of
        self._kept_at = -KEEP_EVERY

    def __call__(self, facts: ModelFacts, question: FitQuestion, backend: Backend, model: str) -> Learned | None:
        try:
            db = self._db()
            if time.monotonic() - self._kept_at >= KEEP_EVERY:
                self._kept_at = time.monotonic()
                keep_reports(self._places, db)
            reports = MemoryReportRows(db).of_backend(backend.name)
        except StudioError:
            return None
        return learn(reports, facts, question, backend, model, self._facts_of)


def learning_fit(
    places: Places, gpus: Callable[[], GpuReport], live: Callable[[], list[RunView]], db: Callable[[], Database]
) -> FitService:
    """Return the service that asks the hub for models that are not here, and learns from what engines reported."""
    return FitService(gpus, live, LearnedLookup(places, db), ask_hub)
