"""`exporter`: what its server answers, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from tests.functional.stage import snapshot
from tests.unit.test_exposition import engine, value
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.cli.exporter_server import ExporterServer
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.services.serving.exposition import CONTENT_TYPE, ServeMetrics
from vllm_studio_tui.services.watching.snapshot import Snapshot


@contextmanager
def exporter(shown: Snapshot | None, host: str = "127.0.0.1") -> Iterator[ExporterServer]:
    with ExporterServer(host, 0, ServeMetrics(), lambda: shown) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: ExporterServer, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, bytes]:
    port = server.server_address[1]
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read()
    finally:
        connection.close()


def test_a_scraper_gets_the_metrics_and_the_targets(tmp_path: Path) -> None:
    with engine("") as port:
        shown = snapshot(tmp_path)
        ready = shown.runs[0]
        assert ready.spec is not None
        # Without a key no header is sent, and this engine refuses.
        ready = replace(ready, spec=replace(ready.spec, base_url=f"http://127.0.0.1:{port}/v1"))
        with exporter(replace(shown, runs=(ready, *shown.runs[1:]))) as server:
            status, kind, text = ask(server, "/metrics")
            assert (status, kind) == (200, CONTENT_TYPE)
            assert value(text, "vllm_studio_inference_server_up") == 1
            own = f"127.0.0.1:{server.server_address[1]}"
            status, kind, document = ask(server, "/prometheus/sd")
            assert (status, kind) == (200, "application/json")
            first, second = json.loads(document)
            assert first["targets"] == second["targets"] == [own]
            path = second["labels"]["__metrics_path__"]
            assert ask(server, path)[0] == 502
            assert ask(server, "/metrics/runs/nobody")[0] == 404
            assert ask(server, "/metrics/runs/%00%0a")[0] == 404
            assert ask(server, "/metrics", method="HEAD") == (200, CONTENT_TYPE, b"")
            assert ask(server, "/metrics", method="POST")[0] == 501
            assert ask(server, "/elsewhere")[0] == 404
            assert b"/metrics" in ask(server, "/")[2]


def test_a_web_page_cannot_reach_it_by_a_name_of_its_own() -> None:
    with exporter(None) as server:
        assert ask(server, "/metrics", "evil.example:80")[0] == 421
        assert ask(server, "/metrics", "[::1")[0] == 400
        assert ask(server, "/metrics", "localhost:1")[0] == 200
        assert ask(server, "/metrics", "[::1]:1")[0] == 200


def test_one_that_listens_openly_may_be_called_anything() -> None:
    with exporter(None, "0.0.0.0") as server:  # noqa: S104
        assert ask(server, "/metrics", "gpu-server.example")[0] == 200


def test_it_refuses_what_nobody_decided(tmp_path: Path) -> None:
    def refused(*argv: str) -> StudioError:
        error = CliRunner().invoke(build(("exporter",)), ["exporter", *argv]).exception
        assert isinstance(error, StudioError)
        return error

    assert "--insecure" in refused("--host", "0.0.0.0").advice  # noqa: S104
    assert isinstance(refused("--textfile", str(tmp_path / "a.txt")), UsageError)
    assert isinstance(refused("--textfile", str(tmp_path / "a.prom"), "--port", "1"), UsageError)
    with exporter(None) as server:
        taken = refused("--port", str(server.server_address[1]))
    assert taken.title.startswith("cannot listen on 127.0.0.1")


def test_once_prints_or_writes_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "1")
    printed = CliRunner().invoke(build(("exporter",)), ["exporter", "--once"], catch_exceptions=False)
    assert printed.exit_code == 0
    assert value(printed.stdout.encode(), "vllm_studio_gpus_simulated") == 1
    assert "process_resident_memory_bytes" in printed.stdout
    file = tmp_path / "studio.prom"
    written = CliRunner().invoke(build(("exporter",)), ["exporter", "--once", "--textfile", str(file)])
    assert written.exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o644
    assert value(file.read_bytes(), "vllm_studio_gpus_simulated") == 1
    assert b"process_" not in file.read_bytes()  # node_exporter has series of these names
    assert [one.name for one in tmp_path.glob("*prom*")] == ["studio.prom"]
