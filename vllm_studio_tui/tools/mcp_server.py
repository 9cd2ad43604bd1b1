"""Tools of this program as an MCP server, for coding agents: over standard streams, and behind an HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.tools import Tool, ToolResult
from vllm_studio_tui.tools.mcp_library import quiet

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

INSTRUCTIONS = (
    "Model servers (vLLM, SGLang, llama.cpp, ..) of one machine, read only: which run, on which GPUs, what their logs"
    " say, what they measure, why one failed, what was used. Begin with `status`."
)
#: Seconds that one request over HTTP may take, and bytes of it.
LONGEST = 120.0
MAX_BODY = 1024 * 1024
#: Headers of a request that the library reads.
_READ = ("accept", "content-type", "content-length", "mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name")

#: What is served: the tools there are, and what makes a call. Both block, and are done in threads.
ListTools = Callable[[], Sequence[Tool]]
CallTool = Callable[[str, Mapping[str, Any]], ToolResult]


def _server(list_tools: ListTools, call_tool: CallTool) -> Server[Any]:
    """Return a server with these tools, under the names that their own server gives them."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    from vllm_studio_tui import __version__

    quiet()

    async def listed(_: Any, __: Any) -> types.ListToolsResult:
        found = await asyncio.to_thread(list_tools)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=one.title,
                    description=one.description,
                    input_schema=dict(one.parameters) or {"type": "object"},
                    annotations=types.ToolAnnotations(read_only_hint=not one.asks, open_world_hint=False),
                )
                for one in found
            ]
        )

    async def called(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        names = {one.title: one.name for one in await asyncio.to_thread(list_tools)}
        name = names.get(asked.name)
        if name is None:
            words = f"there is no tool {asked.name[:100]}; there are: {', '.join(names)}"
            return types.CallToolResult(content=[types.TextContent(text=words)], is_error=True)
        found = await asyncio.to_thread(call_tool, name, asked.arguments or {})
        return types.CallToolResult(content=[types.TextContent(text=found.text)], is_error=found.is_error)

    return Server(
        "vllm-studio", version=__version__, instructions=INSTRUCTIONS, on_list_tools=listed, on_call_tool=called
    )


async def serve_stdio(list_tools: ListTools, call_tool: CallTool) -> None:
    """Serve over the standard streams until whoever started this closes them."""
    from mcp.server.stdio import stdio_server

    server = _server(list_tools, call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


class McpEndpoint:
    """Answers requests that an HTTP server has taken, found allowed, and read. No session: each stands alone."""

    def __init__(self, list_tools: ListTools, call_tool: CallTool) -> None:
        self._list, self._call = list_tools, call_tool
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer to a POST.

        Raises:
            TimeoutError: It took too long.
        """
        if self._manager is None:
            self._manager = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._live(self._manager))
        manager = await asyncio.shield(self._manager)
        given = [(name, headers[name]) for name in _READ if name in headers]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in given],
        }
        sent = False
        never = asyncio.Event()
        status, told, pieces = 500, {}, []

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await never.wait()  # whoever asked is still there; our caller is cancelled when he leaves
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status, told
            if message["type"] == "http.response.start":
                status = message["status"]
                told = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            elif message["type"] == "http.response.body":
                pieces.append(message.get("body", b""))

        async with asyncio.timeout(LONGEST):
            await manager.handle_request(scope, receive, send)
        told = {name: value for name, value in told.items() if name not in ("content-length", "server", "date")}
        return status, told, b"".join(pieces)

    async def close(self) -> None:
        """Let go of the library."""
        self._leave.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=5)

    async def _live(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """Hold the library's tasks: they are entered and left in one task."""
        try:
            from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

            manager = StreamableHTTPSessionManager(
                _server(self._list, self._call), json_response=True, stateless=True, max_request_body_size=MAX_BODY
            )
            async with manager.run():
                ready.set_result(manager)
                await self._leave.wait()
        except Exception as error:  # noqa: BLE001 - told to whoever asks
            if not ready.done():
                ready.set_exception(error)
        finally:
            with contextlib.suppress(asyncio.InvalidStateError):
                ready.cancel()
