"""The process that reads the GPUs, and what becomes of it when the driver hangs."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport, MigDevice, Throttle, Xid
from vllm_studio_tui.kit.paths import boot_id
from vllm_studio_tui.probes import energy
from vllm_studio_tui.probes.gpu import client, protocol
from vllm_studio_tui.probes.gpu.client import GpuWorker
from vllm_studio_tui.probes.gpu.provider import read_once
from vllm_studio_tui.probes.gpu.spawning import COMMAND
from vllm_studio_tui.probes.host import HostReader
from vllm_studio_tui.simulation import gpus as simulated
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE


@pytest.fixture(autouse=True)
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation._Library, "scenario", None)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def workers() -> Iterator[list[GpuWorker]]:
    made: list[GpuWorker] = []
    yield made
    for worker in made:
        worker.close()


async def test_the_worker_reads_and_ends_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "3,busy=0,busy=1,busy=2")
    worker = GpuWorker(patience=30)
    report = await worker.read()
    assert [gpu.uuid for gpu in report.gpus] == [simulated.uuid(n) for n in range(3)]
    assert (report.simulated, report.stale, report.error) == (True, None, None)
    pid = worker.pid
    assert pid is not None
    again = await worker.read(processes=False)
    assert worker.pid == pid
    assert again.at > report.at
    assert again.gpus[0].processes
    await asyncio.to_thread(worker.close)
    assert gone(pid)


async def test_the_loop_runs_on_while_the_driver_hangs(
    monkeypatch: pytest.MonkeyPatch, workers: list[GpuWorker]
) -> None:
    monkeypatch.setenv(SIMULATE, "2,fault=hang:0:600")
    worker = GpuWorker(patience=0.2)
    workers.append(worker)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    report = await worker.read()
    counting.cancel()
    assert all(gpu.memory_used is None for gpu in report.gpus[:1])
    assert turns > 5


def test_a_hung_worker_gives_the_last_values_with_their_age_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch, workers: list[GpuWorker], tmp_path: Path
) -> None:
    """The stand-in answers one request in each life, then hangs."""
    script = tmp_path / "hangs.py"
    script.write_text(
        "import sys\n"
        "from vllm_studio_tui.domain.gpus import Gpu, GpuReport\n"
        "from vllm_studio_tui.probes.gpu import protocol\n"
        "import json\n"
        "n = json.loads(sys.stdin.buffer.readline())['n']\n"
        "sys.stdout.buffer.write(b'noise\\n' + protocol.dump(GpuReport(1.0, (Gpu(0, 'u', 'n'),)), n))\n"
        "sys.stdout.buffer.flush()\n"
        "sys.stdin.buffer.read()\n"
    )
    clock = Clock()
    worker = GpuWorker(patience=30, give_up=40, command=(sys.executable, str(script)), monotonic=clock)
    workers.append(worker)
    first = worker.read_now()
    assert (first.stale, first.error, len(first.gpus)) == (None, None, 1)
    pids = [worker.pid]
    worker._patience = 0.05
    clock.ahead += 7
    late = worker.read_now()
    assert late.gpus == first.gpus
    assert late.at == first.at
    assert late.stale is not None and late.stale >= 7
    assert late.error == f"The GPU reader has not answered for {late.stale:.0f} s"
    assert worker.pid == pids[0]

    # Three replacements soon after another, each with its time, then no more for a while.
    for _ in range(client.REPLACEMENTS):
        clock.ahead += 41
        worker.read_now()  # gives the silent one up
        hung = pids[-1]
        assert hung is not None
        assert until(functools.partial(gone, hung))
        worker._patience = 30
        assert worker.read_now().stale is None
        pids.append(worker.pid)
        worker._patience = 0.05
        worker.read_now()
    assert len(set(pids)) == client.REPLACEMENTS + 1
    clock.ahead += 41
    worker.read_now()
    assert worker.read_now().stale is not None
    assert worker.pid is None
    clock.ahead += client.SLOWLY
    worker._patience = 30
    assert worker.read_now().stale is None


def test_a_driver_slower_than_the_patience_with_it_is_shown_with_its_age(
    workers: list[GpuWorker], tmp_path: Path
) -> None:
    """The stand-in answers when it is told to; every process of it is given ten seconds at first."""
    script, answer = tmp_path / "slow.py", tmp_path / "answer"
    script.write_text(
        "import json, pathlib, sys, time\n"
        "from vllm_studio_tui.domain.gpus import Gpu, GpuReport\n"
        "from vllm_studio_tui.probes.gpu import protocol\n"
        "answer = pathlib.Path(sys.argv[1])\n"
        "for line in sys.stdin.buffer:\n"
        "    while not answer.exists():\n"
        "        time.sleep(0.01)\n"
        "    answer.unlink()\n"
        "    report = GpuReport(1.0, (Gpu(0, 'u', 'n'),))\n"
        "    sys.stdout.buffer.write(protocol.dump(report, json.loads(line)['n']))\n"
        "    sys.stdout.buffer.flush()\n"
    )
    clock = Clock()
    command = (sys.executable, str(script), str(answer))
    worker = GpuWorker(patience=0.05, give_up=10, command=command, monotonic=clock)
    workers.append(worker)
    assert worker.read_now().gpus == ()
    assert worker.waiting
    first = worker.pid
    clock.ahead += 11
    worker.read_now()  # gives it up
    worker.read_now()
    pid = worker.pid
    assert pid not in (None, first)
    clock.ahead += 15
    assert worker.read_now().gpus == ()
    assert worker.pid == pid, "the next one is given twice the time"
    answer.touch()
    assert until(lambda: bool(worker.read_now().gpus), 60)
    assert until(lambda: worker.read_now().stale is not None, 60)
    clock.ahead += 25
    late = worker.read_now()
    assert late.stale is not None and late.stale >= 25
    assert late.gpus and late.error is not None and "has not answered for" in late.error
    answer.touch()
    assert until(lambda: worker.read_now().stale is None, 60)  # and again, by the same process
    assert worker.pid == pid, "it is given twice the time that its last answer took"


def test_a_driver_with_one_slow_call_is_shown_by_the_worker(
    monkeypatch: pytest.MonkeyPatch, workers: list[GpuWorker]
) -> None:
    monkeypatch.setenv(SIMULATE, "2,busy=0,fault=hang:0:600")
    worker = GpuWorker(patience=1.0)
    workers.append(worker)
    assert until(lambda: all(gpu.temperature is not None for gpu in worker.read_now().gpus[:2] or (Gpu(0, "", ""),)))
    assert until(lambda: bool(worker.read_now().gpus[0].trouble))
    first, second = worker.read_now().gpus
    assert (first.memory_used, first.free, first.lost) == (None, False, None)
    assert first.trouble is not None and "nvmlDeviceGetMemoryInfo has not answered for" in first.trouble
    assert second.memory_used is not None


def test_a_worker_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch, workers: list[GpuWorker]) -> None:
    monkeypatch.setenv(SIMULATE, "1")
    worker = GpuWorker(patience=30)
    workers.append(worker)
    assert worker.read_now().gpus
    pid = worker.pid
    assert pid is not None
    os.kill(pid, 9)
    assert until(lambda: gone(pid))
    report = worker.read_now()
    assert report.stale is None
    assert worker.pid != pid


def test_a_worker_that_cannot_start_is_an_error_in_the_report(workers: list[GpuWorker]) -> None:
    worker = GpuWorker(patience=0.1, command=("/nonexistent/python",))
    workers.append(worker)
    report = worker.read_now()
    assert (report.gpus, report.stale) == ((), None)
    assert report.error


def test_the_worker_ends_when_its_input_closes_though_a_call_hangs() -> None:
    worker = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, SIMULATE: "1,fault=hang:0:600"},
    )
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(b'nonsense\n{"n": 1, "processes": true}\n')
    worker.stdin.close()
    assert worker.wait(30) == 0
    assert worker.stdout.read() == b""
    worker.stdout.close()


counts = st.none() | st.integers(0, 2**60)
processes = st.builds(GpuProcess, st.integers(1, 2**31), st.none() | st.text(max_size=8), gpu_memory=counts)
gpus = st.builds(
    Gpu,
    st.integers(0, 15),
    st.text(max_size=8),
    st.text(max_size=8),
    memory_used=counts,
    power_draw=st.none() | st.floats(0, 1e4),
    throttle=st.lists(st.sampled_from(Throttle), max_size=3).map(tuple),
    processes=st.lists(processes, max_size=3).map(tuple),
    xids=st.lists(st.builds(Xid, st.integers(1, 200), st.floats(0, 2e9), st.text(max_size=8)), max_size=2).map(tuple),
    mig_devices=st.lists(
        st.builds(
            MigDevice,
            st.text(max_size=4),
            st.text(max_size=4),
            counts,
            processes=st.lists(st.integers(1, 99), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


@given(st.builds(GpuReport, st.floats(0, 2e9), st.lists(gpus, max_size=3).map(tuple)), st.integers(0, 2**40))
def test_a_report_survives_the_pipe(report: GpuReport, number: int) -> None:
    line = protocol.dump(report, number)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.load(line) == (number, report)


@given(st.binary(max_size=80) | st.sampled_from([b"[]", b"1", b'{"n":1}', b'{"n":1,"report":[]}', b"[" * 9999]))
def test_what_is_no_report_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        protocol.load(line)


def test_one_reading_gives_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "1,fault=hang:0:600")
    began = time.monotonic()
    report = read_once(0.2)
    assert time.monotonic() - began < 60
    assert report.simulated and all(gpu.memory_used is None for gpu in report.gpus)


def test_a_driver_that_does_not_open_is_said_to_hang_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "1")
    monkeypatch.setattr(simulation, "nvmlInit", lambda: time.sleep(600))
    report = read_once(0.05)
    assert report.gpus == ()
    assert report.error is not None and "The NVIDIA driver has not answered for" in report.error
    assert report.advice is not None and "reset" not in report.advice


def energy_line(environment: dict[str, str], *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui.probes.energy", *arguments],
        env={**{k: v for k, v in os.environ.items() if k != SIMULATE}, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    assert document["boot_id"] == boot_id()
    return document


def test_energy_is_printed_on_one_line_by_gpu() -> None:
    before = time.time()
    document = energy_line({SIMULATE: "4"}, "1", simulated.uuid(3))
    after = time.time()
    counted = document["gpus"]
    assert isinstance(counted, dict)
    assert set(counted) == {simulated.uuid(1), simulated.uuid(3)}
    for index in (1, 3):
        low, high = simulated.energy_mj(index, before), simulated.energy_mj(index, after)
        assert low <= counted[simulated.uuid(index)] <= high
    assert "error" not in document


def test_energy_without_a_driver_says_so_and_succeeds() -> None:
    document = energy_line({SIMULATE: "1,fault=nodriver"})
    assert document["gpus"] == {}
    assert "driver" in str(document["error"])


def test_energy_gives_a_hanging_driver_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(SIMULATE, "1")
    monkeypatch.setattr(simulation, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: time.sleep(600))
    assert energy.main([], deadline=0.05) == 0
    assert json.loads(capsys.readouterr().out)["error"]


def test_the_host_is_sampled_without_waiting() -> None:
    reader = HostReader()
    first = reader.read()
    assert first.cpu is None  # there is no interval yet
    assert first.memory_total is not None and first.memory_used is not None
    assert 0 < first.memory_used < first.memory_total
    assert first.cores == os.cpu_count()
    seen: list[float] = []

    def measured() -> bool:
        cpu = reader.read().cpu
        if cpu is not None:
            seen.append(cpu)
        return bool(seen)

    assert until(measured)
    assert 0 <= seen[0] <= 100


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise ModuleNotFoundError('No module named x')", "ended with exit code 1 (ModuleNotFoundError: No module"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by signal 11"),
        ("import sys; sys.stderr.write('z' * 500_000); sys.exit(3)", "ended with exit code 3"),
    ],
)
def test_a_reader_that_ends_says_why(program: str, why: str) -> None:
    worker = GpuWorker(patience=10.0, command=(sys.executable, "-c", program))
    report = worker.read_now()
    assert report.error is not None and f"The GPU reader has not answered yet: it {why}" in report.error
    worker.close()


def test_a_reader_that_cannot_be_started_says_why() -> None:
    worker = GpuWorker(command=("/no/such/program",))
    assert worker.read_now().error == (
        "The GPU reader has not answered yet: it cannot be started: No such file or directory"
    )
    worker.close()
