"""Read a recipe from JSON or YAML data: aliases, folded keys, units of counts, defaults of the original system.

Every change to what was written is reported as a `FieldNote`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import ID, RISKY_ENV, FieldNote, Recipe
from vllm_studio_tui.domain.recipe_engines import convert_backend
from vllm_studio_tui.domain.recipe_imports import add_warnings, is_from_original, reset_original_defaults
from vllm_studio_tui.domain.recipe_numbers import COUNTS, ENGINE_CHOOSES, read_count
from vllm_studio_tui.domain.recipe_secrets import extract_secrets
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.secrets import is_reference

_ALIASES = {
    "engine": "backend",
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "model": "model_path",
    "path": "model_path",
    "context_length": "max_model_len",
    "max_context": "max_model_len",
    "env": "env_vars",
    "environment": "env_vars",
    "envvars": "env_vars",
    "venv_path": "python_path",
    "visible_devices": "gpus",
    "cuda_visible_devices": "gpus",
    "hip_visible_devices": "gpus",
    "rocr_visible_devices": "gpus",
    "llama_bin": "executable",
    "launch_command": "command",
    "exllama_command": "command",
    "notes": "description",
    "apikey": "api_key",
}
#: Bookkeeping of other programs; not a recipe's business.
_BOOKKEEPING = frozenset(
    {"status", "state", "created_at", "updated_at", "model_key", "is_default", "pinned", "last_used"}
)
_NOTE_KEY = re.compile(r".*(?:_notes?|_notes?_\d{8}|_\d{8}|^metadata|_metadata)$")


def parse_recipe(
    data: Any, *, imported: bool = False, keep: Callable[[str, str], str] | None = None
) -> tuple[Recipe, list[FieldNote]]:
    """Read a recipe from JSON or YAML data, in our format or the original system's.

    Args:
        imported: It comes from elsewhere: what a launch of it would do is pointed out, see `normalise`.
        keep: Keeps a secret that is written out, see `recipe_secrets`; None: such an `api_key` is refused.

    Raises:
        InvalidRecipe: It cannot be used; every problem is named with its field.
    """
    if not isinstance(data, Mapping):
        raise InvalidRecipe("not a recipe", [("recipe", f"an object is needed, this is {type(data).__name__}")])
    plain, notes = normalise(data, imported=imported)
    if keep is not None:
        extract_secrets(plain, notes, keep)
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        problems = [(_place(one["loc"]), _words(one)) for one in error.errors(include_url=False)]
        name = str(data.get("id") or data.get("name") or "recipe")[:80]
        raise InvalidRecipe(f"{name} is not a valid recipe", problems, advice="Correct these fields.") from None
    noted = {note.field for note in notes}
    notes += [FieldNote(field, "taken") for field in plain if field not in noted and field in Recipe.model_fields]
    return recipe, notes


def normalise(data: Mapping[Any, Any], *, imported: bool = False) -> tuple[dict[str, Any], list[FieldNote]]:
    """Return the data under our field names, and a note for every field that was changed or dropped.

    Normalising what is already normal changes nothing.

    Args:
        imported: It comes from elsewhere. What the original wrote into every recipe is reset where the recipe has the
            original's shape; what a person wrote stays, and what a launch of it would run or open is pointed out.
    """
    notes: list[FieldNote] = []
    out: dict[str, Any] = {}
    extra = dict(data["extra_args"]) if isinstance(data.get("extra_args"), Mapping) else {}
    for raw, value in data.items():
        key = _key(raw)
        if key == "extra_args":
            if not isinstance(value, Mapping) and value is not None:
                out[key] = value  # the validation of Recipe reports it
            continue
        _put(out, extra, notes, key, raw, value)
    _hoist(out, extra, notes)
    _runtime(out, extra, notes)
    _env(out, notes)
    _server_of_the_original(out, notes)
    if imported and is_from_original({_key(raw) for raw in data}, data):
        reset_original_defaults(out, notes)
    _python_of_venv(out, notes)
    _numbers(out, notes)
    if extra:
        out.setdefault(
            "extra_args", extra
        )  # extra_args that are no mapping stay: the validation of Recipe reports them
    if "id" not in out and isinstance(out.get("name"), str):
        out["id"] = slug(out["name"])
        notes.append(FieldNote("id", "changed", "made from the name"))
    if "name" not in out and isinstance(out.get("id"), str):
        out["name"] = out["id"]
    if imported:
        _id(out, notes)
        convert_backend(out, notes)
        add_warnings(out, notes)
    return out, notes


def _id(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Make a valid id of another program's: there it is a model's name, here it is typed in commands."""
    given = out.get("id")
    if isinstance(given, int) and not isinstance(given, bool):
        given = out["id"] = str(given)
    if isinstance(given, str) and given.strip() and not ID.fullmatch(given):
        out["id"] = slug(given)
        notes.append(FieldNote("id", "changed", f"{given[:80]} is written {out['id']} here; the name is kept"))
        out["name"] = out.get("name") or given


