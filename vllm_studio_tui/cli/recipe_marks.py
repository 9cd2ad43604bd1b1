"""`recipes compare`, `tag`, `tags`, `pin`: recipes side by side, and what a person marks them with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table
from vllm_studio_tui.cli.recipe_history import show_change
from vllm_studio_tui.domain.errors import StudioError, UsageError

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.protocols import StudioApi

JSON = typer.Option(False, "--json", help="One JSON document.")
#: A tag: what can be typed in a shell without quotes.
TAG = re.compile(r"[^\s,+\x00-\x1f\x7f-][^\s,\x00-\x1f\x7f]{0,63}")


def follows(studio: StudioApi, recipe: Recipe) -> list[str]:
    """Return the fields in which a recipe follows its base; none where it has none, or one that is gone."""
    from vllm_studio_tui.domain.recipe import recipe_to_data
    from vllm_studio_tui.domain.recipe_inheritance import following

    if recipe.extends is None:
        return []
    try:
        base = studio.recipes.get(recipe.extends)
    except StudioError:
        return []
    return following(recipe_to_data(recipe), recipe_to_data(base))


def register(nouns: typer.Typer) -> None:
    @nouns.command("compare")
    def compare_(
        first: str = typer.Argument(..., metavar="ID"),
        second: str = typer.Argument(..., metavar="ID"),
        as_json: bool = JSON,
    ) -> None:
        """What a second recipe does otherwise than a first, field by field; secrets masked."""
        from dataclasses import replace

        from vllm_studio_tui.services.recipes.changes import compare

        with open_studio() as studio:
            change = compare(studio.recipes.get(first), studio.recipes.get(second))
        change = replace(change, fields=tuple(one for one in change.fields if one.path[0] not in ("id", "name")))
        if as_json:
            emit({"first": first, "second": second, "changes": change.to_json()})
            return
        show_change(change)
        if not change:
            say(f"{first} and {second} differ in their names only" if first != second else "that is the same recipe")

    @nouns.command("tag", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
    def tag(
        recipe_id: str = typer.Argument(..., metavar="ID"),
        changes: list[str] = typer.Argument(
            ..., metavar="+TAG|-TAG..", help="+night puts a tag on, -night takes it off."
        ),
    ) -> None:
        """Put tags on a recipe, or take them off; `recipes list --tag` finds by them."""
        with open_studio() as studio:
            before = studio.recipes.get(recipe_id)
            tags = dict.fromkeys(before.tags)
            for one in changes:
                name = one.removeprefix("-" if one.startswith("-") else "+").removeprefix("#")
                if not TAG.fullmatch(name):
                    raise UsageError(f"{one[:40]} is no tag", advice="Write +night or -night: one word, no commas.")
                if one.startswith("-"):
                    tags.pop(name, None)
                else:
                    tags[name] = None
            after = before.model_copy(update={"tags": tuple(tags)})
            if after != before:
                studio.recipes.save(after, reason="tags", before=before)
        say(f"{recipe_id}: {' '.join(f'#{one}' for one in tags) or 'no tags'}")

    @nouns.command("tags")
    def tags_(as_json: bool = JSON) -> None:
        """All tags, and on how many recipes each is."""
        with open_studio() as studio:
            found: dict[str, int] = {}
            for recipe in studio.recipes.all():
                for one in recipe.tags:
                    found[one] = found.get(one, 0) + 1
        if as_json:
            emit({"tags": [{"tag": name, "recipes": count} for name, count in sorted(found.items())]})
        elif found:
            table(["TAG", "RECIPES"], [[f"#{name}", str(count)] for name, count in sorted(found.items())], right=[1])
        else:
            say("No recipe has a tag. Put one on: vllm-studio recipes tag ID +night")

    @nouns.command("pin")
    def pin(
        recipe_id: str = typer.Argument(..., metavar="ID"),
        off: bool = typer.Option(False, "--off", help="Take the pin away."),
    ) -> None:
        """Pin a recipe: lists show it before the others."""
        with open_studio() as studio:
            studio.recipes.pin(recipe_id, pinned=not off)
        say(f"{recipe_id} is {'not pinned any more' if off else 'pinned'}")
