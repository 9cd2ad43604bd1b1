"""Notices reach a person who looks elsewhere, and nobody else; the title shows the state and is given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual import events

from tests.functional.stage import Staged, run_view, snapshot, staged
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.chat import Delta, Ended
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.probes.terminal import SIXTEEN, TRUE, Terminal
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.terminal.notices import Notices

XTERM = Terminal("xterm-256color", TRUE)
NEWS = ["\x1b]9;vllm-studio: deepseek is ready\a", "\x1b]9;vllm-studio: qwen failed: out of memory\a"]


def two(folder: Path, first: State, second: State) -> Snapshot:
    runs = (
        run_view(folder, "deepseek", first, progress=0.43),
        run_view(folder, "qwen", second, port=8001, title="out of memory" if second is State.FAILED else ""),
    )
    return replace(snapshot(folder / "more"), runs=runs, every=runs)


def seen(folder: Path, settings: Settings, *, terminal: Terminal = XTERM, front: bool | None = False) -> list[str]:
    """What is written while one run becomes ready and another fails."""
    written: list[str] = []
    notices = Notices(written.append, terminal)
    notices.begin(settings)
    notices.in_front = front
    notices.arrived(two(folder, State.LOADING, State.READY), UNICODE)
    notices.arrived(two(folder, State.READY, State.FAILED), UNICODE)
    notices.arrived(two(folder, State.READY, State.FAILED), UNICODE)
    notices.answered(5)
    notices.answered(65)
    return written


def test_what_is_told_and_to_whom(tmp_path: Path) -> None:
    def given(**fields: object) -> Settings:
        return Settings.model_validate({"title": False, **fields})

    answer = "\x1b]9;vllm-studio: the answer is there, after 1m05s\a"
    assert seen(tmp_path, given()) == [*NEWS, answer]
    assert seen(tmp_path, given(), front=True) == []
    assert seen(tmp_path, given(), front=None) == []
    assert seen(tmp_path, given(notify="always"), front=None) == [*NEWS, answer]
    assert seen(tmp_path, given(notify="never")) == []
    assert seen(tmp_path, given(notify_ready=False, notify_answer=False)) == NEWS[1:]
    assert seen(tmp_path, given(notify_failed=False, notify_bell=True, notify_desktop=False)) == ["\a", "\a"]
    assert seen(tmp_path, given(), terminal=Terminal("linux", SIXTEEN, console=True)) == []
    through = seen(tmp_path, given(notify_answer=False), terminal=replace(XTERM, inside="tmux"))
    assert through == [f"\x1bPtmux;\x1b{text}\x1b\\" for text in NEWS]


def test_the_title_is_the_state_at_a_glance_and_is_given_back(tmp_path: Path) -> None:
    written: list[str] = []
    notices = Notices(written.append, XTERM)
    notices.begin(Settings(notify="never"))
    notices.arrived(two(tmp_path, State.LOADING, State.READY), UNICODE)
    notices.arrived(two(tmp_path, State.LOADING, State.READY), UNICODE)
    notices.arrived(two(tmp_path, State.READY, State.FAILED), ASCII)
    notices.arrived(two(tmp_path, State.READY, State.READY), UNICODE)
    notices.end()
    titles = ("studio ◐ deepseek 43% ● 1", "studio x qwen * 1", "studio ● 2 1842 tok/s")
    assert written == ["\x1b[22;2t", *(f"\x1b]2;{title}\x1b\\" for title in titles), "\x1b[23;2t"]


async def test_what_is_overtaken_is_no_longer_said(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        begun = two(tmp_path / "runs", State.LOADING, State.READY)
        stage.launcher.run = begun.runs[0]
        stage.app.spawn(stage.app.current.commands.launch("gemma-3-12b"))
        await stage.until(lambda: "is starting on port" in stage.text(), "it is said")
        stage.studio.sampler.show(begun)  # type: ignore[attr-defined]
        await stage.settle()
        assert "is starting on port" in stage.text()  # it still does
        stage.studio.sampler.show(two(tmp_path / "runs", State.READY, State.READY))  # type: ignore[attr-defined]
        await stage.until(lambda: "is starting on port" not in stage.text(), "it is ready")


async def test_the_screens_tell_when_the_terminal_is_not_in_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_studio_tui.tui.terminal.notices.LONG_ANSWER", 0.0)
    script = (Delta(content="done"), Ended("stop"))
    async with staged(tmp_path, place="chat", script=script) as stage:
        written: list[str] = []
        stage.app.notices._write = written.append

        def show(make: Callable[[Path], Snapshot]) -> None:
            stage.studio.sampler.show(make(tmp_path / "runs-of-the-stage"))  # type: ignore[attr-defined]

        async def told(stage: Staged, words: str) -> None:
            await stage.until(lambda: any(words in text for text in written), words)

        await stage.until(lambda: stage.app.notices._settings is not None, "the settings are read")
        show(snapshot)
        await told(stage, "\x1b]2;studio ✕ llama-3.3-70b")
        stage.app.post_message(events.AppBlur())
        await stage.pilot.pause()
        show(lambda folder: two(folder, State.READY, State.READY))
        await told(stage, "deepseek is ready")
        await stage.type("q")
        await stage.press("enter")
        await told(stage, "the answer is there")
        stage.app.post_message(events.AppFocus())
        await stage.pilot.pause()
        show(lambda folder: two(folder, State.FAILED, State.READY))
        await told(stage, "studio ✕ deepseek")
        assert not any("deepseek failed" in text for text in written)
    assert written[-1] == "\x1b[23;2t"


async def test_an_error_stays_until_it_was_read_and_the_person_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_studio_tui.tui.background.READ", 3600.0)
    async with staged(tmp_path) as stage:
        stage.app.tell("no message", "error")
        await stage.press("down", "5", "1")
        assert stage.toasts == ["no message"]  # keys that come at once are no sign that it was read
        monkeypatch.setattr("vllm_studio_tui.tui.background.READ", -3600.0)
        await stage.settle()
        assert stage.toasts == ["no message"]  # nobody is here
        await stage.press("down")
        assert stage.toasts == []
