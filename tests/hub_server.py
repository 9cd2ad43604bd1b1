"""A small hub on this machine, which answers as the hub of Hugging Face does: its API, redirects, headers and errors.

What it answers is held against the client, huggingface_hub, whose own code reads it in these tests, and against what is
written of the real one: large files are led to another host by a 302 with `X-Linked-Etag` (the sha256) and
`X-Linked-Size`, small ones by a 307 with a relative address; the other host's own `ETag` is no sha256; trees come in
pages with a `Link`; errors have `X-Error-Code`. It can be slow, cut, stall, lie, ask to wait and fail.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.ports import free_port

PAGE = 3
LARGE = (".safetensors", ".gguf", ".bin", ".pth")


def blob_id(content: bytes) -> str:
    """Git's sha1 of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


@dataclass
class Repo:
    """A repository of the hub."""

    files: dict[str, bytes]
    gated: str | bool = False
    #: Tokens that are let in, where it is gated.
    granted: set[str] = field(default_factory=set)
    licence: str = "apache-2.0"
    branches: dict[str, str] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        parts = b"".join(name.encode() + hashlib.sha256(body).digest() for name, body in sorted(self.files.items()))
        return hashlib.sha1(parts).hexdigest()  # noqa: S324

    def revision(self, name: str) -> str | None:
        return self.commit if name in ("main", self.commit) or name in self.branches else None


@dataclass
class Asked:
    """One request, as it came, and how much of a body it was sent so far."""

    host: str
    method: str
    path: str
    authorization: str | None
    range: str | None
    sent: int = 0


