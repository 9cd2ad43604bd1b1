"""The HTTP server of the simulated engine: its state, and reading and sending JSON."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vllm_studio_tui.simulation.exposition import Counters
from vllm_studio_tui.simulation.faults import Faults
from vllm_studio_tui.simulation.traffic import Traffic

#: Bytes of a request's body that are read.
BODY = 64 * 1024 * 1024


class Engine(ThreadingHTTPServer):
    """The server with its options, counters and faults."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace, handler: type[JsonHandler], traffic: Traffic | None = None) -> None:
        self.options = options
        self.framing = options.framing or ("llamacpp" if options.style == "llamacpp" else "uvicorn")
        self.traffic = traffic
        self.counters = Counters(options.account, traffic)
        self.faults = Faults()
        self.faults.crash_at_token = options.crash_at_token
        self.faults.break_at, self.faults.break_style = options.break_stream_at, options.break_style
        self.faults.exit_code = options.exit_code
        self.key = os.environ.get(options.api_key_env) if options.api_key_env else None
        self.ready = False
        #: Told when a person's own request begins (1) and ends (-1).
        self.asked: Callable[[int], None] = lambda _: None
        super().__init__((options.host, options.port), handler)


class JsonHandler(BaseHTTPRequestHandler):
    """A connection over which JSON is received and sent."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as the servers of engines do: a token does not wait for the one before it
    server: Engine

    def log_message(self, *_: Any) -> None:
        """Write no access log: health checks every second would fill it."""

    def read_json(self) -> dict[str, Any] | None:
        """Return the request's body; None if it is not a JSON object (then the answer was 400)."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
            data = json.loads(self.rfile.read(min(length, BODY)) or b"{}")
        except ValueError:
            self.send_error_json(400, "the body is not JSON", "BadRequestError")
            return None
        if not isinstance(data, dict):
            self.send_error_json(400, "the body is not an object", "BadRequestError")
            return None
        return data

    def send_error_json(self, status: int, message: str, kind: str) -> None:
        """Send an error as OpenAI's API has it."""
        self.send_json(status, {"error": {"message": message, "type": kind, "code": status}})

    def send_json(self, status: int, data: Any) -> None:
        """Send a JSON document."""
        self.send_body(status, json.dumps(data).encode(), "application/json")

    def send_body(self, status: int, body: bytes, kind: str) -> None:
        """Send a whole response."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Simulated", "yes")
        self.end_headers()
        self.wfile.write(body)
