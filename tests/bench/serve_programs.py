"""The programs beside `serve` in its benchmark: an engine that costs nothing, and the least that passes on."""

from __future__ import annotations

#: A server that answers at once, or streams N chunks, M a second: what an engine costs is not the question.
ENGINE = """
import asyncio, json, sys
BODY = json.dumps({"id": "a", "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}],
                   "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()
EVENT = (b'data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":'
         b'[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\\n\\n')
CHUNK = b"%x\\r\\n%b\\r\\n" % (len(EVENT), EVENT)
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lines = [line.partition(b":") for line in head.lower().split(b"\\r\\n")]
            length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
            body = await reader.readexactly(length) if length else b""
            if b'"stream":true' not in body.replace(b" ", b""):
                kind = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
                writer.write(kind % len(BODY) + BODY)
                continue
            asked = json.loads(body)
            writer.write(HEAD)
            pause, next_ = 1 / asked["seed"], asyncio.get_running_loop().time()
            for _ in range(asked["max_tokens"]):
                writer.write(CHUNK)
                next_ += pause
                await asyncio.sleep(max(0.0, next_ - asyncio.get_running_loop().time()))
            writer.write(b"e\\r\\ndata: [DONE]\\n\\n\\r\\n0\\r\\n\\r\\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024) as server:
        await server.serve_forever()
asyncio.run(main())
"""
#: The port of a run that runs elsewhere, as its follower leads it.
RELAY = """
import signal, sys
from vllm_studio_tui.followers.relay import Relay
relay = Relay("127.0.0.1", int(sys.argv[1]))
relay.lead_to(("127.0.0.1", int(sys.argv[2])))
signal.pause()
"""
#: The floor: bytes from one socket to the other, nothing read or known of them.
PUMP = """
import asyncio, sys
try:
    import uvloop
    factory = uvloop.new_event_loop
except ImportError:
    factory = None
async def pump(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
async def serve(reader, writer):
    up, down = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pump(reader, down), pump(up, writer))
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024) as server:
        await server.serve_forever()
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""
#: The least that one can do with aiohttp on both ends: read a request, send it on, send the answer back.
BARE = """
import asyncio, sys
import aiohttp
from aiohttp import web
try:
    import uvloop
    factory = uvloop.new_event_loop
except ImportError:
    factory = None
async def main():
    url = f"http://127.0.0.1:{sys.argv[2]}/v1/chat/completions"
    kind = {"Content-Type": "application/json"}
    async def handle(request):
        body = await request.read()
        async with session.post(url, data=body, headers=kind) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(status=answer.status, body=await answer.read(), headers=kind)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1]), backlog=1024).start()
        await asyncio.Event().wait()
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""
