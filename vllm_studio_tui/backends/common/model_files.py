"""Check the files of a model before a launch. Only files of this machine are read, and of them as little as needed."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.base import Backend, Problem
from vllm_studio_tui.backends.common.commands import is_local
from vllm_studio_tui.backends.common.file_reading import (
    Listing,
    absent,
    gguf_of,
    is_pointer,
    json_object,
    json_trouble,
    listing,
    safetensors_trouble,
    shards_of,
    shown,
    start_of,
)
from vllm_studio_tui.backends.common.gguf_files import weights
from vllm_studio_tui.backends.common.templates import MAX_TEMPLATE, template_trouble
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.kit.file_access import Trouble, expanded, is_folder, read_trouble, status
from vllm_studio_tui.kit.gguf import VERSIONS, Gguf

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: The flags of a command, without the dashes before their names, with their values.
Flags = Mapping[str, list[str]]
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth")
#: Seconds that the heads of all shards may take: on a slow file server a look at some is enough.
SHARD_SECONDS = 2.0
AGAIN = "Download it again: vllm-studio does not repair models."
#: Names by which tokenizers of all kinds are kept.
_TOKENIZER = re.compile(r"token|vocab|merges|tekken|spiece|sentencepiece|spm|bpe|\.tiktoken$|\.model$", re.IGNORECASE)
#: What stands beside a vocabulary, and is none.
NO_VOCABULARY = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}


def model_problems(backend: Backend, recipe: Recipe, flags: Flags) -> Iterator[Problem]:
    """Yield the problems of the recipe's model."""
    model = recipe.model_path
    if not backend.names_model(recipe):
        return
    if not is_local(model):
        if not backend.reads_gguf and model.lower().endswith(".gguf"):
            yield Problem("model_path", "error", f"{backend.title} cannot read GGUF files", "Use backend llamacpp.")
        return
    path = Path(expanded(model))
    found = status(path)
    # A container's root may read what we may not.
    ours = "warning" if recipe.runtime == "docker" else "error"
    if isinstance(found, Trouble):
        advice = "Correct it; a name on a hub is written without a slash before it."
        severity = ours if found.reason == "unreachable" else "error"
        yield Problem("model_path", severity, found.words, found.advice or advice)
        return
    folder = stat.S_ISDIR(found.st_mode)
    wrong = read_trouble(path, folder=folder)
    if wrong is not None:
        yield Problem("model_path", ours, wrong.words, wrong.advice)
    elif missing := incomplete(path):
        yield Problem("model_path", "error", missing, AGAIN)
    elif not backend.reads_gguf and _is_gguf(path):
        yield Problem(
            "model_path",
            "error",
            f"{backend.title} cannot read GGUF files",
            "Use backend llamacpp, or install vllm-gguf-plugin in the engine's environment.",
        )
    elif backend.weights == "safetensors" and _is_gguf(path):
        return  # some engines read it, some with a part of their own: they will say
    elif backend.weights == "safetensors" and folder:
        yield from folder_problems(backend, path, flags, tokenizer=not recipe.tokenizer)
    elif backend.weights == "safetensors":
        message = f"{path} is a file, and {backend.title} loads a folder"
        yield Problem("model_path", "error", message, "Name the folder that holds config.json and the weights.")
    elif backend.weights == "gguf":
        yield from gguf_problems(path, flags)


def folder_problems(
    backend: Backend, folder: Path, flags: Flags, *, field: str = "model_path", tokenizer: bool = True
) -> Iterator[Problem]:
    """Yield the problems of a model's folder in the format of transformers.

    Args:
        tokenizer: It has to bring its own, and its chat template.
    """

    def wrong(message: str, advice: str = AGAIN) -> Problem:
        return Problem(field, "error", message, advice)

    names = listing(folder)
    if "adapter_config.json" in names and "config.json" not in names:
        if backend.loads_adapters:
            return  # it loads the base model by itself, where it has peft
        base = json_object(folder / "adapter_config.json")[0].get("base_model_name_or_path")
        advice = (
            f"Name its base model{f' ({base[:100]})' if isinstance(base, str) else ''} here, and it in lora_modules."
        )
        yield wrong(f"{folder} is a LoRA adapter, and no model", advice)
        return
    yield from (wrong(*one) for one in _config(backend, folder, names, flags))
    if "load-format" not in flags:
        yield from (wrong(one) for one in _weights(folder, names))
    if not tokenizer:
        return
    if names.whole and "skip-tokenizer-init" not in flags and not _has_tokenizer(folder, names):
        yield wrong(f"{folder} holds no tokenizer", "Download the whole model, or name another in `tokenizer`.")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if name in names and (said := json_trouble(folder / name)):
            yield wrong(said)
    if "chat-template" not in flags:
        for name, text in _templates(folder, names):
            if said := template_trouble(text):
                # The engine starts with it; it is the requests that fail.
                message = f"the chat template in {name} cannot be read, and every chat would be refused: {said}"
                yield Problem(field, "warning", message, "Correct it, or name another: extra_args.chat_template.")


