"""What people ask of a simulated engine, and what follows from it: one model behind all that is shown.

Everything is a function of the moment and of what the engine was started with, so that the engine, the GPUs and the
history, which live in different processes, tell the same. What is asked for is a day's wave with smaller waves on it,
and now and then a minute or two of long prompts that fill the KV cache. All rates have a closed form of their integral:
a counter is the integral of the rate that is shown beside it, and the energy that of the power.
"""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache

from vllm_studio_tui.simulation.kinds import EPOCH
from vllm_studio_tui.simulation.models import Layout

DAY = 86_400.0
#: The hour of the day at which most is asked, in local time.
BUSIEST = 15.0
#: The day's wave and its half, which makes the working day a plateau; at its top the wave is PLATEAU.
_DAILY = ((0.26, DAY), (-0.10, DAY / 2))
PLATEAU = 1.17
#: Smaller waves: part of the mean, seconds.
_SMALL = ((0.035, 1730.0), (0.03, 437.0), (0.02, 101.0), (0.015, 37.0))
#: At most one burst in each of these spans of seconds; how long it takes, and how long it rises and falls.
SPAN, LENGTH, EDGE = 2400.0, 130.0, 12.0
#: What remains of the answers' speed in a burst, and how many prompt tokens come, in multiples of the usual.
_LEFT, _PROMPTS = 0.28, 3.4
#: The part of the prompts that the cache knows; in a burst there are none.
HITS = 0.74
#: How TTFT and ITL spread: the sigma of a log-normal distribution.
_TTFT_SIGMA, _ITL_SIGMA = 0.22, 0.12
#: The prompts that a burst brings in a second, and requests that wait for them at its height, for each that runs.
_BURST_REQUESTS, _WAITING = 0.12, 0.75
#: Watts that answers take on top at the busiest, and prompts in a burst.
_DECODE, _PREFILL = 300.0, 394.0
#: A second GPU of an engine draws a little less, as the second one of a host does.
_RANK = 7.0


@dataclass(frozen=True, slots=True)
class Flow:
    """What flows at one moment. Rates are a second, times in seconds; `load` is 0-1."""

    output: float
    prompt: float
    cached: float
    requests: float
    running: float
    waiting: float
    kv_tokens: float
    burst: float
    load: float

    @property
    def itl(self) -> float | None:
        return self.running / self.output if self.output > 0 else None


@dataclass(frozen=True, slots=True)
class Sums:
    """What has flowed since the engine was ready."""

    output: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0
    requests: float = 0.0
    running: float = 0.0
    burst: float = 0.0
    burst_requests: float = 0.0
    preemptions: float = 0.0


