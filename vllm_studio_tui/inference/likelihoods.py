"""How likely each token of an answer was, and what else might have stood there, as engines tell it. No input raises."""

from __future__ import annotations

import math
from typing import Any

#: Tokens that are kept of an answer, alternatives of a token, and letters of one.
MOST_TOKENS = 4096
MOST_ALTERNATIVES = 20
MOST_LETTERS = 200


class Likelihoods:
    """Takes the `logprobs` objects of a stream one after another.

    Attributes:
        tokens: Each as its text, its log-probability (None: the engine gave none), and its alternatives, as pairs.
        cut: There were more tokens than are kept.
    """

    def __init__(self) -> None:
        self.tokens: list[list[Any]] = []
        self.cut = False

    def read(self, given: Any) -> None:
        """Take the `logprobs` of one choice."""
        content = given.get("content") if isinstance(given, dict) else None
        if not isinstance(content, list):
            return
        for one in content:
            if not isinstance(one, dict) or not isinstance(one.get("token"), str):
                continue
            if len(self.tokens) >= MOST_TOKENS:
                self.cut = True
                return
            others = one.get("top_logprobs")
            pairs = [_pair(other) for other in others[:MOST_ALTERNATIVES]] if isinstance(others, list) else []
            self.tokens.append([*_pair(one), [pair for pair in pairs if pair[0] is not None]])

    def to_json(self) -> dict[str, Any]:
        """Return them as messages are kept with."""
        return {"tokens": self.tokens, "cut": self.cut}


def _pair(one: Any) -> list[Any]:
    token = one.get("token") if isinstance(one, dict) else None
    value = one.get("logprob") if isinstance(one, dict) else None
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return [
        token[:MOST_LETTERS] if isinstance(token, str) else None,
        round(max(-9999.0, min(0.0, float(value))), 4) if known and value is not None else None,
    ]
