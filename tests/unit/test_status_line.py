"""`status --line`: what a status bar shows, from what lies on the disk and what the driver says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.functional.stage import GIB, NOW, run_view
from vllm_studio_tui.cli import status
from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.gpus import Gpu
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.alert_line import worst_alert
from vllm_studio_tui.runs.gpu_words import lost_words
from vllm_studio_tui.runs.one_line import ledger_speed
from vllm_studio_tui.runs.read import RunView, all_runs, shown_now, shown_runs


def crowd(folder: Path) -> list[RunView]:
    """Eleven runs: four failed, one without an answer, one loading, one in backoff, three ready, one that ends."""
    runs = [run_view(folder, f"ready-{at}", State.READY) for at in range(3)]
    runs += [
        run_view(folder, name, State.FAILED, ended_at=NOW - age)
        for name, age in (("llama-3.3", 660), ("gemma-3", 1440), ("phi-4", 7200), ("mistral-small", 9000))
    ]
    runs.append(run_view(folder, "qwen2.5-vl", State.UNHEALTHY, heard_at=NOW - 14))
    runs.append(run_view(folder, "deepseek-r1", State.LOADING, progress=0.43))
    return [*runs, run_view(folder, "exl3", State.BACKOFF), run_view(folder, "smollm2", State.STOPPING)]


EIGHT = tuple(
    Gpu(at, f"GPU-{at}", "H100", int(79.6 * GIB), int(45 * GIB), utilization=55, temperature=71, power_draw=289.0)
    for at in range(8)
)


def line(runs: list[RunView], width: int, *, plain: bool = False, gpus: tuple[Gpu, ...] = EIGHT) -> str:
    lost, *words = status.words_of(gpus, width, plain)
    return status.line_of(runs, lost, words, width, plain)


def test_trouble_stands_first_and_the_newest_failures_are_named(tmp_path: Path) -> None:
    runs = crowd(tmp_path)
    assert line(runs, 40) == "✕ 4 ▲ 1 ↻ 1 ◐ 43% ● 3 of 11 ◒ 1  gpu 55%"
    assert line(runs, 50).startswith("✕ 4 llama-3.3 ▲ 1 ↻ 1 ◐ 43% ● 3")
    assert line(runs, 80).startswith("✕ 4 llama-3.3 gemma-3 ▲ qwen2.5-vl ↻ exl3 ◐ 43% ● 3")
    assert "● 3 of 11" in line(runs, 100)
    assert line(runs, 110).endswith("gpu 55%  360/637G  2.31 kW  71°C")
    assert line(runs, 40, plain=True) == "x 4 ! 1 @ 1 % 43% * 3 of 11 < 1  gpu 55%"


def test_no_width_is_ever_exceeded_and_no_name_stands_where_a_more_urgent_one_has_no_room(tmp_path: Path) -> None:
    runs = [*crowd(tmp_path), run_view(tmp_path, "日本語のモデル", State.FAILED, ended_at=NOW)]
    for width in range(3, 140):
        text = line(runs, width)
        assert cell_len(text) <= width
        if "gemma-3" in text or "qwen2.5-vl" in text:
            assert "日本語" in text
        assert "#" not in text


def test_names_cannot_make_a_status_bar_obey(tmp_path: Path) -> None:
    run = run_view(tmp_path, "evil#[fg=red]#(reboot)\x1b]0;x\x07", State.FAILED, ended_at=NOW)
    text = line([run], 100)
    assert "#" not in text and "\x1b" not in text and "\x07" not in text
    assert "evil_[" in text


def test_all_well_names_who_answers_and_a_lost_gpu_is_said_before_any_figure(tmp_path: Path) -> None:
    run = run_view(tmp_path, "qwen3-32b", State.READY)
    assert line([run], 60).startswith("● 1 qwen3-32b  gpu 55%")
    lost = (*EIGHT[:2], Gpu(2, "GPU-2", "H100", lost="fell off the bus"))
    assert lost_words(lost) == "gpu 2 lost"
    assert line([run], 60, gpus=lost).startswith("● 1 qwen3-32b  gpu 2 lost  gpu 55%")
    assert line([], 60, gpus=()) == "nothing runs"


def test_the_speed_is_that_between_the_last_two_readings_of_the_keeper(tmp_path: Path) -> None:
    run = run_view(tmp_path, "qwen3-32b", State.READY)
    ledger = run.folder / "ledger.jsonl"

    def reading(seq: int, at: float, tokens: object, attempt: int = 1) -> str:
        values = {"generation_tokens": tokens}
        return json.dumps({"seq": seq, "t": at, "attempt": attempt, "kind": "counters", "values": values},
                          separators=(",", ":")) + "\n"  # fmt: skip

    def speed(*lines: str, now: float = NOW) -> float | None:
        ledger.write_text("".join(lines))
        return ledger_speed([run], now)

    first, second = reading(1, NOW - 16, 1000), reading(2, NOW - 4, 2200)
    assert speed(first, second) == 100.0
    assert speed(first, second, '{"torn') == 100.0
    assert speed(second) is None
    assert speed(first, second, now=NOW + 60) == 0.0  # nothing was counted since: it is idle
    assert speed(reading(1, NOW - 16, 5000), second) is None  # another engine counts
    assert speed(reading(1, NOW - 16, 10, attempt=0), second) is None
    for odd in (None, "many", True, float("1e400"), -(10**400), [1]):
        assert speed(first, reading(2, NOW - 4, odd)) is None


def test_what_is_shown_is_found_without_reading_all_that_ended(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    for number, (recipe, state) in enumerate(
        (("a", "failed"), ("a", "exited"), ("b", "failed"), ("c-d", "failed"), ("c-d", "failed"), ("e", "failed"))
    ):
        folder = places.runs / f"{recipe}-20261127-10000{number}-abcd"
        folder.mkdir(parents=True)
        spec = run_view(tmp_path / "other", recipe, State.FAILED).spec
        assert spec is not None
        spec_json = {**spec.to_json(), "run_id": folder.name, "created_at": NOW + number}
        (folder / "spec.json").write_text(json.dumps(spec_json))
        (folder / "state.json").write_text(json.dumps({"run_id": folder.name, "state": state, "ended_at": NOW}))
        if recipe == "e":
            (folder / "dismissed").touch()
    (places.runs / "odd").mkdir()
    (places.runs / "torn-20261127-100009-abcd").mkdir()
    (places.runs / "torn-20261127-100009-abcd" / "state.json").write_text("{")
    wanted = [run.run_id for run in shown_runs(all_runs(places))]
    assert [run.run_id for run in shown_now(places)] == wanted
    assert [name[:3] for name in wanted] == ["odd", "tor", "b-2", "c-d"]


def test_of_a_spec_that_names_no_run_the_directory_does(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    spec = run_view(tmp_path / "other", "qwen", State.FAILED).spec
    assert spec is not None
    good: dict[str, object] = {**spec.to_json(), "name": "Qwen 3", "count_every": 4.0}
    odd: tuple[dict[str, object], ...] = (
        {}, {"name": 5}, {"created_at": "now"}, {"recipe_id": None}, {"count_every": "often"},
    )  # fmt: skip
    for at, wrong in enumerate(odd):
        folder = places.runs / f"r{at}-20261127-100000-abcd"
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps({**good, **wrong}))
        (folder / "state.json").write_text(json.dumps({"run_id": folder.name, "state": "failed", "ended_at": NOW}))
    whole = {run.folder.name: run for run in all_runs(places)}
    for run in shown_now(places):
        assert (run.name, run.recipe_id, run.created_at, run.count_every, run.state) == (
            whole[run.folder.name].name, whole[run.folder.name].recipe_id, whole[run.folder.name].created_at,
            whole[run.folder.name].count_every, State.FAILED,
        )  # fmt: skip
    assert [run.name for run in shown_now(places)].count("Qwen 3") == 2
    assert {run.name for run in shown_now(places)} == {"Qwen 3", "r1", "r2", "r3"}


def test_the_quick_path_answers_the_line_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2")
    assert status.quick(["status", "--line", "--width", "30"]) == 0
    assert capfd.readouterr().out.startswith("gpu ")
    for other in (["--line", "--watch"], ["--line", "--width"], ["--line", "--width", "0"], ["--line", "--width", "²"]):
        assert status.quick(["status", *other]) is None


def test_the_worst_alert_stands_behind_the_runs_and_before_figures_where_there_is_room(tmp_path: Path) -> None:
    runs = [run_view(tmp_path, "qwen3", State.READY)]
    lost, *words = status.words_of(EIGHT, 60, False)
    text = status.line_of(runs, lost, words, 60, False, alert=("GPU 0 gpu-hot", "warn"))
    assert text.startswith("● 1 qwen3  GPU 0 gpu-hot  gpu 55%")
    assert status.line_of(runs, "", [], 12, False, alert=("GPU 0 gpu-hot", "warn")) == "● 1 qwen3"
    assert status.line_of([], "", [], 40, False, alert=("host disk", "err")) == "host disk"
    own = [Alert("gpu-lost", "GPU 1", NOW, "trouble"), Alert("disk", "host", NOW), Alert("kv-full", "qwen3", NOW + 1)]
    assert worst_alert(own) == ("qwen3 kv-full", "warn"), "a lost GPU is shown by itself"
    assert worst_alert([*own, Alert("mine", "host", NOW - 9, "trouble")]) == ("host mine", "err")
