"""What stands in for the dashboard of a Ray cluster: it answers what a real one answered, or what a test gives it.

`tests/fixtures/ray/dashboard` holds answers of a real cluster of two nodes (Ray 2.60, one pretended GPU a node), as
`{"at": SECONDS, "answers": {PATH: [STATUS, BODY]}}`; long command lines in them are cut. What was done to it:

| file | state |
|---|---|
| `empty`, `healthy` | without an application; one with two replicas |
| `replica-killed` | the process of one replica was killed a moment ago |
| `deploy-failed` | a second application's constructor raises |
| `pending` | replicas, a placement group, an actor and tasks that no node has room for |
| `raylet-killed`, `raylet-killed-later` | beside that the raylet of one node was killed, 14 and 40 s ago |
| `no-serve` | Ray without `ray[serve]` |
| `token-given`, `token-missing`, `token-wrong` | `RAY_AUTH_MODE=token` |
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.ports import free_port
from vllm_studio_tui.domain.ray_reading import read_ray_view
from vllm_studio_tui.domain.ray_view import RayView
from vllm_studio_tui.probes.ray import PATHS, VERSION, Answer, understand

FIXTURES = Path(__file__).parent / "fixtures" / "ray" / "dashboard"
SCENES = sorted(file.stem for file in FIXTURES.glob("*.json"))
#: Those that say something of a cluster.
ANSWERING = [name for name in SCENES if name not in ("token-missing", "token-wrong")]
NAMES: Mapping[str, str] = {VERSION: "version", **{path: name for name, path in PATHS.items()}}


def scene(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return found


def view_of(name: str, *, at: float | None = None, address: str = "http://head:8265") -> RayView:
    """What is read of a scene; with `at` it was read at that moment, and all in it is as long ago as it was."""
    found = scene(name)
    answers = {part: answer_of(*found["answers"][path]) for part, path in PATHS.items()}
    told = read_ray_view({"address": address, "at": found["at"], "version": "2.60.0", **understand(answers)})
    return told if at is None else read_ray_view(_moved(told.to_json(), at - found["at"]))


def answer_of(status: int, body: Any) -> Answer:
    return Answer(body) if status == 200 else Answer(None, f"it answers {status}: {body}")


def _moved(data: Any, by: float) -> Any:
    if isinstance(data, dict):
        return {
            name: value + by if name in ("at", "since", "ended") and value is not None else _moved(value, by)
            for name, value in data.items()
        }
    return [_moved(one, by) for one in data] if isinstance(data, list | tuple) else data


class Dashboard:
    """A server that answers as told.

    Attributes:
        answers: Status and body by path; what is not there is 404. A function is called with the handler instead.
        asked: The paths that were asked, and the `Authorization` of each.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, str | None]] = []
        board = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                board.asked.append((self.path, self.headers.get("Authorization")))
                given = board.answers.get(self.path, (404, "404: Not Found"))
                if callable(given):
                    given(self)
                    return
                status, body = given
                data = (
                    body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, part: str, given: Any) -> None:
        """Change the answer of `version`, `nodes`, `load`, .."""
        self.answers[next(path for path, name in NAMES.items() if name == part)] = given


@contextmanager
def dashboard(name: str | None = None, answers: Mapping[str, Any] | None = None) -> Iterator[Dashboard]:
    """Run a dashboard that answers as a scene, and as told beside that."""
    board = Dashboard({**(scene(name)["answers"] if name else {}), **(answers or {})})
    thread = threading.Thread(target=board.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        board.server.shutdown()
        board.server.server_close()
        thread.join(5)


def dripping(until: threading.Event) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer whose head comes a letter at a time and never ends."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not until.wait(0.02):
            try:
                handler.wfile.write(b"a")
            except OSError:
                return

    return drip