def _config(backend: Backend, folder: Path, names: Mapping[str, int], flags: Flags) -> Iterator[tuple[str, str]]:
    if {"config-format", "hf-config-path", "hf-overrides", "json-model-override-args"} & flags.keys():
        return
    if "config.json" not in names:
        if "params.json" in names and backend.mistral_format:
            return  # Mistral's own format
        found = status(folder / "config.json")
        if isinstance(found, Trouble):
            words = f"{folder} holds no config.json" if found.reason == "missing" else found.words
            yield words, "Name the folder that holds it, or download the model again."
        return
    config, said = json_object(folder / "config.json")
    if said:
        yield said, AGAIN
    elif config and "model_type" not in config and not _own_code(config) and "params.json" not in names:
        message = f"{folder / 'config.json'} names no model_type"
        yield message, "Is it the config.json of this model? Download it again, or add model_type."


def _has_tokenizer(folder: Path, names: Mapping[str, int]) -> bool:
    """Return whether there is a vocabulary of any kind, or a tokenizer that needs none."""
    if any(_TOKENIZER.search(one) for one in names.keys() - NO_VOCABULARY):
        return True
    config = json_object(folder / "tokenizer_config.json")[0] if "tokenizer_config.json" in names else {}
    return "auto_map" in config or bool(
        re.search("byt5|canine|perceiver|byte", str(config.get("tokenizer_class")).lower())
    )


def _own_code(config: Mapping[str, Any]) -> bool:
    own = config.get("auto_map")
    return isinstance(own, dict) and "AutoConfig" in own


def _weights(folder: Path, names: Listing) -> Iterator[str]:
    if not any(name.endswith(WEIGHTS) for name in names):
        if names.whole:
            yield f"{folder} holds no weights (*.safetensors, *.bin)"
        return
    wanted = next((sorted(shards) for shards, lacking in _indexed(folder, names) if not lacking), [])
    if not wanted:  # what lies beside a whole model, as an adapter, is not loaded with it
        every = sorted(one for one in names if one.endswith(WEIGHTS))
        wanted = [one for one in every if one == "model.safetensors"] or every
    deadline = time.monotonic() + SHARD_SECONDS
    bad = []
    for name in wanted:
        if time.monotonic() > deadline:
            break
        if (trouble := read_trouble(folder / name)) is not None:
            bad.append(trouble.words)
        elif name.endswith(".safetensors") and (said := safetensors_trouble(folder / name)):
            bad.append(said)
    if bad:
        yield bad[0] if len(bad) == 1 else f"{bad[0]}; {len(bad) - 1} more of {len(wanted)} files are damaged too"


def _indexed(folder: Path, names: Listing) -> Iterator[tuple[frozenset[str], list[str]]]:
    """Yield the files that each index of shards names, and those that are missing; transformers' index comes first.

    An index none of whose files is there, beside other weights, was left by another format of the model.
    """
    found = sorted(one for one in names if one.endswith(".index.json"))
    for index in sorted(found, key=lambda one: one != "model.safetensors.index.json"):
        shards = shards_of(folder / index)
        lacking = sorted(one for one in shards if one not in names and absent(folder / one))
        left_over = len(lacking) == len(shards) and any(one.endswith(WEIGHTS) for one in names)
        if shards and not left_over:
            yield shards, lacking


