"""`mcp`: tools for models, from MCP servers and built in; and the studio as an MCP server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.domain.tool_server import ToolServer
    from vllm_studio_tui.domain.tools import Tool
    from vllm_studio_tui.services.protocols import StudioApi

#: Bytes of a file that is brought in.
MOST = 8 * 1024 * 1024


def register(app: typer.Typer) -> None:
    mcp = typer.Typer(no_args_is_help=True, help="Tools for models: MCP servers, the built-in ones, the studio itself.")
    app.add_typer(mcp, name="mcp")
    _register_servers(mcp)
    _register_use(mcp)
    _register_consents(mcp)


def _register_servers(mcp: typer.Typer) -> None:
    @mcp.command("list")
    def list_servers(as_json: bool = typer.Option(False, "--json", help="One JSON document.")) -> None:
        """The MCP servers, and whether you have agreed that they are started. None is started for this."""
        with open_studio() as studio:
            servers = studio.tools.servers()
            waiting = {one.name for one in studio.tools.untrusted()}
        if as_json:
            emit({"servers": [{**one.to_json(), "state": _state(one, waiting)} for one in servers]})
            return
        if servers:
            rows = [[one.name, _state(one, waiting), one.kind, clean_line(one.target, limit=200)] for one in servers]
            table(["NAME", "STATE", "TYPE", "COMMAND OR ADDRESS"], rows)
        else:
            say("No MCP server. Add one: vllm-studio mcp add NAME -- COMMAND, or vllm-studio mcp import FILE")
        if waiting:
            say()
            say(f"Look at it, and agree: vllm-studio mcp test {min(waiting)}")

    @mcp.command("add")
    def add(
        name: str = typer.Argument(help="What to call it."),
        target: list[str] = typer.Argument(
            metavar="-- COMMAND [ARGUMENTS] or URL", help="How it is started or reached."
        ),
        env: list[str] = typer.Option([], "--env", metavar="NAME=VALUE", help="A variable of it; env:NAME, file:PATH."),
        header: list[str] = typer.Option([], "--header", metavar="NAME: VALUE", help="A header for a URL."),
        cwd: str | None = typer.Option(None, "--cwd", metavar="FOLDER", help="Where it is started."),
        tool: list[str] = typer.Option([], "--tool", metavar="NAME", help="Offer only this tool; a glob."),
        timeout: float | None = typer.Option(None, "--timeout", metavar="SECONDS", help="How long a call may take."),
        sse: bool = typer.Option(False, "--sse", help="The URL speaks SSE, as before streamable HTTP."),
        legacy: bool = typer.Option(False, "--legacy", help="Speak to it as before the protocol of 2026."),
        replace: bool = typer.Option(False, "--replace", help="Take the place of one of this name."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Keep an MCP server. You wrote its command, so it needs no further consent; its calls do."""
        entry: dict[str, Any] = {"legacy": legacy, "tools": tool}
        if target[0].startswith(("http://", "https://")):
            if len(target) > 1 or env or cwd:
                raise UsageError("a URL takes no arguments, no --env and no --cwd", advice="Headers: --header.")
            entry |= {"url": target[0], "type": "sse" if sse else "http", "headers": _pairs(header, ":", "--header")}
        else:
            if header or sse:
                raise UsageError("--header and --sse are for a URL", advice="Variables: --env NAME=VALUE.")
            entry |= {"command": target[0], "args": target[1:], "env": _pairs(env, "=", "--env"), "cwd": cwd}
        if timeout is not None:
            if not 0 < timeout <= 3600:
                raise UsageError("--timeout is 0 to 3600 seconds")
            entry["timeout_ms"] = timeout * 1000
        with open_studio() as studio:
            server = studio.tools.add_server(name, entry, trust=True, replace=replace)
        if as_json:
            emit(server.to_json())
            return
        say(f"{name} is kept. See its tools: vllm-studio mcp test {name}")

    @mcp.command("remove")
    def remove(
        name: str = typer.Argument(help="Its name."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Delete an MCP server, and all that you allowed of it."""
        with open_studio() as studio:
            studio.tools.remove_server(name)
        if as_json:
            emit({"removed": name})
            return
        say(f"{name} is removed")

    @mcp.command("enable")
    def enable(
        name: str = typer.Argument(help="Its name."),
        off: bool = typer.Option(False, "--off", help="Turn it off: it is kept, and not started."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Turn an MCP server on, or off."""
        with open_studio() as studio:
            changed = studio.tools.enable_server(name, not off)
        if as_json:
            emit(changed.to_json())
            return
        say(f"{name} is {'off' if off else 'on'}")

    @mcp.command("import")
    def import_servers(
        path: str = typer.Argument(metavar="FILE or -", help="Of Claude, VS Code, Cursor, Zed, Codex, LM Studio, .."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be kept."),
        replace: bool = typer.Option(False, "--replace", help="Replace those that are there under another form."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Take MCP servers over from a file of another program. None is started before you agree to it."""
        raw, source = _read(path)
        with open_studio() as studio:
            found = studio.tools.import_servers(raw, source, dry_run=dry_run, replace=replace)
        if as_json:
            servers = [one.to_json() for one in found.servers]
            lists = {"notes": list(found.notes), "kept": list(found.kept), "present": list(found.present)}
            emit({"servers": servers, **lists, "dry_run": dry_run})
            return
        table(["NAME", "TYPE", "COMMAND OR ADDRESS"],
              [[one.name, one.kind, clean_line(one.target, limit=200)] for one in found.servers])  # fmt: skip
        for line in found.notes:
            note(f"  {line}")
        for one in found.present:
            note(f"  {one}: it is there already under another form, and stays as it is; --replace takes this one")
        kept = len(found.kept)
        say()
        say(
            "nothing was kept: --dry-run"
            if dry_run
            else f"{kept} kept. Look at each, and agree: vllm-studio mcp test NAME"
        )


def _register_use(mcp: typer.Typer) -> None:
    @mcp.command("test")
    def test(
        name: str = typer.Argument(help="An MCP server."),
        yes: bool = typer.Option(False, "--yes", help="Agree that it is started, without a question."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Start or reach an MCP server and show its tools. The first time it shows what it would run, and asks."""
        with open_studio() as studio:
            _agree(studio, studio.tools.server(name), yes)
            report = studio.tools.test_server(name)
        if as_json:
            keys = ("name", "title", "version", "protocol", "instructions", "seconds", "dropped")
            tools = [_tool_document(one) for one in report.tools]
            emit({**{key: getattr(report, key) for key in keys}, "tools": tools})
            return
        say(f"{name}: {report.title or 'no name'} {report.version}, protocol {report.protocol}, "
            f"{len(report.tools)} tools in {numbers.seconds(report.seconds)}")  # fmt: skip
        _show_tools(report.tools)
        if report.dropped:
            note(f"{report.dropped} of its tools cannot be offered: too many, or larger than any is")

    @mcp.command("tools")
    def tools(
        names: list[str] = typer.Argument(None, metavar="[NAME]...", help="Servers, tools, or globs of these."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """The tools that a model can be offered. Servers that you have agreed to are started for this."""
        with open_studio() as studio:
            found = studio.tools.tools(names or None)
            problems = studio.tools.problems()
        if as_json:
            errors = {name: error.to_json() for name, error in problems.items()}
            emit({"tools": [_tool_document(one) for one in found], "problems": errors})
            return
        _show_tools(found)
        for error in problems.values():
            note(f"{error.title}: {clean_line(error.cause, limit=300)}")
            note(f"  {clean_line(error.advice, limit=200)}")

    @mcp.command("call")
    def call(
        tool: str = typer.Argument(help="Its name, such as builtin__time or github__search."),
        arguments: str = typer.Argument("{}", metavar="[JSON]", help="Its arguments, as a JSON object; - reads stdin."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Call a tool, as a model would. It exits with 1 where the tool says that it failed."""
        given = _arguments(arguments)
        with open_studio() as studio:
            found = studio.tools.call(tool, given)
        if as_json:
            emit({"tool": tool, "text": found.text, "is_error": found.is_error, "seconds": found.seconds,
                  "size": found.size, "images": list(found.images)})  # fmt: skip
        else:
            say(found.text)
            note(f"{numbers.seconds(found.seconds)}, {numbers.size(found.size)}"
                 + (f", {len(found.images)} images" if found.images else ""))  # fmt: skip
        if found.is_error:
            raise typer.Exit(1)

    @mcp.command("serve")
    def serve() -> None:
        """Be an MCP server over standard streams: the studio's runs, logs, metrics, failures and usage, read only.

        For coding agents: {"mcpServers": {"vllm-studio": {"command": "vllm-studio", "args": ["mcp", "serve"]}}}. Over
        HTTP, `vllm-studio serve` has the same at /mcp, for keys of the scope `read`.
        """
        import asyncio

        from vllm_studio_tui.tools.mcp_server import serve_stdio

        if sys.stdin.isatty():
            note("An MCP client speaks to this over stdin and stdout; ctrl+d ends it.")
        with open_studio() as studio:
            asyncio.run(serve_stdio(lambda: studio.tools.tools(["studio"]), studio.tools.call))


def _register_consents(mcp: typer.Typer) -> None:
    @mcp.command("consents")
    def consents(
        forget: int | None = typer.Option(None, "--forget", metavar="NUMBER", help="Take this one back."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """What you allowed for longer than one call: servers that may be started, tools that are not asked about."""
        with open_studio() as studio:
            if forget is not None:
                studio.tools.forget(forget)
            found = studio.tools.consents()
        if as_json:
            emit({"consents": [one.to_json() for one in found]})
            return
        if not found:
            say("Nothing is allowed for longer than one call.")
            return
        rows = [
            [
                str(one.id),
                one.server,
                one.tool or "may be started",
                "this chat: " + one.session_id if one.session_id else "always",
                ", ".join(f"{name}={value}" for name, value in (one.pattern or {}).items()) or "any arguments",
            ]
            for one in found
        ]
        table(["NO", "SERVER", "TOOL", "FOR", "ARGUMENTS"], rows, right=[0])


def _agree(studio: StudioApi, server: ToolServer, yes: bool) -> None:
    """Ask the person whether a server may be started, where he has not agreed yet.

    Raises:
        UsageError: Nobody can be asked, or the server is off.
        StudioError: He does not agree.
    """
    if not server.enabled:
        raise UsageError(f"{server.name} is off", advice=f"Turn it on: vllm-studio mcp enable {server.name}")
    if server.name not in {one.name for one in studio.tools.untrusted()}:
        return
    note(f"{server.name} {'would run' if server.kind == 'stdio' else 'would be reached at'}: {server.target}")
    for what in (f"in {server.cwd}" if server.cwd else "", *(f"it is given {one}" for one in server.reads)):
        if what:
            note(f"  {what}")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("this must be confirmed", advice="Use --yes where nobody can be asked.")
        words = "Start it, now and later?" if server.kind == "stdio" else "Reach it, now and later?"
        if not typer.confirm(words, err=True):
            raise StudioError(f"{server.name} was not started", advice="You did not agree.")
    studio.tools.trust_server(server.name)


def _state(server: ToolServer, waiting: set[str]) -> str:
    return "off" if not server.enabled else "waits for you" if server.name in waiting else "agreed"


def _show_tools(tools: Any) -> None:
    rows = [[one.name, "asks" if one.asks else "never asks", clean_line(one.description, limit=90)] for one in tools]
    table(["TOOL", "BEFORE A CALL", "WHAT IT DOES"], rows)


def _tool_document(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "server": tool.server,
        "title": tool.title,
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "asks": tool.asks,
    }


def _pairs(given: list[str], between: str, option: str) -> dict[str, str]:
    found = {}
    for one in given:
        name, sign, value = one.partition(between)
        if not sign or not name.strip():
            raise UsageError(f"{option} is written NAME{between}VALUE", cause="What was given is not.")
        found[name.strip()] = value.strip() if between == ":" else value
    return found


def _read(path: str) -> tuple[bytes, str]:
    if path == "-":
        return sys.stdin.buffer.read(MOST), "standard input"
    try:
        with Path(path).expanduser().open("rb") as stream:
            return stream.read(MOST), path
    except OSError as error:
        raise StudioError(f"{path} cannot be read", cause=error.strerror or str(error)) from None


def _arguments(text: str) -> dict[str, Any]:
    import json

    if text == "-":
        text = sys.stdin.read(MOST)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        words = 'Such as: \'{"timezone": "Europe/Berlin"}\''
        raise UsageError("the arguments are no JSON", cause=str(error)[:200], advice=words) from None
    if not isinstance(found, dict):
        raise UsageError("the arguments are no JSON object", advice='Such as: \'{"timezone": "Europe/Berlin"}\'')
    return found
