"""Engines that no run started, beside those of runs: found now and then, read, and let go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import EngineHere, Host, Tick
from vllm_studio_tui.domain.series import RunSeries, TotalSeries
from vllm_studio_tui.remote.samples import SampleReader, SampleWriter
from vllm_studio_tui.services.watching import foreign
from vllm_studio_tui.services.watching.foreign import ForeignEngines
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.snapshot import Snapshot


class Engine(BaseHTTPRequestHandler):
    status = 200
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"vllm:num_requests_running 3\nvllm:generation_tokens_total 5\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, RUF100
        return


@pytest.fixture
def port() -> Iterator[int]:
    Engine.status, Engine.asked = 200, 0
    server = HTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY", "FIRST_LOOK", "ASK_EVERY"):
        monkeypatch.setattr(foreign, name, 0.01)


def here(port: int, pid: int = 7, start: int = 1) -> EngineHere:
    return EngineHere(pid, start, "vllm", "/models/Qwen3-8B", port, f"http://localhost:{port}/v1", "alice")


def until(work: Callable[[], object], true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        work()
        time.sleep(0.01)


def test_an_engine_of_somebody_else_is_found_and_read(port: int, pool: ThreadPoolExecutor) -> None:
    there = [here(port)]
    engines = ForeignEngines(pool, lambda: list(there))
    until(lambda: engines.work(()), lambda: engines.engines()[1])
    found, metrics = engines.engines()
    assert [(one.key, one.name) for one in found] == [("foreign:7", "Qwen3-8B")]
    assert metrics["foreign:7"].running == 3
    there.clear()
    until(lambda: engines.work(()), lambda: not engines.engines()[0])


def test_one_that_was_attached_is_read_as_a_run_and_not_twice(port: int, pool: ThreadPoolExecutor) -> None:
    engines = ForeignEngines(pool, lambda: [here(port)])
    until(lambda: engines.work(()), lambda: engines.engines()[0])
    engines.work({f"http://127.0.0.1:{port}/v1"})
    assert engines.engines() == ((), {})


def test_two_processes_of_one_engine_are_one(port: int, pool: ThreadPoolExecutor) -> None:
    engines = ForeignEngines(pool, lambda: [here(port, 9, 2), here(port, 8, 1)])
    until(lambda: engines.work(()), lambda: engines.engines()[0])
    assert [one.pid for one in engines.engines()[0]] == [8]


def test_one_that_has_no_metrics_for_us_is_left_alone(
    port: int, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine.status = 404
    engines = ForeignEngines(pool, lambda: [here(port)])
    until(lambda: engines.work(()), lambda: engines.engines()[1])
    assert "404" in str(engines.engines()[1]["foreign:7"].error)
    monkeypatch.setattr(foreign, "LOOK_EVERY", 60.0)
    until(lambda: engines.work(()), lambda: engines._engines["foreign:7"].next_at > time.monotonic() + 30)
    asked = Engine.asked
    for _ in range(20):
        engines.work(())
        time.sleep(0.005)
    assert Engine.asked == asked


def test_another_process_of_the_same_number_is_another_engine(port: int, pool: ThreadPoolExecutor) -> None:
    there = [here(port)]
    engines = ForeignEngines(pool, lambda: list(there))
    until(lambda: engines.work(()), lambda: engines.engines()[1])
    before = engines._engines["foreign:7"]
    there[:] = [here(port, start=99)]
    until(lambda: engines.work(()), lambda: engines._engines["foreign:7"] is not before)


def test_a_look_that_fails_harms_nothing(pool: ThreadPoolExecutor) -> None:
    tried = threading.Event()

    def find() -> list[EngineHere]:
        tried.set()
        raise RuntimeError("no /proc")

    engines = ForeignEngines(pool, find)
    until(lambda: engines.work(()), tried.is_set)
    engines.work(())
    assert engines.engines() == ((), {})


@pytest.mark.parametrize("url", [None, "", "http://[", "http://h:99999", "nonsense", "http://h"])
def test_no_address_makes_it_raise(url: str | None, pool: ThreadPoolExecutor) -> None:
    engines = ForeignEngines(pool, lambda: [EngineHere(5, 1, "vllm", None, None, url)])
    until(lambda: engines.work(()), lambda: engines.engines()[0])
    engines.work({url or "x"})


def test_it_crosses_the_line_and_does_not_count_as_a_run() -> None:
    engines = {"foreign:7": EngineMetrics(generation_tokens_per_second=5.0), "r": EngineMetrics(running=1)}
    snapshot = Snapshot(Tick(100.0, GpuReport(100.0), Host(), engines), foreign=(here(80),))
    back = SampleReader().snapshot(SampleWriter().document(snapshot))
    assert back.foreign == snapshot.foreign
    assert back.tick.engines == engines
    assert back.of_runs == (EngineMetrics(running=1),)
    history = History()
    history.record(snapshot.tick)
    assert history.over(RunSeries.OUTPUT.of("foreign:7"), 1, 1.0, 100.5) == [5.0]
    assert history.over(TotalSeries.OUTPUT, 1, 1.0, 100.5) == [None]