def _numbers(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Read counts as people write them, and drop a 0 that means "the engine chooses"."""
    for name in COUNTS & out.keys():
        number = read_count(out[name])
        if number != out[name]:
            if str(number) != str(out[name]):
                notes.append(FieldNote(name, "changed", f"{out[name]} is {number}{_other_unit(str(out[name]))}"))
            out[name] = number
    for name in ENGINE_CHOOSES & out.keys():
        if out[name] in (0, "0") and out[name] is not False:
            out.pop(name)
            notes.append(FieldNote(name, "changed", "0: left to the engine"))


def _other_unit(text: str) -> str:
    """Return a hint on the unit: `32k` is 32000, as in vLLM; 32768 is written `32K`."""
    text = text.strip()
    return f"; {text.upper()} is {read_count(text.upper())}" if text[-1:] in ("k", "m", "g") else ""


def slug(text: str) -> str:
    """Return an id made of a name or a path."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-._")
    return plain[:64] or "recipe"


def canonical_field(text: str) -> str:
    """Return our name of a field that may be written as in other programs: `tp`, `max-model-len`."""
    key = _key(text.strip())
    return _ALIASES.get(key, key)


def _key(raw: Any) -> str:
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(raw)) if str(raw) not in Recipe.model_fields else str(raw)
    return text.replace("-", "_").lower()


def _put(out: dict[str, Any], extra: dict[Any, Any], notes: list[FieldNote], key: str, raw: Any, value: Any) -> None:
    name = _ALIASES.get(key, key)
    if value is None and name not in ("port",):
        return
    if name in Recipe.model_fields:
        if name in out and out[name] != value:
            notes.append(FieldNote(str(raw), "dropped", f"{name} was already given"))
            return
        out[name] = value
        if str(raw) != name:
            notes.append(FieldNote(str(raw), "changed", f"now {name}"))
    elif key in _BOOKKEEPING:
        notes.append(FieldNote(str(raw), "dropped", "bookkeeping of another program"))
    elif _NOTE_KEY.fullmatch(key):
        notes.append(FieldNote(str(raw), "dropped", "a note, not a flag"))
    else:
        extra.setdefault(raw, value)
        notes.append(FieldNote(str(raw), "changed", "no field of ours: now in extra_args"))


def _hoist(out: dict[str, Any], extra: dict[Any, Any], notes: list[FieldNote]) -> None:
    """Move keys that people had to hide in extra_args to the fields that they have here."""
    for raw in list(extra):
        key = _key(raw)
        name = _ALIASES.get(key, key)
        if key in _BOOKKEEPING or _NOTE_KEY.fullmatch(key):
            extra.pop(raw)
            notes.append(FieldNote(f"extra_args.{raw}", "dropped", "a note, not a flag"))
        elif name in ("env_vars", "gpus", "python_path", "description", "tags", "executable", "command"):
            value = extra.pop(raw)
            if value is None:
                continue
            if name == "env_vars" and isinstance(value, Mapping) and isinstance(out.get("env_vars", {}), Mapping):
                given = out.get("env_vars", {})
                out["env_vars"] = {**value, **given}
                lost = sorted(str(one) for one in value if one in given and given[one] != value[one])
                notes += [FieldNote(f"extra_args.{raw}.{one}", "dropped", f"env_vars has {one} too") for one in lost]
            elif out.setdefault(name, value) != value:
                notes.append(FieldNote(f"extra_args.{raw}", "dropped", f"{name} was already given"))
                continue
            notes.append(FieldNote(f"extra_args.{raw}", "changed", f"now {name}"))


