"""Commands of the recipes screen that ask questions: save, duplicate, delete, import, export, edit as YAML."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vllm_studio_tui.domain.errors import InvalidRecipe, UsageError
from vllm_studio_tui.domain.recipe import ID, Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.changes import Proposal
from vllm_studio_tui.services.serving.served_names import shared_names
from vllm_studio_tui.tui.flows.changes import agree, propose, runs_now, save
from vllm_studio_tui.tui.flows.export import export
from vllm_studio_tui.tui.keys.actions import keys_text
from vllm_studio_tui.tui.screens.recipes.choosing import choose_value, find_field
from vllm_studio_tui.tui.screens.recipes.import_rows import report_rows, running_rows
from vllm_studio_tui.tui.screens.recipes.plans import Plan
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Prompt, Question, Writing
from vllm_studio_tui.tui.terminal.editor import edit_text

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.importing import ImportReport
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
    from vllm_studio_tui.tui.shell import Shell

#: The process or the port of an engine.
PROCESS = re.compile(r":?[0-9]{1,9}")
#: What an import takes, in words.
TAKES = "a command such as vllm serve, recipes as YAML or JSON, or the PID or port of an engine that runs"
FILES = "YAML or JSON with recipes, llama-swap, compose, or a shell command; ~ is your home."


class RecipesScreen(Protocol):
    """What the flows need of the recipes screen."""

    @property
    def shell(self) -> Shell: ...
    @property
    def studio(self) -> StudioApi: ...
    @property
    def commands(self) -> Commands: ...
    async def reload(self, choose: str | None = None) -> None:
        """Read the recipes again, and move the cursor to the recipe `choose`."""

    async def edit(self, recipe_id: str) -> None:
        """Open the form on a recipe."""

    async def close_form(self, choose: str | None = None) -> None:
        """Close the form and show the table, with the cursor on the recipe `choose`."""


class RecipeFlows:
    """The commands of the recipes screen that ask questions."""

    def __init__(self, place: RecipesScreen) -> None:
        self._place = place
        self._shell = place.shell
        self._studio = place.studio

    async def save(self, recipe: Recipe | None, was: Recipe | None, *, launch: bool) -> None:
        """Save the recipe of the form, which edited the recipe `was`, after showing what differs.

        Args:
            launch: Launch it then.
        """
        if recipe is None:
            return
        made = Proposal(was, recipe, reason="form")
        asks = was is not None and bool(made.change)
        again = asks and runs_now(self._shell, recipe.id)  # as it is said, and agreed to
        if asks and await agree(self._shell, [made], run=launch, edit="", keep="back to the form") is None:
            return
        if was is None or made.change:
            await save(self._shell, made)
        await self._place.close_form(recipe.id)
        if launch:
            await self._place.commands.launch(recipe.id, instead=again)

    async def asked(self, form: RecipeForm, what: str, name: str) -> None:
        """Do what was asked for in the form, for the field `name`."""
        if what == "choose":
            await choose_value(self._shell, form, name)
        elif what == "find":
            await find_field(self._shell, form)
        elif what == "info":
            await self.info(form)
        elif what == "yaml":
            await self.yaml_of_form(form)
        else:
            await self.leave(form)

    async def leave(self, form: RecipeForm) -> None:
        """Close the form; with unsaved changes, ask whether to save them."""
        changes = len(form.changed)
        if changes:
            words = f"Keep {changes} {'change' if changes == 1 else 'changes'}?"
            answer = await self._shell.ask(
                Question(
                    words if form.recipe is not None else "Save this new recipe?",
                    "",
                    [Option("s", "save", gentle=True), Option("d", "discard")],
                    "stay",
                )
            )
            if answer is None:
                return
            if answer == "s":
                form.action_save()
                return
        await self._place.close_form()

    async def info(self, form: RecipeForm) -> None:
        """Show all checks of the form, what it changes, and its command."""
        from vllm_studio_tui.tui.screens.recipes.form_rows import info_rows

        facts = form.facts
        await self._shell.ask(Pages(lambda ink, width: info_rows(facts, width, time.time())))

    async def duplicate(self, recipe_id: str) -> None:
        """Ask for an id, and copy a recipe to it."""
        ids = {stored for stored, _ in await self._shell.in_thread(self._studio.recipe_list)}
        number = 2
        while f"{recipe_id}-{number}"[:64] in ids:
            number += 1

        def check(text: str) -> str | None:
            if text in ids:
                return f"{text} exists already"
            return None if ID.fullmatch(text) else "an id is a-z, 0-9, dot, dash, underscore; at most 64"

        answer = await self._shell.ask(Prompt(f"Duplicate {recipe_id} as", f"{recipe_id}-{number}"[:64], check=check))
        if answer is not None:
            recipes = self._studio.recipes
            both = await self._shell.in_thread(lambda: [recipes.duplicate(recipe_id, answer), recipes.get(recipe_id)])
            await self._place.reload(answer)
            for name in shared_names(both):
                self._shell.tell(f"Both are asked for as {name}: a request means the only one that is ready.")

    async def delete(self, recipe_id: str) -> None:
        """Delete a recipe after asking, and on request write it to a file first."""
        run = self._place.commands.run_of(recipe_id)
        if run is not None and run.live:
            self._shell.tell(f"{recipe_id} is {run.state}: stop it first.", "warning")
            return
        every = self._shell.snapshot.every if self._shell.snapshot is not None else ()
        runs = sum(run.recipe_id == recipe_id for run in every)
        kept = f"Its {runs} earlier runs and what they used stay." if runs else "It was never run."
        if runs == 1:
            kept = "Its one earlier run and what that used stay."
        answer = await self._shell.ask(
            Question(
                f"Delete {recipe_id}?",
                f"{kept} Its revisions are kept: {self._key('app.undo')} brings it back.",
                [Option("d", "delete it")],
                "keep it",
            )
        )
        if answer is not None:
            await self._shell.in_thread(lambda: self._studio.recipes.delete(recipe_id))
            self._shell.tell(f"{recipe_id} is deleted. {self._key('app.undo')} brings it back.")
            await self._place.reload()

    def _key(self, action_id: str) -> str:
        return keys_text(self._shell.keys_of(action_id), 1) or "undo"

    # --- in and out -------------------------------------------------------------------------------------

    async def import_(self) -> None:
        """Import recipes, a compose file or a shell command, from a file or from pasted text."""
        await self.import_from("paste", "")

    async def import_from(self, kind: str, value: str) -> None:
        """Import a `command` or `text`, the `file` of a path, an engine that is `running`, or ask for it."""
        from vllm_studio_tui.services.recipes.sources import read_source

        if kind == "paste":
            value = (
                await self._shell.ask(Writing("Import: paste it here, or write the path of a file", "", TAKES)) or ""
            )
            line = value.strip()
            is_path = "\n" not in line and line.startswith(("/", "~", "./", "../"))
            kind = "file" if is_path else "running" if PROCESS.fullmatch(line) else "text"
        elif kind == "file" and not value:
            value = await self._shell.ask(Prompt("The file to import", note=FILES)) or ""
        value = value.strip()
        if not value:
            return
        if kind == "running":
            await self._import_running(int(value.lstrip(":")))
            return
        if kind == "file":
            raw = await self._shell.in_thread(lambda: read_source(value))
            name = Path(value).name
        else:
            raw, name = value.encode("utf-8", "replace"), "pasted text"
        await self._import(raw, name)

    async def _import(self, raw: bytes, name: str) -> None:
        """Show what an import would do, and do it if the person agrees; a single recipe is opened in the form."""
        dry = await self._shell.in_thread(lambda: self._studio.recipes.import_(raw, name, dry_run=True))
        await self._shell.ask(Pages(partial(report_rows, dry), leave="next" if dry.imported else "close"))
        if not dry.imported:
            return
        only = None
        if dry.kept_both:
            answer = await self._ask_import(
                dry, [Option("i", "import, and keep both", gentle=True), Option("r", "show what would be replaced")]
            )
            if answer == "r":
                only = await self._replaced(raw, name)
        else:
            answer = await self._ask_import(dry, [Option("i", "import", gentle=True)])
        if answer is None or only == set():
            return
        report = await self._shell.in_thread(
            lambda: self._studio.recipes.import_(raw, name, replace=answer == "r", only=only)
        )
        self._shell.tell(f"imported: {', '.join(report.imported)}. {self._key('app.undo')} takes it back.")
        await self._place.reload(report.imported[0])
        if len(report.imported) == 1 and not report.replaced:
            await self._place.edit(report.imported[0])

    async def _import_running(self, where: int) -> None:
        """Show the recipe that an engine shows, and what it does otherwise than one for the same model; keep it."""
        recipes = self._studio.recipes
        dry = await self._shell.in_thread(lambda: recipes.import_running(where, dry_run=True))
        await self._shell.ask(Pages(partial(report_rows, dry), leave="next" if dry.imported else "close"))
        while dry.imported:
            alike = [Option("v", f"show how {dry.alike} differs", gentle=True)] if dry.alike is not None else []
            answer = await self._ask_import(dry, [Option("i", "import", gentle=True), *alike])
            if answer is None:
                return
            if answer == "i":
                break
            against = await self._shell.in_thread(lambda: recipes.import_running(where, against=dry.alike))
            changes = [field for one in against.changes.values() for field in one.fields]
            await self._shell.ask(Pages(partial(running_rows, dry.alike or "", changes)))
        if not dry.imported:
            return
        report = await self._shell.in_thread(lambda: recipes.import_running(where))
        self._shell.tell(f"imported: {', '.join(report.imported)}. {self._key('app.undo')} takes it back.")
        await self._place.reload(report.imported[0])
        await self._place.edit(report.imported[0])

    async def _ask_import(self, dry: ImportReport, answers: list[Option]) -> str | None:
        count = len(dry.imported)
        title = f"Import {count} {'recipe' if count == 1 else 'recipes'}?"
        failed = f"\n{len(dry.failed)} cannot be imported." if dry.failed else ""
        answer = await self._shell.ask(Question(title, ", ".join(dry.imported[:8]) + failed, answers, "import nothing"))
        return None if answer is None else str(answer)

    async def _replaced(self, raw: bytes, name: str) -> set[str]:
        """Show what each recipe that is there already would become; return the ids of what shall be imported."""
        found = await self._shell.in_thread(lambda: self._studio.recipes.import_proposals(raw, name))
        wanted = {one.after.id for one in found if one.before is None}
        there = [one for one in found if one.before is not None]
        for index, one in enumerate(there):
            title = f"Import over the one that is there ({index + 1} of {len(there)})"
            shown = replace(one, title=title)
            if await agree(self._shell, [shown], verb="take it", edit="", keep="keep mine") is not None:
                wanted.add(one.after.id)
        return wanted

    async def export(self, ids: Sequence[str] = ()) -> None:
        """Write these recipes, or all of them, to a file."""
        name = ids[0] if len(ids) == 1 else "recipes"
        await export(self._shell, name, ".yaml", lambda: self._studio.recipes.export(ids))

    def copy_command(self, plan: Plan) -> None:
        """Copy the command that a recipe makes, or tell why it makes none."""
        if plan.preview is not None:
            self._shell.copy(plan.preview.shell)
        else:
            self._shell.tell(plan.error or "There is no command to copy.")

    async def copy_as(self, recipe_id: str, command: str) -> None:
        """Copy one of the forms of a recipe that other places take."""
        forms = {
            "command": ("the command of the engine", command),
            "studio": ("how a shell runs it", f"vllm-studio launch {recipe_id} --wait"),
            "yaml": ("the recipe as YAML", ""),
        }
        choices = [Choice(name, label, text) for name, (label, text) in forms.items() if text or name == "yaml"]
        answer = await self._shell.ask(Chooser(choices, title=f"copy {recipe_id} as"))
        if answer == "yaml":
            self._shell.copy(await self._shell.in_thread(lambda: self._studio.recipes.export([recipe_id])))
        elif answer is not None:
            self._shell.copy(forms[answer][1])

    # --- YAML -------------------------------------------------------------------------------------------

    async def yaml(self, recipe_id: str) -> None:
        """Edit a stored recipe as YAML until it is valid or the user gives up."""
        recipe = await self._shell.in_thread(lambda: self._studio.recipes.get(recipe_id))
        changed = await self._edited(recipe_to_data(recipe))
        if changed is not None and changed != recipe:
            made = Proposal(recipe, changed, reason="$EDITOR")
            if await propose(self._shell, [made]) is not None:
                await self._place.reload(changed.id)

    async def yaml_of_form(self, form: RecipeForm) -> None:
        """Edit the recipe of the form as YAML; the result becomes unsaved changes of the form."""
        if form.reading.recipe is None:
            self._shell.tell("The form is not yet a recipe: see what is missing with f3.", "warning")
            return
        changed = await self._edited(recipe_to_data(form.reading.recipe))
        if changed is not None:
            form.set_recipe(changed)

    async def _edited(self, data: dict[str, object]) -> Recipe | None:
        import yaml

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        while True:
            after = edit_text(self._shell, text, ".yaml")
            if after is None or after == text:
                return None
            try:
                try:
                    loaded = yaml.safe_load(after)
                except (yaml.YAMLError, RecursionError, ValueError) as error:
                    raise UsageError("this is not YAML", cause=str(error)[:300]) from None
                return parse_recipe(loaded)[0]
            except (InvalidRecipe, UsageError) as error:
                problems = getattr(error, "problems", [])
                words = "\n".join(f"{name}: {message}" for name, message in problems) or error.cause
                answer = await self._shell.ask(
                    Question(error.title, words, [Option("e", "edit again", gentle=True)], "throw the changes away")
                )
                if answer is None:
                    return None
                text = after
