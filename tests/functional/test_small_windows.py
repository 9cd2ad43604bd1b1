"""Small windows: trouble has a number, a dialog its keys, the cursor its row, and cut text its mark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.functional.acting import cursor
from tests.functional.stage import NOW, Staged, bare, run_view, snapshot, staged
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.services.watching.snapshot import Replay, Snapshot
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Question, Writing
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


def crowd(folder: Path) -> Snapshot:
    """Eleven runs, of which four failed, one does not answer, one waits for its next start, and one has ended."""
    base = snapshot(folder)
    others: tuple[tuple[str, State, str, dict[str, Any]], ...] = (
        ("gemma-3-12b", State.FAILED, "CUDA ran out of memory", {"ended_at": NOW - 1440}),
        ("phi-4", State.FAILED, "the token lacks the licence of the model", {"ended_at": NOW - 4900}),
        ("exl3-qwen3-14b", State.FAILED, "the engine is not installed", {"ended_at": NOW - 8900}),
        ("qwen2.5-vl-7b", State.UNHEALTHY, "it does not answer", {}),
        ("whisper-large-v3", State.BACKOFF, "the process ended with code 1", {}),
        ("mistral-small-24b", State.READY, "", {"ready_at": NOW - 7100}),
        ("house-judge", State.READY, "", {"ready_at": NOW - 7100}),
        ("smollm2-135m", State.EXITED, "", {"ended_at": NOW - 7100}),
    )
    more = [
        run_view(folder, name, state, port=8003 + at, started_at=NOW - 7200, title=title, **facts)
        for at, (name, state, title, facts) in enumerate(others)
    ]
    runs = (*base.runs, *more)
    return replace(base, runs=runs, every=runs)


async def resize(stage: Staged, width: int, height: int) -> list[str]:
    """Give the window a size, and return its lines."""
    await stage.pilot.resize_terminal(width, height)
    await stage.settle()
    await stage.until(lambda: len(stage.lines()) == height, f"{height} rows")
    await stage.pilot.pause(0.05)
    return [line.rstrip() for line in stage.lines()]


async def test_no_run_is_hidden_without_a_number_at_any_size(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(80, 24), shown=crowd) as stage:
        for place in ("monitor", "dashboard"):
            await stage.app.show_place(place)
            for width, height in ((80, 24), (60, 15), (40, 6)):
                lines = await resize(stage, width, height)
                named = [line for line in lines if any(run.name[:9] in line for run in crowd(tmp_path / "x").runs)]
                counted = "more" in "\n".join(lines) or len(named) >= 11
                assert counted, (place, width, height, lines)
                for name in ("llama-3.3", "gemma-3-12b", "qwen2.5-v"):  # each kind of trouble has a name
                    assert any(name in line for line in lines), (place, width, height, name, lines)
            for height in (1, 2, 3):
                lines = await resize(stage, 40, height)
                assert lines[0].startswith("✕ 4 ▲ 1 ↻ 1 ◐ 43% ● 3"), (place, lines)
                assert all(lines), "rows that the line leaves have the most urgent runs"
        await resize(stage, 120, 36)
        await stage.app.show_place("monitor")
        await stage.settle()
        assert "the process ended with code 1; again in" in stage.text(), "why a run waits stands beside it"


def replayed(folder: Path) -> Snapshot:
    return replace(crowd(folder), replay=Replay("friday.jsonl.gz", NOW, NOW - 600, NOW + 600, speed=10.0))


async def test_a_replay_is_called_one_at_every_size(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(80, 24), shown=replayed, label="REPLAY friday.jsonl.gz") as stage:
        for place in ("monitor", "dashboard"):
            await stage.app.show_place(place)
            for height in (6, 5, 2):
                lines = await resize(stage, 40, height)
                assert any(line.startswith("replay friday.jsonl.gz") and line.endswith("10x") for line in lines) or (
                    height < 4 and lines[0].endswith("replay")
                ), (place, lines)
            for width in (40, 60, 160):
                (line,) = await resize(stage, width, 1)
                assert line.endswith(" replay") and line.startswith("✕ 4"), (place, line)
        await stage.app.show_place("monitor")
        lines = await resize(stage, 60, 15)
        assert "REPLAY friday" in lines[0], lines


async def test_dialogs_have_their_keys_and_what_they_are_about_in_two_rows(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(40, 6)) as stage:
        # settings: the cursor is in sight, with its keys
        await stage.press("f8")
        await stage.until(lambda: "inference_port" in stage.text(), "the settings")
        await stage.press("down", "down", "down")
        for height in (6, 3, 2):
            lines = await resize(stage, 40, height)
            assert any("api_key" in line for line in lines), lines
            assert "enter edit" in lines[-1] and "esc close" in lines[-1], lines
        await stage.press("escape")
        # doctor: what was found, not its title
        await resize(stage, 40, 2)
        await stage.press("f7")
        await stage.until(lambda: "esc close" in stage.text() and "Doctor" not in stage.text(), "a check and the keys")
        await stage.until(lambda: stage.lines()[0].strip() != "", "a check")
        await stage.press("escape")
        # a question: every answer, the one of enter marked
        options = [Option("w", "stop when the 36 requests are done", gentle=True), Option("s", "stop now")]
        stage.app.push_screen(Question("Stop qwen3-32b?", "36 requests run.", options, "keep it running"))
        lines = await resize(stage, 40, 2)
        assert lines[0] == "Stop qwen3-32b?"
        assert all(key in lines[1] for key in ("w stop", "s stop now", "esc keep")), lines
        await stage.press("escape")
        # a diff: what changes, and its keys
        await resize(stage, 40, 6)
        await stage.app.show_place("dashboard")
        await stage.until(lambda: "f fix" in stage.text(), "the fix is known")
        await cursor(stage, "#ledger", "llama-3.3-70b-1")
        await stage.press("f")
        await stage.until(lambda: "+ max_model_len" in stage.text(), "the diff")
        lines = await resize(stage, 40, 2)
        assert "- max_model_len" in lines[0] and "enter save" in lines[1] and "esc no" in lines[1], lines
        await stage.press("escape")
        # writing: the text, and its keys
        stage.app.push_screen(Writing("System prompt", "be brief", "a note"))
        lines = await resize(stage, 40, 2)
        assert "be brief" in lines[0] and "f2 take it" in lines[1], lines
        await stage.press("escape")
        # what to run: the box or an entry, and the keys whole
        await resize(stage, 40, 6)
        await stage.press("n")
        await stage.until(lambda: "an empty recipe" in stage.text(), "what to run")
        assert stage.lines()[-1].split() == ["enter", "take", "it", "esc", "leave", "it"]
        await stage.press("escape")


async def test_pages_keep_what_matters_in_small_windows(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(80, 24)) as stage:
        # messages are wrapped, not cut
        await resize(stage, 40, 6)
        stage.app.tell("No engine runs here that the studio did not start.")
        await stage.until(lambda: "did not start." in stage.text().replace("\n▎", ""), "the whole message")
        stage.app.clear_notifications()
        # recipes: the row under the cursor
        await stage.app.show_place("recipes")
        await stage.until(lambda: "RECIPES  5" in stage.text(), "the recipes are there")
        await stage.press("down")
        lines = await resize(stage, 40, 2)
        assert "deepseek-r1-70b" in lines[1], lines
        # chat: the prompt
        await stage.app.show_place("chat")
        await resize(stage, 40, 2)
        assert stage.app.screen.focused is not None
        assert stage.app.screen.focused.region.bottom <= 2
        # the page of a failed run: the cause is cut with a mark, and of its lines the cause has the first room
        await resize(stage, 60, 15)
        await stage.app.show_place("dashboard")
        await cursor(stage, "#ledger", "llama-3.3-70b-1")
        await stage.press("enter")
        await stage.until(lambda: "root cause" in stage.text(), "the root cause is among the lines that fit")
        lines = await resize(stage, 40, 6)
        assert "…" in next(line for line in lines if line.startswith("The KV cache")), lines
        lines = await resize(stage, 40, 2)
        assert "max_model_len 131072 -> 18416" in lines[1], lines
        await stage.press("escape")
        # the form: trouble in a section that has no room is seen
        await resize(stage, 60, 15)
        await stage.app.show_place("recipes")
        await stage.press("g", "e")
        await stage.until(lambda: "CHECK" in stage.text() and "✕ engine" in stage.text(), "the checks")
        head = next(line for line in stage.lines() if "Memory" in line)
        assert head.rstrip().endswith("… ✕"), head
        await stage.press("escape")


async def test_an_empty_studio_says_so_at_every_size(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(60, 15), shown=bare) as stage:
        await stage.app.show_place("monitor")
        for width, height in ((60, 15), (40, 6), (40, 2)):
            lines = await resize(stage, width, height)
            assert any("Nothing runs yet." in line for line in lines), lines
            if height > 2:
                assert any("No NVIDIA driver" in line for line in lines), lines
        lines = await resize(stage, 40, 6)
        assert lines[-1].endswith("? help  q quit"), lines


async def test_the_sheet_of_a_recipe_is_there_as_a_whole(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes", size=(80, 24)) as stage:
        place: Any = stage.app.current
        place._plans.clear()  # the cursor has only just come there
        await stage.press("i")
        await stage.until(lambda: "COMMAND" in stage.text(), "the sheet")
        (sheet,) = [one for one in stage.app.screen_stack if isinstance(one, Pages)]
        pages = sheet.query_one("#pages", ListCanvas)
        assert pages.size.height == min(len(pages.rows), sheet.rows_free - 1)
