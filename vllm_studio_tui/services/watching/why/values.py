"""Values now and before, for rules to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from vllm_studio_tui.domain.why import Figure
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.why.scene import AskedFor, EngineFacts, Scene

#: The unit of each line.
UNITS: Mapping[str, str] = {
    "out": "tok/s", "prompt": "tok/s", "prefill": "tok/s", "cached": "tok/s", "hits": "share", "running": "requests",
    "waiting": "requests", "kv": "share", "preempt": "1/s", "ttft": "s", "itl": "s", "queue": "s", "step": "tokens",
    "gpu": "percent", "power": "W", "temperature": "C", "clock": "MHz", "pcie": "B/s", "throttle": "share",
    "gpu_memory": "share", "cpu": "percent", "host_cpu": "percent", "host_memory": "share",
}  # fmt: skip


@dataclass(frozen=True)
class Values:
    """What rules look at.

    Attributes:
        asked, asked_before: Requests on record.
    """

    scene: Scene
    asked: AskedFor = field(default_factory=AskedFor)
    asked_before: AskedFor = field(default_factory=AskedFor)

    @property
    def facts(self) -> EngineFacts:
        return self.scene.facts

    def now(self, name: str) -> float | None:
        return self.scene.mean(name, self.scene.now)

    def most(self, name: str) -> float | None:
        """Return the largest value of the slow time."""
        return self.scene.most(name, self.scene.episode or self.scene.now)

    @property
    def kv_most(self) -> float | None:
        """Return how full the cache was at most."""
        return self.most("kv") if (full := self.most("kv_most")) is None else full

    @property
    def kv_near(self) -> float | None:
        """Return how full the cache was at most about the moment."""
        peak = self.scene.most("kv_most", self.scene.now)
        return self.scene.most("kv", self.scene.now) if peak is None else peak

    def before(self, name: str) -> float | None:
        return self.scene.usual(name, self.scene.before) if self.scene.before else None

    def ratio(self, name: str) -> float | None:
        """Return now over before; None where either is unknown, or there was nothing before."""
        now, before = self.now(name), self.before(name)
        return None if now is None or not before else now / before

    def over(self, name: str, limit: float) -> bool:
        now = self.now(name)
        return now is not None and now >= limit

    def under(self, name: str, limit: float) -> bool:
        now = self.now(name)
        return now is not None and now < limit

    def rose(self, name: str, by: float) -> bool:
        """Return whether a value is at least `by` times what it was."""
        ratio = self.ratio(name)
        return ratio is not None and ratio >= by

    def fell(self, name: str, to: float) -> bool:
        """Return whether a value is at most `to` times what it was."""
        ratio = self.ratio(name)
        return ratio is not None and ratio <= to

    @cached_property
    def seconds(self) -> float:
        """Return how long the slow time is."""
        return len(self.scene.episode or self.scene.now) * self.scene.step

    def held(self, name: str, limit: float) -> float:
        """Return for how many seconds of the slow time a value was at least so high."""
        columns = self.scene.episode or self.scene.now
        return sum(value >= limit for value in self.scene.known(name, columns)) * self.scene.step

    def sum_of(self, name: str) -> float:
        """Return a rate over the slow time, added up."""
        return sum(self.scene.known(name, self.scene.episode or self.scene.now)) * self.scene.step

    def text(self, name: str, form: Callable[[float | None], str]) -> str:
        """Return a value with what it was: `214 tok/s, before 1790`."""
        now, before = self.now(name), self.before(name)
        return form(now) if before is None else f"{form(now)}, before {form(before)}"

    def figures(self) -> dict[str, Figure]:
        """Return all that is known, by name."""
        return {
            name: Figure(self.now(name), self.before(name), UNITS[name]) for name in UNITS if self.now(name) is not None
        }


def rate(value: float | None) -> str:
    return f"{numbers.rate(value)} tok/s"


def whole_percent(value: float | None) -> str:
    return numbers.percent(None if value is None else value / 100)


def requests(value: float | None) -> str:
    return numbers.count(None if value is None else round(value))
