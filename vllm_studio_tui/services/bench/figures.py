"""From requests to the figures of a step, as docs/reference/benchmark.md defines them."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_studio_tui.domain.bench import BenchPlan, BenchRequest, BenchStep, percentiles
from vllm_studio_tui.inference.load.client import CANCELLED
from vllm_studio_tui.inference.load.reading import Outcome

#: Equal parts of the time of a step: what its spread is from where it was measured once.
SLICES = 10
#: Gaps between chunks that percentiles are made from at the most; of more, every n-th is taken.
MAX_GAPS = 2_000_000
OUTPUT = "output_tokens_per_second"
#: The latest answers, whose gaps are shown while a step is measured.
LATEST = 64
#: Different errors that are told apart.
MAX_PROBLEMS = 20


@dataclass(slots=True)
class Sent:
    """One request that was sent, in the order of sending.

    Attributes:
        number: Which of the benchmark's prompts.
        counted: It is not of the warm-up.
        over: It has ended.
    """

    number: int
    outcome: Outcome
    counted: bool
    over: bool = False


@dataclass(slots=True)
class Measured:
    """One repeat of a step, while it is made and after.

    Attributes:
        began: When it began; `origin` when the benchmark did, by which requests are told.
        begin, end: The window of what is counted, in moments of the loop; `end` is None while it is open.
        energy, kv, waiting, preemptions: See `BenchStep`.
    """

    step: int
    repeat: int
    load: float
    began: float
    begin: float
    end: float | None = None
    sent: list[Sent] = field(default_factory=list)
    most: int = 0
    energy: float | None = None
    kv: float | None = None
    waiting: int | None = None
    preemptions: int | None = None
    saturated: bool = False
    power_cap: int | None = None
    origin: float = 0.0

    def requests(self) -> list[BenchRequest]:
        """Return what is kept of each request that has ended."""
        return [self.request(one) for one in self.sent if one.over]

    def request(self, one: Sent) -> BenchRequest:
        """Return what is kept of a request."""
        out = one.outcome
        ok = out.error is None
        return BenchRequest(
            self.step,
            self.repeat,
            out.sent - (self.origin or self.began),
            None if out.first is None else out.first - out.sent,
            None if out.answer is None else out.answer - out.sent,
            None if out.ended is None or not ok else out.ended - out.sent,
            out.prompt_tokens,
            out.tokens,
            out.cached_tokens,
            one.counted,
            out.error,
        )


def step_of(plan: BenchPlan, repeats: Sequence[Measured], now: float | None = None) -> BenchStep:
    """Return the figures of a step, over its repeats.

    Args:
        now: It is still measured: a window that is open ends now, and gaps are those of the latest answers alone.
    """
    windows = [(one, one.begin, _end(one, now)) for one in repeats]
    windows = [(one, begin, end) for one, begin, end in windows if end > begin]
    if not windows:
        return replace(BenchStep(), **_load(plan, repeats[0])) if repeats else BenchStep()
    counted = [
        (one, each)
        for one, _, _ in windows
        for each in one.sent
        if each.counted and each.over and each.outcome.error != CANCELLED
    ]
    well = [(one.request(each), each.outcome) for one, each in counted if each.outcome.error is None]
    failed = [each.outcome.error or "" for _, each in counted if each.outcome.error is not None]
    seconds = math.fsum(end - begin for _, begin, end in windows)
    out = [_tokens_out(one, begin, end) for one, begin, end in windows]
    prompts = math.fsum(_tokens_in(one, begin, end) for one, begin, end in windows)
    ended = sum(_ended(one, begin, end) for one, begin, end in windows)
    limits = plan.limits
    good = sum(request.good(limits) for request, _ in well)
    tpot = percentiles(value for request, _ in well if (value := request.tpot) is not None)
    energies = [one.energy for one, _, _ in windows]
    energy = math.fsum(one for one in energies if one is not None) if energies and None not in energies else None
    tokens_in = [request.prompt_tokens for request, _ in well if request.prompt_tokens is not None]
    cached = [request.cached_tokens for request, _ in well if request.cached_tokens is not None]
    slices = [] if now is not None else [speed for one, begin, end in windows for speed in _slices(one, begin, end)]
    shown = well if now is None else well[-LATEST:]
    whole = len(counted)
    made = BenchStep(
        requests=len(well),
        errors=len(failed),
        duration=seconds,
        input_tokens_per_second=prompts / seconds,
        output_tokens_per_second=math.fsum(out) / seconds,
        requests_per_second=ended / seconds,
        goodput=(ended / seconds) * (good / whole) if whole else 0.0,
        good=good / whole if whole else None,
        user_speed=1 / tpot.mean if tpot.mean else None,
        ttft=percentiles(request.ttft for request, _ in well if request.ttft is not None),
        first_answer=percentiles(request.first_answer for request, _ in well if request.first_answer is not None),
        itl=percentiles(_gaps(outcome for _, outcome in shown)),
        tpot=tpot,
        e2e=percentiles(request.e2e for request, _ in well if request.e2e is not None),
        tokens_in=sum(tokens_in) if tokens_in else None,
        tokens_out=round(math.fsum(out)),
        cached=sum(cached) / sum(tokens_in) if cached and sum(tokens_in) else None,
        energy_j=energy,
        power=None if energy is None else energy / seconds,
        kv=max((one.kv for one, _, _ in windows if one.kv is not None), default=None),
        waiting=max((one.waiting for one, _, _ in windows if one.waiting is not None), default=None),
        preemptions=_sum(one.preemptions for one, _, _ in windows),
        values=_values(plan, repeats) if now is None and len(windows) > 1 else {OUTPUT: tuple(slices)},
        saturated=any(one.saturated for one, _, _ in windows),
        problems=dict(Counter(failed).most_common(MAX_PROBLEMS)),
    )
    return replace(made, **_load(plan, windows[0][0], max(one.most for one, _, _ in windows)))


def _values(plan: BenchPlan, repeats: Sequence[Measured]) -> dict[str, tuple[float, ...]]:
    """Return the figures of each repeat, for how far they spread."""
    steps = [step_of(plan, [one]) for one in repeats]
    found: dict[str, list[float | None]] = {
        OUTPUT: [one.output_tokens_per_second for one in steps],
        "user_speed": [one.user_speed for one in steps],
        "ttft_p95": [one.ttft.p95 for one in steps],
        "itl_p95": [one.itl.p95 for one in steps],
        "e2e_p95": [one.e2e.p95 for one in steps],
        "joules_per_1k": [one.joules_per_1k for one in steps],
        "good": [one.good for one in steps],
    }
    return {name: tuple(known) for name, them in found.items() if (known := [one for one in them if one is not None])}


def _load(plan: BenchPlan, one: Measured, most: int = 0) -> dict[str, Any]:
    users = round(one.load) if plan.arrivals == "closed" else None
    return {
        "concurrency": most if users is None else users,
        "rate": one.load if users is None else None,
        "power_cap": one.power_cap,
    }


def _end(one: Measured, now: float | None) -> float:
    if one.end is not None:
        return one.end
    return one.begin if now is None else now


def _each(one: Sent) -> float:
    """Return the tokens that a chunk of an answer stands for."""
    return one.outcome.tokens / len(one.outcome.times) if one.outcome.times else 0.0


def _tokens_out(measured: Measured, begin: float, end: float) -> float:
    """Return the tokens that came within the window, whenever their request was sent."""
    total = 0.0
    for one in measured.sent:
        times = one.outcome.times
        if not times or times[-1] < begin or times[0] > end:
            continue
        within = len(times) if begin <= times[0] and times[-1] <= end else sum(begin <= at <= end for at in times)
        total += within * _each(one)
    return total


def _tokens_in(measured: Measured, begin: float, end: float) -> float:
    """Return the tokens of the prompts that were read within the window."""
    firsts = ((one.outcome.first, one.outcome.prompt_tokens) for one in measured.sent)
    return float(sum(tokens or 0 for first, tokens in firsts if first is not None and begin <= first <= end))


def _ended(measured: Measured, begin: float, end: float) -> int:
    return sum(
        one.over and one.outcome.error is None and one.outcome.ended is not None and begin <= one.outcome.ended <= end
        for one in measured.sent
    )


def _slices(measured: Measured, begin: float, end: float) -> list[float]:
    """Return the speeds of equal parts of the window."""
    width = (end - begin) / SLICES
    tokens = [0.0] * SLICES
    for one in measured.sent:
        each = _each(one)
        for at in one.outcome.times:
            if begin <= at < end:
                tokens[min(SLICES - 1, int((at - begin) / width))] += each
    return [each / width for each in tokens]


def _gaps(outcomes: Iterable[Outcome]) -> array[float]:
    gaps = array("d")
    for one in outcomes:
        times = one.times
        gaps.extend(times[place] - times[place - 1] for place in range(1, len(times)))
    return gaps if len(gaps) <= MAX_GAPS else gaps[:: -(-len(gaps) // MAX_GAPS)]


def _sum(values: Iterable[int | None]) -> int | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None
