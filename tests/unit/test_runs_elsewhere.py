"""A run that runs elsewhere in every face: where it is, why it waits, and what is wrong although it goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import NOW, run_view, snapshot
from vllm_studio_tui.cli import status as status_command
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.remote.samples import SampleReader, SampleWriter
from vllm_studio_tui.runs.elsewhere import hosts_words, in_trouble, part_ids, sorted_parts, where_words
from vllm_studio_tui.runs.estimate import earlier_starts, time_left
from vllm_studio_tui.runs.json_documents import launch_document, run_document
from vllm_studio_tui.runs.not_ready import log_silence, waiting_for
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.endpoint import endpoint_of
from vllm_studio_tui.services.launching.stage_times import PLACING, stages_of
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE, Glyphs
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.paint.runs import rows
from vllm_studio_tui.tui.screens.run.facts import PageFacts
from vllm_studio_tui.tui.screens.run.rows import page_rows

REASON = "waiting in SLURM: Resources"
TROUBLE = "no answer from host b for 12 s"
PARTS = [
    {"name": "rank 0", "where": "n1", "state": "running", "words": "", "run_id": ""},
    {"name": "rank 1", "where": "n2", "state": "lost", "words": "no answer for 12 s", "run_id": ""},
]
SIZES = [(160, 43, Size.FULL), (120, 34, Size.WIDE), (80, 22, Size.BASE), (60, 13, Size.COMPACT), (40, 6, Size.STRIP)]


def far(folder: Path, state: State, name: str = "r", **facts: Any) -> RunView:
    run = run_view(folder, name, state, **{"started_at": NOW - 7300, "handle": "slurm:123", **facts})
    assert run.spec is not None
    return dataclasses.replace(run, spec=dataclasses.replace(run.spec, follow={"kind": "slurm"}))


def waiting(folder: Path, **facts: Any) -> RunView:
    run = far(folder, State.STARTING, stage=REASON, job_state="PENDING", heard="no", heard_at=NOW - 7000, **facts)
    return dataclasses.replace(run, log_at=NOW - 7000)


def warned(folder: Path) -> RunView:
    return far(folder, State.READY, ready_at=NOW - 3000, job_state="RUNNING", trouble=TROUBLE, parts=PARTS)


def dashboard(run: RunView, width: int, size: Size, glyphs: Glyphs = UNICODE) -> str:
    return "\n".join(row.text(width).rstrip() for row in rows(RunFacts(run), glyphs, width, size, NOW))


def page(run: RunView, width: int, height: int, size: Size) -> str:
    facts = PageFacts(RunFacts(run), UNICODE, size, width, height, NOW, endpoint=endpoint_of(run))
    return "\n".join(row.text(width).rstrip() for row in page_rows(facts))


# --- words ----------------------------------------------------------------------------------------------


def test_where_it_is_says_its_handle_and_each_host_once(tmp_path: Path) -> None:
    run = warned(tmp_path)
    assert where_words(run.status) == "slurm:123 on n1,n2"
    run.status.parts = [*PARTS, *PARTS]
    assert where_words(run.status) == "slurm:123 on n1,n2"
    assert hosts_words(["a", "b", "c", "d", "e"]) == "a,b,c and 2 more"
    assert run_document(waiting(tmp_path))["where"] == "slurm:123"
    assert run_document(run_view(tmp_path, "here", State.READY))["where"] is None


def test_a_handle_with_control_characters_is_cleaned(tmp_path: Path) -> None:
    run = far(tmp_path, State.READY, handle="slurm:\x1b[31m1\n2", parts=[{**PARTS[0], "where": "n\x1b]0;x\x071"}])
    words = where_words(run.status)
    assert words.isprintable()
    assert words.startswith("slurm:")


def test_parts_in_trouble_come_first_and_states_of_any_system_that_go_well_are_none() -> None:
    assert [one["name"] for one in sorted_parts(PARTS)] == ["rank 1", "rank 0"]
    well = ("RUNNING", "PENDING", "ContainerCreating", "ready", "STARTING", "COMPLETING", "Pod-Initializing", "")
    assert not any(in_trouble({"state": state}) for state in well)
    assert all(in_trouble({"state": state}) for state in ("NODE_FAIL", "CrashLoopBackOff", "UNHEALTHY", "lost"))


# --- what is said while it waits ------------------------------------------------------------------------


def test_a_job_that_waits_for_hours_is_not_called_silent_and_has_no_time_left(tmp_path: Path) -> None:
    run = waiting(tmp_path)
    before = far(tmp_path, State.EXITED, "r", ready_at=NOW - 7200, marks={"weights": 10.0})
    before = dataclasses.replace(before, run_id="r-0")
    assert waiting_for(run, NOW) == ""
    assert log_silence(run, NOW) is None
    assert time_left(run.status, earlier_starts(run, [before, run]), NOW) is None


def test_once_it_loads_its_log_may_be_silent_and_its_start_may_stall(tmp_path: Path) -> None:
    run = dataclasses.replace(far(tmp_path, State.LOADING, stage="weights"), log_at=NOW - 240)
    assert waiting_for(run, NOW) == "its log is silent, for 4m00s"


def test_the_time_left_is_told_without_how_long_earlier_starts_waited_for_their_turn(tmp_path: Path) -> None:
    marks = {"weights": 3600.0, "graphs": 3640.0}
    before = far(tmp_path, State.EXITED, started_at=1.0, ready_at=3701.0, marks=marks)
    before = dataclasses.replace(before, run_id="r-0")
    run = far(tmp_path, State.LOADING, started_at=NOW - 25, stage="weights", marks={"weights": 5.0})
    left = time_left(run.status, earlier_starts(run, [before, run]), NOW)
    assert left == pytest.approx(80.0)  # 100 s from the first stage on, of which 20 have passed


def test_trouble_is_what_a_start_waits_for(tmp_path: Path) -> None:
    assert waiting_for(waiting(tmp_path, trouble=TROUBLE), NOW) == TROUBLE


def test_its_start_begins_with_its_placing(tmp_path: Path) -> None:
    assert stages_of(waiting(tmp_path), NOW)[0].name == PLACING
    assert stages_of(run_view(tmp_path, "here", State.STARTING, started_at=NOW), NOW)[0].name == "process"


# --- pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height", "size"), SIZES)
def test_why_it_waits_and_what_is_wrong_stand_in_every_picture(
    tmp_path: Path, width: int, height: int, size: Size
) -> None:
    for text in (dashboard(waiting(tmp_path), width, size), page(waiting(tmp_path), width, height, size)):
        assert REASON[: width // 2 - 4] in text
    assert "slurm:123" in page(waiting(tmp_path), width, height, size)
    for text in (dashboard(warned(tmp_path), width, size), page(warned(tmp_path), width, height, size)):
        assert "▲ " in text
        assert TROUBLE[: width // 3] in text
    assert "slurm:123 on n1,n2" in page(warned(tmp_path), width, height, size)


@pytest.mark.parametrize(("width", "height", "size"), SIZES[:4])
def test_the_page_has_a_row_for_each_part_trouble_first(tmp_path: Path, width: int, height: int, size: Size) -> None:
    text = page(warned(tmp_path), width, height, size)
    assert text.index("▲ rank 1  n2  lost") < text.index("  rank 0  n1  running")


def test_the_dashboard_says_where_it_runs(tmp_path: Path) -> None:
    for width, size in ((160, Size.FULL), (120, Size.WIDE), (80, Size.BASE)):
        run = far(tmp_path, State.READY, ready_at=NOW - 10, parts=[PARTS[0]])
        assert "slurm:123 on n1" in dashboard(run, width, size)


def test_what_another_system_says_is_drawn_without_its_control_characters(tmp_path: Path) -> None:
    bad = "\x1b[2Jgone \x07"
    run = far(
        tmp_path, State.STARTING, stage=f"waiting {bad}", job_state=bad, trouble=bad, handle=bad,
        parts=[dict.fromkeys(PARTS[0], bad)],
    )  # fmt: skip
    for width, height, size in SIZES:
        for text in (dashboard(run, width, size, ASCII), page(run, width, height, size)):
            assert not set(text) & {"\x1b", "\x07"}


def test_many_parts_are_counted_with_how_many_of_them_are_in_trouble(tmp_path: Path) -> None:
    parts = [{**PARTS[at % 2], "name": f"rank {at}"} for at in range(40)]
    text = page(far(tmp_path, State.READY, ready_at=NOW, parts=parts), 160, 43, Size.FULL)
    assert "33 more  13 of them in trouble" in text


# --- lines and programs ---------------------------------------------------------------------------------


def test_a_run_that_answers_and_has_trouble_is_a_warning_on_one_line(tmp_path: Path) -> None:
    runs = [warned(tmp_path), run_view(tmp_path, "well", State.READY)]
    assert status_command.line_of(runs, "", [], 60, False) == "▲ r ● 1 of 2"


def test_status_prints_where_and_what_is_wrong_with_the_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status_command.show({"runs": [run_document(warned(tmp_path)), run_document(run_view(tmp_path, "h", State.READY))]})
    out = capsys.readouterr().out
    assert "WHERE" in out.splitlines()[0]
    assert "slurm:123 on n1,n2" in out
    assert f"r: {TROUBLE}\n  | rank 1  n2  lost  no answer for 12 s\n" in out
    assert "rank 0" not in out
    status_command.show({"runs": [run_document(run_view(tmp_path, "h", State.READY))]})
    assert "WHERE" not in capsys.readouterr().out


def test_the_answer_to_a_launch_has_where_it_went(tmp_path: Path) -> None:
    told = launch_document(waiting(tmp_path))
    assert (told["where"], told["handle"], told["job_state"]) == ("slurm:123", "slurm:123", "PENDING")
    assert (told["trouble"], told["parts"]) == (None, [])


def test_a_face_on_another_machine_is_told_the_same(tmp_path: Path) -> None:
    run = warned(tmp_path)
    before = snapshot(tmp_path)
    here = dataclasses.replace(before, runs=(run,), every=(run,))
    there = SampleReader().snapshot(json.loads(json.dumps(SampleWriter().document(here)))).every[0]
    assert (there.status.parts, there.status.trouble, there.status.handle) == (PARTS, TROUBLE, "slurm:123")
    assert dashboard(there, 160, Size.FULL) == dashboard(run, 160, Size.FULL)


def test_the_parts_of_a_run_that_are_runs_here_are_known(tmp_path: Path) -> None:
    unit = far(tmp_path, State.READY, ready_at=NOW, parts=[{**PARTS[0], "run_id": "r.r0-1"}, PARTS[1]])
    ended = far(tmp_path, State.EXITED, "old", parts=[{**PARTS[0], "run_id": "old.r0-1"}])
    assert part_ids([unit, ended, run_view(tmp_path, "h", State.READY)]) == {"r.r0-1"}
