"""Check the files a launch needs beside its model: adapters, drafts, projectors, templates, keys, the interpreter.

What is checked are the flags of the command, wherever in the recipe they come from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Problem
from vllm_studio_tui.backends.common.commands import is_local
from vllm_studio_tui.backends.common.file_reading import json_object, listing, start_of
from vllm_studio_tui.backends.common.model_files import Flags, folder_problems, gguf_problems, incomplete
from vllm_studio_tui.backends.common.templates import MAX_TEMPLATE, template_trouble
from vllm_studio_tui.backends.common.versions import installed_version
from vllm_studio_tui.kit.file_access import expanded, is_file, is_folder, program_trouble, read_trouble

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Fields that become these flags; all others come from `extra_args`.
FIELDS = {
    "tokenizer": "tokenizer", "tokenizer-path": "tokenizer", "lora": "lora_modules", "lora-modules": "lora_modules",
    "lora-paths": "lora_modules", "speculative-config": "speculative", "spec-draft-model": "speculative",
    "speculative-draft-model-path": "speculative",
}  # fmt: skip


def side_problems(backend: Backend, recipe: Recipe, flags: Flags) -> Iterator[Problem]:
    """Yield the problems of the files that the command names beside the model.

    What kind of file a flag names, its backend says (`Backend.file_flags`):
        any: A file that must be there.
        pem: A certificate or key.
        template: A chat template, or its file; read when the engine is first asked.
        template_file: The file of a chat template; read at the start.
        tokenizer: A tokenizer's folder or file.
        mmproj, adapter: GGUF files of these kinds; of adapters several, with commas between them.
        draft: The small model that guesses ahead.
        speculative: A JSON object that may name one as `model`.
        lora: An adapter as peft writes it: `NAME=PATH`, the path alone, or both as JSON.
    """
    for flag, kind in backend.file_flags.items():
        # What is not mounted from here is a file of the image.
        if recipe.runtime != "native" and kind not in ("tokenizer", "adapter", "lora"):
            continue
        for value in flags.get(flag, ()):
            for one in value.split(",") if kind == "adapter" else [value]:
                yield from _file(backend, recipe, flags, flag, kind, one)


def _file(backend: Backend, recipe: Recipe, flags: Flags, flag: str, kind: str, value: str) -> Iterator[Problem]:
    field, path = _field(recipe, flag), _place(recipe, value)
    label = "" if field != "extra_args" else f"{flag.replace('-', '_')}: "
    if kind == "draft":
        yield from _draft(backend, recipe, flags, field, value)
        return
    if kind == "speculative":
        draft = _parsed(value).get("model")
        if isinstance(draft, str):
            yield from _draft(backend, recipe, flags, field, draft)
        return
    if kind == "lora":
        yield from _adapter(backend, recipe, flags, value)
        return
    if kind == "tokenizer":
        if is_local(value) and (trouble := read_trouble(path, folder=not is_file(path))):
            yield Problem(field, "error", trouble.words, trouble.advice or "Correct it, or leave it empty.")
        return
    if kind.startswith("template") and not _is_template_file(kind, value):
        return
    trouble = read_trouble(path)
    if trouble is not None:
        advice = trouble.advice or f"Correct {f'extra_args.{flag}'.replace('-', '_') if label else field}."
        if kind == "adapter" and trouble.reason == "folder":
            advice = "llama.cpp takes an adapter as one GGUF file: convert it with convert_lora_to_gguf.py."
        yield Problem(field, "error", f"{label}{trouble.words}", advice)
    elif kind in ("mmproj", "adapter"):
        yield from gguf_problems(path, flags, field=field, kind=kind)
    elif kind == "pem" and b"-----BEGIN" not in start_of(path, 1 << 16):
        yield Problem(field, "error", f"{label}{path} is no PEM file", "Name a certificate or key as PEM text.")
    elif kind.startswith("template"):
        said = template_trouble(start_of(path, MAX_TEMPLATE + 1).decode(errors="replace"))
        if said:
            severity = "error" if kind == "template_file" else "warning"
            yield Problem(field, severity, f"{label}{path} cannot be read as a template: {said}", "Correct it.")


def _is_template_file(kind: str, value: str) -> bool:
    """Return whether a path is meant: it may also be the template itself, or the name of one that the engine brings."""
    if any(one in value for one in "{}\n"):
        return False
    return kind == "template_file" or "/" in value


def _draft(backend: Backend, recipe: Recipe, flags: Flags, field: str, value: str) -> Iterator[Problem]:
    """Yield the problems of a draft model, which proposes tokens for speculative decoding."""
    path = _place(recipe, value)
    if not is_local(value) and not (backend.weights == "gguf" and value.lower().endswith(".gguf")):
        return
    trouble = read_trouble(path, folder=is_folder(path))
    if trouble is not None:
        yield Problem(field, "error", f"the draft model: {trouble.words}", trouble.advice or f"Correct {field}.")
    elif missing := incomplete(path):
        yield Problem(field, "error", f"the draft model: {missing}", "Download it again.")
    elif backend.weights == "gguf":
        yield from gguf_problems(path, flags, field=field)
    elif is_folder(path):
        yield from folder_problems(backend, path, {}, field=field, tokenizer=False)


def _adapter(backend: Backend, recipe: Recipe, flags: Flags, value: str) -> Iterator[Problem]:
    """Yield the problems of a LoRA adapter in peft's format: `NAME=PATH`, the path alone, or both as JSON."""
    entry = _parsed(value)
    named = entry.get("path", entry.get("lora_path")) if entry else value.partition("=")[2] or value
    if not isinstance(named, str) or not (is_local(named) or is_folder(_place(recipe, named))):
        return
    folder, field = _place(recipe, named), _field(recipe, "lora-modules")
    trouble = read_trouble(folder, folder=True)
    if trouble is not None:
        yield Problem(field, "error", trouble.words, trouble.advice or f"Correct {field}.")
        return
    names = listing(folder)
    config, said = json_object(folder / "adapter_config.json")
    if said:
        yield Problem(field, "error", said, "Name the folder of an adapter: it holds adapter_config.json.")
        return
    if not any(one.startswith("adapter_model.") or one == "new_embeddings.safetensors" for one in names):
        yield Problem(field, "error", f"{folder} holds no adapter_model.safetensors", "Download the adapter again.")
    elif missing := incomplete(folder):
        yield Problem(field, "error", missing, "Download the adapter again.")
    rank = config.get("r")
    if backend.max_lora_rank is None or type(rank) is not int:
        return
    named = next((int(one) for one in flags.get("max-lora-rank", ()) if one.isascii() and one.isdigit()), None)
    allowed = backend.max_lora_rank if named is None else named
    if rank > allowed:
        least = next((one for one in (8, 16, 32, 64, 128, 256, 320, 512) if one >= rank), rank)
        message = f"{folder.name} has rank {rank}, and {backend.title} takes up to {allowed or backend.max_lora_rank}"
        yield Problem(field, "error", message, f"Set extra_args.max_lora_rank: {least}.")


