"""Who holds the memory of a GPU, named when an engine did not get enough of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.domain.gpus import Gpu, GpuProcess
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import Failure, RunSpec
from vllm_studio_tui.keeper import log_reader
from vllm_studio_tui.keeper.files import Ledger
from vllm_studio_tui.keeper.log_reader import LogReader, LogResult
from vllm_studio_tui.keeper.tree import Tree
from vllm_studio_tui.keeper.usage import UsageRecorder
from vllm_studio_tui.probes import energy
from vllm_studio_tui.probes.gpu import holders
from vllm_studio_tui.probes.gpu.nvml import NvmlReader
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE

GIB = 1024**3


def gpu(used: float, *processes: GpuProcess) -> Gpu:
    return Gpu(0, "GPU-a", "H200", memory_total=140 * GIB, memory_used=int(used * GIB), processes=processes)


def test_the_holder_is_named_with_what_it_holds() -> None:
    (words,) = holders.sentences([gpu(139.5, GpuProcess(779, "ann", "python3 train.py", 139 * GIB))])
    assert words == "GPU 0 has 0.5 of 140.0 GiB free; it is held by python3 train.py (pid 779, ann) 139.0 GiB."


def test_a_run_is_named_by_its_id_and_the_largest_come_first() -> None:
    few = [GpuProcess(n, None, f"job{n}", n * GIB) for n in range(1, 5)]
    (words,) = holders.sentences([gpu(100, *few, GpuProcess(9, "ann", "llama-server", 80 * GIB, "qwen-1"))])
    assert "held by qwen-1 (pid 9, ann) 80.0 GiB, job4 (pid 4) 4.0 GiB, job3 (pid 3) 3.0 GiB." in words


@pytest.mark.parametrize(
    "one",
    [
        gpu(3, GpuProcess(1, None, "x", 3 * GIB)),  # it has room
        gpu(139),  # nobody can be named, as in a container
        gpu(139, GpuProcess(1, None, "x", None)),
        Gpu(0, "GPU-a", "H200"),
    ],
)
def test_nothing_is_said_where_nothing_is_known(one: Gpu) -> None:
    assert holders.sentences([one]) == []


def explained(tmp_path: Path, reason: str, argv: tuple[str, ...]) -> str:
    log = tmp_path / "engine.log"
    log.write_text("")
    spec = RunSpec(
        "r-1", "r", "r", "custom", "m", ("x",), "127.0.0.1", 1, "http://127.0.0.1:1/v1", 0.0,
        failures=(Failure("out of memory", reason, "out of memory", "Use less."),), holders_argv=argv,
    )  # fmt: skip
    reader = LogReader(spec, log)
    reader.begin(0)
    log.write_text("E CUDA error: out of memory\n")
    reader.explain(1, None, was_ready=False, ooms_before=None, blame=lambda verdict: verdict)
    answers: list[LogResult] = []
    while not answers:
        answers = reader.answers()
    ending = answers[0].ending
    assert ending is not None and ending.reason == reason
    return ending.advice


SAYS = (sys.executable, "-c", "print('GPU 0 has 0.5 of 140.0 GiB free;\\n it is held by a.')")


def test_the_advice_on_too_little_memory_names_the_holder(tmp_path: Path) -> None:
    assert explained(tmp_path, "out_of_memory", SAYS) == "Use less. GPU 0 has 0.5 of 140.0 GiB free; it is held by a."


def test_another_cause_asks_nobody(tmp_path: Path) -> None:
    assert explained(tmp_path, "model_missing", SAYS) == "Use less."


def test_a_driver_that_hangs_keeps_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "HOLDERS", 0.2)
    assert explained(tmp_path, "out_of_memory", ("sleep", "60")) == "Use less."
    assert explained(tmp_path, "out_of_memory", ("/no/such/program",)) == "Use less."


# --- energy of an engine for which nobody named GPUs


def test_energy_tells_on_which_gpus_a_run_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SIMULATE, "2")
    read = NvmlReader.read

    def with_run(self: NvmlReader, processes: bool = True, patience: float = 1.0, **given: Any) -> object:
        report = read(self, processes, patience, **given)
        first = GpuProcess(1, None, None, GIB, "r-1")
        return type(report)(report.at, (gpu(1, first), *report.gpus[1:]))

    monkeypatch.setattr(NvmlReader, "read", with_run)
    assert energy.main(["--run", "r-1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["used"] == ["GPU-a"] and len(told["gpus"]) == 2
    assert energy.main(["--run", "r-2"]) == 0
    assert json.loads(capsys.readouterr().out)["used"] == []


def recorder(folder: Path) -> tuple[UsageRecorder, RunState, Ledger]:
    ledger = Ledger(folder)
    return UsageRecorder(ledger, Tree("r-1"), ("x",)), RunState("r-1", State.READY), ledger


def take(usage: UsageRecorder, state: RunState, monkeypatch: pytest.MonkeyPatch, **document: object) -> None:
    monkeypatch.setattr(usage._reading, "poll", lambda now: json.dumps(document).encode())
    usage.take_energy(state, 0.0)


def noted(ledger: Ledger) -> list[tuple[float, dict[str, int]]]:
    lines = [json.loads(line) for line in ledger._path.read_text().splitlines()] if ledger._path.exists() else []
    return [(line["t"], line["gpus"]) for line in lines if line["kind"] == "energy"]


def test_energy_counts_from_before_the_engine_took_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, state, ledger = recorder(tmp_path)
    take(usage, state, monkeypatch, at=100.0, gpus={"GPU-a": 10, "GPU-b": 20}, used=[])
    take(usage, state, monkeypatch, at=110.0, gpus={"GPU-a": 12, "GPU-b": 22}, used=[])
    assert noted(ledger) == []  # it is on no GPU so far
    take(usage, state, monkeypatch, at=120.0, gpus={"GPU-a": 15, "GPU-b": 25}, used=["GPU-b", "GPU-z"])
    take(usage, state, monkeypatch, at=130.0, gpus={"GPU-a": 18, "GPU-b": 29}, used=[])  # it has ended
    assert noted(ledger) == [(100.0, {"GPU-b": 20}), (120.0, {"GPU-b": 25}), (130.0, {"GPU-b": 29})]


def test_an_engine_of_the_cpu_is_looked_for_on_gpus_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, state, ledger = recorder(tmp_path)
    paces = []
    for _ in range(4):
        paces.append(usage.energy_pace)
        take(usage, state, monkeypatch, at=1.0, gpus={"GPU-a": 10}, used=[])
    assert paces == [1, 1, 1, 10]
    take(usage, state, monkeypatch, at=2.0, gpus={"GPU-a": 12}, used=["GPU-a"])
    assert (usage.energy_pace, noted(ledger)) == (1, [(1.0, {"GPU-a": 10}), (2.0, {"GPU-a": 12})])


def test_an_engine_that_is_started_again_is_looked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, state, _ = recorder(tmp_path)
    for _ in range(4):
        take(usage, state, monkeypatch, at=1.0, gpus={"GPU-a": 10}, used=[])
    usage.new_engine()
    assert usage.energy_pace == 1


def test_an_engine_on_the_cpu_uses_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, state, ledger = recorder(tmp_path)
    for odd in ([], None, "GPU-a", [1], {"GPU-a": 1}):
        take(usage, state, monkeypatch, at=1.0, gpus={"GPU-a": 10}, used=odd)
    assert noted(ledger) == []
