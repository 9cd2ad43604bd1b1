"""What files that start one engine share: its words over several lines, and what of a recipe such a file cannot say."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource, header

#: Before the id of the recipe that a file was made of; `recipes import` reads it back.
ID_MARK = "Recipe: "
#: Fields that are the studio's own business: no engine is told them.
_OWN = (
    "name", "description", "tags", "on_demand", "ttl", "persistent", "preload", "priority", "max_concurrent",
    "stall_timeout", "params", "health_path", "metrics_style", "ready_timeout", "restart", "vision", "aliases",
    "nodes", "strategy", "handover",
)  # fmt: skip


def files_of_each(
    source: RenderSource,
    kind: str,
    suffix: str,
    make: Callable[[RenderedRecipe], tuple[str, list[str]]],
    first: str = "",
) -> Files:
    """Return a file for each recipe.

    Args:
        make: Returns the text of one, and what its head tells; raises a StudioError where it cannot be made.
        first: The line before the head.

    Raises:
        StudioError: None of the recipes can be written.
    """
    files: Files = {}
    left: list[str] = []
    for one in source.recipes:
        try:
            text, told = make(one)
        except StudioError as error:
            left.append(f"{one.recipe.id}: {error.cause}")
            continue
        alone = RenderSource((one,), source.settings, source.serve_url, source.version)
        head = header(alone, kind, f"{ID_MARK}{one.recipe.id}", *told)
        files[f"{one.recipe.id}{suffix}"] = f"{first}{head}{text}"
    if not files:
        cause = "\n".join(left) or "There is no recipe."
        raise StudioError(f"no recipe can be written as {kind}", cause=cause, advice="See `recipes check`.")
    return files


def refused(cause: str) -> StudioError:
    """Return the error of a recipe that cannot be written."""
    return StudioError("it cannot be written", cause=cause)


def not_said(recipe: Recipe, *said: str) -> list[str]:
    """Return the line that names what of a recipe a file does not say.

    Args:
        said: Fields of the studio's own that it says all the same.
    """
    default = Recipe.model_fields
    names = [
        name
        for name in _OWN
        if name not in said
        and getattr(recipe, name)
        != (recipe.id if name == "name" else default[name].get_default(call_default_factory=True))
    ]
    if recipe.gpus == ("auto",):
        names.append("gpus: auto")
    return [f"Not in it, as it is the studio's own: {', '.join(names)}"] if names else []


def wrapped(words: Iterable[str]) -> str:
    """Return words of a command for a POSIX shell, a line for each flag."""
    text = ""
    for word in words:
        between = " \\\n  " if text and word.startswith("-") else " " if text else ""
        text += between + shlex.quote(word)
    return text
