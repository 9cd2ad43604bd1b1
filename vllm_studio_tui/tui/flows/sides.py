"""Choosing who answers side by side: runs that answer, each as it is or with a preset, or as it is typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.compare import FEWEST, MOST
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

_TYPED = "or type RUN,temperature=0"


async def choose_sides(shell: Shell, before: Sequence[str] = ()) -> tuple[list[str], bool] | None:
    """Ask who answers, one after the other; return their specs, and whether their names are hidden. None: nobody.

    Args:
        before: Who answered last, which is offered first.
    """
    chosen: list[str] = []
    blind = False
    while True:
        first: list[Choice] = []
        if len(chosen) >= FEWEST:
            first.append(Choice("ask:", "ask these", " · ".join(chosen), group="Side by side"))
        elif not chosen and len(before) >= FEWEST:
            first.append(Choice("before:", "those of before", " · ".join(before), group="Side by side"))
        hidden = "hidden until you choose the better one" if blind else "shown"
        toggle = Choice("blind:", "names", hidden, group="Side by side", words="blind arena hide")
        title = f"{len(chosen) + 1} of {FEWEST} to {MOST}: who answers, {_TYPED}"
        others = await _choices(shell, chosen) if len(chosen) < MOST else []
        answer = await shell.ask(Chooser([*first, *others, toggle], title=title, empty="No run answers.", free=True))
        if answer is None:
            return None
        what, colon, spec = answer.partition(":")
        if answer == "ask:":
            return chosen, blind
        if answer == "before:":
            return list(before), blind
        if answer == "blind:":
            blind = not blind
        else:
            chosen.append(spec if colon and what == "side" else answer.strip())


async def add_side(shell: Shell, chosen: Sequence[str]) -> str | None:
    """Ask for one more; None: none."""
    choices = await _choices(shell, chosen)
    answer = await shell.ask(Chooser(choices, title=f"one more, {_TYPED}", empty="No other run answers.", free=True))
    return answer.removeprefix("side:").strip() if answer is not None else None


async def _choices(shell: Shell, chosen: Sequence[str]) -> list[Choice]:
    """Return each run that answers, as it is and with each preset; without those that were chosen."""
    glyphs = shell.ink.glyphs
    runs = [run for run in (shell.snapshot.runs if shell.snapshot is not None else ()) if run.state in ANSWERING]
    presets = await shell.in_thread(lambda: shell.studio.library.list("preset"))
    servers = await shell.in_thread(shell.studio.recipe_list)
    found: list[Choice] = []
    named: list[tuple[str, str, tuple[str, str] | None]] = [
        (run.recipe_id, clean_line(run.name), glyphs.state(run.state)) for run in runs
    ]
    named += [(name, clean_line(name), None) for name, data in servers if data.get("backend") == "external"]
    for recipe_id, name, mark in named:
        found.append(Choice(f"side:{recipe_id}", name, "as the chat is set", "", name, mark=mark))
        for preset in presets:
            if "," not in preset.name:
                spec = f"{recipe_id},preset={preset.name}"
                found.append(
                    Choice(f"side:{spec}", f"{name}, {clean_line(preset.name)}", "preset", "", name, mark=mark)
                )
    return [one for one in found if one.value.removeprefix("side:") not in chosen]
