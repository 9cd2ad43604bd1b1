"""What a benchmark is to do: a plan, checked. Seconds, tokens, requests a second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.outside_values import as_number

#: When requests are sent: as soon as a user's last one ended, at even intervals, or as people who know nothing of
#: each other do it.
ARRIVALS = ("closed", "constant", "poisson")
#: What is asked: a chat, or a bare prompt without a template.
ENDPOINTS = ("chat", "completions")
#: Bounds of what one may ask for.
MAX_USERS, MAX_TOKENS, MAX_STEPS, MAX_SECONDS, MAX_REQUESTS, MAX_RATE = 4096, 10_000_000, 64, 86_400.0, 1_000_000, 1e5


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What a benchmark does. Each number of users, or each rate, is a step.

    Attributes:
        prompt_tokens, output_tokens: Of each request; `spread` is the share by which both vary evenly around that.
        concurrency: Users of each step, where each sends its next request when its last one has ended (`closed`).
        rate: Requests a second of each step, where they come by themselves (`constant`, `poisson`).
        requests, duration: How long a step takes, without its warm-up: so many requests, or seconds. One of them.
        warmup: Seconds in which requests are sent and not counted.
        prompts_file: Prompts are the lines of this file, in the place of random words.
        prompts: The prompts themselves, where somebody read them from a file.
        shared_prefix: Tokens with which all prompts begin alike, so that a cache may know them.
        ttft_limit, tpot_limit: Seconds that a good request stays under.
        speed_limit: Tokens a second that a user of a good request sees at least: another way to say `tpot_limit`.
        repeats: How often each step is measured.
        search: Find the most users within the limits, by doubling and then bisecting, in the place of `concurrency`.
        power_caps: Measure each step under each of these watts a GPU.
    """

    prompt_tokens: int = 512
    output_tokens: int = 128
    spread: float = 0.0
    concurrency: tuple[int, ...] = (1,)
    rate: tuple[float, ...] = ()
    arrivals: str = "closed"
    requests: int | None = None
    duration: float | None = 30.0
    warmup: float = 2.0
    seed: int = 7
    prompts_file: str | None = None
    prompts: tuple[str, ...] = ()
    shared_prefix: int = 0
    ttft_limit: float | None = None
    tpot_limit: float | None = None
    speed_limit: float | None = None
    repeats: int = 1
    search: bool = False
    power_caps: tuple[int, ...] = ()
    endpoint: str = "chat"

    @property
    def loads(self) -> tuple[float, ...]:
        """Return the steps: users, or requests a second."""
        return self.concurrency if self.arrivals == "closed" else self.rate

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Return the most seconds to the first token, and for each token after it, of a good request."""
        by_speed = 1 / self.speed_limit if self.speed_limit else None
        known = [one for one in (self.tpot_limit, by_speed) if one is not None]
        return self.ttft_limit, min(known) if known else None

    def checked(self) -> BenchPlan:
        """Return the plan with what follows from it filled in.

        Raises:
            UsageError: It cannot be done: what, why, and what to do.
        """
        plan = self
        if plan.arrivals not in ARRIVALS:
            raise UsageError(f"there are no {plan.arrivals} arrivals", advice=f"One of: {', '.join(ARRIVALS)}")
        if plan.endpoint not in ENDPOINTS:
            raise UsageError(f"no endpoint {plan.endpoint} is measured", advice=f"One of: {', '.join(ENDPOINTS)}")
        if plan.requests is not None:
            plan = replace(plan, duration=None)
        elif plan.duration is None:
            plan = replace(plan, duration=BenchPlan().duration)
        if plan.search and plan.arrivals != "closed":
            raise UsageError("the limit is searched in users", advice="Leave the rate out.")
        if plan.search and plan.power_caps:
            raise UsageError("the limit is searched at one power", advice="Leave the power caps out.")
        if plan.search and plan.limits == (None, None):
            raise UsageError("a limit of what?", advice="Say what a good request is: --goodput ttft=0.5,tpot=0.04")
        if plan.arrivals != "closed" and not plan.rate:
            raise UsageError(f"{plan.arrivals} arrivals have a rate", advice="Say how many a second: --rate 4")
        if plan.duration is None and plan.arrivals != "closed" and plan.warmup and plan.requests is None:
            plan = replace(plan, duration=BenchPlan().duration)
        if len(plan.loads) * max(1, len(plan.power_caps)) > MAX_STEPS:
            raise UsageError("that are too many steps", cause=f"{MAX_STEPS} are the most.")
        if not plan.loads:
            raise UsageError(
                "there is nothing to measure", advice="Say how many users: --concurrency 1 --concurrency 8"
            )
        for name, value, least, most in plan._numbers():
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                raise UsageError(f"{name} is from {least:g} to {most:g}", cause=f"It was {value:g}.")
        if plan.shared_prefix > plan.prompt_tokens:
            raise UsageError("the shared prefix is longer than the prompt", advice="Make the prompts longer.")
        return plan

    def _numbers(self) -> Iterable[tuple[str, float | None, float, float]]:
        yield "the prompt's length", self.prompt_tokens, 1, MAX_TOKENS
        yield "the answer's length", self.output_tokens, 1, MAX_TOKENS
        yield "the spread", self.spread, 0, 0.95
        yield "the shared prefix", self.shared_prefix, 0, MAX_TOKENS
        for users in self.concurrency:
            yield "the number of users", users, 1, MAX_USERS
        for rate in self.rate:
            yield "the rate", rate, 0.001, MAX_RATE
        yield "the number of requests", self.requests, 1, MAX_REQUESTS
        yield "the duration", self.duration, 0.1, MAX_SECONDS
        yield "the warm-up", self.warmup, 0, MAX_SECONDS
        yield "the number of repeats", self.repeats, 1, 100
        yield "the limit of the time to the first token", self.ttft_limit, 1e-6, MAX_SECONDS
        yield "the limit of the time for a token", self.tpot_limit, 1e-6, MAX_SECONDS
        yield "the speed", self.speed_limit, 1e-3, 1e6
        for watts in self.power_caps:
            yield "a power cap", watts, 1, 10_000

    def to_json(self) -> dict[str, Any]:
        """Return it as it is kept and printed; prompts of a file are not."""
        document = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "prompts"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in document.items()}

    @classmethod
    def of_json(cls, data: object) -> BenchPlan:
        """Return the plan that `to_json` wrote; what does not fit is as it is without."""
        given = data if isinstance(data, Mapping) else {}
        found: dict[str, Any] = {}
        for one in fields(cls):
            value = given.get(one.name)
            if isinstance(one.default, tuple):
                found[one.name] = tuple(number for each in as_list(value) if (number := as_number(each)) is not None)
            elif isinstance(one.default, bool):
                found[one.name] = value is True
            elif isinstance(one.default, str) or one.name == "prompts_file":
                found[one.name] = value[:4096] if isinstance(value, str) else one.default
            else:
                found[one.name] = as_number(value, negative=one.name == "seed")
        for name in ("prompt_tokens", "output_tokens", "requests", "seed", "shared_prefix", "repeats"):
            found[name] = None if found[name] is None else int(found[name])
        found["concurrency"] = tuple(int(one) for one in found["concurrency"])
        found["power_caps"] = tuple(int(one) for one in found["power_caps"])
        plain = cls()
        needed = ("prompt_tokens", "output_tokens", "spread", "warmup", "seed", "shared_prefix", "repeats")
        found |= {name: getattr(plain, name) for name in needed if found[name] is None}
        return cls(**found | {"prompts": ()})


def as_list(value: object) -> list[object]:
    """Return a list or tuple as a list; an empty one for all else."""
    return list(value) if isinstance(value, list | tuple) else []


def goodput_limits(text: str) -> tuple[float | None, float | None]:
    """Return the seconds of `ttft=0.5,tpot=40ms` or `ttft=500ms,speed=25`: to the first token, and for each token.

    Raises:
        UsageError: It is none such.
    """
    found: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, value = part.partition("=")
        bare = value.strip().lower()
        unit = 0.001 if bare.endswith("ms") else 1.0
        try:
            number = float(bare.removesuffix("ms").removesuffix("s")) * unit
        except ValueError:
            number = math.nan
        if name.strip() not in ("ttft", "tpot", "speed") or not (math.isfinite(number) and number > 0):
            raise UsageError(
                f"{part[:80]} is no limit",
                advice="Write ttft=0.5 or ttft=500ms, tpot=40ms, or speed=25 (tokens a second).",
            )
        found[name.strip()] = number
    tpot = [value for value in (found.get("tpot"), 1 / found["speed"] if "speed" in found else None) if value]
    return found.get("ttft"), min(tpot) if tpot else None