def _runtime(out: dict[str, Any], extra: dict[Any, Any], notes: list[FieldNote]) -> None:
    """Read containers: `runtime: {docker: {..}}`, the original's `{kind, ref}` and its `docker_image` in extra_args."""
    runtime = out.get("runtime")
    if isinstance(runtime, Mapping):
        kind, given = str(runtime.get("kind") or ""), runtime.get("docker")
        if isinstance(given, Mapping) or kind == "docker":
            out["runtime"] = "docker"
            out.setdefault("docker", dict(given) if isinstance(given, Mapping) else {"image": runtime.get("ref")})
        else:
            out.pop("runtime")
            notes.append(FieldNote("runtime", "dropped", "python_path or executable say where the engine is"))
    for raw in [one for one in extra if _key(one) == "docker_image"]:
        image = extra.pop(raw)
        if image and "docker" not in out:
            out["runtime"], out["docker"] = "docker", {"image": image}
            notes.append(FieldNote(f"extra_args.{raw}", "changed", "now runtime docker and docker.image"))


def _server_of_the_original(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Read the model path of the original's own `transformers` server, which was set by variables."""
    env = out.get("env_vars")
    if out.get("backend") != "transformers" or not isinstance(env, Mapping):
        return
    names = sorted(name for name in env if name.startswith("DEEPSEEK_"))
    path = env.get("DEEPSEEK_MODEL_PATH")
    if path and not out.get("model_path"):
        out["model_path"] = path
        notes.append(FieldNote("env_vars.DEEPSEEK_MODEL_PATH", "changed", "now model_path"))
    why = "kept, but `transformers serve` does not read it: it was for the original's own server script"
    notes += [FieldNote(f"env_vars.{name}", "taken", why) for name in names if name != "DEEPSEEK_MODEL_PATH" or path]


def _env(out: dict[str, Any], notes: list[FieldNote]) -> None:
    env = out.get("env_vars")
    if not isinstance(env, Mapping):
        return
    env = {str(name): value for name, value in env.items() if value is not None}
    visible = env.get("CUDA_VISIBLE_DEVICES")
    # Nothing and -1 hide every GPU from the engine, and a reference is not resolved yet: these stay as they are.
    if visible is not None and str(visible).strip() not in ("", "-1") and not is_reference(str(visible)):
        del env["CUDA_VISIBLE_DEVICES"]
        if out.get("gpus") in (None, "", [], (), visible):
            out["gpus"] = visible
            notes.append(FieldNote("env_vars.CUDA_VISIBLE_DEVICES", "changed", "now gpus"))
        else:
            notes.append(FieldNote("env_vars.CUDA_VISIBLE_DEVICES", "dropped", "gpus was already given"))
    risky = sorted(RISKY_ENV & set(env))
    if risky:
        why = "kept, but look at it before a launch: it can make the engine run other code"
        notes += [FieldNote(f"env_vars.{name}", "taken", why) for name in risky]
    out["env_vars"] = env


def _python_of_venv(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Turn `venv_path`, a directory, into `python_path`, the interpreter in it."""
    if any(note.why == "now python_path" and "venv" in note.field for note in notes):
        path = out.get("python_path")
        if isinstance(path, str) and not path.rstrip("/").endswith(("/bin/python", "/bin/python3")):
            out["python_path"] = f"{path.rstrip('/')}/bin/python"


#: Fields whose values are not repeated: they may be secrets, or hold some.
_UNSAID = frozenset({"api_key", "base_url", "env_vars", "extra_args", "command", "docker"})


def _place(where: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in where) or "recipe"


def _words(error: Mapping[str, Any]) -> str:
    text = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if error["type"] in ("missing", "extra_forbidden") or isinstance(given, Mapping | list):
        return "missing" if error["type"] == "missing" else text
    if error["loc"] and error["loc"][0] in _UNSAID:
        return text
    return f"{text} (got {mask_text(str(given)[:60])!r})"
