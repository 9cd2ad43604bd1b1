"""Patterns that are searched in log lines cost time in proportion to the line, whatever is in it.

A search tries a pattern at each place of a line. A repeat without a bound makes that quadratic where it can run over
the next place at which the pattern begins; it cannot where something stands before it that it does not match.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

import pytest

from vllm_studio_tui.backends.registry import backends
from vllm_studio_tui.keeper import log_watch

parser: Any = importlib.import_module("re._parser")
#: A repeat of at most so many is a constant.
BOUND = 400
CATEGORIES = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w", "NOT_DIGIT": r"\D", "NOT_SPACE": r"\S", "NOT_WORD": r"\W"}


def in_category(category: object, char: str) -> bool:
    return re.match(CATEGORIES[str(category).removeprefix("CATEGORY_")], char) is not None


def matches(item: tuple[Any, Any], char: str) -> bool:
    """Whether one item of a parsed pattern can match this character."""
    kind, value = str(item[0]), item[1]
    if kind == "LITERAL":
        return chr(value).lower() == char.lower()
    if kind == "NOT_LITERAL":
        return chr(value) != char
    if kind == "RANGE":
        return any(value[0] <= ord(one) <= value[1] for one in (char, char.lower(), char.upper()))
    if kind == "CATEGORY":
        return in_category(value, char)
    if kind == "IN":
        negated = str(value[0][0]) == "NEGATE"
        return any(matches(one, char) for one in value if str(one[0]) != "NEGATE") != negated
    return True  # of what is more than one character anything is thought possible


def shortest(items: Iterable[tuple[Any, Any]]) -> str:
    """The characters that must stand in what these items match; what could be many is left out."""
    text = ""
    for kind, value in items:
        if str(kind) == "LITERAL":
            text += chr(value)
        elif str(kind) == "SUBPATTERN":
            text += shortest(value[3])
        elif str(kind).endswith("REPEAT") and value[0] > 0:
            text += shortest(value[2])
        elif str(kind) == "BRANCH":
            text += min((shortest(one) for one in value[1]), key=len)
    return text


def too_free(items: list[tuple[Any, Any]], before: str = "", *, anchored: bool = False) -> list[str]:
    """The repeats of a pattern that can run over its next beginning."""
    found: list[str] = []
    for at, (kind, value) in enumerate(items):
        name = str(kind)
        anchored = anchored or (name == "AT" and str(value) in ("AT_BEGINNING", "AT_BEGINNING_STRING"))
        here = before + shortest(items[:at])
        if name == "BRANCH":
            for one in value[1]:
                found += too_free([*one, *items[at + 1 :]], here, anchored=anchored)
            return found
        if name == "SUBPATTERN":
            found += too_free([*value[3], *items[at + 1 :]], here, anchored=anchored)
        elif name.endswith("REPEAT") and (value[1] is parser.MAXREPEAT or value[1] > BOUND):
            single = value[2][0] if len(value[2]) == 1 else ("ANY", None)
            follows = shortest(items[at + 1 :]) or any(str(one[0]) in ("AT", "ASSERT") for one in items[at + 1 :])
            if follows and not anchored and all(matches(single, char) for char in here):
                found.append(f"{name} {single} after {here!r}")
    return found


def patterns() -> list[str]:
    found: dict[str, None] = {}
    for one in backends().values():
        found |= dict.fromkeys([*(row.pattern for row in one.stages), *(row.pattern for row in one.failures)])
    return list(found)


@pytest.mark.parametrize("pattern", patterns())
def test_a_pattern_is_linear_in_the_line_it_is_searched_in(pattern: str) -> None:
    assert too_free(list(parser.parse(pattern))) == []


@pytest.mark.parametrize(
    "pattern", [r"Capturing CUDA graphs?.*?(?P<percent>\d{1,3})%", r"\S+ died", r"a(?:b|\w+c)", r"(lib[\w.+-]+): not"]
)
def test_the_check_knows_a_quadratic_pattern(pattern: str) -> None:
    assert too_free(list(parser.parse(pattern)))


@pytest.mark.parametrize("pattern", [r"^.*died", r"weights:\s+\d+%", r"a.{0,200}b", r"port \d+", r"\((\d+)\)"])
def test_the_check_lets_linear_ones_be(pattern: str) -> None:
    assert not too_free(list(parser.parse(pattern)))


def test_what_is_noise_and_what_is_colour_is_linear_too() -> None:
    for pattern in (log_watch._NOISE, log_watch._COLOUR):
        assert too_free(list(parser.parse(pattern.pattern))) == []
