"""What the page of a new recipe asks, and what becomes of the recipe: kept, run, or opened in the form."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

#: Seconds between two looks at a download.
PACE = 1.0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_studio_tui.domain.creation import Creation
    from vllm_studio_tui.tui.shell import Shell


async def choose_value(shell: Shell, made: Creation, name: str, counts: Sequence[int]) -> Any:
    """Offer the values of a field; return the chosen one, or None."""
    glyphs = shell.ink.glyphs
    if name == "engine":
        choices = [
            Choice(
                one.name,
                one.title,
                f"{one.version}  {one.why}".strip(),
                mark=(glyphs.passed, "ok") if one.ready else (glyphs.pending, "faint"),
            )
            for one in made.engines
        ]
        return await shell.ask(Chooser(choices, title="engine"))
    if not counts:
        shell.tell(made.reasons.get("gpus") or "No GPU is seen here.")
        return None
    choices = [Choice(str(one), f"{one} of {made.gpus_here}") for one in counts]
    said = await shell.ask(Chooser(choices, title="GPUs"))
    return int(said) if said is not None else None


async def ask_leaving(shell: Shell) -> str | None:
    """Ask what becomes of what was chosen: `s` is save, `d` discard, None stay."""
    options = [Option("s", "save", gentle=True), Option("d", "discard")]
    answer = await shell.ask(Question("Save this new recipe?", "", options, "stay"))
    return None if answer is None else str(answer)


async def keep(shell: Shell, made: Creation) -> bool:
    """Keep the recipe; return whether it was kept."""
    recipe = made.recipe
    try:
        await shell.in_thread(lambda: shell.studio.recipes.create(recipe))
    except UsageError as error:
        shell.tell(f"{error.title}. {error.advice}", "warning")
        return False
    place: Any = await shell.show_place("recipes")
    await place.reload(recipe.id)
    shell.tell(f"{recipe.id} is saved.")
    return True


async def run_kept(shell: Shell, made: Creation) -> None:
    """Launch the recipe that was kept; what its engine cannot fetch is downloaded before."""
    from vllm_studio_tui.tui.flows.commands import Commands

    if not made.fetch or await _fetched(shell, made):
        await Commands(shell).launch(made.recipe.id)


async def _fetched(shell: Shell, made: Creation) -> bool:
    """Download the model, and wait until it is here; return whether it is."""
    from vllm_studio_tui.domain.download import DownloadState

    downloads = shell.studio.downloads
    one = await shell.in_thread(partial(downloads.start, made.fetch))
    shell.tell(f"{made.fetch} is downloaded, then {made.recipe.id} runs. The download goes on when you leave.")
    while one.state.live:
        await asyncio.sleep(PACE)
        one = await shell.in_thread(partial(downloads.get, one.id))
    if one.state is DownloadState.DONE:
        return True
    words = " ".join(part for part in (one.error, one.advice) if part)
    shell.tell(f"{made.recipe.id} does not run yet: the download is {one.state}. {words}".rstrip(), "warning")
    return False


async def open_form(shell: Shell, made: Creation) -> None:
    """Open the form of all fields with the recipe as it is."""
    place: Any = await shell.show_place("recipes")
    await place.new(made.recipe)


async def create_from(shell: Shell, model: str) -> None:
    """Open the page on a model."""
    shell.open_page("create", model)