@dataclass
class Hub:
    """The state of the two servers: the hub, and the host that has the large files."""

    endpoint: str = ""
    storage: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    #: Bytes a second of each connection of the storage; None: as fast as it goes.
    speed: float | None = None
    #: The storage closes the connection after so many bytes of a body: one entry for each answer, then none.
    cuts: deque[int] = field(default_factory=deque)
    #: The storage sends so many bytes and then nothing more.
    stalls: deque[int] = field(default_factory=deque)
    #: Statuses with headers that are answered in place of the next requests for files or of the API.
    troubles: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    #: Bodies that are answered in place of the next ones of the API.
    bodies: deque[bytes] = field(default_factory=deque)
    ignore_ranges: bool = False
    #: Changes what the storage sends of a file.
    change: Callable[[bytes], bytes] | None = None
    #: The hub says another size, or another sha256, in its headers than in its list.
    linked_etag: str | None = None
    redirect: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def bytes_sent(self, host: str = "storage") -> int:
        return sum(one.sent for one in self.asked if one.host == host and one.method == "GET")

    def add(self, name: str, files: dict[str, bytes], **options: Any) -> Repo:
        self.repos[name] = Repo(files, **options)
        return self.repos[name]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub and its storage until the end of the block."""
    hub = Hub()
    servers = []
    for host in ("hub", "storage"):
        server = ThreadingHTTPServer(("127.0.0.1", free_port()), _handler(hub, host))
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that was killed
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{servers[0].server_port}"
    hub.storage = f"http://127.0.0.1:{servers[1].server_port}"
    try:
        yield hub
    finally:
        hub.stop.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def _handler(hub: Hub, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._serve(head=True)

        def do_GET(self) -> None:
            self._serve(head=False)

        def do_POST(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._serve(head=False)

        def _serve(self, *, head: bool) -> None:
            self.head = head
            self.asked = Asked(
                host, self.command, self.path, self.headers.get("Authorization"), self.headers.get("Range")
            )
            hub.asked.append(self.asked)
            try:
                (_storage if host == "storage" else _hub)(self, hub)
            except (BrokenPipeError, ConnectionError):
                self.close_connection = True

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not self.head:
                self.wfile.write(body)
                self.asked.sent += len(body)

        def error(self, status: int, code: str, message: str = "") -> None:
            self.answer(
                status, json.dumps({"error": message}).encode(), X_Error_Code=code, X_Error_Message=message or code
            )

    return Handler


def _refusal(handler: Any, hub: Hub, name: str, *, files: bool) -> Repo | None:
    """Answer with the error that the hub has for this name and token; else return the repository."""
    sent = handler.headers.get("Authorization", "").removeprefix("Bearer ")
    if sent and sent not in hub.tokens:
        handler.error(401, "", "Invalid credentials in Authorization header")
        return None
    repo = hub.repos.get(name)
    if repo is None:
        # Without a token one is not told whether there is a private one of that name.
        handler.error(404 if sent else 401, "RepoNotFound", "Repository not found")
        return None
    if repo.gated and files and sent not in repo.granted:
        handler.error(
            403 if sent else 401,
            "GatedRepo",
            f"Access to model {name} is restricted" + (" and you are not in the authorized list." if sent else "."),
        )
        return None
    return repo


def _hub(handler: Any, hub: Hub) -> None:
    parts = urlsplit(handler.path)
    path = unquote(parts.path)
    if hub.troubles:
        status, headers = hub.troubles.popleft()
        handler.answer(status, b"", **headers)
        return
    if hub.bodies and path.startswith("/api/"):
        handler.answer(200, hub.bodies.popleft(), Content_Type="application/json")
        return
    found = re.fullmatch(r"/api/models/(.+?)/auth-check", path)
    if found:
        if _refusal(handler, hub, found[1], files=True) is not None:
            handler.answer(200)
        return
    found = re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)", path)
    if found:
        repo = _refusal(handler, hub, found[1], files=False)
        if repo is not None:
            _info(handler, found[1], repo)
        return
    found = re.fullmatch(r"/api/models/(.+?)/(revision|tree)/([^/]+)/?", path)
    if found:
        repo = _refusal(handler, hub, found[1], files=False)
        if repo is None:
            return
        commit = repo.revision(unquote(found[3]))
        if commit is None:
            handler.error(404, "RevisionNotFound", f"Invalid rev id: {found[3]}")
        elif found[2] == "revision":
            _info(handler, found[1], repo)
        else:
            _tree(handler, hub, found[1], repo, parse_qs(parts.query))
        return
    found = re.fullmatch(r"/api/models/(.+?)/paths-info/([^/]+)", path)
    if found and handler.command == "POST":
        repo = _refusal(handler, hub, found[1], files=False)
        if repo is not None:
            body = handler.body.decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            entries = [_entry(one, repo.files[one]) for one in asked if one in repo.files]
            handler.answer(200, json.dumps(entries).encode(), Content_Type="application/json; charset=utf-8")
        return
    found = re.fullmatch(r"/api/resolve-cache/models/(.+?)/([0-9a-f]{40})/(.+)", path)
    if found:
        body = hub.repos[found[1]].files[found[3]]
        _body(handler, hub, body, ETag=f'"{blob_id(body)}"', X_Repo_Commit=found[2])
        return
    found = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
    if not found:
        handler.error(404, "", "Sorry, we can't find the page you are looking for.")
        return
    repo = _refusal(handler, hub, found[1], files=True)
    if repo is None:
        return
    commit = repo.revision(found[2])
    if commit is None:
        handler.error(404, "RevisionNotFound", f"Invalid rev id: {found[2]}")
    elif found[3] not in repo.files:
        handler.error(404, "EntryNotFound", "Entry not found")
    else:
        _resolve(handler, hub, found[1], found[3], repo, commit)


def _info(handler: Any, name: str, repo: Repo) -> None:
    document = {
        "_id": "0" * 24,
        "id": name,
        "modelId": name,
        "sha": repo.commit,
        "private": False,
        "gated": repo.gated,
        "disabled": False,
        "tags": ["safetensors"],
        "cardData": {"license": repo.licence},
        "siblings": [{"rfilename": one} for one in repo.files],
    }
    handler.answer(200, json.dumps(document).encode(), Content_Type="application/json; charset=utf-8")


def _tree(handler: Any, hub: Hub, name: str, repo: Repo, query: dict[str, list[str]]) -> None:
    folders = sorted({one.rsplit("/", 1)[0] for one in repo.files if "/" in one})
    entries: list[dict[str, Any]] = [{"type": "directory", "oid": "1" * 40, "size": 0, "path": one} for one in folders]
    entries += [_entry(one, body) for one, body in sorted(repo.files.items())]
    at = int(query.get("cursor", ["0"])[0])
    headers = {"Content_Type": "application/json; charset=utf-8"}
    if at + PAGE < len(entries):
        headers["Link"] = (
            f'<{hub.endpoint}/api/models/{name}/tree/{repo.commit}?recursive=true&cursor={at + PAGE}>; rel="next"'
        )
    handler.answer(200, json.dumps(entries[at : at + PAGE]).encode(), **headers)


def _entry(name: str, body: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": blob_id(body), "size": len(body), "path": name}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 135}
        entry["xetHash"] = hashlib.sha256(b"xet" + body).hexdigest()
    return entry


def _resolve(handler: Any, hub: Hub, name: str, file: str, repo: Repo, commit: str) -> None:
    body = repo.files[file]
    if not file.endswith(LARGE):
        where = f"/api/resolve-cache/models/{name}/{commit}/{quote(file)}"
        handler.answer(
            307, b"Temporary Redirect", Location=where, ETag=f'"{blob_id(body)}"', X_Repo_Commit=commit,
            X_Linked_Size=str(len(body)), X_Linked_Etag=f'"{blob_id(body)}"', Accept_Ranges="bytes",
        )  # fmt: skip
        return
    digest = hashlib.sha256(body).hexdigest()
    where = hub.redirect or f"{hub.storage}/{digest}?X-Amz-Signature=s1gned"
    handler.answer(
        302, b"Found", Location=where, X_Repo_Commit=commit, X_Linked_Size=str(len(body)), Accept_Ranges="bytes",
        X_Linked_Etag=f'"{hub.linked_etag or digest}"', X_Xet_Hash=hashlib.sha256(b"xet" + body).hexdigest(),
        Link=f'<{hub.endpoint}/api/models/{name}/xet-read-token/{commit}>; rel="xet-auth"',
    )  # fmt: skip


def _storage(handler: Any, hub: Hub) -> None:
    if handler.headers.get("Authorization"):
        # A signed address and a token together are refused, as S3 does.
        handler.answer(400, b"Only one auth mechanism allowed")
        return
    digest = urlsplit(handler.path).path.strip("/")
    for repo in hub.repos.values():
        for body in repo.files.values():
            if hashlib.sha256(body).hexdigest() == digest:
                changed = hub.change(body) if hub.change else body
                _body(handler, hub, changed, slow=True, ETag=f'"{hashlib.md5(body).hexdigest()}"')  # noqa: S324
                return
    handler.answer(404)


def _body(handler: Any, hub: Hub, body: bytes, *, slow: bool = False, **headers: str) -> None:
    """Send a file, or the range of it that was asked for."""
    start, status, end = 0, 200, len(body) - 1
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    if asked and not hub.ignore_ranges:
        start, end = int(asked[1]), min(int(asked[2] or end), end)
        if start > end:
            handler.answer(416, Content_Range=f"bytes */{len(body)}")
            return
        status = 206
        headers["Content_Range"] = f"bytes {start}-{end}/{len(body)}"
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Accept-Ranges", "bytes")
    handler.send_header("Content-Length", str(end + 1 - start))
    handler.end_headers()
    if handler.head:
        return
    cut = hub.cuts.popleft() if slow and hub.cuts else None
    stall = hub.stalls.popleft() if slow and hub.stalls else None
    at, stop = start, min([end + 1, *(start + one for one in (cut, stall) if one is not None)])
    step = 64 << 10 if hub.speed is None else max(1, int(hub.speed / 20))
    while at < stop and not hub.stop.is_set():
        piece = body[at : min(at + step, stop)]
        handler.wfile.write(piece)
        handler.asked.sent += len(piece)
        at += len(piece)
        if hub.speed is not None and slow:
            time.sleep(len(piece) / hub.speed)
    if stall is not None:
        hub.stop.wait(60)
    if cut is not None or stall is not None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
