"""Everything from outside is hostile: whatever it holds, nothing of it is obeyed, crashes anything, or is swallowed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.functional.stage import Staged, recipe, snapshot, staged
from vllm_studio_tui.domain.chat import Delta, Ended, ToolCall
from vllm_studio_tui.domain.gpus import GpuProcess
from vllm_studio_tui.services.watching.sampler import Snapshot
from vllm_studio_tui.tui.screens.chat.prompt import PromptArea
from vllm_studio_tui.tui.screens.registry import BY_NAME

#: What a terminal would obey, or what turns text around.
DANGEROUS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
NASTY = {
    "escapes": "\x1b]52;c;aGFja2Vk\x07\x1b[2J\x1b[31mred\x1b\\",
    "c1": "\x9b31m\x9d52;c;eA==\x9c\x90q\x9c",
    "bidi": "abc\u202edef\u2066ghi\u2069\u200f",
    "markup": "[bold]x[/] [/x] [@click=app.quit]click[/] [link=file:///etc/passwd]l[/link] {self} %s",
    "wide": "漢字漢字漢字 한국어 ｗｉｄｅ 👩‍👩‍👧‍👦🏳️‍🌈",
    "combining": "e" + "\u0301" * 60 + "Z" + "\u0e33" * 20,
    "controls": "".join(chr(code) for code in range(1, 32)) + "\x7f",
    "surrogates": "a\ud800b\udfffc",
    "tags": "a\U000e0041\U000e007fb\ufff9x\ufffb",
    "long": "x" * 200_000,
    "lines": "a\nb\r\nc\rd\x0be\x0cf\u2028g",
    "invalid": b"\xff\xfe\x80abc\xc3".decode("utf-8", "replace"),
    "empty": "",
    "blank": " \t ",
}


def poisoned(folder: Path, text: str) -> Snapshot:
    """The usual runs and GPUs, with this text wherever text can come from."""
    base = snapshot(folder)
    runs = []
    for run in base.runs:
        assert run.spec is not None
        spec = replace(run.spec, name=text, model=text, backend=text[:20] or "vllm", argv=(text,))
        status = replace(
            run.status, title=text, advice=text, evidence=[text, text], stage=run.status.stage and text[:50]
        )
        (run.folder / "engine.log").write_bytes(text.encode("utf-8", "surrogatepass") * 3 + b"\n\xff\xfe\n")
        runs.append(replace(run, spec=spec, status=status))
    gpus = tuple(
        replace(
            gpu,
            name=text,
            lost=text if gpu.index == 3 else None,
            processes=(GpuProcess(1, text, text, 1, None),),
        )
        for gpu in base.tick.gpus.gpus
    )
    report = replace(base.tick.gpus, gpus=gpus, driver=text)
    engines = {key: replace(metrics, error=text) for key, metrics in base.tick.engines.items()}
    return Snapshot(replace(base.tick, gpus=report, engines=engines), tuple(runs), tuple(runs))


def check(stage: Staged, where: str) -> None:
    for number, strip in enumerate(stage.app.screen._compositor.render_strips()):
        line = "".join(segment.text for segment in strip)
        found = DANGEROUS.search(line)
        assert found is None, (where, number, found and hex(ord(found[0])))
        line.encode("utf-8")


@pytest.mark.parametrize("kind", sorted(NASTY))
async def test_no_text_from_outside_does_harm_on_any_screen(tmp_path: Path, kind: str) -> None:
    text = NASTY[kind]
    script = (
        Delta(reasoning=text),
        Delta(content=f"{text}\n\n# {text}\n\n| {text} | b |\n|---|---|\n| {text} | 2 |\n\n```{text}\n{text}\n```\n"),
        Ended("stop", tool_calls=(ToolCall("1", text, text), ToolCall("2", "f", f'{{"a": "{text[:50]}"}}'))),
    )
    one = recipe("plain").model_copy(update={"name": text[:100] or "n", "description": text, "model_path": "org/x"})
    prepared = (recipe("plain"),)
    async with staged(tmp_path, shown=lambda folder: poisoned(folder, text), recipes=prepared, script=script) as stage:
        rows = stage.studio.recipes
        if "\ud800" not in text and "\0" not in text:
            rows.save(one)
        for place in BY_NAME:
            await stage.app.show_place(place)
            await stage.settle()
            if place == "chat":
                # Before that a q is no text: it leaves, and the next screen finds no page to stand on.
                await stage.until(lambda: isinstance(stage.app.focused, PromptArea), "the prompt has the focus")
                await stage.type("q")
                await stage.press("enter")
                await stage.until(lambda: not stage.app.current.answers.running, "the answer is over")  # type: ignore[attr-defined]
                await stage.press("ctrl+t", "ctrl+o")
                check(stage, "chats")
                await stage.press("escape")
            for width, height in ((160, 45), (80, 24), (60, 15), (40, 6), (20, 2)):
                await stage.pilot.resize_terminal(width, height)
                check(stage, f"{place} {width}x{height}")
            await stage.pilot.resize_terminal(160, 45)
        await stage.press("ctrl+p")
        check(stage, "palette")
        await stage.press("escape")
        stage.app.tell(text, "error")
        await stage.settle()
        check(stage, "toast")


async def test_nothing_is_swallowed(tmp_path: Path) -> None:
    """What was dangerous is shown as a mark, and the text around it is whole."""
    script = (Delta(content="before \x1b[31m after \u202e end"), Ended("stop"))
    async with staged(tmp_path, place="chat", script=script) as stage:
        await stage.type("q")
        await stage.press("enter")
        await stage.until(lambda: "before \ufffd[31m after \ufffd end" in stage.text(), "all of it is there")
        session = stage.studio.chat.sessions.list()[0]

        def kept() -> bool:
            return stage.studio.chat.messages.branch(session.id)[-1].content == "before \x1b[31m after \u202e end"

        await stage.until(kept, "it is kept whole")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=300))
def test_any_text_is_drawn_without_harm(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from vllm_studio_tui.config.themes import load_themes
    from vllm_studio_tui.tui.look.sizes import Size
    from vllm_studio_tui.tui.paint import events, gpus, runs
    from vllm_studio_tui.tui.paint.glyphs import UNICODE
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.paint.run_parts import RunFacts

    shown = poisoned(tmp_path_factory.mktemp("h"), text)
    themes, _ = load_themes(None)
    ink = Ink(themes["slate"].colours)
    for size, width in ((Size.FULL, 160), (Size.BASE, 80), (Size.COMPACT, 60), (Size.STRIP, 40), (Size.STRIP, 3)):
        rows = [row for run in shown.runs for row in runs.rows(RunFacts(run), UNICODE, width, size, 2e9)]
        rows += gpus.table(shown.tick.gpus, shown.runs, UNICODE, width, size)
        rows += events.rows(events.events(shown.runs), UNICODE, 0, width, 2e9)
        for row in rows:
            strip = ink.strip(row, width)
            assert strip.cell_length == width
            assert not DANGEROUS.search("".join(segment.text for segment in strip))
