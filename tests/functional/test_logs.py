"""The logs screen: the cause of a failure, folding, finding, filters, and logs that are large, hostile or growing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import hides, shows, told
from tests.functional.stage import NOW, Staged, bare, run_view, snapshot, staged
from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.diagnose import diagnose_file
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.snapshot import Snapshot

FIXTURES = Path(__file__).parent.parent / "fixtures"
READY, FAILED = "qwen3-32b-1", "llama-3.3-70b-1"


def logged(run: RunView, log: str, backend: str) -> RunView:
    """The run, as if it had written the log of a real engine."""
    run.log.write_bytes((FIXTURES / log).read_bytes())
    engine = registry.find(backend)
    assert run.spec is not None
    assert engine is not None
    spec = replace(run.spec, stages=engine.stages, failures=engine.failures)
    status = run.status
    if run.state is State.FAILED:
        found = diagnose_file(run.log, engine.failures)
        status = replace(
            status, reason=found.reason, title=found.title, advice=found.advice, evidence=list(found.evidence)
        )
    return replace(run, spec=spec, status=status)


def shown(log: str, backend: str = "vllm", *, state: State = State.FAILED) -> Callable[[Path], Snapshot]:
    """What is on the stage, the run of a state with the log of a real engine."""

    def make(folder: Path) -> Snapshot:
        made = snapshot(folder)
        runs = tuple(logged(run, log, backend) if run.state is state else run for run in made.runs)
        return replace(made, runs=runs, every=runs)

    return make


def view(stage: Staged) -> Any:
    place: Any = stage.app.current
    return place.log_view


async def opened(stage: Staged, run_id: str = FAILED) -> None:
    place: Any = stage.app.current
    await place.open_run(run_id)
    await stage.until(lambda: view(stage).studied and view(stage).index.complete, "everything is known of the log")
    await stage.settle()


def under_cursor(stage: Staged) -> str:
    return next((line.strip() for line in stage.lines() if line.lstrip().startswith("▌")), "")


def row_of(stage: Staged, words: str) -> str:
    return next((line for line in stage.lines() if words in line), "")


# --- a failed run ---------------------------------------------------------------------------------------------


async def test_the_root_cause_is_set_apart_from_its_echoes_and_traceback(tmp_path: Path) -> None:
    made = shown("failures/vllm-fp8-cache-old-gpu.txt")
    async with staged(tmp_path, place="logs", shown=made) as stage:
        await opened(stage)
        await shows(stage, "root cause line 26")
        await shows(stage, "14 errors")
        text = stage.text()
        # The box: the title, what to do, which lines only repeat it, and what the keys do.
        for words in ("89 lines, 09:12:03 to 09:12:41", "set kv_cache_dtype to auto", "are echoes of it",
                      "w why", "] next error", "y copy 22 to 30"):  # fmt: skip
            assert words in text, words
        # The lines: number, time, mark, source and text; the stage, and what it is to the cause, at the right.
        assert under_cursor(stage).startswith("▌   26  09:12:52 ✕ w0       triton.compiler.errors.CompilationError")
        assert "root cause" in under_cursor(stage)
        assert "echo of 26" in row_of(stage, "WorkerProc failed to start.")
        assert "▸ traceback, 13 lines" in text
        assert "2 alike" in row_of(stage, "w0 w1")
        await shows(stage, "root cause; 12 30 51 63 76 89 follow from it")
        assert "(Worker_TP0 pid=301) ERROR 11-18 09:12:52 [multiproc_executor.py:597]  is shown as  w0" in text
        assert "✕ weights 11" in text
        await stage.press("y")
        assert len(stage.clip.splitlines()) == 9
        assert "(Worker_TP0 pid=301) ERROR" in stage.clip
        # An error after the cause, and back.
        await stage.press("right_square_bracket")
        assert "def reshape_and_cache_kernel_flash(" in under_cursor(stage)
        await stage.press("left_square_bracket")
        assert "root cause" in under_cursor(stage)


async def test_a_failed_run_opens_at_its_root_cause_a_running_one_at_the_end(tmp_path: Path) -> None:
    made = shown("failures/vllm-fp8-cache-old-gpu.txt")
    async with staged(tmp_path, size=(80, 24), shown=made) as stage:
        await stage.press("6")  # the latest failed run
        await shows(stage, "line 26")
        await stage.until(lambda: "triton.compiler.errors" in under_cursor(stage), "the cursor is on the cause")
        assert "follow" not in stage.text()  # nothing comes any more
        for size in ((160, 50), (60, 15), (80, 24)):
            await stage.pilot.resize_terminal(*size)
            await stage.until(lambda: "triton.compiler.errors" in under_cursor(stage), f"it stays in sight at {size}")
        await stage.press("1")
        await stage.app.current.commands.open_log(READY)
        await shows(stage, "shutting down")
        assert view(stage).following
        # It fails while it is followed: the cause is gone to as soon as it is known.
        sampler: Any = stage.studio.sampler
        now = sampler.latest
        broken = [replace(run, status=replace(run.status, state=State.FAILED, ended_at=NOW)) for run in now.runs]
        sampler.show(replace(now, runs=tuple(broken), every=tuple(broken)))
        await stage.until(lambda: "ValueError: To serve" in under_cursor(stage), "the cursor is on the cause")


async def test_at_each_size_the_log_leaves_out_what_has_no_room(tmp_path: Path) -> None:
    made = shown("failures/vllm-fp8-cache-old-gpu.txt")
    async with staged(tmp_path, place="logs", shown=made) as stage:
        for size, there, gone in (
            (
                (120, 36),
                ("89 lines", "▌   26  09:12:52 ✕ w0", "STAGES", "root cause line 26"),
                ("line  time", "FOLDED PREFIX"),
            ),
            ((80, 24), ("▌  26  09:12:52 ✕ w0     triton", "stages", "line 26"), ("ERRORS AND", "echoes")),
            ((60, 15), ("09:12:52 ✕ w0     triton", "line 26"), ("  26  09", "stages")),
            ((40, 6), ("The engine's core process died", "cause above. Failed core proc"), ("09:12:52", "w0")),
        ):
            await stage.pilot.resize_terminal(*size)
            await opened(stage)
            for words in there:
                await shows(stage, words)
            for words in gone:
                assert words not in stage.text(), (size, words)


async def test_f_shows_the_fix_and_never_launches_unasked(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        await opened(stage)
        await shows(stage, "f shows the fix")
        await stage.press("f")
        await stage.until(lambda: len(stage.app.screen_stack) == 2, "the fix is shown first")
        await stage.press("escape")
        assert stage.calls == []
        assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 131072


async def test_w_says_why_in_sentences(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        await opened(stage)
        await stage.press("w")
        for words in ("Why llama-3.3-70b failed", "The KV cache cannot hold", "exit 1 after 1m52s", "as far as"):
            await shows(stage, words)


async def test_a_log_that_is_opened_after_a_longer_one_is_drawn(tmp_path: Path) -> None:
    def make(folder: Path) -> Snapshot:
        made = shown("failures/vllm-fp8-cache-old-gpu.txt")(folder)
        made.runs[0].log.write_text("INFO one line\n")
        return made

    async with staged(tmp_path, place="logs", shown=make) as stage:
        await opened(stage)
        for _ in range(3):
            await stage.app.show_place("dashboard")
            await stage.settle()
            await stage.app.current.commands.open_log(READY)
            await shows(stage, "one line")
            await stage.app.show_place("dashboard")
            await stage.app.current.commands.open_log(FAILED)
            await shows(stage, "root cause line")
        assert stage.app.is_running


# --- what is folded -------------------------------------------------------------------------------------------


async def test_progress_tracebacks_and_requests_are_one_line_each_until_they_are_opened(tmp_path: Path) -> None:
    made = shown("logs/vllm.txt", state=State.READY)
    async with staged(tmp_path, place="logs", shown=made) as stage:
        await opened(stage, READY)
        await stage.press("g")
        await shows(stage, "▸ version 0.32.0")
        await stage.press("slash")
        await stage.type("checkpoint shards")
        await stage.press("enter")
        # The hit is in the folded entry, which shows the last state of the bar.
        assert "▸ Loading safetensors checkpoint shards 1/1, 100%, 00:00" in under_cursor(stage)
        assert "3 lines" in under_cursor(stage)
        await stage.press("enter")
        await shows(stage, "0% Completed | 0/1")
        await stage.press("enter")
        await hides(stage, "0% Completed | 0/1")
        await stage.press("escape", "slash")
        await stage.type("json.decoder.JSONDecodeError")
        await stage.press("enter", "z")
        await shows(stage, "▾ Traceback (most recent call last):")
        await stage.press("z")
        await shows(stage, "▸ traceback, 15 lines")
        assert "Traceback (most recent call last)" not in stage.text()


async def test_a_word_that_stands_in_what_is_folded_is_shown_when_it_is_found(tmp_path: Path) -> None:
    made = shown("logs/vllm.txt", state=State.READY)
    async with staged(tmp_path, place="logs", shown=made) as stage:
        await opened(stage, READY)
        await stage.press("slash")
        await stage.type("raw_decode")
        await stage.press("enter")
        await shows(stage, "▾ Traceback")
        await stage.press("escape", "slash")
        await stage.type("[core.py:402]")
        await stage.press("enter")
        assert "[core.py:402] init engine" in under_cursor(stage)


# --- finding and filters --------------------------------------------------------------------------------------


async def test_a_filter_that_hides_everything_says_so_and_escape_lifts_it(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        await opened(stage, READY)
        await stage.press("v", "slash")
        await stage.type("cuda")
        await stage.press("ctrl+f", "enter")
        await shows(stage, '0 of 9 lines are warnings or worse and hold "cuda".   esc shows all 9')
        await stage.press("escape")
        await shows(stage, "Initializing a V1 LLM engine")
        await shows(stage, "level all")


async def test_escape_ends_the_search_then_the_filter_then_goes_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.app.current.commands.open_log(FAILED)
        await shows(stage, "f shows the fix")
        await stage.press("v", "slash")
        await stage.type("odd")
        await shows(stage, "1 line ")
        await stage.press("enter")
        await shows(stage, "1 of 1, from the top again")
        await stage.press("escape")
        await hides(stage, "1 of 1")
        await shows(stage, "level warnings")
        await stage.press("escape")
        await shows(stage, "level all")
        await stage.press("escape")
        await stage.until(lambda: stage.app.place_name == "dashboard", "it goes back to where one was")


async def test_escape_folds_before_it_goes_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.app.current.commands.open_log(FAILED)
        await stage.until(lambda: "ValueError" in under_cursor(stage), "the cursor is on the cause")
        await stage.press("up", "i", "enter")
        await shows(stage, 'File "core.py", line 833')
        assert "esc fold" in stage.lines()[-1]
        await stage.press("escape")
        await hides(stage, 'File "core.py", line 833')
        await stage.press("g", "i")
        await shows(stage, "INFO 11-23 14:20:10 [core.py:133] Initializing")
        await stage.press("escape")
        await hides(stage, "[core.py:133] Initializing")
        # What a search has unfolded ends with the search.
        await stage.press("slash")
        await stage.type("core.py:133")
        await stage.press("enter")
        await shows(stage, "INFO 11-23 14:20:10 [core.py:133] Initializing")
        await stage.press("escape")
        await hides(stage, "[core.py:133] Initializing")
        assert stage.app.place_name == "logs"
        await stage.press("escape")
        await stage.until(lambda: stage.app.place_name == "dashboard", "it goes back to where one was")


async def test_the_level_ends_with_the_run(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        await opened(stage)
        await stage.press("v", "v")
        await shows(stage, "level errors")
        await stage.press("ctrl+o")
        await stage.type("qwen3")
        await stage.press("enter")
        await shows(stage, "qwen3-32b   ready")
        await shows(stage, "level all")
        assert "Initializing a V1 LLM engine" in stage.text()


async def test_what_is_nowhere_is_said(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        await opened(stage)
        await stage.press("slash")
        await stage.type("nowhere")
        await shows(stage, "nothing holds that")
        await stage.press("enter")
        await told(stage, 'Nothing holds "nowhere".')


async def test_errors_are_found_in_the_whole_file_and_so_are_words_among_them(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        path = view(stage).path
        with path.open("w") as stream:
            stream.write("ERROR the very first needle\n")
            stream.writelines(f"INFO a needle of no weight {number}\n" for number in range(60_000))
            stream.write("ERROR the very last\n")
        await shows(stage, "the very last")
        await shows(stage, "60002 lines")
        await stage.press("v", "v")
        await shows(stage, "the very first")
        await stage.press("slash")
        await stage.type("needle")
        await stage.press("enter")
        await shows(stage, "1 of 1")
        assert "the very first needle" in under_cursor(stage)


# --- following, large and hostile logs ------------------------------------------------------------------------


async def test_a_log_is_followed_and_scrolling_pauses_that(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        await opened(stage, READY)
        path = view(stage).path
        assert "follow" not in stage.text()  # while all of it is visible there is nothing to follow
        await stage.press("g")
        with path.open("a") as stream:
            stream.write("INFO 11-23 14:20:10 [x.py:1] below there was room\n")
        await shows(stage, "below there was room")
        assert "follow" not in stage.text()
        await stage.press("G")
        with path.open("a") as stream:
            stream.writelines(f"INFO 11-23 14:20:10 [x.py:{number}] line {number}\n" for number in range(500))
        await shows(stage, "line 499")
        await shows(stage, "following")
        await stage.press("pageup")
        await shows(stage, "not following, G")
        with path.open("a") as stream:
            stream.write("the very last\n")
        await stage.press("G")
        await shows(stage, "the very last")
        await shows(stage, "511 lines")


async def test_lines_of_a_large_log_are_counted_while_it_is_shown(tmp_path: Path) -> None:
    def make(folder: Path) -> Snapshot:
        made = snapshot(folder)
        with made.runs[0].log.open("wb") as stream:
            stream.write(b"first\n")
            stream.truncate(1 << 30)
            stream.seek(0, 2)
            stream.write(b"".join(b"INFO line %d of it\n" % number for number in range(200_000)))
        return made

    async with staged(tmp_path, place="logs", shown=make) as stage:
        place: Any = stage.app.current
        await place.open_run(READY)
        await shows(stage, "line 199999 of it")
        await stage.until(lambda: view(stage).index.complete, "all lines are counted")
        await shows(stage, "200001  ")
        await stage.press("g")
        await shows(stage, "     1  ")
        await shows(stage, "MiB of the middle were dropped here")


async def test_hostile_lines_are_shown_as_text(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs") as stage:
        path = view(stage).path
        with path.open("ab") as stream:
            stream.write(b"\x1b]52;c;aGk=\x07 \x9b31m\r\xe2\x80\xae ERROR \xff\xfe\x00 (EngineCore pid=\n" * 3)
            stream.write(b"(" * 9000 + b"\n" + b"[" * 300 + b"\n\x1b[2J\nthe very last\n")
        await stage.press("G")
        await shows(stage, "the very last")
        for key in ("z", "g", "v", "v", "i", "enter", "left_square_bracket", "G"):
            await stage.press(key)
        assert not any(
            ord(character) < 32 or 127 <= ord(character) < 160 for line in stage.lines() for character in line
        )


async def test_no_run_no_log(tmp_path: Path) -> None:
    async with staged(tmp_path, place="logs", shown=bare) as stage:
        assert "No run yet, so there is no log." in stage.text()


@pytest.mark.parametrize("name", ["never-wrote"])
async def test_a_log_that_is_empty_or_gone_is_said(tmp_path: Path, name: str) -> None:
    def make(folder: Path) -> Snapshot:
        made = snapshot(folder)
        new = run_view(folder, name, State.STARTING, started_at=None)
        new.log.write_text("")
        return replace(made, runs=(*made.runs, new), every=(*made.every, new))

    async with staged(tmp_path, place="logs", shown=make) as stage:
        place: Any = stage.app.current
        await place.open_run(f"{name}-1")
        await shows(stage, "The engine has written nothing yet.")
        for key in ("up", "down", "enter", "z", "i", "y", "pageup", "right", "v", "escape"):
            await stage.press(key)
        (place.run_view.folder / "engine.log").unlink()
        await place.open_run(f"{name}-1")
        await told(stage, "cannot be read")
