"""A block: sixty steps of one series, each with mean, least and largest value, as compressed bytes."""

from __future__ import annotations

import math
import sys
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

#: Steps of one block.
STEPS = 60
_VALUES = 3 * STEPS
#: What a float of four bytes holds.
LARGEST = 3e38


@dataclass(frozen=True, slots=True)
class Tier:
    """Samples of one resolution.

    Attributes:
        step: Seconds of a step.
        keep: Seconds that they are kept.
    """

    step: int
    keep: int

    @property
    def block(self) -> int:
        """Return the seconds of one block."""
        return self.step * STEPS


#: From the finest to the coarsest: 10 s for a day, a minute for a week, 10 minutes for 30 days. A block of the first
#: is a step of the last.
TIERS = (Tier(10, 86_400), Tier(60, 7 * 86_400), Tier(600, 30 * 86_400))

#: Mean, least, largest.
Step = tuple[float, float, float]


class Block:
    """Sixty steps; NaN is unknown."""

    __slots__ = ("_values",)

    def __init__(self, values: array[float] | None = None) -> None:
        self._values = values if values is not None else array("f", [math.nan]) * _VALUES

    @classmethod
    def read(cls, data: object) -> Block:
        """Return the block of some bytes; an empty one where they are none."""
        try:
            if not isinstance(data, bytes):
                raise TypeError("no bytes")
            flat = zlib.decompressobj().decompress(data, 4 * _VALUES + 1)
            if len(flat) != 4 * _VALUES:
                raise ValueError("another length")
        except (TypeError, ValueError, zlib.error):
            return cls()
        raw = bytearray(4 * _VALUES)
        for plane in range(4):
            raw[plane::4] = flat[plane * _VALUES : (plane + 1) * _VALUES]
        values = array("f", bytes(raw))
        if sys.byteorder == "big":
            values.byteswap()
        return cls(values)

    def write(self) -> bytes:
        """Return its bytes: the first bytes of all values, the second, .., because these are alike."""
        values = self._values
        if sys.byteorder == "big":
            values = array("f", values)
            values.byteswap()
        raw = values.tobytes()
        return zlib.compress(raw[0::4] + raw[1::4] + raw[2::4] + raw[3::4], 1)

    def get(self, index: int) -> Step | None:
        mean, low, high = self._values[index], self._values[STEPS + index], self._values[2 * STEPS + index]
        return None if mean != mean or low != low or high != high else (mean, low, high)  # noqa: PLR0124, RUF100

    def put(self, index: int, step: Step) -> None:
        """Set a step."""
        mean, low, high = step
        if abs(mean) < LARGEST and abs(low) < LARGEST and abs(high) < LARGEST:  # NaN is not
            self._values[index], self._values[STEPS + index], self._values[2 * STEPS + index] = step

    def add(self, index: int, step: Step) -> None:
        """Add what is known of a step to what was known of it before."""
        known = self.get(index)
        if known is not None:
            step = ((known[0] + step[0]) / 2, min(known[1], step[1]), max(known[2], step[2]))
        self.put(index, step)

    def known(self) -> Iterator[tuple[int, Step]]:
        """Yield the steps that are known, by their index."""
        flat = self._values.tolist()
        steps = zip(flat[:STEPS], flat[STEPS : 2 * STEPS], flat[2 * STEPS :], strict=True)
        return (
            (index, step)
            for index, step in enumerate(steps)
            if step[0] == step[0] and step[1] == step[1] and step[2] == step[2]
        )

    def values(self, which: int) -> array[float]:
        """Return the means (0), the least (1) or the largest (2) of all steps; NaN where they are unknown."""
        return self._values[which * STEPS : (which + 1) * STEPS]

    def fold(self, count: int) -> Iterator[tuple[int, Step]]:
        """Yield each `count` steps as one, by the index of the first, where any of them is known."""
        flat = self._values.tolist()
        for first in range(0, STEPS, count):
            means = [one for one in flat[first : first + count] if one == one]  # noqa: PLR0124, RUF100
            if means:
                lows = [one for one in flat[STEPS + first : STEPS + first + count] if one == one]  # noqa: PLR0124, RUF100
                highs = [one for one in flat[2 * STEPS + first : 2 * STEPS + first + count] if one == one]  # noqa: PLR0124, RUF100
                if lows and highs:
                    yield first, (math.fsum(means) / len(means), min(lows), max(highs))
