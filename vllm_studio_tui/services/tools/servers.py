"""MCP servers: kept, brought in from files of other programs, and started only once a person has agreed. Blocking."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.tool_consent import Consent
from vllm_studio_tui.domain.tool_server import RESERVED, ServersImport, ToolServer
from vllm_studio_tui.kit.masking import is_secret
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.kit.secrets import MAX_FILE, is_reference
from vllm_studio_tui.services.recipes.secret_files import SecretFiles
from vllm_studio_tui.store.mcp_servers import McpServerRows
from vllm_studio_tui.store.tool_consents import ConsentRows
from vllm_studio_tui.tools.config_files import read_entry, read_servers, server_name

if TYPE_CHECKING:
    from vllm_studio_tui.store.database import Database

#: Headers that are secrets whatever they hold.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Servers:
    """The MCP servers of a home.

    Args:
        db: Returns the database; called when it is needed.
        secrets: Where secrets go that are found in entries.
    """

    def __init__(self, db: Callable[[], Database], secrets: Path) -> None:
        self._db = db
        self._secrets = secrets

    @property
    def _rows(self) -> McpServerRows:
        return McpServerRows(self._db())

    def list(self) -> builtins.list[ToolServer]:
        """Return every server by name."""
        return self._rows.list()

    def get(self, name: str) -> ToolServer:
        """Return the server of this name.

        Raises:
            NotFound: There is none.
        """
        found = self._rows.get(name)
        if found is None:
            names = ", ".join(one.name for one in self.list()[:20])
            advice = f"There are: {names}" if names else "Add one: vllm-studio mcp add NAME -- COMMAND"
            raise NotFound(f"no MCP server {name[:60]}", advice=advice)
        return found

    def add(self, name: str, entry: Mapping[str, Any], *, trust: bool = False, replace: bool = False) -> ToolServer:
        """Keep a server, given as files of other programs write one.

        Args:
            trust: The person who gives it has agreed that it is started.
            replace: Take the place of one of the same name.

        Raises:
            UsageError: Something of it cannot be used, or there is one of this name.
        """
        if name != server_name(name) or name in RESERVED:
            words = "It has 1 to 40 letters, digits, - and _."
            raise UsageError(f"{name[:60]!r} cannot be the name of a server", cause=words, advice="Such as: github")
        try:
            server, _ = read_entry(name, entry)
        except UsageError as error:
            raise UsageError(f"{name} cannot be used: {error.title}", advice="See docs/guide/tools.md.") from None
        if not replace and self._rows.get(name) is not None:
            advice = f"Choose another name, or remove it: vllm-studio mcp remove {name}"
            raise UsageError(f"there is an MCP server {name} already", advice=advice)
        server = self._without_secrets(server)
        self._rows.put(server)
        if trust:
            self.trust(name)
        return server

    def remove(self, name: str) -> ToolServer:
        """Delete a server, and what was allowed of it.

        Raises:
            NotFound: There is none.
        """
        server = self.get(name)
        self._rows.delete(name)
        ConsentRows(self._db()).forget(name)
        return server

    def enable(self, name: str, enabled: bool) -> ToolServer:
        """Turn a server on or off: one that is off is not started.

        Raises:
            NotFound: There is none.
        """
        server = replace(self.get(name), enabled=enabled)
        self._rows.put(server)
        return server

    def import_(self, raw: bytes, source: str, *, dry_run: bool = False, overwrite: bool = False) -> ServersImport:
        """Take servers over from a file of another program. None of them is started before a person agrees.

        Args:
            dry_run: Only say what would be done.
            overwrite: Replace servers that are there under another form.

        Raises:
            UsageError: The file holds none.
        """
        found, notes = read_servers(raw, source)
        known = {one.name: one for one in self.list()}
        kept, present, servers = [], [], []
        for one in found:
            server = self._without_secrets(one, dry=dry_run)
            servers.append(server)
            if server != one:
                notes.append(f"{server.name}: its secrets are kept in files of their own, readable by you alone")
            before = known.get(server.name)
            if before == server:
                continue
            if before is not None and not overwrite:
                present.append(server.name)
                continue
            kept.append(server.name)
            if not dry_run:
                self._rows.put(server)
        return ServersImport(tuple(servers), tuple(notes), tuple(() if dry_run else kept), tuple(present))

    # --- whether one may be started ---------------------------------------------------------------------

    def trusted(self, server: ToolServer) -> bool:
        """Return whether a person has agreed to a server as it is now."""
        return any(
            not one.tool and one.fingerprint == server.fingerprint for one in ConsentRows(self._db()).list(server.name)
        )

    def trust(self, name: str) -> ToolServer:
        """Keep that a person has agreed to a server as it is now; once it is changed, he is asked anew.

        Raises:
            NotFound: There is none.
        """
        server = self.get(name)
        ConsentRows(self._db()).add(Consent("", name, fingerprint=server.fingerprint))
        return server

    def _without_secrets(self, server: ToolServer, *, dry: bool = False) -> ToolServer:
        """Return a server with references in place of its secrets."""
        files = SecretFiles(self._secrets, dry=dry)

        def kept(field: str, name: str, value: str) -> str:
            secret = is_secret(name, value) or (field == "header" and name.lower() in _SECRET_HEADERS)
            secret = secret or "***" in redact(value, ())
            if not secret or is_reference(value) or "${" in value or "\n" in value or len(value) > MAX_FILE:
                return value
            return files.keep(f"mcp-{server.name}", name, value)

        return replace(
            server,
            env={name: kept("env", name, value) for name, value in server.env.items()},
            headers={name: kept("header", name, value) for name, value in server.headers.items()},
        )
