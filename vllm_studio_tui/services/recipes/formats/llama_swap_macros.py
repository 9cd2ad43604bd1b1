"""Macros of llama-swap: `${name}` in any text, of the whole file or of one model, also within each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote

_MACRO = re.compile(r"\$\{([A-Za-z0-9_-]{1,64})\}")
_ENVIRONMENT = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]{0,127})\}")
#: Stands for `${PORT}` where a number must stand; no one writes this port.
MARK_PORT = "59173"
#: How often macros are looked for in what macros gave.
ROUNDS = 8
#: How long a macro may be, as in llama-swap's schema, a text that has some, and all that the macros of a file give.
LONGEST_MACRO = 1024
LONGEST = 64 * 1024
LONGEST_ALL = 2 * 1024 * 1024


def environment_name(text: str) -> str | None:
    """Return the variable where a text is `${env.NAME}` and nothing else."""
    found = _ENVIRONMENT.fullmatch(text.strip())
    return found[1] if found else None


class Macros:
    """The macros that hold at one place of the file."""

    def __init__(self, values: Mapping[str, Any], left: list[int] | None = None) -> None:
        self.values = {
            str(key): value
            for key, value in values.items()
            if isinstance(value, str | int | float) and (not isinstance(value, str) or len(value) <= LONGEST_MACRO)
        }
        self.notes: list[FieldNote] = []
        self.left = [LONGEST_ALL] if left is None else left

    def of_model(self, name: str, own: Mapping[str, Any]) -> Macros:
        """Return those of a model: its own go before those of the file."""
        return Macros({**self.values, **own, "MODEL_ID": name, "PORT": MARK_PORT}, self.left)

    def filled(self, value: Any, place: str) -> Any:
        """Return a value with its macros filled in; a text that is one macro gets that macro's type."""
        if isinstance(value, Mapping):
            return {self._text(str(key), place): self.filled(one, place) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one, place) for one in value]
        if not isinstance(value, str):
            return value
        whole = _MACRO.fullmatch(value)
        if whole and not isinstance(self.values.get(whole[1], ""), str):
            return self.values[whole[1]]
        return self._text(value, place)

    def command(self, text: str) -> str:
        """Return a command without its lines of comment, its macros filled in."""
        filled = self._text(_without_comments(text), "cmd")
        lines = []
        for line in _without_comments(filled).split("\n"):
            stripped = line.strip()
            lines.append(f"{stripped[:-1]} " if stripped.endswith("\\") else line)
        text = " ".join(lines)
        if "${env.HOME}" in text:
            self.notes.append(FieldNote("cmd", "changed", "${env.HOME} is written ~ here"))
            text = re.sub(r"(^|[\s='\"])\$\{env\.HOME\}(?=/|\s|$)", r"\1~", text)
        left = dict.fromkeys(_ENVIRONMENT.findall(text))
        if left:
            why = f"it has variables of the shell, which a launch does not fill in: {', '.join(left)}"
            self.notes.append(FieldNote("cmd", "taken", why))
        return _ENVIRONMENT.sub(r"${\1}", text)

    def _text(self, text: str, place: str) -> str:
        for _ in range(ROUNDS if len(text) <= LONGEST and "${" in text else 0):
            if self.left[0] <= 0:
                self.notes.append(FieldNote(place, "dropped", "the macros of this file make too much text"))
                return text
            made = _MACRO.sub(lambda found: self._value(found[1], found[0]), text)
            if made == text:
                return text
            self.left[0] -= len(made)
            if len(made) > LONGEST:
                self.notes.append(FieldNote(place, "dropped", "its macros make a text that is too long"))
                return text[:LONGEST]
            text = made
        return text

    def _value(self, name: str, otherwise: str) -> str:
        value = self.values.get(name)
        if value is None:
            if name != "PID":
                note = FieldNote(f"macros.{name}", "dropped", "there is no such macro: it stays as it is written")
                if note not in self.notes[-4:]:
                    self.notes.append(note)
            return otherwise
        return str(value).lower() if isinstance(value, bool) else str(value)


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