def _templates(folder: Path, names: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield chat templates and where they are kept; a file of its own hides the one of the tokenizer."""
    if "chat_template.jinja" in names:
        yield "chat_template.jinja", start_of(folder / "chat_template.jinja", MAX_TEMPLATE + 1).decode(errors="replace")
        return
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = (
            json_object(folder / name)[0].get("chat_template") if 0 < names.get(name, 0) < MAX_TEMPLATE * 8 else None
        )
        for one in found if isinstance(found, list) else [{"template": found}]:
            text = one.get("template") if isinstance(one, dict) else None
            if isinstance(text, str):
                yield name, text
                return


def gguf_problems(path: Path, flags: Flags, *, field: str = "model_path", kind: str = "model") -> Iterator[Problem]:
    """Yield the problems of a GGUF file, or of the folder that holds one.

    Args:
        kind: `model`, `adapter` or `mmproj`: what it has to be.
    """
    try:
        file = weights(path)
    except InvalidRecipe:
        return  # reported where the command is made
    trouble = read_trouble(file)
    found = gguf_of(file) if trouble is None else trouble.words
    if isinstance(found, str):
        if found:
            yield Problem(field, "error", found, trouble.advice if trouble and trouble.advice else AGAIN)
        return
    said = _gguf_trouble(found, file.name, kind) or _later_parts(file)
    if said:
        yield Problem(field, "error", *said)
    elif kind == "model" and not {"chat-template", "chat-template-file", "no-jinja"} & flags.keys():
        text = found.values.get("tokenizer.chat_template")
        if isinstance(text, str) and (where := template_trouble(text)):
            message = f"the chat template in {file.name} cannot be read: {where}"
            yield Problem(field, "error", message, "Name another: extra_args.chat_template_file.")


def _later_parts(file: Path) -> tuple[str, str] | None:
    """Return what is wrong with a later part of a split model, and the advice; None where nothing is."""
    deadline = time.monotonic() + SHARD_SECONDS
    for part in _parts(file)[1:]:
        if time.monotonic() > deadline:
            break
        trouble = read_trouble(part)
        found = gguf_of(part) if trouble is None else trouble.words
        if isinstance(found, str):
            if found:
                return found, AGAIN
        elif found.readable and found.size < found.needed:
            return f"{part.name} is cut off: it holds {found.size:,} bytes of {found.needed:,}", AGAIN
    return None


def _parts(file: Path) -> list[Path]:
    """Return all parts of a split model, from the name of any; none where it is not split."""
    shard = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", file.name)
    count = min(int(shard[2]), 1000) if shard else 0
    return [file.with_name(f"{shard[1]}-{at:05}-of-{shard[2]}.gguf") for at in range(1, count + 1)] if shard else []


def _gguf_trouble(found: Gguf, name: str, kind: str) -> tuple[str, str] | None:
    if found.big_endian:
        return f"{name} was written for machines of the other byte order", "Download the usual, little-endian file."
    if not found.readable:
        known = " and ".join(map(str, VERSIONS))
        return f"{name} is GGUF version {found.version}, and llama.cpp reads {known}", "Convert the model again."
    if found.size < found.needed:
        return f"{name} is cut off: it holds {found.size:,} bytes of {found.needed:,}", AGAIN
    values = found.values
    clip = values.get("general.architecture") == "clip"  # projectors did not always tell their kind
    what = "mmproj" if clip else values.get("general.type", kind)
    if what in ("adapter", "mmproj", "imatrix", "model") and what != kind:
        where = {"adapter": "lora_modules", "mmproj": "extra_args.mmproj", "model": "model_path"}.get(str(what))
        return f"{name} is of the kind {what}, and no {kind}", f"Name it in {where}." if where else "Name another file."
    later = isinstance(values.get("split.no"), int) and values["split.no"] != 0
    if later:
        return f"{name} is a later part of a model", "Name the first part."
    if "general.architecture" not in values:
        return f"{name} does not say its architecture", "Convert the model again, or download another file of it."
    if kind != "model":
        return None
    vocabulary = values.get("tokenizer.ggml.model")
    if vocabulary in ("none", "no_vocab"):
        return None
    lacking = [one for one in ("model", "tokens") if f"tokenizer.ggml.{one}" not in values]
    if vocabulary == "gpt2" and "tokenizer.ggml.merges" not in values:
        lacking.append("merges")
    if lacking:
        return (
            f"{name} lacks its vocabulary (tokenizer.ggml.{lacking[0]})",
            "Convert the model again, with its tokenizer.",
        )
    return None


def incomplete(path: Path) -> str:
    """Return what is missing of a model's folder or file, in words; an empty text where nothing is.

    Read are the index of shards (`*.index.json` as transformers writes it), the names of GGUF shards, and pointers
    of Git LFS, which are small text files where large ones should be.
    """
    whole = is_folder(path)
    folder = path if whole else path.parent
    names = listing(folder) if whole else Listing()
    indexed = list(_indexed(folder, names))
    if indexed and all(lacking for _, lacking in indexed) and "model.safetensors" not in names:
        shards, lacking = indexed[0]
        return f"{len(lacking)} of {len(shards)} weight files are missing: {shown(lacking)}"
    if not whole:
        found = status(path)
        names = Listing() if isinstance(found, Trouble) else Listing({path.name: found.st_size})
    for name, size in names.items():
        if size < 1024 and (name.endswith(WEIGHTS) or _TOKENIZER.search(name)) and is_pointer(folder / name):
            return f"{name} is a pointer of Git LFS and holds {'no weights' if name.endswith(WEIGHTS) else 'nothing'}"
    parts = _parts(path)
    if lacking := [one.name for one in parts if absent(one)]:
        return f"{len(lacking)} of {len(parts)} weight files are missing: {shown(lacking)}"
    return ""


def _is_gguf(path: Path) -> bool:
    if path.suffix.lower() == ".gguf":
        return True
    names = [name.lower() for name in listing(path)] if is_folder(path) else []
    return any(one.endswith(".gguf") for one in names) and not any(
        one.endswith((".safetensors", ".bin", ".pt")) for one in names
    )
