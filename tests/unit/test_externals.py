"""The state of a server that somebody else runs is what it answers, and it is not waited for."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from vllm_studio_tui.cli.app import run
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.recipes.external_servers import external_states


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Bearer right" or self.path.startswith("/open")
        self.send_response(200 if known and self.path.endswith("/v1/models") else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def recipe(name: str, base_url: str, **more: Any) -> Recipe:
    fields = {"id": name, "name": name, "backend": "external", "base_url": base_url, "model_path": "m", **more}
    return Recipe.model_validate(fields)


def test_each_is_what_it_answers(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHT", "right")
    address = f"http://127.0.0.1:{port}"
    closed = free_port()
    asked = [
        recipe("open", f"{address}/open/v1"),
        recipe("key", f"{address}/v1", api_key="env:RIGHT"),
        recipe("without", f"{address}/v1"),
        recipe("unset", f"{address}/v1", api_key="env:NOT_SET_ANYWHERE"),
        recipe("gone", f"http://127.0.0.1:{closed}/v1"),
    ]
    assert external_states(asked, 30.0) == {
        "open": "ready",
        "key": "ready",
        "without": "answers 401",
        "unset": "answers 401",
        "gone": "unreachable",
    }


def test_one_that_drips_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):
                link, _ = server.accept()
                while True:
                    link.sendall(b"H")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        slow = recipe("slow", f"http://127.0.0.1:{server.getsockname()[1]}/v1")
        assert external_states([slow], 0.5) == {"slow": "unreachable"}
        assert time.monotonic() - began < 10


def test_the_list_of_recipes_says_so(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    url = f"http://127.0.0.1:{port}/open/v1"
    assert run(["recipes", "add", "there", "--backend", "external", "--set", f"base_url={url}", "--model", "m"]) == 0
    capsys.readouterr()
    assert run(["recipes", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["recipes"]
    assert listed["state"] == "ready"
