"""`recipes`: how models are launched."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.backends import CLASSES
from vllm_studio_tui.cli import recipe_history, recipe_marks, recipe_new
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.cli.recipe_reports import show_report, value_words
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError, UsageError

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Problem
    from vllm_studio_tui.domain.recipe import FieldNote, Recipe
    from vllm_studio_tui.services.protocols import StudioApi

JSON = typer.Option(False, "--json", help="One JSON document.")
BACKENDS = f"{', '.join(CLASSES)}, or one of a plug-in."
SUGGESTED = typer.Option(False, "--suggested", help="Take what is suggested for the model's family: parsers, experts.")


def _edited(text: str, recipe_id: str) -> str:
    """Open the text in the person's editor; return the path of the file with the result."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise UsageError("no editor", cause="EDITOR is not set", advice="Set EDITOR, or use --set field=value.")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix=f"{recipe_id}-", delete=False) as file:
        file.write(text)
    subprocess.run([*shlex.split(editor), file.name], check=True)
    return file.name


def _tell(recipe: Recipe, notes: list[FieldNote], *, before: Recipe | None = None) -> None:
    """Say on stderr what was changed on the way, what is not used, and what the model is known to need."""
    from vllm_studio_tui.backends import registry
    from vllm_studio_tui.backends.checks import unused
    from vllm_studio_tui.backends.common.suggestions import suggestions

    for one in notes:
        if one.why and (one.action != "taken" or before is None):
            note(f"note: {one.field}: {one.action}, {one.why}")
    known = registry.backends()
    if recipe.backend not in known:
        note(f"note: backend: {recipe.backend} is no engine here; there are: {', '.join(sorted(known))}")
        return
    for problem in unused(known[recipe.backend], recipe):
        note(f"note: {problem.field}: {problem.message}. {problem.advice}")
    offered = suggestions(recipe)
    for offer in offered:
        note(f"note: {offer.field}: {value_words(offer.value)} is suggested, {offer.why}")
    if offered:
        note(f"take what is suggested: vllm-studio recipes edit {recipe.id} --suggested")


def _note_shared_names(recipes: list[Recipe]) -> None:
    from vllm_studio_tui.services.serving.served_names import shared_names, sharing_words

    for name, ids in shared_names(recipes).items():
        message, advice = sharing_words(name, ids)
        note(f"note: {message}. {advice}")


def _sharing(recipe: Recipe, studio: StudioApi) -> list[Problem]:
    """Return a warning where other recipes are asked for by the same name."""
    from vllm_studio_tui.backends.base import Problem as Warned
    from vllm_studio_tui.services.recipes.recipes import Broken
    from vllm_studio_tui.services.serving.served_names import shared_names, sharing_words

    good = [one for one in studio.recipes.all_stored() if not isinstance(one, Broken)]
    return [
        Warned("served_model_name", "warning", *sharing_words(name, ids))
        for name, ids in shared_names(good).items()
        if recipe.id in ids
    ]


def _name(recipe: Recipe, pins: frozenset[str], tags: list[str]) -> str:
    return " ".join([recipe.name, *(f"#{one}" for one in tags), *(["(pinned)"] if recipe.id in pins else [])])


def _suggested(recipe: Recipe) -> Recipe:
    from vllm_studio_tui.backends.common.suggestions import suggestions, taken

    offered = suggestions(recipe)
    for one in offered:
        note(f"{one.field}: {value_words(one.value)}, {one.why}")
    return taken(recipe, offered)


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Recipes: how models are launched.", no_args_is_help=True)
    app.add_typer(nouns, name="recipes")
    _register_reading(nouns)
    _register_writing(nouns)
    _register_exchange(nouns)
    recipe_history.register(nouns)
    recipe_new.register(nouns)
    recipe_marks.register(nouns)


