"""What a rule found, and the sentences that several rules say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.why import values
from vllm_studio_tui.services.watching.why.values import Values


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found.

    Attributes:
        weight: How well it explains: of several the heaviest is the answer. A cause outweighs what follows from it.
        slow: Whether it makes something slow; False: it only says how things are.
    """

    rule: str
    weight: float
    title: str
    sentences: tuple[str, ...] = ()
    advice: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    change_words: str = ""
    slow: bool = True


def effect(seen: Values) -> str:
    """Return the sentence of what people felt of it; empty where nothing of it is known."""
    parts = []
    if seen.now("out") is not None and seen.before("out"):
        parts.append(f"output {values.rate(seen.now('out'))} against {numbers.rate(seen.before('out'))}")
    for name, word in (("itl", "ITL p95"), ("ttft", "TTFT p95")):
        now, before = seen.now(name), seen.before(name)
        if now is not None and before and not 0.9 < now / before < 1.1:
            parts.append(f"{word} {numbers.latency(now)} against {numbers.latency(before)}")
    if not parts:
        for name, word in (("itl", "ITL p95"), ("ttft", "TTFT p95")):
            if (now := seen.now(name)) is not None:
                parts.append(f"{word} {numbers.latency(now)}")
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def waited(seen: Values) -> str:
    """Return the sentence of who waited; empty where nobody did."""
    most = seen.most("waiting")
    if most is None or most < 0.5:
        return ""
    queue = seen.most("queue")
    longest = seen.asked.longest
    text = f"{some_requests(most)} waited"
    if queue:
        text += f", p95 {numbers.latency(queue)}"
    elif longest:
        text += f", the longest {numbers.latency(longest)}"
    return text + who(seen)


def who(seen: Values) -> str:
    """Return the end of a sentence: who asked most, where one asked most of it."""
    asked = seen.asked
    if asked.number < 4 or not asked.busiest or asked.busiest_share < 0.5:
        return "."
    many = round(asked.busiest_share * asked.number)
    prompt = f", prompts of {numbers.count(asked.prompt)} tokens" if asked.prompt else ""
    return f". {many} of the {asked.number} came from {asked.busiest}{prompt}."


def some_requests(value: float | None) -> str:
    """Return how many, in words: `1 request`, `31 requests`."""
    text = values.requests(value)
    return f"{text} request" if text == "1" else f"{text} requests"


def sentences(*found: str) -> tuple[str, ...]:
    return tuple(one for one in found if one)
