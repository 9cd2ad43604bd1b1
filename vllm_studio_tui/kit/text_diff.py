"""What differs between two texts, in sentences and lines."""

from __future__ import annotations

import difflib
import re

#: Pieces of a text that are compared; what follows counts as one piece.
MOST = 1500
_END = re.compile(r"(?<=[.!?:;])[ \t]+|\n")


def diff_texts(old: str, new: str) -> list[tuple[str, str]]:
    """Return the pieces of both texts in order, each with its sign: `-` only in the old one, `+` only in the new one,
    a blank in both.
    """
    before, after = _pieces(old), _pieces(new)
    found: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [(" ", one) for one in before[a:b]]
        else:
            found += [("-", one) for one in before[a:b]] + [("+", one) for one in after[c:d]]
    return found


def _pieces(text: str) -> list[str]:
    return [one.rstrip() for one in _END.split(text, MOST) if one.strip()]
