"""An MCP server as it should be, made with the SDK: `python well.py`, or `python well.py http PORT`, `.. sse PORT`."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("well", version="1.2", instructions="Adds numbers.", log_level="ERROR")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool()
def long(letters: int) -> str:
    """A text of so many letters."""
    return "x" * letters


@server.tool()
async def wait(seconds: float, mark: str = "") -> str:
    """Wait, and leave a file where the wait began."""
    if mark:
        Path(mark).touch()  # noqa: ASYNC240
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
def variable(name: str) -> str:
    """The value of a variable of this process."""
    return os.environ.get(name, "not set")


@server.tool(structured_output=False)
def picture() -> Image:
    """A picture of one pixel."""
    return Image(data=PIXEL, format="png")


@server.tool()
async def grow(context: Context) -> str:
    """Have one more tool from now on, and say so."""
    server.add_tool(lambda: "new", name="grown", description="A tool that came later.")
    await context.session.send_tool_list_changed()
    return "grown"


@server.tool()
def end(code: int) -> str:
    """End this process in the middle of a call."""
    sys.stderr.write("I was told to end\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "stdio"
    if kind == "http":
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    elif kind == "sse":
        server.run("sse", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
