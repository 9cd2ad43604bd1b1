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

from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError, UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import live_runs
from vllm_studio_tui.studio import Studio

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.recipes import ImportReport

JSON = typer.Option(False, "--json", help="One JSON document.")


def states(places: Places) -> dict[str, str]:
    """The state of each recipe that has a live run."""
    return {run.recipe_id: str(run.state) for run in live_runs(places)}


def recipe_document(recipe: Recipe, state: str | None) -> dict[str, Any]:
    """A recipe with every field, and the state of its run."""
    return {**recipe.model_dump(mode="json"), "state": state or "stopped"}


def _with_settings(data: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """`key=value` pairs over a recipe's data; values are read as YAML, `key=` clears."""
    import yaml

    from vllm_studio_tui.domain.recipe import Recipe

    data = dict(data)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting} has no =", advice="Write --set field=value.")
        try:
            value = yaml.safe_load(text) if text else None
        except yaml.YAMLError as error:
            raise UsageError(f"--set {key}: the value cannot be read", cause=str(error)) from None
        whole, dot, part = key.partition(".")
        if dot and whole in ("extra_args", "env_vars", "restart"):
            inner = dict(data.get(whole) or {})
            inner.pop(part, None) if value is None else inner.update({part: value})
            data[whole] = inner
        elif value is None:
            data.pop(key, None)
        elif key not in Recipe.model_fields and key.replace("-", "_") not in Recipe.model_fields:
            raise UsageError(
                f"no field {key}", advice=f"Fields: {', '.join(Recipe.model_fields)}. Flags: extra_args.x="
            )
        else:
            data[key.replace("-", "_")] = value
    return data


