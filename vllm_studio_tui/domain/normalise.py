"""From the many ways in which recipes were written to our one: aliases, folded keys, defaults that we reset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import RISKY_ENV, FieldNote, Recipe
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
}
#: Bookkeeping of other programs; not a recipe's business.
_BOOKKEEPING = frozenset({"status", "created_at", "updated_at", "model_key", "is_default", "pinned", "last_used"})
_NOTE_KEY = re.compile(r".*(?:_notes?|_notes?_\d{8}|_\d{8}|^metadata|_metadata)$")
#: What the original wrote into every recipe, whether anybody meant it or not.
_BLANKET: tuple[tuple[str, Any, Any, str], ...] = (
    (
        "host",
        "0.0.0.0",  # noqa: S104  # to be reset
        "127.0.0.1",
        "the original listened on every interface by default; set it again if you mean it",
    ),
    ("port", 8000, None, "the original wrote 8000 into every recipe; the first free port is used"),
    (
        "trust_remote_code",
        True,
        False,
        "the original trusted every model's code by default; switch it on if it is needed",
    ),
)


def normalise(data: Mapping[Any, Any], *, imported: bool = False) -> tuple[dict[str, Any], list[FieldNote]]:
    """Our fields from whatever names were used, and what was changed or dropped on the way.

    Normalising what is already normal changes nothing.

    Args:
        imported: It comes from elsewhere: what the original wrote into every recipe is reset, and that is reported.
    """
    notes: list[FieldNote] = []
    out: dict[str, Any] = {}
    extra = dict(data["extra_args"]) if isinstance(data.get("extra_args"), Mapping) else {}
    for raw, value in data.items():
        key = _key(raw)
        if key == "extra_args":
            if not isinstance(value, Mapping) and value is not None:
                out[key] = value  # the model says what is wrong with it
            continue
        _put(out, extra, notes, key, raw, value)
    _hoist(out, extra, notes)
    _runtime(out, extra, notes)
    _env(out, notes)
    _server_of_the_original(out, notes)
    for field, theirs, ours, why in _BLANKET if imported else ():
        if field in out and out[field] == theirs and type(out[field]) is type(theirs):
            notes.append(FieldNote(field, "changed", why))
            if ours is None or field != "host":
                out.pop(field)
            else:
                out[field] = ours
    _python_of_venv(out, notes)
    if extra:
        out.setdefault("extra_args", extra)  # what is there already is no object: the model says so
    if "id" not in out and isinstance(out.get("name"), str):
        out["id"] = slug(out["name"])
        notes.append(FieldNote("id", "changed", "made from the name"))
    if "name" not in out and isinstance(out.get("id"), str):
        out["name"] = out["id"]
    return out, notes


def slug(text: str) -> str:
    """An id made of a name or a path."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-._")
    return plain[:64] or "recipe"


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
    """Keys that people had to hide in extra_args and that have a place of their own here."""
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
                out["env_vars"] = {**value, **out.get("env_vars", {})}
            elif name not in out:
                out[name] = value
            notes.append(FieldNote(f"extra_args.{raw}", "changed", f"now {name}"))


def _runtime(out: dict[str, Any], extra: dict[Any, Any], notes: list[FieldNote]) -> None:
    """Containers: `runtime: {docker: {..}}`, the original's `{kind, ref}` and its `docker_image` in extra_args."""
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
    """Its `transformers` recipes meant a server script of its own, told by variables what to load."""
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
    # Nothing and -1 hide every GPU from the engine, and a reference is told by nobody yet: these stay as they are.
    if visible is not None and str(visible).strip() not in ("", "-1") and not is_reference(str(visible)):
        del env["CUDA_VISIBLE_DEVICES"]
        if out.get("gpus") in (None, "", [], ()):
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
    """`venv_path` names a directory, `python_path` the interpreter in it."""
    if any(note.why == "now python_path" and "venv" in note.field for note in notes):
        path = out.get("python_path")
        if isinstance(path, str) and not path.rstrip("/").endswith(("/bin/python", "/bin/python3")):
            out["python_path"] = f"{path.rstrip('/')}/bin/python"
