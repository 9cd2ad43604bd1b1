"""What the load generator of `bench` itself takes: 256 streams that bring 1000 tokens a second together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figure import Figure
from tests.ports import free_port

STREAMS, SPEED, TOKENS = 256, 1000, 200

#: An engine in one process and one thread: its timer sends to a slice of the streams each millisecond or so.
SERVER = """
import asyncio, json, sys
port, streams, speed = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def chunk(data): return b"%x\\r\\ndata: %s\\n\\n\\r\\n" % (len(data) + 8, data)
PIECE = chunk(json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
    {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}]}).encode())
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n"
def last(prompt, out):
    end = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}).encode()
    use = json.dumps({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": out}}).encode()
    return chunk(end) + chunk(use) + chunk(b"[DONE]") + b"0\\r\\n\\r\\n"
async def serve(reader, writer):
    while True:
        try: head = await reader.readuntil(b"\\r\\n\\r\\n")
        except Exception: return
        lines = head.lower().split(b"\\r\\n")
        size = next((int(one.split(b":")[1]) for one in lines if one.startswith(b"content-length")), 0)
        asked = json.loads(await reader.readexactly(size) or b"{}") if size else {}
        words = len(str(asked.get("messages", [{}])[0].get("content", "")).split())
        out = asked.get("max_tokens", 1)
        if not asked.get("stream"):
            data = json.dumps({"choices": [], "usage": {"prompt_tokens": words, "completion_tokens": 1}}).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\n")
            writer.write(b"content-length: %d\\r\\n\\r\\n%s" % (len(data), data))
            continue
        writer.write(HEAD)
        for _ in range(out):
            await asyncio.sleep(streams / speed)
            writer.write(PIECE)
        writer.write(last(words, out))
async def main():
    await (await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 22)).serve_forever()
asyncio.run(main())
"""


def load(quick: bool) -> list[Figure]:
    """Measure the process that measures, over the middle of its work."""
    seconds = 8.0 if quick else 30.0
    port = free_port()
    engine = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port), str(STREAMS), str(SPEED)], stderr=subprocess.DEVNULL
    )
    try:
        with tempfile.TemporaryDirectory() as home:
            return _watch(Path(home), port, seconds)
    finally:
        engine.kill()
        engine.wait()


def _watch(home: Path, port: int, seconds: float) -> list[Figure]:
    argv = [
        sys.executable, "-m", "vllm_studio_tui", "bench", "--base-url", f"http://127.0.0.1:{port}/v1", "--model", "m",
        "-c", str(STREAMS), "--duration", str(seconds + 6), "--warmup", "2", "--prompt-tokens", "32",
        "--output-tokens", str(TOKENS), "--json",
    ]  # fmt: skip
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(home)}
    face = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        pid = _worker(face.pid)
        time.sleep(6.0)
        before, begin = _cpu(pid), time.monotonic()
        time.sleep(seconds)
        took = (_cpu(pid) - before) / (time.monotonic() - begin)
        out, _ = face.communicate(timeout=180)
    finally:
        face.kill()
    speed = json.loads(out)["output_tokens_per_second"]
    return [
        Figure(f"bench: its own CPU at {STREAMS} streams, {speed:.0f} tok/s", 100 * took, "%", None, 5.0),
        Figure("the same for 1000 tok/s", 100 * took * 1000 / speed, "%", None, 5.0),
    ]


def _worker(face: int) -> int:
    for _ in range(600):
        for one in Path(f"/proc/{face}/task/{face}/children").read_text().split():
            if b"bench.worker" in Path(f"/proc/{one}/cmdline").read_bytes():
                return int(one)
        time.sleep(0.1)
    raise AssertionError("nobody measures")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
