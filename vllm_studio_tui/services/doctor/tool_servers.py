"""The doctor on MCP servers: whether each can be started, and, where that is asked for, whether it is and what it has.

One that nobody has agreed to is never started. Nothing is written but what a server says to its own log.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from vllm_studio_tui.domain.check import Check, ok, warn
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tool_server import ToolServer
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.doctor.context import Ground
from vllm_studio_tui.store.mcp_servers import server_from
from vllm_studio_tui.tools.process_transport import environment
from vllm_studio_tui.tools.variables import filled

#: Servers that are looked at, and seconds that all of them together may take to tell their tools.
MOST, SECONDS = 50, 20.0


def tool_servers(ground: Ground) -> Mapping[str, Check]:
    """Check each MCP server without starting any: its consent, its program, the variables that it needs."""
    found = {server.name: _looked_at(server, agreed, ground) for server, agreed in _stored(ground)}
    return found or {"servers": ok("none; `vllm-studio mcp add` keeps one")}


def started_servers(ground: Ground) -> Mapping[str, Check]:
    """Check each MCP server by starting or reaching those that are on and agreed to, all at once."""
    stored = list(_stored(ground))
    found = {server.name: _looked_at(server, agreed, ground) for server, agreed in stored}
    ready = [server for server, agreed in stored if server.enabled and agreed and found[server.name].state == "ok"]
    found |= asyncio.run(_started(ready, ground))
    return found or {"servers": ok("none; `vllm-studio mcp add` keeps one")}


def _looked_at(server: ToolServer, agreed: bool, ground: Ground) -> Check:
    name = server.name
    if not server.enabled:
        return ok("off")
    if not agreed:
        return warn(
            f"waits until you agree to it: {clean_line(server.target, limit=200)}",
            f"Look at it, and agree, or remove it: vllm-studio mcp test {name}",
        )
    try:
        given = {key: filled(value, ground.environ, name) for key, value in server.env.items()}
        for value in (server.url, *server.headers.values(), *server.args):
            filled(value, ground.environ, name)
        if server.kind != "stdio":
            return ok(f"at {clean_line(server.url, limit=200)}; `doctor --tools` reaches it")
        program = str(Path(filled(server.command, ground.environ, name)).expanduser())
    except StudioError as error:
        return warn(clean_line(error.title, limit=200), error.advice or clean_line(error.cause, limit=200))
    path = environment(given, ground.environ).get("PATH")
    where = shutil.which(program, path=path)
    if where is None:
        return warn(f"there is no program {clean_line(program, limit=200)}", "Install it, or name it by its path.")
    return ok(f"{clean_line(where, limit=200)}; `doctor --tools` starts it")


async def _started(servers: list[ToolServer], ground: Ground) -> dict[str, Check]:
    from vllm_studio_tui.tools.mcp_connection import Connection

    async def one(server: ToolServer) -> Check:
        connection = Connection(server, ground.places.state / "mcp" / f"{server.name}.log", ground.environ)
        fix = f"vllm-studio mcp test {server.name}"
        try:
            async with asyncio.timeout(SECONDS):
                tools = await connection.tools()
        except TimeoutError:
            return warn(f"did not tell its tools within {numbers.duration(SECONDS)}", f"Give it longer: {fix}")
        except StudioError as error:
            words = clean_line((error.cause or error.title).rstrip("."), limit=300)
            return warn(words, error.advice or fix)
        finally:
            await connection.close()
        report = connection.report
        count = "1 tool" if len(tools) == 1 else f"{len(tools)} tools"
        more = f", {report.dropped} more cannot be offered" if report.dropped else ""
        title = clean_line(f"{report.title} {report.version}".strip(), limit=80)
        return ok(f"{count} in {numbers.latency(report.seconds)}{more}{f'; {title}' if title else ''}")

    checks = await asyncio.gather(*(one(server) for server in servers))
    return {server.name: check for server, check in zip(servers, checks, strict=True)}


def _stored(ground: Ground) -> list[tuple[ToolServer, bool]]:
    """Return the servers of the database and whether a person has agreed to each, without changing it."""
    path = ground.places.database
    if not path.exists():
        return []
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)
        connection.row_factory = sqlite3.Row
        try:
            rows = connection.execute("SELECT * FROM mcp_servers ORDER BY name, id LIMIT ?", (MOST,)).fetchall()
            marks = connection.execute("SELECT server, fingerprint FROM tool_consents WHERE tool = ''").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []  # the check of the database reports it
    agreed = {(row["server"], row["fingerprint"]) for row in marks}
    servers = [server_from(row) for row in rows]
    return [(one, (one.name, one.fingerprint) in agreed) for one in servers]
