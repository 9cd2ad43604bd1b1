"""Find values of a recipe that change nothing in how its engine is started.

Tried rather than listed: the command is made with a value and without it. So a value without effect is found whoever
wrote the backend, and no list has to be kept in step with the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend, LaunchContext, Problem
from vllm_studio_tui.backends.common.flags import is_remark

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Fields that are tried: those that make flags, and what else only some engines have a use for.
TRIED = (*sorted(ENGINE_FIELDS), "health_path")


def without_effect(backend: Backend, recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
    """Yield values of the recipe that change nothing, beyond the fields that the engine has no use for at all."""
    with_all = _made(backend, recipe, context)
    if with_all is None:
        return  # it makes no command: `checks` reports that
    defaults = _defaults(recipe)
    plain = recipe.model_copy(update={name: defaults[name] for name in TRIED})
    for name in TRIED:
        value = getattr(recipe, name)
        if value == defaults[name] or value in ("", 0, -1) or name in ENGINE_FIELDS - backend.uses:
            continue
        if backend.engine_defaults.get(name) == value:
            continue
        if _made(backend, recipe.model_copy(update={name: defaults[name]}), context) != with_all:
            continue
        # It may be implied by another field, and still mean something.
        alone = _made(backend, plain.model_copy(update={name: value}), context)
        if alone is None or alone != _made(backend, plain, context):
            continue
        if _another_matters(backend, recipe, name, with_all, context):
            continue  # it says what holds without it, such as the name that the model has anyway
        message = f"{_short(value)} changes nothing: {backend.title} has nothing for it"
        yield Problem(name, "warning", message, "Correct it or leave it empty.")
    for key, value in recipe.extra_args.items():
        if is_remark(key) or value is None or value is False or "command" in backend.program_fields:
            continue
        rest = {one: other for one, other in recipe.extra_args.items() if one != key}
        if _made(backend, recipe.model_copy(update={"extra_args": rest}), context) == with_all:
            message = f"{key}: {_short(value)} changes nothing: the recipe says it elsewhere"
            yield Problem("extra_args", "warning", message, "Say it once.")


def _another_matters(
    backend: Backend, recipe: Recipe, name: str, with_all: tuple[object, ...], context: LaunchContext
) -> bool:
    """Return whether another value of a field would change something."""
    value = getattr(recipe, name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    other = f"{value}-x" if isinstance(value, str) else value + 1
    made = _made(backend, recipe.model_copy(update={name: other}), context)
    return made is not None and made != with_all


def _made(backend: Backend, recipe: Recipe, context: LaunchContext) -> tuple[object, ...] | None:
    try:
        command = backend.command(recipe, context)
        return (
            command.argv,
            dict(command.env),
            dict(command.env_refs),
            command.notes,
            backend.ready(recipe),
            backend.model_name(recipe),
        )
    except Exception:  # noqa: BLE001, RUF100
        return None


def _defaults(recipe: Recipe) -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in type(recipe).model_fields.items()
        if not field.is_required()
    }


def _short(value: object) -> str:
    return str(value)[:60]
