"""MCP servers as they are kept: how one is started or reached, and what a person has agreed to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.kit.masking import is_secret, mask_data, mask_text
from vllm_studio_tui.kit.secrets import is_reference

#: Names that are taken by tools of this program.
RESERVED = frozenset({"builtin", "studio"})
#: Seconds that one call may take where its server says nothing else.
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class ToolServer:
    """One server. Its secrets are references: they were taken out of it when it was kept.

    Attributes:
        kind: `stdio`: it is started; `http` (streamable) or `sse`: it is reached at `url`.
        env: Its variables: values, `${NAME}`, or references (`env:NAME`, `file:PATH`).
        tools: Names or patterns of its tools that are offered; empty: all.
        timeout: Seconds that one call may take.
        legacy: It is spoken to as before the protocol of 2026; some old servers do not bear to be asked for newer.
        extra: What its file says besides; kept, and not used.
    """

    name: str
    kind: str = "stdio"
    command: str = ""
    args: tuple[str, ...] = ()
    cwd: str | None = None
    url: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    description: str = ""
    tools: tuple[str, ...] = ()
    timeout: float = TIMEOUT
    legacy: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Return what a person agrees to: command or address, names of variables, where they come from."""
        names = [sorted(self.env), sorted(self.headers), list(self.reads)]
        whole = [self.kind, self.command, list(self.args), self.cwd, self.url, *names]
        return hashlib.sha256(json.dumps(whole).encode("utf-8", "replace")).hexdigest()

    @property
    def reads(self) -> tuple[str, ...]:
        """Return what of this machine it is given: `NAME from env:OTHER`, `NAME from file:PATH`."""
        pairs = [*self.env.items(), *self.headers.items()]
        return tuple(sorted(f"{name} from {value}" for name, value in pairs if is_reference(value) or "${" in value))

    @property
    def target(self) -> str:
        """Return its command line or its address in a line, secrets masked."""
        return mask_text(" ".join(_quoted(one) for one in (self.command, *self.args)) if self.command else self.url)

    def to_json(self) -> dict[str, Any]:
        """Return what `mcp list --json` prints of it, secrets masked."""
        return {
            "name": self.name,
            "type": self.kind,
            "command": self.command or None,
            "args": [mask_text(one) for one in self.args],
            "cwd": self.cwd,
            "url": mask_text(self.url) or None,
            "env": {name: _shown(name, value) for name, value in self.env.items()},
            "headers": {name: _shown(name, value) for name, value in self.headers.items()},
            "enabled": self.enabled,
            "description": self.description or None,
            "tools": list(self.tools),
            "timeout": self.timeout,
            "legacy": self.legacy,
            "extra": mask_data(dict(self.extra)),
        }


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What was found out about a server that was started or reached for a look.

    Attributes:
        title: What it calls itself.
        seconds: How long it took until its tools were known.
        dropped: Tools of it that cannot be offered.
    """

    name: str
    title: str = ""
    version: str = ""
    protocol: str = ""
    instructions: str = ""
    seconds: float = 0.0
    tools: Sequence[Tool] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class ServersImport:
    """What a file of servers gave.

    Attributes:
        servers: Those that can be kept.
        notes: What was changed or left out, a line each.
        kept: Names of those that were kept; empty where it was only looked at.
        present: Names of those that are there already under another form, and were left as they are.
    """

    servers: Sequence[ToolServer] = ()
    notes: Sequence[str] = ()
    kept: Sequence[str] = ()
    present: Sequence[str] = ()


def _shown(name: str, value: str) -> str:
    hidden = is_secret(name, value) or name.lower() in ("authorization", "cookie", "proxy-authorization")
    if hidden and not value.startswith(("env:", "file:", "${")):
        return "***"
    return mask_text(value)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
