"""Find what somebody means by a few letters of it, in order but not side by side."""

from __future__ import annotations

#: More letters than anybody types, and than a path has.
MOST_TYPED, MOST_TEXT = 100, 1000
_EDGES = "/\\ _-.:"


def score(typed: str, text: str) -> int | None:
    """Return how well a text fits the letters typed, the higher the better; None where it does not hold them in order.

    Letters side by side, at the beginning of a word and in the last part of a path count more; of two alike the
    shorter text is better.
    """
    wanted, inside = typed[:MOST_TYPED].lower(), text[:MOST_TEXT].lower()
    if not wanted:
        return -len(inside)
    name = inside.rstrip("/").rfind("/") + 1
    whole = inside.find(wanted, name)
    if whole < 0:
        whole = inside.find(wanted)
    if whole >= 0:
        begins = whole == 0 or inside[whole - 1] in _EDGES
        return 1000 + 200 * (whole >= name) + 100 * begins - len(inside)
    return _scattered(wanted, inside, name)


def _scattered(wanted: str, inside: str, name: int) -> int | None:
    best: int | None = None
    for start in (name, 0):  # in the last part alone, else anywhere
        found, at, last = 0, start, -2
        for letter in wanted:
            at = inside.find(letter, at)
            if at < 0:
                break
            found += 20 if at == last + 1 else 10 if at == 0 or inside[at - 1] in _EDGES else 0
            last, at = at, at + 1
        else:
            best = max(best if best is not None else -10_000, found + (100 if start else 0) - len(inside))
            break
    return best
