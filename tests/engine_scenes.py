"""A continuously batching engine, step by step, for scenes in which it gets slow for a known reason.

Nothing of the rules that explain slowness is in here: requests arrive, steps take time by what is in them, the cache
fills and preempts, the GPU draws power and is clocked down, percentiles are taken over a minute as the probe does. What
is seen of it follows from that.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

#: Seconds over which percentiles are taken.
WINDOW, STEP = 60.0, 0.04


@dataclass
class Machine:
    """What an engine has: seconds, tokens, watts, MHz, degrees C.

    Attributes:
        read: A step reads all weights: its least time.
        token, prefill: Time of a sequence in a step, and of a prompt's token.
        host: Time that the host needs for a step, and for each sequence in it, while the GPU waits.
        slow: What the clock is lowered to by something other than power or heat.
    """

    read: float = 0.022
    token: float = 0.00018
    prefill: float = 0.000055
    host: float = 0.0006
    host_token: float = 0.00002
    seats: int = 64
    batched: int = 2048
    cache: int = 120_000
    power_limit: float = 700.0
    idle_power: float = 90.0
    decode_power: float = 330.0
    prefill_power: float = 560.0
    fan: float = 1.0
    slow: float = 1.0
    clock: float = 1980.0
    host_cpu: float = 22.0
    stuck: bool = False
    pcie: float = 2e9


@dataclass
class Load:
    """What is asked: requests a second, tokens of a prompt and of an answer, the part of a prompt that is cached."""

    rate: float = 1.6
    prompt: int = 900
    answer: int = 220
    cached: float = 0.6
    key: str = "people"


@dataclass
class Request:
    at: float
    prompt: int
    answer: int
    cached: int
    read: int = 0
    written: int = 0
    first: float | None = None
    last: float | None = None
    started: float | None = None

    def __post_init__(self) -> None:
        self.asked = self.prompt

    @property
    def held(self) -> int:
        return self.read + self.written


@dataclass
class Second:
    """What happened in one second."""

    out: int = 0
    prefill: int = 0
    prompt: int = 0
    cached: int = 0
    preempted: int = 0
    steps: int = 0
    gpu: float = 0.0
    host: float = 0.0
    energy: float = 0.0
    clocks: list[float] = field(default_factory=list)


class Spread:
    """Times of the last minute, counted in steps of 4 %."""

    def __init__(self) -> None:
        self._minute: deque[Counter[int]] = deque([Counter()], maxlen=round(WINDOW))

    def add(self, seconds: float) -> None:
        self._minute[-1][round(math.log(max(1e-5, seconds)) / STEP)] += 1

    def percentile(self, above: float) -> float | None:
        """Return the time that this share of them is above."""
        whole: Counter[int] = Counter()
        for second in self._minute:
            whole.update(second)
        left = above * whole.total()
        for place in sorted(whole, reverse=True):
            left -= whole[place]
            if left <= 0:
                return math.exp(place * STEP)
        return None

    def go_on(self) -> None:
        """Go on to the next second."""
        self._minute.append(Counter())


class Engine:
    """Runs from one second to the next and keeps a line of values for each."""

    def __init__(self, seed: int = 1) -> None:
        self.machine, self.load = Machine(), Load()
        self._draw = random.Random(seed)
        self.now = 0.0
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.temperature = 58.0
        self._next = 0.0
        self._ttft, self._itl, self._queue = Spread(), Spread(), Spread()
        self.lines: dict[str, list[float | None]] = {}
        self.seconds = 0
        #: Those that came: when, from whom.
        self.came: list[tuple[Request, str]] = []

    def run(self, seconds: int, **changes: object) -> None:
        """Go on for so many seconds with another machine or load."""
        own = {name: value for name, value in changes.items() if hasattr(self.machine, name)}
        self.machine = replace(self.machine, **own)  # type: ignore[arg-type]
        self.load = replace(self.load, **{n: v for n, v in changes.items() if n not in own})  # type: ignore[arg-type]
        for _ in range(seconds):
            self._second()

    def _second(self) -> None:
        end, second = self.seconds + 1.0, Second()
        while self.now < end:
            self._arrive()
            if self.machine.stuck or not (self.running or self.waiting):
                self.now = min(end, max(self._next, self.now + 0.001)) if not self.machine.stuck else end
                continue
            self._step(second)
        self._arrive()
        self.seconds += 1
        self._keep(second)

    def _arrive(self) -> None:
        while self._next <= self.now:
            load, draw = self.load, self._draw
            if load.rate <= 0:
                self._next = self.now + 1.0
                return
            prompt = max(8, round(load.prompt * draw.lognormvariate(0.0, 0.25)))
            prompt = min(prompt, round(0.8 * self.machine.cache))  # nobody is let ask what can never fit
            answer = max(4, round(load.answer * draw.lognormvariate(0.0, 0.35)))
            self.waiting.append(Request(self._next, prompt, answer, round(prompt * load.cached)))
            self.came.append((self.waiting[-1], load.key))
            self._next += draw.expovariate(load.rate)

    def _clock(self, share_of_prefill: float) -> float:
        """Return what the clock is of its full value."""
        machine = self.machine
        wanted = (
            machine.idle_power
            + machine.decode_power
            + (machine.prefill_power - machine.decode_power) * (share_of_prefill)
        )
        clock = machine.slow
        if wanted > machine.power_limit:  # power goes with about the square of the clock
            clock = min(clock, math.sqrt(machine.power_limit / wanted))
        if self.temperature > 84:
            clock = min(clock, max(0.5, 1 - (self.temperature - 84) * 0.08))
        return clock

    def _step(self, second: Second) -> None:
        machine = self.machine
        while self.waiting and len(self.running) < machine.seats:
            one = self.waiting[0]
            if self._reserved + one.prompt + 16 > machine.cache:
                break
            self.waiting.popleft()
            if one.started is None:
                one.started = self.now
                self._queue.add(self.now - one.at)
            if not one.read:
                one.read = one.cached
                second.prompt += one.prompt
                second.cached += one.cached
            self.running.append(one)
        decoding = [one for one in self.running if one.read >= one.prompt + max(0, one.written - 1) or one.written]
        decoding = [one for one in decoding if one.read >= one.prompt]
        room = max(0, machine.batched - len(decoding))
        computed = 0
        for one in self.running:
            if one.read < one.prompt and room > 0:
                part = min(room, one.prompt - one.read)
                one.read += part
                room -= part
                computed += part
        clock = self._clock(min(1.0, computed / max(1, machine.batched)))
        gpu = (machine.read + machine.token * len(decoding) + machine.prefill * computed) / clock
        host = machine.host + machine.host_token * len(self.running)
        self.now += gpu + host
        second.gpu += gpu
        second.host += host
        second.steps += 1
        second.prefill += computed
        second.clocks.append(clock)
        busy = computed / max(1, machine.batched)
        power = min(
            machine.power_limit,
            machine.idle_power
            + (machine.decode_power + (machine.prefill_power - machine.decode_power) * busy) * clock**2,
        )
        second.energy += power * gpu + machine.idle_power * 1.4 * host
        self._write(decoding, second)

    def _write(self, decoding: list[Request], second: Second) -> None:
        ended = []
        finished_reading = [one for one in self.running if one.read >= one.prompt]
        for one in finished_reading:
            one.written += 1
            second.out += 1
            if one.first is None:
                one.first = self.now
                self._ttft.add(self.now - one.at)
            elif one.last is not None:
                self._itl.add(self.now - one.last)
            one.last = self.now
            if one.written >= one.answer:
                ended.append(one)
        for one in ended:
            self.running.remove(one)
        while self._held > self.machine.cache and len(self.running) > 1:
            lost = self.running.pop()
            lost.prompt, lost.read, lost.cached = lost.prompt + lost.written, 0, 0
            lost.answer, lost.written = max(1, lost.answer - lost.written), 0
            self.waiting.appendleft(lost)
            second.preempted += 1

    @property
    def _held(self) -> int:
        return sum(one.held for one in self.running)

    @property
    def _reserved(self) -> int:
        """Return the tokens of the cache that whole prompts and what was written take."""
        return sum(one.prompt + one.written for one in self.running)

    def _keep(self, second: Second) -> None:
        machine = self.machine
        busy = min(1.0, second.gpu)
        power = second.energy + machine.idle_power * max(0.0, 1 - second.gpu - second.host)
        target = 30 + power * 0.062 / machine.fan
        self.temperature += (target - self.temperature) * 0.03
        clock = min(second.clocks, default=1.0)
        kept = {"ttft": self._ttft, "itl": self._itl, "queue": self._queue}
        p95 = {name: one.percentile(0.05) for name, one in kept.items()}
        ttft50 = self._ttft.percentile(0.5)
        for one in kept.values():
            one.go_on()
        for name, value in {
            "out": second.out,
            "prefill": second.prefill,
            "prompt": second.prompt,
            "cached": second.cached,
            "hits": second.cached / second.prompt if second.prompt else None,
            "running": len(self.running),
            "waiting": len(self.waiting),
            "kv": min(1.0, self._held / machine.cache),
            "preempt": second.preempted,
            "ttft": p95["ttft"],
            "ttft50": ttft50,
            "itl": p95["itl"],
            "queue": p95["queue"],
            "step": (second.prefill + second.out) / second.steps if second.steps else None,
            "gpu": 100 * busy if not machine.stuck else 100.0,
            "power": power,
            "temperature": self.temperature,
            "clock": machine.clock * (sum(second.clocks) / len(second.clocks) if second.clocks else 1.0),
            "throttle": 1.0 if clock < 0.97 else 0.0,
            "pcie": machine.pcie,
            "cpu": min(100.0, 100 * (second.host * 1.02 + 0.15)),
            "host_cpu": machine.host_cpu,
            "host_memory": 0.5,
        }.items():
            self.lines.setdefault(name, []).append(value)

    def columns(self, step: int, *, every: Callable[[str], bool] = lambda name: True) -> dict[str, list[float | None]]:
        """Return means over so many seconds a column."""
        made: dict[str, list[float | None]] = {}
        for name, line in self.lines.items():
            if every(name):
                made[name] = [mean(line[at : at + step]) for at in range(0, len(line), step)]
        # As a real history has them: of a column also the most of what is full for a moment.
        for name in ("kv", "running"):
            known = [value or 0.0 for value in self.lines.get(name, [])]
            made[f"{name}_most"] = [max(known[at : at + step]) for at in range(0, len(known), step)]
        return made


def mean(line: list[float | None]) -> float | None:
    known = [value for value in line if value is not None]
    return sum(known) / len(known) if known else None
