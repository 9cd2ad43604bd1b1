"""The studio as an MCP server, asked by the SDK's own client: over standard streams and over HTTP with a key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

import tests.mcp_servers
from tests.elsewhere import served, short
from tests.process.house import House
from tests.unit.http_ground import serving
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.runs import control
from vllm_studio_tui.studio import Studio

WELL = str(Path(tests.mcp_servers.__file__).parent / "well.py")
TOOLS = {"status", "logs", "metrics", "why", "usage"}


def text(answer: Any) -> str:
    (part,) = answer.content
    return str(part.text)


async def check(client: Client, house: House) -> None:
    """Ask about a run that serves and one that failed."""
    found = await client.list_tools()
    assert {one.name for one in found.tools} == TOOLS
    assert all(one.annotations is not None and one.annotations.read_only_hint for one in found.tools)
    status = json.loads(text(await client.call_tool("status", {})))
    states = {one["recipe_id"]: one["state"] for one in status["runs"]}
    assert states == {"sim": "ready", "broken": "failed"}
    logs = await client.call_tool("logs", {"run": "sim", "lines": 1000})
    assert "Application startup complete" in text(logs)
    metrics = json.loads(text(await client.call_tool("metrics", {"run": "sim"})))
    assert metrics["running"] == 0
    why = json.loads(text(await client.call_tool("why", {"run": "broken"})))
    assert (why["state"], why["reason"]) == ("failed", "oom")
    assert "totals" in json.loads(text(await client.call_tool("usage", {"days": 1, "by": "recipe"})))
    wrong = await client.call_tool("logs", {"run": "nobody"})
    assert wrong.is_error
    assert "sim" in text(wrong)
    unknown = await client.call_tool("stop_everything", {})
    assert unknown.is_error
    assert "status" in text(unknown)


def runs_of(house: House) -> None:
    house.ready(house.launch(recipe="sim"))
    pattern = Failure(r"out of memory", "oom", "The GPU has no memory left", "Use less")
    code = "import sys; print('torch.OutOfMemoryError: CUDA out of memory'); sys.exit(1)"
    broken = house.launch(recipe="broken", argv=(sys.executable, "-c", code), failures=(pattern,))
    from vllm_studio_tui.runs import read

    assert read.wait_for(broken.folder, frozenset({State.FAILED}), 60).state is State.FAILED


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_coding_agent_asks_over_standard_streams(house: House, mode: str) -> None:
    await asyncio.to_thread(runs_of, house)
    env = {**os.environ, "VLLM_STUDIO_HOME": str(house.root)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "vllm_studio_tui", "mcp", "serve"], env=env)
    async with Client(server, mode=mode) as client:
        assert client.server_info is not None
        assert client.server_info.name == "vllm-studio"
        assert "read only" in (client.instructions or "")
        await check(client, house)
    await asyncio.to_thread(control.stop, house.now(house_run(house)))


async def test_a_coding_agent_here_asks_a_studio_elsewhere(house: House, tmp_path: Path) -> None:
    """`mcp serve` with `--connect` is about the machine that is named: an agent on a laptop asks a GPU server."""
    await asyncio.to_thread(runs_of, house)
    env = {**os.environ, "VLLM_STUDIO_HOME": str(tmp_path / "here")}
    with short(house.root) as places, served(places) as address:
        args = ["-m", "vllm_studio_tui", "--connect", f"unix://{address.path}", "mcp", "serve"]
        async with Client(StdioServerParameters(command=sys.executable, args=args, env=env)) as client:
            await check(client, house)
    await asyncio.to_thread(control.stop, house.now(house_run(house)))


def house_run(house: House) -> Any:
    from vllm_studio_tui.runs import read

    return next(one for one in read.all_runs(house.places) if one.recipe_id == "sim")


@contextlib.asynccontextmanager
async def asked(url: str, key: str | None, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_coding_agent_asks_over_http_with_a_key(
    house: House, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(runs_of, house)
    with Studio.open_sync(house.places) as studio:
        _, reads = studio.keys.add("agent", scopes=["read"])
        _, infers = studio.keys.add("asker", scopes=["inference"])
    async with serving(house.root, monkeypatch) as ground:
        url = f"{ground.url}/mcp"
        async with asked(url, reads, mode) as client:
            await check(client, house)
            many = await asyncio.gather(*(client.call_tool("status", {}) for _ in range(8)))
            assert {one.is_error for one in many} == {False}
        for key, status in ((None, 401), (infers, 403), ("vs-wrong", 401)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with ground.client.post(url, json={}, headers=headers) as refused:
                assert refused.status == status
        with pytest.raises((MCPError, ExceptionGroup, httpx.HTTPError)):
            async with asked(url, infers, mode):
                pass
    await asyncio.to_thread(control.stop, house.now(house_run(house)))


async def test_bad_requests_are_answered_and_the_server_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(house.root, monkeypatch) as ground:
        url = f"{ground.url}/mcp"
        accepts = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for body, headers in (
            (b"", accepts),
            (b"{", accepts),
            (b"[" * 100_000, accepts),
            (b"[]", accepts),
            (b'{"jsonrpc": "2.0", "id": 1, "method": "no/such"}', accepts),
            (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": 7}', accepts),
            (json.dumps(call).encode(), {"Content-Type": "text/plain"}),
            (json.dumps(call).encode(), {**accepts, "mcp-protocol-version": "1999-01-01"}),
            (json.dumps(call).encode(), {**accepts, "mcp-session-id": "made-up"}),
            (b"x" * 2_000_000, accepts),
        ):
            async with ground.client.post(url, data=body, headers=headers) as answered:
                assert answered.status < 500 or answered.status == 501, (body[:50], await answered.text())
        for method in ("GET", "DELETE"):
            async with ground.client.request(method, url) as answered:
                assert answered.status == 405
        async with asked(url, None) as client:
            assert {one.name for one in (await client.list_tools()).tools} == TOOLS


# --- the MCP servers of a studio, over its own API ----------------------------------------------------------


async def test_the_servers_of_a_studio_over_http(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(house.root, monkeypatch) as ground:

        async def call(method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with ground.client.request(method, ground.url + path, json=body, headers=headers) as answered:
                return answered.status, await answered.json()

        entry = {"name": "well", "command": sys.executable, "args": [WELL], "env": {"TOKEN": "hush-hush-1"}}
        status, made = await call("POST", "/mcp/servers", entry)
        assert (status, made["id"], made["agreed"], made["enabled"]) == (201, "well", False, True)
        assert "hush" not in json.dumps(made)
        assert (await call("POST", "/mcp/servers", entry))[0] == 409
        assert (await call("POST", "/mcp/servers", {"name": "bad"}))[0] == 400
        status, refused = await call("POST", "/mcp/servers/well/tools/add", {"a": 1, "b": 2})
        assert (status, refused["code"]) == (403, "not_agreed")
        status, tools = await call("GET", "/mcp/tools")
        assert {one["server"] for one in tools["tools"]} == {"builtin", "studio"}
        assert tools["errors"][0]["server"] == "well"
        assert await call("POST", "/mcp/servers/well/trust") == (200, {"status": "agreed", "id": "well"})
        status, found = await call("POST", "/mcp/servers/well/tools/add", {"a": 1, "b": 2})
        assert (status, found["result"]) == (200, "3")
        assert (await call("POST", "/mcp/tools/well/add", {"a": 1, "b": 2}))[1]["result"] == "3"
        status, listed = await call("GET", "/mcp/servers/well/tools")
        assert {"name": "add", "server": "well"}.items() <= listed["tools"][0].items()
        assert (await call("GET", "/mcp/tools"))[1]["errors"] is None
        assert (await call("POST", "/mcp/servers/well/tools/none", {}))[0] == 404
        assert (await call("POST", "/mcp/servers/none/tools/add", {}))[0] == 404
        assert (await call("POST", "/mcp/servers/well/tools/fail", {"why": "x"}))[0] == 500
        assert (await call("POST", "/mcp/servers/well/disable"))[1] == {"status": "disabled", "id": "well"}
        assert (await call("POST", "/mcp/servers/well/tools/add", {"a": 1, "b": 2}))[0] == 400
        assert (await call("GET", "/mcp/servers?enabled_only=true"))[1] == []
        assert (await call("GET", "/mcp/servers"))[1][0]["enabled"] is False
        status, changed = await call("PUT", "/mcp/servers/well", {"url": "https://a.invalid/mcp"})
        assert (status, changed["type"], changed["agreed"], changed["enabled"]) == (200, "http", False, True)
        assert (await call("PUT", "/mcp/servers/none", entry))[0] == 404
        assert (await call("DELETE", "/mcp/servers/well"))[1] == {"status": "deleted", "id": "well"}
        assert (await call("GET", "/mcp/servers/well"))[0] == 404


async def test_who_may_call_tools_may_add_no_servers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with Studio.open_sync(house.places) as studio:
        _, uses = studio.keys.add("agent", scopes=["tools"])
        _, reads = studio.keys.add("reader", scopes=["read"])
    async with serving(house.root, monkeypatch) as ground:

        async def status(method: str, path: str, key: str, body: Any = None) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            async with ground.client.request(method, ground.url + path, json=body, headers=headers) as answered:
                return answered.status

        assert await status("GET", "/mcp/servers", uses) == 200
        assert await status("POST", "/mcp/tools/builtin/time", uses, {}) == 200
        assert await status("POST", "/mcp/servers", uses, {"name": "x", "command": "id"}) == 403
        assert await status("POST", "/mcp/servers/x/trust", uses) == 403
        assert await status("DELETE", "/mcp/servers/x", uses) == 403
        assert await status("GET", "/mcp/servers", reads) == 403
        assert await status("POST", "/mcp/tools/builtin/fetch", reads, {"url": "http://127.0.0.1"}) == 403
