"""What a reader of a format gets and gives. Everything that it gets is hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import FieldNote

#: Bytes of a text that are read, and of its documents the depth and the number of values.
MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_NODES = 500_000
#: Brackets that may be open at once in YAML, some of them in texts.
MAX_BRACKETS = 60
_BRACKET = re.compile(r"[\[\]{}]")
#: How JSON begins and YAML hardly ever does.
_JSON = re.compile(r'\s*[\[{]\s*["\[{]')


class Unreadable(StudioError):
    """A file or text that holds no recipes at all."""


class Source:
    """A file or a pasted text.

    Attributes:
        raw: Its bytes.
        name: The name of the file, or `stdin`, or what the text is called.
    """

    def __init__(self, raw: bytes, name: str) -> None:
        self.raw = raw
        self.name = name

    @cached_property
    def text(self) -> str | None:
        """Return it as text; None where it is too large for one, or none."""
        if len(self.raw) > MAX_BYTES:
            return None
        try:
            return self.raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None

    @property
    def documents(self) -> list[Any]:
        """Return its JSON or YAML documents, bounded; none where it is neither."""
        return self._parsed[0]

    @property
    def trouble(self) -> Unreadable | None:
        """Return why it has no documents; None where it has."""
        return self._parsed[1]

    @property
    def mapping(self) -> dict[str, Any] | None:
        """Return its only document where that is an object; else None."""
        only = self.documents
        return only[0] if len(only) == 1 and isinstance(only[0], dict) else None

    @cached_property
    def _parsed(self) -> tuple[list[Any], Unreadable | None]:
        try:
            return _documents(self.raw, self.text, self.name), None
        except Unreadable as error:
            return [], error


@dataclass(frozen=True, slots=True)
class Found:
    """A recipe as somebody else's file describes it.

    Attributes:
        data: Fields as `domain.recipe_reading` takes them.
        notes: What was changed or dropped of the file, and why: each of its fields is in `data` or here.
    """

    data: Any
    notes: tuple[FieldNote, ...] = ()


class Format(Protocol):
    """A format of another tool.

    Attributes:
        name: As it is called in options.
        title: As it is called for people.
    """

    name: str
    title: str

    def read(self, source: Source) -> list[Found] | None:
        """Return the recipes that it describes, at least one; None where it is no such file.

        Raises:
            StudioError: It is one, and none can be made of it.
        """


def _documents(raw: bytes, text: str | None, name: str) -> list[Any]:
    if text is None:
        if len(raw) > MAX_BYTES:
            raise Unreadable(f"{name} is too large", cause=f"{len(raw)} bytes, at most {MAX_BYTES} are read")
        try:
            raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unreadable(f"{name} is not text", cause=f"byte {error.start} is not UTF-8") from None
    text = text or ""
    if not text.strip():
        raise Unreadable(f"{name} is empty", advice="Give a JSON or YAML file with recipes.")
    documents = _parse(text, name)
    for document in documents:
        refuse_unbounded(document, name)
    return documents


def _parse(text: str, source: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise Unreadable(f"{source} is nested too deeply", cause=f"at most {MAX_DEPTH} levels are read") from None
        if _JSON.match(text.lstrip("\ufeff")):  # broken JSON may be YAML all the same, and mean something else
            raise Unreadable(f"{source} cannot be read", cause=f"JSON: {error}", advice="Correct that place.") from None
        return _parse_yaml(text, source)


def is_too_deep(text: str) -> bool:
    """Return whether brackets are opened so deep that reading them takes the square of their number."""
    depth = 0
    for found in _BRACKET.finditer(text):
        depth = depth + 1 if found[0] in "[{" else max(depth - 1, 0)
        if depth > MAX_BRACKETS:
            return True
    return False


def _parse_yaml(text: str, source: str) -> list[Any]:
    import yaml

    if is_too_deep(text):
        raise Unreadable(f"{source} is nested too deeply", cause=f"at most {MAX_DEPTH} levels are read")

    class NoAliases(yaml.SafeLoader):
        """An anchor costs a line and can stand for gigabytes: recipes need none."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not read")
            return super().compose_node(parent, index)

    try:
        return list(yaml.load_all(text, NoAliases))  # NoAliases is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        cause = f"YAML{where}: {problem}"
        raise Unreadable(f"{source} cannot be read", cause=cause[:500], advice="Correct that place.") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise Unreadable(f"{source} cannot be read", cause=str(error)[:500]) from None


def refuse_unbounded(document: Any, source: str) -> None:
    """Refuse a document that is nested too deeply or has too many values.

    Raises:
        Unreadable: It is.
    """
    queue: list[tuple[Any, int]] = [(document, 0)]
    nodes = 0
    while queue:
        value, depth = queue.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise Unreadable(f"{source} is nested too deeply or too large", cause=f"at most {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            queue += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            queue += [(one, depth + 1) for one in value]