class Traffic:
    """What is asked of one engine.

    Args:
        name: What the waves and bursts are drawn by: another name has others.
        ready: Since when it serves.
        share: Of what the model's people ask for at the most.
    """

    def __init__(self, layout: Layout, name: str, ready: float, *, share: float = 1.0) -> None:
        self.layout, self.name, self.ready = layout, name, ready
        model = layout.model
        self._seed = zlib.crc32(name.encode())
        self._mean = share * model.peak / PLATEAU
        self._small = tuple(
            (part, period, 2 * math.pi * ((self._seed >> (8 * place)) % 256) / 256)
            for place, (part, period) in enumerate(_SMALL)
        )
        itl = model.running / model.peak
        # An answer's step takes longer the more of them there are: running = slope * output - offset.
        self._slope, self._offset = 1.118 * itl, 0.118 * model.running * share
        self._long = model.running * share * 0.4
        self._prompts = model.prompt / model.output
        self._decode = _DECODE / model.peak
        self._asked = (-1.0, self._flow(-1.0))
        #: The bursts of the spans before one, added up: by the number of that span.
        self._counted = (int((ready - EPOCH) // SPAN), 0.0, 0.0)
        self._before = (self._wave_sum(ready), *self._bursts(ready))

    # --- rates ------------------------------------------------------------------------------------------

    def at(self, moment: float) -> Flow:
        """Return what flows at a moment; nothing before the engine is ready."""
        if moment != self._asked[0]:  # several ask for one moment: each GPU, the engine
            self._asked = (moment, self._flow(moment))
        return self._asked[1]

    def _flow(self, moment: float) -> Flow:
        if moment < self.ready or self._mean <= 0:
            return Flow(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        model, capacity = self.layout.model, self.layout.tokens
        wave, burst, drop = self._wave(moment), self._burst(moment), self._drop(moment)
        output = self._mean * (wave - drop)
        usual = self._prompts * self._mean * wave
        prompt = usual + burst * _PROMPTS * self._prompts * self._mean
        running = self._slope * output - self._offset + self._long * burst
        usual_kv = min(0.94, running * (model.prompt + model.output / 2) / max(1, capacity))
        kv = usual_kv + burst * (0.985 - usual_kv)
        return Flow(
            output,
            prompt,
            HITS * usual,
            output / model.output,
            running,
            burst * _WAITING * model.running,
            kv * capacity,
            burst,
            1 - math.exp(-(running + 0.4 * model.running * burst) * 3.7 / model.running),
        )

    def power(self, moment: float, rank: int = 0) -> float:
        """Return the watts that the engine adds to those of one of its GPUs while it serves."""
        return self.watts(self.at(moment), rank)

    def watts(self, flow: Flow, rank: int = 0) -> float:
        """Return the same of what flows."""
        return max(0.0, self._decode * flow.output + _PREFILL * flow.burst * self._strength - _RANK * rank)

    @property
    def _strength(self) -> float:
        return min(1.0, self._mean * PLATEAU / self.layout.model.peak)

    def energy(self, moment: float, rank: int = 0) -> float:
        """Return the joules of `power` since the engine was ready."""
        return self.joules(self.until(moment), max(0.0, moment - self.ready), rank)

    def joules(self, sums: Sums, lasted: float, rank: int = 0) -> float:
        """Return the same of what has flowed in so many seconds."""
        return self._decode * sums.output + _PREFILL * self._strength * sums.burst - _RANK * rank * lasted

    # --- sums -------------------------------------------------------------------------------------------

    def until(self, moment: float) -> Sums:
        """Return what has flowed from `ready` to a moment."""
        if moment <= self.ready or self._mean <= 0:
            return Sums()
        model = self.layout.model
        whole = (self._wave_sum(moment), *self._bursts(moment))
        wave, burst, drop = (one - before for one, before in zip(whole, self._before, strict=True))
        lasted = moment - self.ready
        output = self._mean * (wave - drop)
        usual = self._prompts * self._mean * wave
        return Sums(
            output,
            usual + burst * _PROMPTS * self._prompts * self._mean,
            HITS * usual,
            output / model.output,
            self._slope * output - self._offset * lasted + self._long * burst,
            burst,
            min(output / model.output, burst * _BURST_REQUESTS * self._strength),
            burst * 0.16 * self._strength,
        )

    def rates(self, flow: Flow) -> Sums:
        """Return what each of the sums grows by in a second, of what flows."""
        rare = min(flow.requests, flow.burst * _BURST_REQUESTS * self._strength)
        return Sums(flow.output, flow.prompt, flow.cached, flow.requests, flow.running, flow.burst, rare)

    # --- waves and bursts -------------------------------------------------------------------------------

    def _wave(self, moment: float) -> float:
        day = moment - _midnight()
        value = 1.0
        for part, period in _DAILY:
            value += part * math.cos(2 * math.pi * (day - BUSIEST * 3600) / period)
        for part, period, phase in self._small:
            value += part * math.sin(2 * math.pi * (moment - EPOCH) / period + phase)
        return value

    def _wave_sum(self, moment: float) -> float:
        """Return the integral of `_wave` from the epoch on, but for a constant."""
        day = moment - _midnight()
        total = moment - EPOCH
        for part, period in _DAILY:
            total += part * period / (2 * math.pi) * math.sin(2 * math.pi * (day - BUSIEST * 3600) / period)
        for part, period, phase in self._small:
            total -= part * period / (2 * math.pi) * math.cos(2 * math.pi * (moment - EPOCH) / period + phase)
        return total

    def _burst(self, moment: float) -> float:
        begin = self._begins(int((moment - EPOCH) // SPAN))
        return 0.0 if begin is None else _hill(moment - begin)

    def _drop(self, moment: float) -> float:
        span = int((moment - EPOCH) // SPAN)
        return self._burst(moment) * self._depth(span)

    def _bursts(self, moment: float) -> tuple[float, float]:
        """Return the integrals of `_burst` and of `_drop` from `ready`'s span on."""
        span = int((moment - EPOCH) // SPAN)
        whole, dropped = self._spans_before(span)
        begin = self._begins(span)
        part = 0.0 if begin is None else _hill_sum(moment - begin)
        return whole + part, dropped + part * self._depth(span)

    def _spans_before(self, span: int) -> tuple[float, float]:
        """Return the integrals over all spans from `ready`'s to before `span`."""
        place, whole, dropped = self._counted
        if place > span:
            place, whole, dropped = int((self.ready - EPOCH) // SPAN), 0.0, 0.0
        for one in range(place, span):
            area = 0.0 if self._begins(one) is None else LENGTH - EDGE
            whole, dropped = whole + area, dropped + area * self._depth(one)
        self._counted = (span, whole, dropped)
        return whole, dropped

    def _begins(self, span: int) -> float | None:
        """Return when the burst of a span begins; None where it has none."""
        if span < 0:
            return None
        drawn = zlib.crc32(b"%d %d" % (self._seed, span))
        if drawn % 100 >= 70:
            return None
        return EPOCH + span * SPAN + (drawn >> 8) % int(SPAN - LENGTH)

    def height(self, since: float, until: float) -> float | None:
        """Return the middle of a burst that lies between two moments; None: there is none."""
        for span in {int((since - EPOCH) // SPAN), int((until - EPOCH) // SPAN)}:
            begin = self._begins(span)
            if begin is not None and since <= begin + LENGTH / 2 < until:
                return begin + LENGTH / 2
        return None

    def _depth(self, span: int) -> float:
        """Return what a burst of this span takes away from the wave at its height."""
        begin = self._begins(span)
        return 0.0 if begin is None else (1 - _LEFT) * self._wave(begin + LENGTH / 2)


@lru_cache(maxsize=1)
def _midnight() -> float:
    """Return a midnight in local time, which all days are counted from."""
    return EPOCH + time.timezone


def _hill(seconds: float) -> float:
    """Return 0-1: a burst rises, stands and falls."""
    return max(0.0, min(1.0, seconds / EDGE, (LENGTH - seconds) / EDGE))


def _hill_sum(seconds: float) -> float:
    """Return the integral of `_hill` from its beginning."""
    if seconds <= 0:
        return 0.0
    if seconds >= LENGTH:
        return LENGTH - EDGE
    if seconds <= EDGE:
        return seconds**2 / (2 * EDGE)
    if seconds <= LENGTH - EDGE:
        return seconds - EDGE / 2
    return LENGTH - EDGE - (LENGTH - seconds) ** 2 / (2 * EDGE)


# --- how times spread -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """So many times that spread around a median, as a log-normal distribution does."""

    number: float
    median: float
    sigma: float

    def below(self, value: float) -> float:
        """Return how many of them are below a value."""
        if value <= 0:
            return 0.0
        return self.number * 0.5 * (1 + math.erf(math.log(value / self.median) / (self.sigma * math.sqrt(2))))

    @property
    def sum(self) -> float:
        return self.number * self.median * math.exp(self.sigma**2 / 2)


Parts = tuple[Part, ...]


def ttft_parts(layout: Layout, sums: Sums) -> Parts:
    """Return the times to the first token of these requests: in a burst they wait for each other."""
    median, rare = layout.model.ttft, sums.burst_requests
    return Part(max(0.0, sums.requests - rare), median, _TTFT_SIGMA), Part(rare, 40 * median, 0.5)


def itl_parts(layout: Layout, sums: Sums) -> Parts:
    """Return the times between the tokens of these answers."""
    mean = layout.model.running / layout.model.peak
    gaps = max(0.0, sums.output - sums.requests)
    slow = min(gaps, sums.burst * layout.model.peak * 0.12)
    median = mean * math.exp(-(_ITL_SIGMA**2) / 2)
    return Part(gaps - slow, median, _ITL_SIGMA), Part(slow, 2.2 * median, _ITL_SIGMA)


def e2e_parts(layout: Layout, sums: Sums) -> Parts:
    """Return the times that these answers took as a whole."""
    mean = layout.model.running / layout.model.peak * layout.model.output
    return (Part(sums.requests, mean * math.exp(-(0.6**2) / 2), 0.6),)


def queue_parts(layout: Layout, sums: Sums) -> Parts:
    """Return the times that these requests waited before their prompts were read: most of what a burst's wait is."""
    median, rare = layout.model.ttft, sums.burst_requests
    return Part(max(0.0, sums.requests - rare), 0.04 * median, 0.6), Part(rare, 36 * median, 0.5)


def prefill_parts(layout: Layout, sums: Sums) -> Parts:
    """Return the times that these prompts took."""
    median, rare = layout.model.ttft, sums.burst_requests
    return Part(max(0.0, sums.requests - rare), 0.9 * median, _TTFT_SIGMA), Part(rare, 4 * median, 0.4)
