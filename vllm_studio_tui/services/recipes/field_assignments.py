"""Apply `field=value` arguments of commands to a recipe's data, each parsed by the type of its field."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import canonical_field

#: Fields whose members have names that the person chooses.
OPEN = ("env_vars", "extra_args", "lora_modules", "speculative", "chat_template_kwargs")


def with_settings(data: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return the data with `field=value` pairs applied; `field=` clears, `field.part=value` sets a part.

    Raises:
        UsageError: One is no pair, or names no field; the nearest field is named.
    """
    out = dict(data)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            shown = name[:40] if canonical_field(name) in Recipe.model_fields else "what was given"
            raise UsageError(f"--set: {shown} has no =", advice="Write --set field=value.")
        whole, _, part = name.strip().lstrip("-").partition(".")
        field = canonical_field(whole)
        info = Recipe.model_fields.get(field)
        if info is None:
            raise _unknown(name)
        if part:
            _set_part(out, field, info, part, text)
        elif text == "":
            out.pop(field, None)
        else:
            out[field] = _value(field, info, text)
    return out


def _set_part(out: dict[str, Any], field: str, info: FieldInfo, part: str, text: str) -> None:
    inner = dict(out.get(field) or {}) if isinstance(out.get(field) or {}, Mapping) else {}
    model = info.annotation
    if field in OPEN:
        textual = field in ("env_vars", "lora_modules")
        value: Any = text if textual else _yaml(text)
    elif isinstance(model, type) and issubclass(model, BaseModel):
        part = part.replace("-", "_")
        if part not in model.model_fields:
            raise _unknown(f"{field}.{part}")
        value = _value(f"{field}.{part}", model.model_fields[part], text) if text else None
    else:
        raise UsageError(f"{field} has no parts", advice=f"Write --set {field}=value.")
    if text == "":
        inner.pop(part, None)
    else:
        inner[part] = value
    out[field] = inner
    if not inner:
        out.pop(field)


def _value(name: str, info: FieldInfo, text: str) -> Any:
    """Return the text as a value of this field: a text field takes it as it is, even if it looks like YAML."""
    annotation = info.annotation
    if _is_text(annotation):
        return text
    value = _yaml(text)
    if get_origin(annotation) is tuple and isinstance(value, str | int | float) and name != "gpus":
        return str(text).replace(",", " ").split()
    needs_object = name in OPEN or (isinstance(annotation, type) and issubclass(annotation, BaseModel))
    if needs_object and not isinstance(value, Mapping):
        raise UsageError(f"--set {name}: an object is needed", advice=f"Set its parts: --set {name}.NAME=value.")
    return value


def _is_text(annotation: Any) -> bool:
    some = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return any(one is str or (get_origin(one) is Annotated and get_args(one)[0] is str) for one in some)


def _yaml(text: str) -> Any:
    """Return the value that YAML reads; other text unchanged."""
    import yaml

    try:
        return yaml.safe_load(text) if text else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def field_names() -> list[str]:
    """Return every name that `--set` takes, without parts such as names of variables."""
    names = []
    for name, info in Recipe.model_fields.items():
        names.append(name)
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [f"{name}.{part}" for part in model.model_fields]
    return names


def _unknown(name: str) -> UsageError:
    if not re.fullmatch(r"\s*-{0,2}[A-Za-z][A-Za-z0-9_.-]{0,60}\s*", name):  # it may be a value, and a secret
        return UsageError("--set: what stands before the = is no field", advice="Write --set field=value.")
    known = field_names()
    near = difflib.get_close_matches(name.strip().replace("-", "_").lower(), known, 1, 0.5)
    flag = f"A flag of the engine is written extra_args.{name.strip()[:40]}=value."
    advice = f"Did you mean {near[0]}? {flag}" if near else f"{flag} Fields: {', '.join(Recipe.model_fields)}."
    return UsageError(f"no field {name.strip()[:60]}", advice=advice)
