"""Values of a recipe as a person types them into one line, and back."""

from __future__ import annotations

import json
import shlex
from typing import Any


def as_text(kind: str, value: Any) -> str:
    """Return a recipe's value as a person types it."""
    if value is None:
        return ""
    if kind == "switch" or isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "list":
        return " ".join(str(one) for one in value)
    if kind == "map":
        return " ".join(f"{name}={shlex.quote(str(one))}" for name, one in value.items())
    if kind == "json":
        return json.dumps(value, ensure_ascii=False) if value else ""
    if kind == "flags":
        return " ".join(_flag(str(name), one) for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag(name: str, value: Any) -> str:
    flag = "--" + name.lstrip("-").replace("_", "-")
    if value is True:
        return flag
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{flag} {shlex.quote(text)}"


def value_of(kind: str, choices: tuple[str, ...], text: str) -> Any:
    """Return what a text stands for.

    Raises:
        ValueError: It stands for nothing of this kind; its words say what is needed.
    """
    if kind == "number":
        try:
            return int(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise ValueError("not a number") from None
    if kind == "switch" or (kind == "choice" and choices == ("", "yes", "no")):
        if text.lower() not in ("yes", "no", "true", "false", "on", "off", "1", "0"):
            raise ValueError("yes or no")
        return text.lower() in ("yes", "true", "on", "1")
    if kind == "list":
        return text.replace(",", " ").split()
    if kind == "map":
        return _pairs(text)
    if kind == "json":
        return _object(text)
    if kind == "flags":
        return _flags(text)
    return text


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"not closed: {error}") from None


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word[:30]!r} is not NAME=value")
        pairs[name] = value
    return pairs


def _flags(text: str) -> dict[str, Any]:
    """Return `--flag value` as names and values; a flag without a value is true; JSON is parsed."""
    flags: dict[str, Any] = {}
    name: str | None = None
    for word in _words(text):
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            name = flag.replace("-", "_")
            flags[name] = _json(value) if equals else True
            if equals:
                name = None
        elif name is None:
            raise ValueError(f"{word[:30]!r} stands without a flag before it")
        else:
            flags[name] = _json(word)
            name = None
    return flags


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError('an object as JSON is needed, for example {"name": 1}')
    return found
