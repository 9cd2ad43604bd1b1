"""Values of labels: safe, short, and few, for each set of them is a series that its reader keeps."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import clean_line

#: What is counted together, beyond the values that have a series of their own.
OTHER = "other"
#: Letters of a value.
LONGEST = 200


def label_value(text: object) -> str:
    """Return text from anywhere as a value of a label; empty where nothing is known."""
    return "" if text is None else clean_line(mask_text(str(text)[: 4 * LONGEST]), limit=LONGEST)


class FewValues:
    """Gives the first so many values their own name and calls all later ones `other`. One thread at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        #: What was given, as it is called. Two texts may have one name.
        self._names: dict[object, str] = {}

    def of(self, text: object) -> str:
        name = self._names.get(text)
        if name is None:
            if len(self._names) >= self._most:
                return OTHER
            name = self._names[text] = label_value(text)
        return name


class FewSets:
    """Lets so many sets of values pass and turns every later one into `other`. One thread at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[tuple[str, ...]] = set()

    def of(self, values: Sequence[str]) -> tuple[str, ...]:
        one = tuple(values)
        if one not in self._known:
            if len(self._known) >= self._most:
                return (OTHER,) * len(one)
            self._known.add(one)
        return one