def _edited(text: str, recipe_id: str) -> str:
    """The text after the person's editor; what cannot be used is kept in a file that is named."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise UsageError("no editor", cause="EDITOR is not set", advice="Set EDITOR, or use --set field=value.")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix=f"{recipe_id}-", delete=False) as file:
        file.write(text)
    subprocess.run([*shlex.split(editor), file.name], check=True)
    return file.name


def _show_report(report: ImportReport, *, dry_run: bool) -> None:
    for one in report.imported:
        say(f"{'would import' if dry_run else 'imported'} {one}")
    for changed in report.fields:
        if changed["action"] != "taken" or changed["why"]:
            why = f", {changed['why']}" if changed["why"] else ""
            say(f"  {changed['recipe']}.{changed['field']}: {changed['action']}{why}")
    for failed in report.failed:
        note(f"{failed['source']}, entry {failed['index']} ({failed['id'] or 'no id'}) is not a valid recipe:")
        for wrong in failed["errors"]:
            note(f"  {wrong['field']}: {wrong['message']}")


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Recipes: how models are launched.", no_args_is_help=True)
    app.add_typer(nouns, name="recipes")
    _register_reading(nouns)
    _register_writing(nouns)
    _register_exchange(nouns)


def _register_reading(nouns: typer.Typer) -> None:
    @nouns.command("list")
    def list_(search: str = typer.Option("", "--search", help="Words to look for."), as_json: bool = JSON) -> None:
        """All recipes, and the state of their runs."""
        from vllm_studio_tui.services.recipes import Broken

        with Studio.open_sync() as studio:
            found = studio.recipes.search(search) if search else studio.recipes.all_stored()
            running = states(studio.places)
        good = [one for one in found if not isinstance(one, Broken)]
        for one in found:
            if isinstance(one, Broken):
                note(f"{one.id} can no longer be read: {one.error.cause}")
        if as_json:
            emit({"recipes": [recipe_document(one, running.get(one.id)) for one in good]})
            return
        if not good:
            say("No recipe yet. See `vllm-studio recipes starters`, or import some.")
            return
        table(
            ["ID", "STATE", "BACKEND", "MODEL", "NAME"],
            [[one.id, running.get(one.id, "stopped"), one.backend, one.model_path or "–", one.name] for one in good],
        )

    @nouns.command("show")
    def show(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """One recipe."""
        with Studio.open_sync() as studio:
            recipe = studio.recipes.get(recipe_id)
            state = states(studio.places).get(recipe.id)
            text = "" if as_json else studio.recipes.export([recipe.id])
        emit({"recipe": recipe_document(recipe, state)}) if as_json else say(text, end="")

    @nouns.command("starters")
    def starters(as_json: bool = JSON) -> None:
        """Recipes to begin with, and for which GPUs they are."""
        with Studio.open_sync() as studio:
            found = studio.recipes.starters()
        if as_json:
            emit({"recipes": [recipe_document(one, None) for one in found]})
            return
        table(["ID", "BACKEND", "FOR"], [[one.id, one.backend, one.description] for one in found])

    @nouns.command("command")
    def command(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """The exact command of a launch, secrets masked."""
        with Studio.open_sync() as studio:
            preview = studio.launcher.preview(studio.recipes.get(recipe_id), missing_ok=True)
        if as_json:
            document = {"argv": list(preview.argv), "env": dict(preview.env), "shell": preview.shell}
            emit({**document, "notes": list(preview.notes)})
            return
        say(preview.shell)
        for one in preview.notes:
            note(f"note: {one}")

    @nouns.command("check")
    def check(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """What stands against a launch; exit 1 if anything does."""
        with Studio.open_sync() as studio:
            problems = studio.launcher.check(studio.recipes.get(recipe_id))
        ok = not any(one.severity == "error" for one in problems)
        if as_json:
            keys = ("field", "severity", "message", "advice")
            emit({"ok": ok, "problems": [{key: getattr(one, key) for key in keys} for one in problems]})
        else:
            for one in problems:
                mark = "✕" if one.severity == "error" else "▲"
                say(f"{mark} {one.field}: {one.message.rstrip('.')}. {one.advice}".rstrip())
            say("nothing stands against a launch" if ok else "a launch would fail")
        if not ok:
            raise SystemExit(1)


def _register_writing(nouns: typer.Typer) -> None:
    @nouns.command("add")
    def add(
        recipe_id: str | None = typer.Argument(None, metavar="[ID]"),
        model: str | None = typer.Option(None, "--model", help="A directory, a file, or a name on the hub."),
        backend: str | None = typer.Option(None, "--backend", help="vllm, sglang, llamacpp, custom, external."),
        starter: str | None = typer.Option(None, "--starter", help="Begin with one of `recipes starters`."),
        settings: list[str] = typer.Option([], "--set", help="field=value; may be repeated."),
    ) -> None:
        """A new recipe."""
        from vllm_studio_tui.domain.recipe import parse_recipe, recipe_to_data

        with Studio.open_sync() as studio:
            data: dict[str, Any] = recipe_to_data(studio.recipes.starter(starter)) if starter else {}
            if recipe_id:
                data["id"] = recipe_id
                data.setdefault("name", recipe_id)
            if model:
                data["model_path"] = model
            if backend:
                data["backend"] = backend
            if not data:
                raise UsageError("nothing to add", advice="Name an id and --model, or a --starter.")
            recipe, _ = parse_recipe(_with_settings(data, settings))
            studio.recipes.create(recipe)
        say(f"added {recipe.id}")

    @nouns.command("edit")
    def edit(
        recipe_id: str = typer.Argument(..., metavar="ID"),
        settings: list[str] = typer.Option([], "--set", help="field=value; otherwise $EDITOR opens it as YAML."),
    ) -> None:
        """Change a recipe."""
        import yaml

        from vllm_studio_tui.domain.recipe import parse_recipe, recipe_to_data

        with Studio.open_sync() as studio:
            data = recipe_to_data(studio.recipes.get(recipe_id))
            if settings:
                recipe, _ = parse_recipe({**_with_settings(data, settings), "id": recipe_id})
            else:
                name = _edited(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), recipe_id)
                try:
                    recipe, _ = parse_recipe(yaml.safe_load(Path(name).read_text(encoding="utf-8")))
                    if recipe.id != recipe_id:
                        raise InvalidRecipe("the id was changed", [("id", "use `recipes duplicate` for another id")])
                except (InvalidRecipe, yaml.YAMLError, UnicodeDecodeError) as error:
                    cause = error.cause if isinstance(error, InvalidRecipe) else str(error)
                    advice = f"Your text is kept in {name}."
                    raise StudioError("not saved", cause=cause, advice=advice) from None
                Path(name).unlink()
            studio.recipes.save(recipe)
        say(f"saved {recipe.id}")

    @nouns.command("duplicate")
    def duplicate(recipe_id: str = typer.Argument(..., metavar="ID"), new_id: str = typer.Argument(...)) -> None:
        """The same recipe under another id."""
        with Studio.open_sync() as studio:
            say(f"added {studio.recipes.duplicate(recipe_id, new_id).id}")

    @nouns.command("delete")
    def delete(
        recipe_id: str = typer.Argument(..., metavar="ID"), yes: bool = typer.Option(False, "--yes", "-y")
    ) -> None:
        """Delete a recipe; its runs and what they used stay."""
        with Studio.open_sync() as studio:
            recipe = studio.recipes.get(recipe_id)
            if not yes:
                if not sys.stdin.isatty():
                    raise UsageError(f"{recipe.id} is not deleted", advice="Say --yes where nobody can be asked.")
                if not typer.confirm(f"Delete {recipe.id}? It cannot be brought back", default=False):
                    raise SystemExit(1)
            studio.recipes.delete(recipe.id)
        say(f"deleted {recipe.id}")


def _register_exchange(nouns: typer.Typer) -> None:
    @nouns.command("import")
    def import_(
        source: str = typer.Argument(..., metavar="FILE", help="JSON, YAML or a pasted command; - for stdin."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would come of it."),
        as_json: bool = JSON,
    ) -> None:
        """Take in recipes, also the original system's; each entry and each changed field is reported."""
        from vllm_studio_tui.services.recipes import read_source

        with Studio.open_sync() as studio:
            report = studio.recipes.import_(read_source(source), source, dry_run=dry_run)
        if as_json:
            emit(report.to_json())
        else:
            _show_report(report, dry_run=dry_run)
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
        with Studio.open_sync() as studio:
            text = studio.recipes.export(ids or (), form="json" if as_json else form)
        if output is None:
            say(text, end="")
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StudioError(f"{output} cannot be written", cause=error.strerror or str(error)) from None
        note(f"written to {output}")
