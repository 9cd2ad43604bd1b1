"""Beginning: the question what to run, and what becomes of what the person takes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.shell import Shell


async def what_to_run(shell: Shell) -> None:
    """Ask what to run, and do that."""
    from vllm_studio_tui.tui.sheets.starting import StartSheet

    taken = await shell.ask(StartSheet())
    if taken is not None:
        await take(shell, taken)


async def take(shell: Shell, key: str) -> None:
    """Do what an entry of "What do you want to run?" stands for: `kind:value`."""
    from vllm_studio_tui.tui.flows.commands import Commands

    kind, _, value = key.partition(":")
    commands = Commands(shell)
    studio = shell.studio
    if kind in ("model", "starter", "recipe"):
        shell.open_page("create", value)
    elif kind == "foreign":
        engine_there = await shell.in_thread(partial(studio.runs.foreign_of, int(value)))
        recipe = await shell.in_thread(partial(studio.recipes.attach, engine_there))
        shell.tell(f"{recipe.id} is {recipe.base_url}.")
        await commands.chat_with(recipe.id)
    elif kind == "server":
        await _attach(shell, commands, value)
    elif kind in ("command", "file", "text"):
        await _import(shell, kind, value)
    else:
        await _do(shell, commands, value)


async def _do(shell: Shell, commands: Commands, what: str) -> None:
    from vllm_studio_tui.tui.sheets.dialogs import Prompt

    if what == "demo":
        await commands.demo()
    elif what == "empty":
        await _open_form(shell)
    elif what == "attach":
        note = "Such as http://127.0.0.1:11434 of Ollama; a key is set in the recipe afterwards."
        url = await shell.ask(Prompt("The address of an OpenAI-compatible server", note=note))
        if url and url.strip():
            await _attach(shell, commands, url)
    else:
        await _import(shell, what, "")


async def _attach(shell: Shell, commands: Commands, url: str) -> None:
    """Ask a server for its models, keep the chosen one as a recipe, and chat with it."""
    from vllm_studio_tui.services.recipes.starting import recipe_of_server, server_models
    from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

    base, models = await shell.in_thread(partial(server_models, url))
    model = models[0]
    if len(models) > 1:
        choices = [Choice(str(index), name) for index, name in enumerate(models)]
        said = await shell.ask(Chooser(choices, title=f"which of its {len(models)} models?"))
        if said is None:
            return
        model = models[int(said)]

    def keep() -> Recipe:
        ids = {stored for stored, _ in shell.studio.recipe_list()}
        return shell.studio.recipes.create(recipe_of_server(base, model, ids))

    recipe = await shell.in_thread(keep)
    shell.tell(f"{recipe.id} is attached: {base}.")
    await commands.chat_with(recipe.id)


async def _import(shell: Shell, kind: str, value: str) -> None:
    place: Any = await shell.show_place("recipes")
    await place.import_from(kind, value)


async def _open_form(shell: Shell) -> None:
    place: Any = await shell.show_place("recipes")
    await place.new()
