"""The small server of `exporter`: it answers a scraper and nobody else, and changes nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe_imports import is_loopback
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.services.serving.discovery import RUN_METRICS, discovery_document, engine_text
from vllm_studio_tui.services.serving.exposition import CONTENT_TYPE, ServeMetrics
from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Seconds after which a connection that sends nothing is closed.
PATIENCE = 10.0
PLAIN = "text/plain; charset=utf-8"
PATHS = "/metrics, /prometheus/sd, /metrics/runs/RUN\n"


class ExporterServer(ThreadingHTTPServer):
    """Answers GET of `PATHS` with what is latest; port 0: any that is free.

    Raises:
        OSError: It cannot listen there.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, metrics: ServeMetrics, latest: Callable[[], Snapshot | None]) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.metrics = metrics
        self.latest = latest
        self.only_here = is_loopback(host)
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: ExporterServer
    server_version = "vllm-studio"
    sys_version = ""
    timeout = PATIENCE

    def log_message(self, *_: object) -> None:
        """Scrapes come every few seconds; they are no news."""

    def do_GET(self) -> None:
        asked = self.headers.get("Host", "")
        try:
            path, host = urlsplit(self.path).path, urlsplit(f"//{asked}").hostname or ""
        except ValueError:
            self._send(400, PLAIN, b"not an address\n")
            return
        if self.server.only_here and not is_loopback(host):
            # A page in a browser on this machine could reach us by a name of its own that leads to loopback.
            self._send(421, PLAIN, b"this host is asked by the name localhost alone\n")
        elif path == "/metrics":
            self._send(200, CONTENT_TYPE, self.server.metrics.text(self.server.latest()))
        elif path == "/prometheus/sd":
            document = discovery_document(self.server.latest(), asked)
            self._send(200, "application/json", json.dumps(document).encode())
        elif path.startswith(RUN_METRICS):
            self._send_run(unquote(path.removeprefix(RUN_METRICS)))
        else:
            self._send(200 if path == "/" else 404, PLAIN, PATHS.encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_run(self, name: str) -> None:
        shown = self.server.latest()
        run = next((one for one in shown.runs if one.run_id == name), None) if shown is not None else None
        try:
            if run is None:
                raise Refusal(404, "no_run", "there is no such run")
            self._send(200, CONTENT_TYPE, engine_text(run))
        except StudioError as error:
            status = error.status if isinstance(error, Refusal) else 502
            self._send(status, PLAIN, f"{error.title}\n".encode("utf-8", "replace"))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