def _register_reading(nouns: typer.Typer) -> None:
    @nouns.command("list")
    def list_(
        search: str = typer.Option("", "--search", help="Words to look for."),
        tags: list[str] = typer.Option([], "--tag", help="Only those with this tag; may be repeated."),
        as_json: bool = JSON,
    ) -> None:
        """All recipes, pinned ones first, and the state of their runs."""
        from vllm_studio_tui.services.recipes.recipes import Broken
        from vllm_studio_tui.services.recipes.states import recipe_document

        with open_studio() as studio:
            found = studio.recipes.search(search) if search or tags else studio.recipes.all_stored()
            pins = frozenset(studio.recipes.pins())
            good = [one for one in found if not isinstance(one, Broken) and set(tags) <= set(one.tags)]
            good.sort(key=lambda one: one.id not in pins)
            running = studio.recipe_states(good)
        for one in found:
            if isinstance(one, Broken):
                note(f"{one.id} can no longer be read: {one.error.cause}")
        if not search and not tags:
            _note_shared_names(good)
        if as_json:
            documents = [{**recipe_document(one, running.get(one.id)), "pinned": one.id in pins} for one in good]
            emit({"recipes": documents})
            return
        if not good and (search or tags):
            say(f"No recipe matches {' '.join(filter(None, (search, *(f'#{one}' for one in tags))))!r}.")
            return
        if not good:
            say("No recipe yet. See `vllm-studio recipes starters`, or import some.")
            return
        table(
            ["ID", "STATE", "BACKEND", "MODEL", "NAME"],
            [
                [one.id, running.get(one.id, "stopped"), one.backend, one.model_path or "–", _name(one, pins, tags)]
                for one in good
            ],
        )

    @nouns.command("show")
    def show(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """One recipe."""
        from vllm_studio_tui.services.recipes.states import recipe_document

        with open_studio() as studio:
            recipe = studio.recipes.get(recipe_id)
            state = studio.recipe_states([recipe]).get(recipe.id)
            text = "" if as_json else studio.recipes.export([recipe.id])
            shared = recipe_marks.follows(studio, recipe)
        emit({"recipe": recipe_document(recipe, state), "follows": shared}) if as_json else say(text, end="")
        if shared and not as_json:
            note(f"follows {recipe.extends} in {', '.join(shared)}")

    @nouns.command("starters")
    def starters(as_json: bool = JSON) -> None:
        """Recipes to begin with, and for which GPUs they are."""
        from vllm_studio_tui.services.recipes.states import recipe_document

        with open_studio() as studio:
            found = studio.recipes.starters()
        if as_json:
            emit({"recipes": [recipe_document(one, None) for one in found]})
            return
        table(["ID", "BACKEND", "FOR"], [[one.id, one.backend, one.description] for one in found])

    @nouns.command("command")
    def command(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """The exact command of a launch, secrets masked."""
        with open_studio() as studio:
            preview = studio.launcher.preview(studio.recipes.get(recipe_id), missing_ok=True)
        if as_json:
            emit(preview.to_json())
            return
        say(preview.shell)
        for one in preview.notes:
            note(f"note: {one}")

    @nouns.command("check")
    def check(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """What stands against a launch, and what the model is known to need; exit 1 if anything stands against it."""
        from vllm_studio_tui.backends.common.suggestions import suggestions
        from vllm_studio_tui.services.launching.preflight import check_document

        with open_studio() as studio:
            recipe = studio.recipes.get(recipe_id)
            problems = studio.launcher.check(recipe)
            shared = _sharing(recipe, studio)
        offered = suggestions(recipe)
        ok = not any(one.severity == "error" for one in problems)
        if as_json:
            emit(check_document(recipe, [*problems, *shared]))
        else:
            for one in (*problems, *shared):
                mark = "✕" if one.severity == "error" else "▲"
                say(f"{mark} {one.field}: {one.message.rstrip('.')}. {one.advice}".rstrip())
            for offer in offered:
                say(f"· {offer.field}: {value_words(offer.value)} is suggested, {offer.why}")
            if offered:
                say(f"  take what is suggested: vllm-studio recipes edit {recipe.id} --suggested")
            doubts = "nothing but this stands against a launch" if problems else "nothing stands against a launch"
            say(doubts if ok else "a launch would fail")
        if not ok:
            raise SystemExit(1)


def _register_writing(nouns: typer.Typer) -> None:
    @nouns.command("add")
    def add(
        recipe_id: str | None = typer.Argument(None, metavar="[ID]"),
        model: str | None = typer.Option(None, "--model", help="A directory, a file, or a name on the hub."),
        backend: str | None = typer.Option(None, "--backend", help=BACKENDS),
        starter: str | None = typer.Option(None, "--starter", help="Begin with one of `recipes starters`."),
        settings: list[str] = typer.Option([], "--set", help="field=value; may be repeated."),
        take: bool = SUGGESTED,
    ) -> None:
        """A new recipe."""
        from vllm_studio_tui.domain.recipe import ID, recipe_to_data
        from vllm_studio_tui.domain.recipe_reading import slug
        from vllm_studio_tui.services.recipes.field_assignments import with_settings

        with open_studio() as studio:
            data: dict[str, Any] = recipe_to_data(studio.recipes.starter(starter)) if starter else {}
            if recipe_id:
                data["id"] = recipe_id if ID.fullmatch(recipe_id) else slug(recipe_id)
                data["name"] = data.get("name") or recipe_id
                if data["id"] != recipe_id:
                    note(f"note: id: {recipe_id} is written {data['id']} here; the name is kept")
            if model:
                data["model_path"] = model
            if backend:
                data["backend"] = backend
            if not data and not settings:
                raise UsageError("nothing to add", advice="Name an id and --model, or a --starter.")
            recipe, notes = studio.recipes.read(with_settings(data, settings))
            if take:
                recipe = _suggested(recipe)
            recipe = studio.recipes.create(recipe, reason="starter" if starter else "command line")
        say(f"added {recipe.id}")
        _tell(recipe, notes)

    @nouns.command("edit")
    def edit(
        recipe_id: str = typer.Argument(..., metavar="ID"),
        settings: list[str] = typer.Option([], "--set", help="field=value; otherwise $EDITOR opens it as YAML."),
        take: bool = SUGGESTED,
    ) -> None:
        """Change a recipe."""
        import yaml

        from vllm_studio_tui.domain.recipe import recipe_to_data
        from vllm_studio_tui.services.recipes.changes import compare
        from vllm_studio_tui.services.recipes.field_assignments import with_settings

        with open_studio() as studio:
            before = studio.recipes.get(recipe_id)
            data = recipe_to_data(before)
            if settings or take:
                recipe, notes = studio.recipes.read({**with_settings(data, settings), "id": recipe_id})
                recipe = _suggested(recipe) if take else recipe
            else:
                name = _edited(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), recipe_id)
                try:
                    recipe, notes = studio.recipes.read(yaml.safe_load(Path(name).read_text(encoding="utf-8")))
                    if recipe.id != recipe_id:
                        raise InvalidRecipe("the id was changed", [("id", "use `recipes duplicate` for another id")])
                except (InvalidRecipe, yaml.YAMLError, UnicodeDecodeError) as error:
                    cause = error.cause if isinstance(error, InvalidRecipe) else str(error)
                    advice = f"Your text is kept in {name}."
                    raise StudioError("not saved", cause=cause, advice=advice) from None
                Path(name).unlink()
            change = compare(before, recipe)
            if change:
                studio.recipes.save(recipe, reason="command line" if settings or take else "$EDITOR", before=before)
            live = {run.recipe_id for run in studio.runs.live()} if change else set()
        recipe_history.show_change(change)
        say(f"saved {recipe.id}" if change else f"{recipe.id} is as it was")
        if recipe.id in live:
            note(f"note: {recipe.id} runs, in its old form until it is started again: stop and launch {recipe.id}")
        _tell(recipe, notes, before=before)

    @nouns.command("duplicate")
    def duplicate(recipe_id: str = typer.Argument(..., metavar="ID"), new_id: str = typer.Argument(...)) -> None:
        """The same recipe under another id."""
        with open_studio() as studio:
            copy = studio.recipes.duplicate(recipe_id, new_id)
            shared = _sharing(copy, studio)
        say(f"added {copy.id}")
        for one in shared:
            note(f"note: {one.message}. {one.advice}")

    @nouns.command("delete")
    def delete(
        recipe_id: str = typer.Argument(..., metavar="ID"),
        yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    ) -> None:
        """Delete a recipe; its runs and what they used stay."""
        with open_studio() as studio:
            recipe = studio.recipes.get(recipe_id)
            if not yes:
                if not sys.stdin.isatty():
                    raise UsageError(f"{recipe.id} is not deleted", advice="Say --yes where nobody can be asked.")
                if not typer.confirm(f"Delete {recipe.id}? Its revisions are kept", default=False):
                    raise SystemExit(1)
            studio.recipes.delete(recipe.id)
        say(f"deleted {recipe.id}; vllm-studio recipes undo brings it back")


def _point_out_masked(studio: StudioApi, ids: list[str]) -> None:
    """Note which exported recipes hold secrets, as those of earlier versions may: the export masks them."""
    from vllm_studio_tui.domain.recipe import recipe_to_data
    from vllm_studio_tui.domain.recipe_secrets import plaintext_fields

    for one in studio.recipes.all():
        if not ids or one.id in ids:
            for field in plaintext_fields(recipe_to_data(one)):
                note(f"note: {one.id}.{field} holds a secret and is masked; make it a reference: env:NAME or file:PATH")


def _register_exchange(nouns: typer.Typer) -> None:
    @nouns.command("import")
    def import_(
        source: str = typer.Argument(
            "", metavar="FILE", help="JSON, YAML, a pasted command, the original's database; -: stdin."
        ),
        running: bool = typer.Option(
            False, "--running", help="An engine that somebody started: FILE is its PID or port, or nothing if one runs."
        ),
        against: str | None = typer.Option(
            None, "--against", metavar="ID", help="With --running: only say what it does otherwise than this recipe."
        ),
        dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would come of it."),
        replace: bool = typer.Option(
            False, "--replace/--keep-both", help="What becomes of one that is there with other content."
        ),
        take: bool = SUGGESTED,
        as_json: bool = JSON,
    ) -> None:
        """Take in recipes, also the original system's; each entry and each changed field is reported."""
        from vllm_studio_tui.services.recipes.sources import read_source

        if against is not None and not running:
            raise UsageError("--against is for an engine that runs", advice="Add --running, and its PID or port.")
        if not running and not source:
            raise UsageError("nothing to import", advice="Name a file, - for stdin, or --running.")
        if running and source and not (source.isascii() and source.isdigit() and len(source) < 10):
            raise UsageError(f"{source[:40]} is neither a process nor a port", advice="See `vllm-studio foreign list`.")
        with open_studio() as studio:
            if running:
                where = int(source) if source else None
                report = studio.recipes.import_running(
                    where, against=against, dry_run=dry_run, replace=replace, suggested=take
                )
            else:
                report = studio.recipes.import_(
                    read_source(source), source, dry_run=dry_run, replace=replace, suggested=take
                )
        dry_run = dry_run or (against is not None and not replace)
        if as_json:
            emit(report.to_json())
        else:
            show_report(report, dry_run=dry_run)
            if against is not None and report.changes and not replace:
                say("take it: the same with --replace; vllm-studio recipes undo takes that back")
        if report.failed:
            raise SystemExit(1)

    @nouns.command("export")
    def export(
        ids: list[str] = typer.Argument(None, metavar="[ID]..."),
        form: str = typer.Option("yaml", "--format", help="yaml or json."),
        as_json: bool = JSON,
        output: Path | None = typer.Option(None, "--output", "-o", help="A file instead of stdout."),
    ) -> None:
        """Recipes as text that `import` reads back."""
        if form not in ("yaml", "json"):
            raise UsageError(f"no format {form}", advice="Use yaml or json.")
        with open_studio() as studio:
            text = studio.recipes.export(ids or (), form="json" if as_json else form)
            _point_out_masked(studio, ids or [])
        if output is None:
            say(text, end="")
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StudioError(f"{output} cannot be written", cause=error.strerror or str(error)) from None
        note(f"written to {output}")
