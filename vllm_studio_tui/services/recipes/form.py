"""Turn a recipe into the texts of a form, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe, slug
from vllm_studio_tui.services.recipes.field_text import as_text, value_of
from vllm_studio_tui.services.recipes.form_fields import form_fields


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of the texts of a form: a recipe, or what is wrong, by field."""

    recipe: Recipe | None
    errors: Mapping[str, str] = field(default_factory=dict)


def texts_of(recipe: Recipe | None) -> dict[str, str]:
    """Return all fields of a recipe as texts; for None those of an empty form."""
    texts = {}
    for one in form_fields():
        value: Any = recipe
        for part in one.name.split("."):
            value = getattr(value, part) if value is not None else None
        text = as_text(one.kind, value)
        # What is the default is left blank, so that the form shows what was chosen; switches say what they are.
        texts[one.name] = text if one.kind == "switch" or text != one.default else ""
        if recipe is None:
            texts[one.name] = one.default if one.kind == "switch" else ""
    return texts


def read_form(texts: Mapping[str, str], keep: Recipe | None = None) -> Reading:
    """Return the recipe of these texts; problems are named by field.

    Args:
        keep: Where fields come from that the form does not show.
    """
    data: dict[str, Any] = recipe_to_data(keep) if keep is not None else {}
    errors: dict[str, str] = {}
    for one in form_fields():
        text = texts.get(one.name, "").strip()
        where, _, inner = one.name.partition(".")
        target: dict[str, Any] = data
        name = where
        if inner:
            before = data.get(where)
            target = dict(before) if isinstance(before, dict) else {}
            data[where] = target
            name = inner
        target.pop(name, None)
        if not text:
            continue
        try:
            value = value_of(one.kind, one.choices, text)
            if one.kind == "flags" and keep is not None:
                # `flash-attn` and `flash_attn` are one flag; what was not changed keeps its name.
                names = {before.replace("-", "_"): before for before in keep.extra_args}
                value = {names.get(flag, flag): given for flag, given in value.items()}
            target[name] = value
        except ValueError as error:
            errors[one.name] = str(error)
    for nested in ("restart", "docker", "params"):
        if not data.get(nested):
            data.pop(nested, None)
    nameless = keep is None and not data.get("id") and "id" not in errors
    if nameless:
        named = data.get("model_path") or data.get("served_model_name")
        # Without a name for it, what else is missing is said first.
        data["id"], nameless = (slug(str(named).removesuffix(".gguf")), False) if named else ("nameless", True)
    if not data.get("name") and data.get("id"):
        data["name"] = data["id"]
    if errors:
        return Reading(None, errors)
    try:
        recipe = parse_recipe(data)[0]
        return Reading(None, {"id": "is missing"}) if nameless else Reading(recipe)
    except InvalidRecipe as error:
        known = {one.name for one in form_fields()}
        for place, message in error.problems:
            found = place if place in known else place.partition(".")[0]
            errors.setdefault(_home_of(found if found in known else "", message), message)
        return Reading(None, errors)


def _home_of(name: str, message: str) -> str:
    """Return the field beside which a problem of the whole recipe is shown."""
    if name:
        return name
    return next((one for one in ("base_url", "command", "model_path") if one in message), "id")
