"""What a person allowed for longer than one call, and what that covers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.tools import Tool

#: What a pattern's `*` never stands for: by these a shell begins a further command, and a path leaves its folder.
_BEYOND = re.compile(r"[;&|`$<>(){}\\\n\r\0]|(?:^|/)\.\.(?:/|$)")


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent.

    Attributes:
        tool: The name that models call it by; empty: the server may be started.
        session_id: The chat that it is for; None: every chat.
        pattern: What the arguments must be like, by their names, `*` standing for anything harmless; None: any.
        fingerprint: Of the server, and of the tool, as it was; one that was changed since is asked about anew.
    """

    tool: str
    server: str
    session_id: str | None = None
    pattern: Mapping[str, str] | None = None
    fingerprint: str | None = None
    created_at: float = 0.0
    id: int | None = None

    def covers(self, tool: Tool, arguments: Mapping[str, Any], session_id: str | None, fingerprint: str | None) -> bool:
        """Return whether a call needs no further question."""
        if not self.tool or self.tool != tool.name or self.server != tool.server or self.fingerprint != fingerprint:
            return False
        if self.session_id is not None and self.session_id != session_id:
            return False
        return self.pattern is None or matches(self.pattern, arguments)

    def to_json(self) -> dict[str, Any]:
        """Return what `mcp consents --json` prints of it."""
        return {
            "id": self.id,
            "server": self.server,
            "tool": self.tool or None,
            "chat": self.session_id,
            "pattern": dict(self.pattern) if self.pattern is not None else None,
            "created_at": self.created_at,
        }


def matches(pattern: Mapping[str, str], arguments: Mapping[str, Any]) -> bool:
    """Return whether all arguments are named by a pattern and are like it. Linear in their length."""
    if not arguments.keys() <= pattern.keys():
        return False
    return all(_like(wanted, str(arguments.get(name, ""))) for name, wanted in pattern.items())


def _like(wanted: str, value: str) -> bool:
    if wanted == value:
        return True
    first, *others = wanted.split("*")
    if not others or not value.startswith(first):
        return False
    *middle, last = others
    rest = value[len(first) :]
    for part in middle:
        place = rest.find(part)
        if place < 0:
            return False
        rest = rest[place + len(part) :]
    # What stands for `*` is looked at with what lies between: `a/` and `../b` are harmless only while they stand apart.
    return rest.endswith(last) and not _BEYOND.search(value.removeprefix(first))
