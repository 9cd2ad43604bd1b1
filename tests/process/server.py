#!/usr/bin/env python3
"""A server that does as strangers and odd engines do: `server.py PORT [options]`. Standard library only."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    model: str | None = None
    health = 200
    first: str | None = None

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        if Handler.first:
            print(Handler.first, flush=True)
            Handler.first = None
        if self.path == "/health":
            self._send(self.health, b"ok")
        elif self.path == "/v1/models" and self.model:
            self._send(200, json.dumps({"data": [{"id": self.model}]}).encode())
        elif self.path == "/metrics" and self.model:
            self._send(200, b"vllm:prompt_tokens_total 1000\nvllm:generation_tokens_total 333\n")
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--model")
    parser.add_argument("--health", type=int, default=200)
    parser.add_argument("--reuse-port", action="store_true")
    parser.add_argument("--detach", action="store_true", help="a worker that re-parents, without environment, serves")
    parser.add_argument("--bind-only", action="store_true", help="bind the port and never listen")
    parser.add_argument("--say", help="a line for the log; then it serves nothing")
    parser.add_argument("--say-first", help="a line for the log, written when somebody first asks")
    options = parser.parse_args()
    Handler.model, Handler.health, Handler.first = options.model, options.health, options.say_first
    if options.say:
        print(options.say, flush=True)
        time.sleep(600)
    if options.detach and os.fork() > 0:
        time.sleep(600)
    if options.detach:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        arguments = [one for one in sys.argv if one != "--detach"]
        os.execve(sys.executable, [sys.executable, *arguments], {})  # noqa: RUF100, S606
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.allow_reuse_address = True
    if options.reuse_port:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.server_bind()
    if options.bind_only:
        time.sleep(600)
    server.server_activate()

    def close(*_: object) -> None:  # the process lives on, and its port is anybody's
        server.socket.shutdown(socket.SHUT_RDWR)
        server.socket.close()

    signal.signal(signal.SIGUSR1, close)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:  # a signal may be given to the other thread: it is only seen here
        time.sleep(0.05)


if __name__ == "__main__":
    main()
