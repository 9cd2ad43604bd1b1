"""A stand-in for the private socket of `serve`: answers what a test says, whatever that is."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.unix_socket import address_of


class Serving:
    """What is asked, and what is answered: bytes as they are, or a document by its path."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.raw: bytes | None = None
        self.documents: dict[str, object] = {}
        self.status = 200

    def answer(self, head: bytes) -> bytes | None:
        """Return the answer to a request; None: there never is one."""
        words = head.split(b" ")
        path = words[1].decode() if len(words) > 1 else ""
        self.asked.append(f"{words[0].decode()} {path}")
        if self.raw is not None:
            return self.raw or None
        found = self.documents.get(path)
        status = 404 if found is None else self.status
        body = json.dumps({"error": {"message": "no such request"}} if found is None else found).encode()
        return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@contextlib.contextmanager
def serving(places: Places, *, url: str = "http://127.0.0.1:8080") -> Iterator[Serving]:
    """Listen as `serve` does."""
    folder = places.state / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serve.json").write_text(json.dumps({"pid": 1, "url": url}))
    told = Serving()
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _bind(listener, folder / "serve.sock")
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, told, ended), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
            (folder / "serve.sock").unlink()


def _bind(listener: socket.socket, path: Path) -> None:
    with address_of(path) as name:
        listener.bind(name)


def _serve(listener: socket.socket, told: Serving, ended: threading.Event) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            head = connection.recv(65536)
            answer = told.answer(head)
            if answer is None:
                ended.wait()
            else:
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
