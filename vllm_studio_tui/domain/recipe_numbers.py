"""Read counts as people write them: `32k`, `32K`, `1_000`; and 0 where it means "the engine chooses"."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

#: As vLLM reads them: a small letter is a power of 1000, a capital one of 1024.
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
COUNTS = frozenset({"max_model_len", "max_num_seqs", "max_num_batched_tokens", "max_thinking_tokens"})
#: Fields in which 0 is how other programs say that the engine shall choose.
ENGINE_CHOOSES = frozenset({"max_model_len", "max_num_seqs", "max_num_batched_tokens", "ready_timeout"})

_COUNT = re.compile(r"\s*(\d{1,12}(?:[_,]\d{3})*(?:\.\d{1,6})?)\s*([kKmMgG])?\s*\Z")


def read_count(value: Any) -> Any:
    """Return the number that a text such as `32k` means; other values are returned unchanged.

    `auto` is -1, vLLM's word for as much as fits.
    """
    if not isinstance(value, str):
        return value
    if value.strip().lower() == "auto":
        return -1
    found = _COUNT.match(value)
    if found is None:
        return value
    number = Decimal(found[1].replace("_", "").replace(",", "")) * UNITS.get(found[2] or "", 1)
    return int(number) if number == number.to_integral_value() else value
