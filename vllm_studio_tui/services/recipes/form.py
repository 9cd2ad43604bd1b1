"""Turn a recipe into form fields as text, and back. Built from the model: a new field appears by itself."""

from __future__ import annotations

import json
import shlex
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe

SECTIONS: dict[str, tuple[str, ...]] = {
    "Model": ("id", "name", "backend", "model_path", "base_url", "command", "served_model_name", "revision",
              "tokenizer", "lora_modules", "description", "tags", "trust_remote_code"),
    "Parallel": ("gpus", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "expert_parallel"),
    "Memory": ("max_model_len", "gpu_memory_utilization", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens",
               "enable_prefix_caching", "enable_chunked_prefill", "dtype", "quantization", "speculative"),
    "Serving": ("host", "port", "api_key", "health_path", "metrics_style", "ready_timeout"),
    "Tools": ("tool_call_parser", "enable_auto_tool_choice", "reasoning_parser", "thinking_mode",
              "max_thinking_tokens", "chat_template_kwargs", "vision"),
    "Environment": ("runtime", "executable", "python_path", "cwd", "env_vars", "extra_args"),
}  # fmt: skip
UNITS = {
    "max_model_len": "tokens",
    "max_thinking_tokens": "tokens",
    "gpu_memory_utilization": "of a GPU",
    "ready_timeout": "s",
    "max_num_seqs": "requests",
    "max_num_batched_tokens": "tokens",
    "restart.delay": "s",
    "restart.max_delay": "s",
    "restart.window": "s",
    "restart.stall_after": "s",
    "restart.hang_after": "s",
    "restart.budget": "failures",
}
HELP = {
    "kv_cache_dtype": "fp8 halves the cache",
    "tensor_parallel_size": "GPUs that share every layer",
    "pipeline_parallel_size": "GPUs that share the layers among them",
    "data_parallel_size": "copies of the model, each with GPUs of its own",
    "speculative": 'as JSON, for example {"method": "ngram", "num_speculative_tokens": 4}',
    "chat_template_kwargs": 'as JSON, for example {"enable_thinking": false}',
    "dtype": "of the weights; blank takes the model's own",
    "quantization": "only where the engine does not see it by itself",
    "tags": "words to search by, with blanks between",
    "thinking_mode": "how freely the model may think",
    "enable_auto_tool_choice": "lets the model decide when to call a tool",
    "tool_call_parser": "how the engine reads tool calls of this family",
    "reasoning_parser": "how the engine splits thinking from the answer",
    "vision": "whether pictures may be sent; blank: by the model",
    "cwd": "where the engine is started",
    "env_vars": "NAME=value, with blanks between; secrets as env:NAME or file:PATH",
    "extra_args": "--flag value, as on the engine's command line",
    "restart.policy": "never, on-failure or always",
    "restart.delay": "before the first restart; doubled for each further one",
    "restart.max_delay": "the longest wait",
    "restart.stall_after": "requests run and no token comes: it is started again; 0: never",
    "restart.hang_after": "it lives and does not answer: it is started again; 0: never",
    "restart.budget": "failures within the window, then it is left alone",
    "restart.window": "in which failures are counted",
}
CHOICES: dict[str, tuple[str, ...]] = {
    "kv_cache_dtype": ("auto", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "dtype": ("auto", "bfloat16", "float16", "float32"),
}


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of the form.

    Attributes:
        kind: text, number, switch, choice, list, map, json or flags.
        default: What stands there when it is left blank, as text.
        choices: For a choice all values; for text suggestions.
    """

    name: str
    section: str
    kind: str
    help: str = ""
    unit: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of the texts of a form: a recipe, or what is wrong, by field."""

    recipe: Recipe | None
    errors: Mapping[str, str] = field(default_factory=dict)


def form_fields() -> tuple[FormField, ...]:
    """Return every field of a recipe, in the order of the form."""
    placed = {name: section for section, names in SECTIONS.items() for name in names}
    found: dict[str, FormField] = {}
    for name, info in Recipe.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for inner, inner_info in annotation.model_fields.items():
                full = f"{name}.{inner}"
                found[full] = _field(full, inner_info, name.capitalize())
        else:
            found[name] = _field(name, info, placed.get(name, "More"))
    order = [name for names in SECTIONS.values() for name in names]
    return tuple(sorted(found.values(), key=lambda one: order.index(one.name) if one.name in order else 999))


def _field(name: str, info: FieldInfo, section: str) -> FormField:
    annotation = info.annotation
    options = [one for one in get_args(annotation) if one is not types.NoneType]
    is_union = get_origin(annotation) in (Union, types.UnionType)
    inner = options[0] if is_union and options else annotation
    optional = is_union and types.NoneType in get_args(annotation)
    choices: tuple[str, ...] = CHOICES.get(name, ())
    kind = "text"
    if name == "backend":
        kind, choices = "choice", tuple(registry.backends())
    elif get_origin(inner) is Literal:
        kind, choices = "choice", tuple(str(one) for one in get_args(inner))
    elif inner is bool:
        kind = "choice" if optional else "switch"
        choices = ("", "yes", "no") if optional else ()
    elif inner in (int, float) or (get_origin(inner) is not None and get_args(inner)[:1] in ((int,), (float,))):
        kind = "number"
    elif name == "extra_args":
        kind = "flags"
    elif get_origin(inner) is dict and get_args(inner)[1:] == (Any,):
        kind = "json"
    elif get_origin(inner) is dict:
        kind = "map"
    elif get_origin(inner) is tuple or name == "gpus":
        kind = "list"
    default = "" if info.is_required() else as_text(kind, info.get_default(call_default_factory=True))
    words = HELP.get(name, info.description or "")
    return FormField(name, section, kind, words, UNITS.get(name, ""), default, choices, optional)


def as_text(kind: str, value: Any) -> str:
    """Return a recipe's value as a person types it."""
    if value is None:
        return ""
    if kind == "switch" or isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "list":
        return " ".join(str(one) for one in value)
    if kind == "map":
        return " ".join(f"{name}={shlex.quote(str(one))}" for name, one in value.items())
    if kind == "json":
        return json.dumps(value, ensure_ascii=False) if value else ""
    if kind == "flags":
        return " ".join(_flag(str(name), one) for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag(name: str, value: Any) -> str:
    flag = "--" + name.lstrip("-").replace("_", "-")
    if value is True:
        return flag
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{flag} {shlex.quote(text)}"


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
            value = _value(one, text)
            if one.kind == "flags" and keep is not None:
                # `flash-attn` and `flash_attn` are one flag; what was not changed keeps its name.
                names = {before.replace("-", "_"): before for before in keep.extra_args}
                value = {names.get(flag, flag): given for flag, given in value.items()}
            target[name] = value
        except ValueError as error:
            errors[one.name] = str(error)
    for nested in ("restart", "docker"):
        if not data.get(nested):
            data.pop(nested, None)
    if not data.get("name") and data.get("id"):
        data["name"] = data["id"]
    if errors:
        return Reading(None, errors)
    try:
        return Reading(parse_recipe(data)[0])
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


def _value(one: FormField, text: str) -> Any:
    if one.kind == "number":
        try:
            return int(text)
        except ValueError:
            try:
                return float(text)
            except ValueError:
                raise ValueError("not a number") from None
    if one.kind == "switch" or (one.kind == "choice" and one.choices == ("", "yes", "no")):
        if text.lower() not in ("yes", "no", "true", "false", "on", "off", "1", "0"):
            raise ValueError("yes or no")
        return text.lower() in ("yes", "true", "on", "1")
    if one.kind == "list":
        return text.replace(",", " ").split()
    if one.kind == "map":
        return _pairs(text)
    if one.kind == "json":
        return _object(text)
    if one.kind == "flags":
        return _flags(text)
    return text


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"not closed: {error}") from None


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word[:30]!r} is not NAME=value")
        pairs[name] = value
    return pairs


def _flags(text: str) -> dict[str, Any]:
    """Return `--flag value` as names and values; a flag without a value is true; JSON is parsed."""
    flags: dict[str, Any] = {}
    name: str | None = None
    for word in _words(text):
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            name = flag.replace("-", "_")
            flags[name] = _json(value) if equals else True
            if equals:
                name = None
        elif name is None:
            raise ValueError(f"{word[:30]!r} stands without a flag before it")
        else:
            flags[name] = _json(word)
            name = None
    return flags


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError('an object as JSON is needed, for example {"name": 1}')
    return found
