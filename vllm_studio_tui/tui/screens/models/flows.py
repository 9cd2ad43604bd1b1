"""What is done with models and downloads, with the questions on the way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.download import Download, DownloadPlan
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.model import Deletion
from vllm_studio_tui.services.recipes.starting import HUB_NAME
from vllm_studio_tui.tui.flows.pulling import cancel
from vllm_studio_tui.tui.paint.downloads import name_of, room
from vllm_studio_tui.tui.screens.models.lines import Line
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question

if TYPE_CHECKING:
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.shell import Shell

#: Files that are named before a download.
NAMED = 6


# --- recipes of a model ---------------------------------------------------------------------------------


async def run_model(commands: Commands, line: Line) -> None:
    """Launch the recipe of a model: of several the one that is chosen; where there is none, begin one."""
    if not line.recipes:
        await begin_recipe(commands.shell, line)
        return
    recipe = await _which(commands, line.recipes, "run")
    if recipe is not None:
        await commands.launch(recipe)


async def open_model(commands: Commands, line: Line) -> None:
    """Go to the recipe of a model; where there is none, begin one."""
    if not line.recipes:
        await begin_recipe(commands.shell, line)
        return
    recipe = await _which(commands, line.recipes, "open")
    if recipe is not None:
        place: Any = await commands.shell.show_place("recipes")
        await place.reload(recipe)


async def _which(commands: Commands, recipes: Sequence[str], verb: str) -> str | None:
    if len(recipes) == 1:
        return recipes[0]
    choices = [one for one in await commands.recipe_choices() if one.value in recipes]
    known = {one.value for one in choices}
    choices += [Choice(one, one, "cannot be read") for one in recipes if one not in known]
    said: str | None = await commands.shell.ask(Chooser(choices, title=f"{verb} which of its {len(recipes)} recipes?"))
    return said


async def begin_recipe(shell: Shell, line: Line) -> None:
    """Begin a recipe for a model: the page chooses the engine that is installed and reads it."""
    from vllm_studio_tui.tui.flows.starting import take

    if line.model is not None:
        await take(shell, f"model:{line.model.path}")


# --- downloads ------------------------------------------------------------------------------------------


async def get_model(shell: Shell) -> str | None:
    """Ask for a name on the hub, show what would come, and begin the download; return its row's key."""
    text, wrong = "", ""
    while True:
        text = await shell.ask(
            Prompt(
                "Get a model",
                text,
                note="owner/name as on the hub, :quantization or @revision if you like; or the address of its page",
                check=_wrong,
                wrong=wrong,
            )
        )
        if text is None:
            return None
        name, revision = read_name(text)
        shell.tell(f"Asking the hub for {name}.")
        try:
            plan = await _planned(shell, name, revision)
        except UsageError as error:
            wrong = " ".join(part for part in (f"{error.title}.", error.cause, error.advice) if part)
            continue
        if plan is None:
            return None
        wrong = ""
        said = await shell.ask(_plan_question(plan))
        if said == "n":
            continue
        if said != "d":
            return None
        begun: Download = await shell.in_thread(
            partial(shell.studio.downloads.start, _called(plan, name), revision=revision)
        )
        shell.tell(f"{name_of(begun)} is coming; it goes on when you leave.")
        shell.pulls.look()
        return begun.name


async def _planned(shell: Shell, name: str, revision: str | None) -> DownloadPlan | None:
    """Ask the hub what would come; of several quantizations the person chooses one. None: of no one."""
    downloads = shell.studio.downloads
    plan = await shell.in_thread(partial(downloads.plan, name, revision=revision))
    if ":" in name or len(plan.choices) < 2 or name.startswith("http"):
        return plan
    first = sorted(plan.choices, key=lambda one: (one[0] != plan.quantization, one[1]))
    choices = [Choice(one, one, room(size)) for one, size in first]
    said = await shell.ask(Chooser(choices, title=f"which of {len(choices)} quantizations?"))
    if said is None or said == plan.quantization:
        return plan if said is not None else None
    return await shell.in_thread(partial(downloads.plan, f"{plan.repo}:{said}", revision=revision))


def _called(plan: DownloadPlan, name: str) -> str:
    """Return the name of what was planned: with the quantization that was chosen."""
    return f"{plan.repo}:{plan.quantization}" if plan.quantization else name


def _wrong(text: str) -> str | None:
    name, _ = read_name(text)
    if "://" in name or HUB_NAME.fullmatch(name.partition(":")[0]):
        return None
    return "a name on the hub is owner/name, such as Qwen/Qwen3-0.6B"


def read_name(text: str) -> tuple[str, str | None]:
    """Return the name and the revision of what was typed: `owner/name@revision`, or the address of a page."""
    words = text.strip()
    if "://" in words:
        return words, None
    name, _, revision = words.partition("@")
    revision, _, form = revision.partition(":")
    return f"{name.strip()}:{form.strip()}" if form.strip() else name.strip(), revision.strip() or None


