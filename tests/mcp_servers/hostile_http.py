"""An MCP server over HTTP as nobody wants it: what it does is the path at which it is asked."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.ports import free_port

ESCAPES = "\x1b]0;owned\x07\x1b[2Jevil"


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers the first messages as it should, and the call of its tool as its path says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = json.loads(raw or b"{}")
        what, method, number = self.path.strip("/"), asked.get("method"), asked.get("id")
        with contextlib.suppress(OSError):
            if self.early(what):
                return
            if number is None:
                self.answer(202, b"")
            elif method == "initialize":
                version = asked["params"]["protocolVersion"]
                info = {"name": ESCAPES, "version": "0"}
                self.result(number, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
            elif method == "tools/list":
                self.result(number, {"tools": [{"name": "go", "inputSchema": {"type": "object"}}]})
            elif method == "tools/call":
                self.call(what, number)
            else:
                error = {"code": -32601, "message": "no such method"}
                self.answer(200, json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode())

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            self.answer(405, b"")

    do_DELETE = do_GET  # noqa: N815

    def early(self, what: str) -> bool:
        """Misbehave at the first message already."""
        if what == "hangs":
            time.sleep(60)
        elif what == "html":
            self.answer(200, b"<html>Log in</html>", "text/html")
        elif what == "refuses":
            self.answer(401, b'{"error": "no key"}')
        elif what == "broken":
            self.answer(500, ESCAPES.encode())
        elif what == "sends-on":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            return False
        return True

    def call(self, what: str, number: Any) -> None:
        if what == "slow":
            time.sleep(60)
        elif what == "huge":
            self.begin("application/json")
            while True:
                self.wfile.write(b"x" * 65536)
        elif what == "packed":
            self.answer(200, gzip.compress(b"x" * 50_000_000), headers={"Content-Encoding": "gzip"})
        elif what == "endless-event":
            self.begin("text/event-stream")
            self.wfile.write(b"data: ")
            while True:
                self.wfile.write(b"x" * 65536)
        elif what == "floods":
            self.begin("text/event-stream")
            message = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "n"}}
            line = b"data: " + json.dumps(message).encode() + b"\n\n"
            while True:
                self.wfile.write(line * 100)
        elif what == "drips":
            self.begin("text/event-stream")
            while True:
                self.wfile.write(b": still here\n\n")
                time.sleep(0.05)
        elif what == "breaks-off":
            self.begin("text/event-stream")
            self.wfile.write(b"data: {")
        else:
            self.result(number, {"content": [{"type": "text", "text": "well"}]})

    def result(self, number: Any, result: Any) -> None:
        self.answer(200, json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode())

    def begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def answer(
        self, status: int, body: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def hostile_site() -> Iterator[str]:
    """Serve it in a thread."""
    port = free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Hostile)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
