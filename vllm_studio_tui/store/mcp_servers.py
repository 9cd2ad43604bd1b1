"""The table of MCP servers."""

from __future__ import annotations

import builtins
import math
import sqlite3
from typing import Any

from vllm_studio_tui.domain.tool_server import TIMEOUT, ToolServer
from vllm_studio_tui.store.conversion import from_json, now, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database


class McpServerRows:
    """The table `mcp_servers`; a server's id is its name."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(self) -> builtins.list[ToolServer]:
        """Return every server by name."""
        return [server_from(row) for row in self._db.rows("SELECT * FROM mcp_servers ORDER BY name, id")]

    def get(self, name: str) -> ToolServer | None:
        """Return the server of this name."""
        row = self._db.row("SELECT * FROM mcp_servers WHERE name = ?", (storable(name),))
        return server_from(row) if row is not None else None

    def put(self, server: ToolServer) -> None:
        """Keep a server; one of the same name is replaced."""
        settings = {
            "kind": server.kind,
            "tools": list(server.tools),
            "timeout": server.timeout,
            "legacy": server.legacy,
            "extra": dict(server.extra),
        }
        name, at = storable(server.name), now()
        row = {
            "id": name,
            "name": name,
            "enabled": int(server.enabled),
            "command": storable(server.command) or None,
            "args": to_json(list(server.args)),
            "env": to_json(dict(server.env)),
            "cwd": optional_text(server.cwd),
            "url": storable(server.url) or None,
            "headers": to_json(dict(server.headers)),
            "description": storable(server.description) or None,
            "settings": to_json(settings),
        }
        names = [*row, "created_at", "updated_at"]
        kept = ", ".join(f"{one} = excluded.{one}" for one in names if one not in ("id", "created_at"))
        with self._db.write() as tables:
            tables.execute("DELETE FROM mcp_servers WHERE name = ? AND id != ?", (name, name))
            tables.execute(
                f"INSERT INTO mcp_servers ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
                f" ON CONFLICT (id) DO UPDATE SET {kept}",
                (*row.values(), at, at),
            )

    def delete(self, name: str) -> bool:
        """Delete a server; return whether there was one."""
        with self._db.write() as tables:
            return bool(tables.execute("DELETE FROM mcp_servers WHERE name = ?", (storable(name),)).rowcount)


def server_from(row: sqlite3.Row) -> ToolServer:
    settings = from_json(row["settings"], dict)
    url, command = row["url"] or "", row["command"] or ""
    kind = settings.get("kind")
    timeout = settings.get("timeout")
    usable = isinstance(timeout, int | float) and not isinstance(timeout, bool) and math.isfinite(timeout)
    tools, extra = settings.get("tools"), settings.get("extra")
    return ToolServer(
        row["name"],
        kind if kind in ("stdio", "http", "sse") else ("stdio" if command else "http"),
        command,
        tuple(str(one) for one in from_json(row["args"], list)),
        row["cwd"],
        url,
        _texts(from_json(row["env"], dict)),
        _texts(from_json(row["headers"], dict)),
        bool(row["enabled"]),
        row["description"] or "",
        tuple(str(one) for one in tools) if isinstance(tools, list) else (),
        float(timeout) if usable and timeout is not None and timeout > 0 else TIMEOUT,
        settings.get("legacy") is True,
        extra if isinstance(extra, dict) else {},
    )


def _texts(given: dict[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in given.items()}