def _plan_question(plan: DownloadPlan) -> Question:
    """Ask whether to begin, naming what comes, how much room there is, and who may have it."""
    lines = [f"{len(plan.files)} {'file' if len(plan.files) == 1 else 'files'}, {room(plan.bytes)}"]
    if plan.here:
        lines[0] += f"; {room(plan.here)} are here already"
    largest = sorted(plan.files, key=lambda one: -one.size)[:NAMED]
    lines += [f"  {one.name}  {room(one.size)}" for one in largest]
    if len(plan.files) > NAMED:
        lines.append(f"  and {len(plan.files) - NAMED} smaller")
    skipped = sum(len(one.names) for one in plan.skipped)
    if skipped:
        whys = "; ".join(dict.fromkeys(one.why for one in plan.skipped))
        lines.append(f"{skipped} stay there, {room(sum(one.bytes for one in plan.skipped))}: {whys}")
    where = f" into {plan.folder}" if plan.folder else ""
    if plan.room is not None:
        lines.append(f"{room(plan.room)} are free{where}" + ("" if plan.fits else f": {room(plan.missing)} do not fit"))
    elif where:
        lines.append(where.strip())
    if plan.licence:
        lines.append(f"licence {plan.licence}")
    lines += [f"careful: {one}" for one in plan.warnings]
    if plan.gated:
        lines.append(f"gated: the hub gives it to those who accepted its terms at {plan.page}")
    options = [Option("d", "download it", gentle=True)] if plan.fits is not False else []
    name = f"{plan.repo}:{plan.quantization}" if plan.quantization else plan.repo
    return Question(f"Get {name}?", "\n".join(lines), [*options, Option("n", "another name")], "get nothing")


# --- deleting -------------------------------------------------------------------------------------------


async def take_away(shell: Shell, lines: Sequence[Line]) -> bool:
    """Ask, and delete models, or cancel the download of the one that is chosen; return whether anything was."""
    if len(lines) == 1 and lines[0].download is not None:
        return await cancel(shell, lines[0].download)
    paths = [line.path for line in lines if line.model is not None and line.download is None]
    return bool(paths) and await _delete(shell, paths)


async def _delete(shell: Shell, paths: Sequence[str]) -> bool:
    """Ask, naming what comes free and who uses it, and delete them."""
    models = shell.studio.models
    found = [await shell.in_thread(partial(models.deletion, path)) for path in paths]
    refused = [one for one in found if one.refused]
    can = [one for one in found if not one.refused]
    if not can:
        for one in refused:
            shell.tell(f"{one.model.name}: {one.refused} {one.advice}".rstrip(), "warning")
        return False
    if await shell.ask(_delete_question(can, refused)) != "d":
        return False
    freed = 0
    for one in can:
        done = await shell.in_thread(partial(models.delete, one.model.path, of_others=bool(one.owner)))
        freed += done.frees
    names = can[0].model.name if len(can) == 1 else f"{len(can)} models"
    shell.tell(f"Deleted {names}; {room(freed)} came free.")
    return True


def _delete_question(can: Sequence[Deletion], refused: Sequence[Deletion]) -> Question:
    """Ask whether to delete; `refused` are those of the marked that cannot be."""
    title = f"Delete {can[0].model.name}?" if len(can) == 1 else f"Delete {len(can)} models?"
    lines = [f"{room(sum(one.frees for one in can))} come free."]
    if len(can) > 1:
        lines += [f"  {one.model.name}  {room(one.frees)}" for one in can[:NAMED]]
        if len(can) > NAMED:
            lines.append(f"  and {len(can) - NAMED} more")
    keeps = sum(one.keeps for one in can)
    if keeps:
        lines.append(f"{room(keeps)} stay: something else uses them too.")
    recipes = list(dict.fromkeys(recipe for one in can for recipe in one.recipes))
    if recipes:
        named = ", ".join(recipes[:NAMED]) + (f" and {len(recipes) - NAMED} more" if len(recipes) > NAMED else "")
        lines.append(f"Recipe {named} needs it." if len(recipes) == 1 else f"Used by recipes {named}.")
    for owner in dict.fromkeys(one.owner for one in can if one.owner):
        advice = next((one.advice for one in can if one.owner == owner and one.advice), "")
        lines.append(f"It lies in {owner}'s store. {advice}".rstrip())
    for one in refused[:NAMED]:
        lines.append(f"Not {one.model.name}: {one.refused}")
    return Question(title, "\n".join(lines), [Option("d", "delete it" if len(can) == 1 else "delete them")],
                    "keep it" if len(can) == 1 else "keep them")  # fmt: skip
