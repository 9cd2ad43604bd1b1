"""What an engine that counts at the end of each request is making meanwhile, from its `/slots`.

Of the answer numbers are kept and nothing else: some versions write the prompts into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.metric_spec import SlotsSource
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.kit.prometheus import Samples

#: Slots that are looked at.
_MOST = 1024
_LARGEST = 10**12


@dataclass(frozen=True, slots=True)
class InFlight:
    """What the requests are that an engine works on, all together.

    Attributes:
        generated: Tokens of their answers so far.
        prompt: Tokens so far of the prompts that are not read to their end.
        held: Tokens of them that the KV cache holds; None where that is not told.
        room: Tokens that the cache has room for; None where several slots may share it.
    """

    generated: int
    prompt: int
    held: int | None
    room: int | None


@dataclass(slots=True)
class LiveTotals:
    """Totals that count what is still being made.

    The engine is asked for its counters first: a request that ends before its slots are told is in neither, and the
    total stands still until the next scrape has it.
    """

    _highest: dict[str, float] = field(default_factory=dict)

    def clear(self) -> None:
        """Begin anew: the engine did."""
        self._highest.clear()

    def of(self, source: SlotsSource, samples: Samples, flight: InFlight | None) -> dict[str, float]:
        """Return the totals by the field that their growth makes."""
        found = {}
        for name, counter, more in (
            ("generation_tokens_per_second", source.generated, flight.generated if flight else 0),
            ("prompt_computed_per_second", source.prompt, flight.prompt if flight else 0),
        ):
            counted = prometheus.total(samples, (counter,))
            if counted is not None:
                found[name] = self._highest[name] = max(self._highest.get(name, 0.0), counted + more)
        if "prompt_computed_per_second" in found:
            cached = prometheus.total(samples, (source.cached,)) or 0.0
            found["prompt_tokens_per_second"] = found["prompt_computed_per_second"] + cached
        return found


def read_slots(body: bytes) -> InFlight | None:
    """Return what a body of `/slots` says; None where it is none."""
    try:
        slots = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(slots, list) or not slots:
        return None
    slots = [one for one in slots[:_MOST] if isinstance(one, dict)]
    busy = [one for one in slots if one.get("is_processing") is True]
    generated = prompt = held = 0
    held_known = True
    for one in busy:
        made = _whole(_next(one).get("n_decoded"))
        if made is None:
            return None
        generated += made
        if made == 0:
            prompt += _whole(one.get("n_prompt_tokens_processed")) or 0
        tokens = _whole(one.get("n_prompt_tokens"))  # with those that were made since
        held_known = held_known and tokens is not None
        held += tokens or 0
    room = _whole(slots[0].get("n_ctx")) if len(slots) == 1 else None
    return InFlight(generated, prompt, held if held_known else None, room)


def _next(slot: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a slot tells of its answer: a list of one in newer versions."""
    found = slot.get("next_token")
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, dict) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else None
