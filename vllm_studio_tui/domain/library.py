"""The library of a person: prompts, system prompts, presets of sampling, forms of answers, each by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.sampling import checked, read_form

#: The kinds, and what one of them is called.
KINDS: Mapping[str, str] = {
    "prompt": "prompt",
    "system": "system prompt",
    "preset": "preset",
    "form": "form of answers",
}
MOST_NAME = 80
MOST_TEXT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LibraryText:
    """An entry of the library.

    Attributes:
        data: Of a prompt and a system prompt `text`; of a preset the parameters by name, perhaps `thinking` and
            `form`; of a form what `AnswerForm.to_json` makes.
        built_in: It comes with the studio, and is not kept in the database.
    """

    kind: str
    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    updated_at: float = 0.0
    built_in: bool = False

    @property
    def text(self) -> str:
        """The text of a prompt."""
        text = self.data.get("text")
        return text if isinstance(text, str) else ""

    def to_json(self) -> dict[str, Any]:
        """Return the entry as `library --json` prints it."""
        return {"kind": self.kind, "name": self.name, "built_in": self.built_in, "data": dict(self.data)}


#: Presets that are always there; one of a person's own with the same name stands in its place.
BUILT_IN = (
    LibraryText("preset", "exact", {"temperature": 0.2, "top_p": 0.9}, built_in=True),
    LibraryText("preset", "same again", {"temperature": 0.0, "seed": 1}, built_in=True),
    LibraryText("preset", "even", {"temperature": 0.7, "top_p": 0.95}, built_in=True),
    LibraryText("preset", "free", {"temperature": 1.0, "min_p": 0.05}, built_in=True),
)


def checked_name(name: str) -> str:
    """Return a name without blanks around it.

    Raises:
        UsageError: It is none.
    """
    found = " ".join(name.split())
    if not found or len(found) > MOST_NAME:
        raise UsageError("a name has 1 to 80 letters", advice="Choose another one.")
    return found


def checked_data(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an entry of a kind holds.

    Raises:
        UsageError: It is not what this kind holds.
    """
    if kind not in KINDS:
        raise UsageError(f"no kind {kind[:40]!r} in the library", advice=f"One of {', '.join(KINDS)}.")
    if kind in ("prompt", "system"):
        text = data.get("text")
        if not isinstance(text, str) or not text.strip() or len(text) > MOST_TEXT:
            raise UsageError(f"a {KINDS[kind]} is a text of at most 1 MB", advice="Write something.")
        return {"text": text}
    try:
        return read_form(data).to_json() if kind == "form" else checked_preset(data)
    except ValueError as error:
        raise UsageError(f"this is no {KINDS[kind]}", cause=str(error)) from None


def checked_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a preset holds.

    Raises:
        ValueError: Something in it is no parameter of sampling, or not such a value.
    """
    found: dict[str, Any] = {}
    for name, value in data.items():
        if value is None:
            continue
        try:
            if name == "thinking":
                found[name] = bool(value)
            elif name == "form":
                found[name] = read_form(value).to_json()
            else:
                good = checked(name, value)
                found[name] = list(good) if isinstance(good, tuple) else good
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not found:
        raise ValueError("nothing is set in it")
    return found
