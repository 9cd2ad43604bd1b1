"""Pictures as sixels: bands of six rows of points, each colour of a band written as a line of its own (DEC STD 070)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

#: Colours of a picture; terminals that draw sixels have at least so many.
COLOURS = 240
_SAME = re.compile(rb"(.)\1{3,}", re.DOTALL)
#: Makes six bits the character that stands for them.
_LETTERS = bytes((number + 63) & 0xFF for number in range(256))


def encoded(image: Image) -> str:
    """Return what draws a picture where the cursor is. Blocking: about half a second for a million points."""
    plain = image.convert("RGB")
    flat = plain.quantize(palette=plain.quantize(COLOURS))  # the second time with dithering
    width, height = flat.size
    palette = flat.getpalette() or []
    points = flat.tobytes()
    used = sorted(set(points))
    out = [f'\x1bP0;1q"1;1;{width};{height}']
    for number in used:
        red, green, blue = (round(value * 100 / 255) for value in palette[number * 3 : number * 3 + 3])
        out.append(f"#{number};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        rows = [points[(top + at) * width : (top + at + 1) * width] for at in range(min(6, height - top))]
        out.append("$".join(_lines(rows)) + "-")
    out.append("\x1b\\")
    return "".join(out)


def _lines(rows: list[bytes]) -> Iterator[str]:
    """Yield the line of each colour of a band."""
    for number in sorted(set(b"".join(rows))):
        bits = 0
        for at, row in enumerate(rows):
            table = bytearray(256)
            table[number] = 1 << at
            bits |= int.from_bytes(row.translate(bytes(table)), "big")
        line = bits.to_bytes(len(rows[0]), "big").rstrip(b"\0").translate(_LETTERS)
        yield f"#{number}" + _SAME.sub(lambda found: b"!%d%b" % (len(found[0]), found[1]), line).decode()
