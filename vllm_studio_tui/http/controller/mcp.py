"""The studio as an MCP server, and the MCP servers of the studio with their tools.

A server is a command that is run here: who adds one needs the scope `admin`, and it is started only after a person has
agreed to it, as `POST /mcp/servers/{id}/trust` by such a key, or `vllm-studio mcp test`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.answers import body_of, document, flag, text_field
from vllm_studio_tui.http.request_body import read_body
from vllm_studio_tui.http.route import Call, Route

if TYPE_CHECKING:
    from vllm_studio_tui.domain.tool_server import ToolServer
    from vllm_studio_tui.domain.tools import Tool

#: Bytes of a request of an MCP client.
MOST = 1024 * 1024


async def _mcp(call: Call) -> web.StreamResponse:
    """Answer an MCP client; see `tools.mcp_server`."""
    body = await read_body(call.request, min(MOST, call.context.settings.max_body))
    headers = {name.lower(): value for name, value in call.request.headers.items()}
    try:
        status, told, answer = await call.context.mcp.answer(headers, body)
    except TimeoutError:
        raise Refusal(504, "tool_too_slow", "the tool took too long") from None
    return web.Response(status=status, body=answer, headers=told)


def _told(server: ToolServer, waiting: set[str]) -> dict[str, Any]:
    """Return a server as the original told it, and what is known beyond that; secrets masked."""
    return {"id": server.name, **server.to_json(), "agreed": server.name not in waiting}


def _waiting(call: Call) -> set[str]:
    return {one.name for one in call.context.studio.tools.untrusted()}


async def _list(call: Call) -> web.StreamResponse:
    tools, enabled_only = call.context.studio.tools, flag(call, "enabled_only")

    def found() -> list[dict[str, Any]]:
        waiting = _waiting(call)
        return [_told(one, waiting) for one in tools.servers() if one.enabled or not enabled_only]

    return document(await call.context.read(found))


async def _get(call: Call) -> web.StreamResponse:
    tools, name = call.context.studio.tools, call.request.match_info["id"]
    return document(await call.context.read(lambda: _told(tools.server(name), _waiting(call))))


async def _add(call: Call) -> web.StreamResponse:
    data = await body_of(call)
    name = text_field(data, "id", most=100) or text_field(data, "name", most=100, needed=True) or ""
    tools = call.context.studio.tools

    def add() -> dict[str, Any]:
        if name in {one.name for one in tools.servers()}:
            raise Refusal(409, "server_exists", f"there is an MCP server {name[:60]} already", advice="Use PUT.")
        return _told(tools.add_server(name, data), _waiting(call))

    return document(await call.context.read(add), 201, {"Location": f"/mcp/servers/{name}"})


async def _put(call: Call) -> web.StreamResponse:
    data, name, tools = await body_of(call), call.request.match_info["id"], call.context.studio.tools

    def put() -> dict[str, Any]:
        tools.server(name)
        return _told(tools.add_server(name, data, replace=True), _waiting(call))

    return document(await call.context.read(put))


async def _delete(call: Call) -> web.StreamResponse:
    name = call.request.match_info["id"]
    await call.context.call(call.context.studio.tools.remove_server, name)
    return document({"status": "deleted", "id": name})


async def _enable(call: Call) -> web.StreamResponse:
    name, what = call.request.match_info["id"], call.request.path.rsplit("/", 1)[-1]
    await call.context.call(call.context.studio.tools.enable_server, name, what == "enable")
    return document({"status": f"{what}d", "id": name})


async def _trust(call: Call) -> web.StreamResponse:
    name = call.request.match_info["id"]
    await call.context.read(call.context.studio.tools.trust_server, name)
    return document({"status": "agreed", "id": name})


async def _tools(call: Call) -> web.StreamResponse:
    """The tools of all servers that are on and agreed to, and why others have none here."""
    tools = call.context.studio.tools

    def found() -> dict[str, Any]:
        listed = [_tool(one) for one in tools.tools()]
        errors = [
            {"server": name, "error": error.title, "cause": error.cause or None}
            for name, error in tools.problems().items()
        ]
        return {"tools": listed, "errors": errors or None}

    return document(await call.context.call(found))


async def _tools_of(call: Call) -> web.StreamResponse:
    tools, name = call.context.studio.tools, call.request.match_info["id"]

    def found() -> dict[str, Any]:
        if name not in ("builtin", "studio"):
            tools.server(name)
        return {"server": name, "tools": [_tool(one) for one in tools.tools([name]) if one.server == name]}

    return document(await call.context.call(found))


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "server": tool.server,
        "name": tool.title,
        "call_name": tool.name,
        "description": tool.description,
        "inputSchema": dict(tool.parameters),
        "asks": tool.asks,
    }


async def _call_tool(call: Call) -> web.StreamResponse:
    """Make a call; its arguments are the body."""
    data, tools = await body_of(call), call.context.studio.tools
    server, title = call.request.match_info["id"], call.request.match_info["tool"]

    def made() -> dict[str, Any]:
        if server not in ("builtin", "studio"):
            if not tools.server(server).enabled:
                raise Refusal(400, "server_off", f"{server} is off", advice=f"Turn it on: /mcp/servers/{server}/enable")
            if server in _waiting(call):
                advice = f"An admin agrees to it: POST /mcp/servers/{server}/trust"
                raise Refusal(403, "not_agreed", f"nobody has agreed to {server} yet", advice=advice)
        tool = next((one for one in tools.tools([server]) if one.server == server and one.title == title), None)
        if tool is None:
            raise NotFound(f"{server[:60]} has no tool {title[:100]}", advice=f"See /mcp/servers/{server[:60]}/tools.")
        found = tools.call(tool.name, data)
        if found.is_error:
            raise Refusal(500, "tool_failed", f"{title[:100]} failed", cause=found.text[:4000])
        return {"result": found.text, "seconds": found.seconds, "size": found.size, "images": list(found.images)}

    return document(await call.context.call(made))


_SERVER = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "command": {"type": "string"},
        "args": {"type": "array", "items": {"type": "string"}},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "cwd": {"type": "string"},
        "url": {"type": "string"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "type": {"enum": ["stdio", "http", "sse"]},
        "enabled": {"type": "boolean"},
        "description": {"type": "string"},
        "timeout": {"type": "number", "description": "Seconds that a call may take."},
    },
}
_ARGUMENTS = {"type": "object", "description": "The arguments of the tool"}
_TAG = "Tools"
ROUTES = (
    Route(
        "POST", "/mcp", _mcp, Scope.READ, "The studio as an MCP server (streamable HTTP), read only", _TAG,
        body={"type": "object", "description": "A message of the Model Context Protocol"},
    ),
    Route(
        "GET", "/mcp/servers", _list, Scope.TOOLS, "The MCP servers of this studio", _TAG,
        query={"enabled_only": "Only those that are on."}, answer={"type": "array", "items": {"type": "object"}},
    ),
    Route("POST", "/mcp/servers", _add, Scope.ADMIN, "Keep an MCP server; it is not started", _TAG, body=_SERVER),
    Route("GET", "/mcp/servers/{id}", _get, Scope.TOOLS, "One MCP server", _TAG),
    Route("PUT", "/mcp/servers/{id}", _put, Scope.ADMIN, "Replace an MCP server", _TAG, body=_SERVER),
    Route("DELETE", "/mcp/servers/{id}", _delete, Scope.ADMIN, "Delete an MCP server", _TAG),
    Route("POST", "/mcp/servers/{id}/enable", _enable, Scope.ADMIN, "Turn an MCP server on", _TAG),
    Route("POST", "/mcp/servers/{id}/disable", _enable, Scope.ADMIN, "Turn an MCP server off", _TAG),
    Route("POST", "/mcp/servers/{id}/trust", _trust, Scope.ADMIN, "Agree that an MCP server is started", _TAG),
    Route("GET", "/mcp/servers/{id}/tools", _tools_of, Scope.TOOLS, "The tools of an MCP server", _TAG),
    Route("GET", "/mcp/tools", _tools, Scope.TOOLS, "All tools, and servers that give none", _TAG),
    Route(
        "POST", "/mcp/servers/{id}/tools/{tool}", _call_tool, Scope.TOOLS, "Call a tool", _TAG, body=_ARGUMENTS,
    ),
    Route("POST", "/mcp/tools/{id}/{tool}", _call_tool, Scope.TOOLS, "Call a tool", _TAG, body=_ARGUMENTS),
)  # fmt: skip
