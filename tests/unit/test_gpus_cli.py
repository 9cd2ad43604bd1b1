"""`vllm-studio gpus`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vllm_studio_tui.cli import gpus as command
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.simulation import nvml as simulation
from vllm_studio_tui.simulation.marks import GPUS as SIMULATE

GIB = 1024**3
KEYS = {"index", "uuid", "name", "memory_total", "memory_used", "utilization", "temperature"}
KEYS |= {"power_draw", "power_limit", "processes"}


@pytest.fixture(autouse=True)
def fresh_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation._Library, "scenario", None)


def gpu(index: int = 0, **values: Any) -> Gpu:
    known: dict[str, Any] = {
        "memory_total": 80 * GIB,
        "memory_used": 40 * GIB,
        "utilization": 97,
        "temperature": 64,
        "power_draw": 412.4,
        "power_limit": 700.0,
    }
    return Gpu(index, f"GPU-{index}", "H100", **{**known, **values})


def app() -> typer.Typer:
    made = typer.Typer()
    command.register(made)

    @made.command("other")
    def other() -> None:
        """Makes `gpus` a subcommand."""

    return made


def test_the_document_has_the_promised_keys_and_nulls_for_the_unknown() -> None:
    process = GpuProcess(7, "ada", "vllm", None, "run-1")
    report = GpuReport(0.25, (gpu(processes=(process,)), gpu(1, power_draw=None)), driver="580.95")
    document = report.to_json()
    assert {"driver", "error", "gpus", "simulated"} <= set(document)
    assert (document["driver"], document["error"], document["simulated"]) == ("580.95", None, False)
    assert document["at"] == "1970-01-01T00:00:00.250Z"
    assert all(set(entry) >= KEYS for entry in document["gpus"])
    assert document["gpus"][0]["processes"] == [
        {
            "pid": 7,
            "user": "ada",
            "command": "vllm",
            "gpu_memory": None,
            "run_id": "run-1",
            "sm": None,
            "kind": None,
        }
    ]
    assert document["gpus"][1]["power_draw"] is None
    json.dumps(document, allow_nan=False)


def test_the_line_says_use_memory_power_and_heat() -> None:
    report = GpuReport(0.0, (gpu(), gpu(1, utilization=None, temperature=70)))
    assert command.gpus_line(report) == "gpu 97% -  80/160 GiB  825 W  70°C"


def test_the_line_marks_simulation_loss_age_and_absence() -> None:
    lost = Gpu(1, "u", "n", lost="GPU is lost")
    line = command.gpus_line(GpuReport(0.0, (gpu(), lost), simulated=True, stale=12.3))
    assert line == "SIM gpu 97% lost  40/80 GiB  412 W  64°C  12s old"
    assert command.gpus_line(GpuReport(0.0, error="none")) == "no GPU"
    assert command.gpus_line(GpuReport(0.0, error="none", simulated=True)) == "SIM no GPU"


def test_the_line_leaves_out_what_does_not_fit_and_cuts_no_number() -> None:
    report = GpuReport(0.0, tuple(gpu(n) for n in range(4)), simulated=True)
    lines = {width: command.gpus_line(report, width) for width in range(60)}
    assert all(len(line) <= width for width, line in lines.items())
    assert set(lines.values()) == {
        "",
        "SIM gpu 97%",
        "SIM gpu 4x 97%",
        "SIM gpu 4x 97%  160/320 GiB",
        "SIM gpu 4x 97%  160/320 GiB  1.65 kW",
        "SIM gpu 97% 97% 97% 97%  160/320 GiB  1.65 kW",
        "SIM gpu 97% 97% 97% 97%  160/320 GiB  1.65 kW  64°C",
    }


def test_nothing_that_the_driver_wrote_is_in_the_line() -> None:
    hostile = Gpu(0, "#[fg=red]", "\x1b]0;x\x07#(reboot)", utilization=1, lost=None)
    assert command.gpus_line(GpuReport(0.0, (hostile,), driver="#(x)")) == "gpu 1%"


@pytest.mark.parametrize("argv", [["status"], ["gpus"], ["gpus", "--watch"], ["gpus", "--json", "--line"], []])
def test_what_is_not_quick_is_left_to_the_whole_command_line(argv: list[str]) -> None:
    given = list(argv)
    assert command.quick(argv) is None
    assert argv == given


@pytest.mark.parametrize("argv", [["gpus", "--json"], ["gpus", "--once", "--json"]])
def test_the_quick_document_is_the_whole_one(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SIMULATE, "2")
    assert command.quick(argv) == 0
    quick = json.loads(capsys.readouterr().out)
    assert quick["simulated"] is True
    assert [entry["index"] for entry in quick["gpus"]] == [0, 1]
    whole = json.loads(CliRunner().invoke(app(), ["gpus", "--json"]).stdout)
    assert set(whole) == set(quick)
    assert set(whole["gpus"][0]) == set(quick["gpus"][0])


def test_the_quick_line_obeys_its_width(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(SIMULATE, "4")
    assert command.quick(["gpus", "--line", "--width", "16"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("SIM gpu 4x ")
    assert len(line) <= 17


def test_without_a_gpu_the_reason_is_told_and_the_exit_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "1,fault=nodriver")
    done = CliRunner().invoke(app(), ["gpus", "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["gpus"]) == (0, [])
    assert "driver" in document["error"]
    table = CliRunner().invoke(app(), ["gpus"])
    assert table.exit_code == 0
    assert "driver" in table.stderr


def test_the_table_shows_every_gpu_and_what_is_wrong_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "4,fault=lost:2,fault=nopower:1,fault=throttle:3")
    done = CliRunner().invoke(app(), ["gpus"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Simulated GPUs"
    rows = {line.split()[0]: line for line in lines[3:7]}
    assert set(rows) == {"0", "1", "2", "3"}
    assert "- / -" in rows["1"]
    assert "lost: GPU is lost" in rows["2"]
    assert "power cap, software thermal" in rows["3"]


def test_errors_parts_and_links_are_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "3,busy=1,fault=xid:0,fault=mig:1,fault=ecc:2")
    out = CliRunner().invoke(app(), ["gpus"]).stdout
    rows = {line.split()[0]: line for line in out.splitlines()[3:6]}
    assert "gen 5 x16" in rows["0"] and "B/s" in rows["0"] and "345" in rows["0"]
    assert "Xid 94: memory error, one program was ended" in rows["0"]
    assert "2 memory errors not corrected" in rows["2"]
    assert "3g.40gb" in out and "MIG-" in out
    assert "Xid 31: Restart the program" in out  # the last lines say what to do
    assert out.count("Xid 94: ") == 3  # beside the GPU, in the list, and what to do


def test_escapes_in_a_name_do_not_reach_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE, "1,fault=hostile:0")
    out = CliRunner().invoke(app(), ["gpus"]).stdout
    assert "Simulated" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


def test_watching_reads_until_interrupted() -> None:
    reports = iter([GpuReport(1.0), GpuReport(2.0)])
    shown: list[GpuReport] = []
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.watch(lambda: next(reports), shown.append, 0.5, sleep=sleep)
    assert [report.at for report in shown] == [1.0, 2.0]
    assert pauses == [0.5, 0.5]


def test_watching_as_json_prints_one_object_a_line_and_ends_by_ctrl_c() -> None:
    code = (
        "import typer; from vllm_studio_tui.cli import gpus; app = typer.Typer(); gpus.register(app);"
        "app(['gpus', '--watch', '--json', '--interval', '0.2'])"
    )
    watching = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, SIMULATE: "2"}, stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    seen: list[dict[str, Any]] = []
    while len(seen) < 2:  # the first may be before the reader has started
        document = json.loads(watching.stdout.readline())
        if document["gpus"]:
            seen.append(document)
    watching.send_signal(signal.SIGINT)
    watching.stdout.read()
    assert watching.wait(30) == 130
    watching.stdout.close()
    assert seen[1]["at"] > seen[0]["at"]


def test_the_quick_commands_load_nothing_heavy() -> None:
    code = (
        "import sys; from vllm_studio_tui.cli.gpus import quick; quick(['gpus', sys.argv[1]]);"
        "bad = {'asyncio', 'pydantic', 'typer', 'rich', 'sqlite3', 'subprocess'} & set(sys.modules);"
        "sys.stderr.write(repr(sorted(bad)))"
    )
    for flag in ("--line", "--json"):
        done = subprocess.run(
            [sys.executable, "-c", code, flag],
            env={**os.environ, SIMULATE: "2"},
            capture_output=True,
            text=True,
            check=True,
        )
        heavy = json.loads(done.stderr.replace("'", '"'))
        assert heavy in ([], ["subprocess"] if flag == "--json" else [])  # psutil brings that one
        assert done.stdout