def python_problems(backend: Backend, recipe: Recipe) -> Iterator[Problem]:
    """Yield the problems of the interpreter that the recipe names."""
    if not recipe.python_path or recipe.runtime != "native" or not backend.needs_launch:
        return
    named = expanded(recipe.python_path)
    if "/" not in named or program_trouble(named) is not None:
        return  # reported where the command is made
    names = {Path(named).name, os.path.basename(os.path.realpath(named))}  # noqa: PTH119, RUF100
    if not any("python" in one.lower() or "pypy" in one.lower() for one in names):
        message = f"{named} does not look like a Python interpreter"
        yield Problem("python_path", "warning", message, "Name the bin/python of the engine's environment.")
    elif backend.package and backend.weights == "safetensors" and not _has(named, backend.package):
        message = f"the environment of {named} seems to have no {backend.package}"
        yield Problem(
            "python_path", "warning", message, f"Install it there, or name another: {backend.title} is run by it."
        )


def _has(python: str, package: str) -> bool:
    try:
        return installed_version(Path(python), package) is not None or is_file(Path(python).parent / package)
    except OSError:
        return True


def _field(recipe: Recipe, flag: str) -> str:
    """Return the field of the recipe that a flag comes from."""
    field = FIELDS.get(flag, "extra_args")
    return field if field == "extra_args" or getattr(recipe, field) else "extra_args"


def _place(recipe: Recipe, value: str) -> Path:
    """Return the absolute path of a path that the engine gets; a relative one starts at its working directory."""
    return Path(expanded(recipe.cwd or ""), expanded(value))


def _parsed(text: str) -> dict[str, object]:
    try:
        found = json.loads(text) if text.startswith("{") else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
