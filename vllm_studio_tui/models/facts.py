"""What the files of a model say of it, without its weights: its shape, its weights by part, how they are stored.

Read are config.json, the heads of all weight files and the names of an index, each within its bounds. Nothing of what
they say is believed to be well formed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends.common.file_reading import gguf_of, json_object, listing, shards_of
from vllm_studio_tui.backends.common.gguf_files import weights as gguf_file
from vllm_studio_tui.domain.architecture import ModelFacts, Part, Weights
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.kit.file_access import Trouble, expanded, is_folder, status
from vllm_studio_tui.kit.gguf import Gguf
from vllm_studio_tui.kit.safetensors import read_safetensors
from vllm_studio_tui.kit.tensors import BadFile, Tensor, TooLarge
from vllm_studio_tui.models.config_shape import shape_of
from vllm_studio_tui.models.config_values import Config, read_text_config
from vllm_studio_tui.models.gguf_shape import shape_of_gguf
from vllm_studio_tui.models.quantization import Quantization, gguf_quantization, quantization_of
from vllm_studio_tui.models.tensor_parts import parameters_of, weights_of

#: Seconds that the heads of all files may take; after that the sizes of files are taken.
SECONDS = 5.0
#: Files of weights whose heads are read.
MOST_FILES = 500
_OLD_WEIGHTS = (".bin", ".pt", ".pth")


class UnknownModel(StudioError):
    """Nothing can be said of a model."""


def read_facts(path: Path | str) -> ModelFacts:
    """Return what the files of a model on this machine say. Blocking; kept until one of the files changes.

    Args:
        path: A folder with config.json, a GGUF file, or a folder with one.

    Raises:
        UnknownModel: There is nothing that can be read; the cause says why.
    """
    place = Path(expanded(str(path)))
    found = status(place)
    if isinstance(found, Trouble):
        raise _unknown(place, found.words, found.advice)
    return _read(place, _changed(place))


def facts_from(
    config: Mapping[str, Any], tensors: Iterable[Tensor], *, quantized: Mapping[str, Any] | None = None
) -> ModelFacts:
    """Return the facts of a model in the format of transformers, from its config.json and its list of tensors.

    Args:
        quantized: `hf_quant_config.json`, where there is one.
    """
    tensors = list(tensors)
    how = quantization_of(config, quantized, tensors)
    return ModelFacts(
        architecture=shape_of(config),
        weights=weights_of(tensors),
        parameters=parameters_of(tensors, how.bits) or None,
        quantization=how.name,
        bits=how.bits,
        dtype=Config(read_text_config(config)).dtype or Config(config).dtype or _widest(tensors),
    )


def facts_from_gguf(headers: Iterable[Gguf]) -> ModelFacts:
    """Return the facts of a GGUF model, from the headers of all its files; the first one describes it."""
    headers = list(headers)
    tensors = [tensor for header in headers for tensor in header.tensors]
    how = gguf_quantization(headers[0], tensors)
    template = headers[0].values.get("tokenizer.chat_template")
    return ModelFacts(
        architecture=shape_of_gguf(headers[0]),
        weights=weights_of(tensors),
        parameters=sum(one.count for one in tensors) or None,
        quantization=how.name,
        bits=how.bits,
        dtype="float16",
        exact=all(one.size is not None for one in tensors),
        source="gguf",
        about={"chat_template": template} if isinstance(template, str) else {},
    )


@functools.lru_cache(maxsize=256)
def _read(place: Path, _when: tuple[tuple[str, int, int], ...]) -> ModelFacts:
    if is_folder(place):
        config, said = json_object(place / "config.json")
        if config:
            return _folder(place, config)
        try:
            return _gguf(gguf_file(place))
        except InvalidRecipe:
            raise _unknown(place, said or "it holds neither a config.json nor one GGUF file") from None
    return _gguf(place)


def _gguf(file: Path) -> ModelFacts:
    headers = []
    for part in _gguf_parts(file):
        found = gguf_of(part)
        if isinstance(found, str):
            raise _unknown(part, found or "its header is too large")
        headers.append(found)
    if not headers[0].readable:
        raise _unknown(file, f"it is GGUF version {headers[0].version}, which llama.cpp does not read")
    return facts_from_gguf(headers)


def _gguf_parts(file: Path) -> list[Path]:
    """Return all files of a model in several parts, from its first; else the file alone."""
    first, dash, of = file.name.rpartition("-of-")
    if not dash or not first.endswith("-00001"):
        return [file]
    count = of.removesuffix(".gguf")
    many = int(count) if len(count) == 5 and count.isdecimal() else 1
    stem = first.removesuffix("-00001")
    return [file.with_name(f"{stem}-{at:05}-of-{of}") for at in range(1, min(many, MOST_FILES) + 1)]


def _folder(folder: Path, config: Mapping[str, Any]) -> ModelFacts:
    names = listing(folder)
    files = _weight_files(folder, names)
    quantized = json_object(folder / "hf_quant_config.json")[0] if "hf_quant_config.json" in names else None
    tensors: list[Tensor] = []
    rest = 0
    deadline = time.monotonic() + SECONDS
    for name in files:
        if time.monotonic() > deadline or not name.endswith(".safetensors"):
            rest += names[name]
            continue
        try:
            tensors += read_safetensors(folder / name).tensors
        except (BadFile, TooLarge, OSError):
            rest += names[name]
    facts = facts_from(config, tensors, quantized=quantized)
    if not rest:
        return facts
    kind = {"float32": "F32", "bfloat16": "BF16"}.get(facts.dtype or "", "F16")
    guessed = Weights(Part.LAYERS, kind, rest // 2, rest)
    return ModelFacts(
        architecture=facts.architecture,
        weights=(*facts.weights, guessed),
        quantization=facts.quantization,
        bits=facts.bits,
        dtype=facts.dtype,
        exact=False,
        source="files",
    )


def _weight_files(folder: Path, names: Mapping[str, int]) -> list[str]:
    """Return the files that are loaded: those of the index, else all safetensors files, else older formats."""
    for index in sorted(
        (one for one in names if one.endswith(".safetensors.index.json")),
        key=lambda one: one != "model.safetensors.index.json",
    ):
        shards = [one for one in shards_of(folder / index) if one in names]
        if shards:
            return sorted(shards)[:MOST_FILES]
    whole = [one for one in names if one.endswith(".safetensors") and not one.startswith(("adapter_", "consolidated"))]
    whole = [one for one in whole if one == "model.safetensors"] or whole
    older = [one for one in names if one.endswith(_OLD_WEIGHTS) and "training" not in one and "optimizer" not in one]
    mistral = [one for one in names if one.startswith("consolidated") and one.endswith(".safetensors")]
    return sorted(whole or mistral or older)[:MOST_FILES]


def _changed(place: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when one of the files does."""
    folder = place if is_folder(place) else place.parent
    names = listing(place) if folder == place else {place.name: 0}
    told = []
    for name in sorted(names):
        if name.endswith((".json", ".safetensors", ".gguf", *_OLD_WEIGHTS)):
            found = status(folder / name)
            if not isinstance(found, Trouble):
                told.append((name, found.st_mtime_ns, found.st_size))
    return tuple(told)


def _widest(tensors: Iterable[Tensor]) -> str | None:
    sizes: dict[str, int] = {}
    for one in tensors:
        sizes[one.dtype] = sizes.get(one.dtype, 0) + (one.size or 0)
    best = max(sizes, key=lambda name: sizes[name], default="")
    return {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}.get(best)


def _unknown(place: Path, why: str, advice: str = "") -> UnknownModel:
    return UnknownModel(
        f"nothing can be said of {place}",
        cause=why,
        advice=advice or "Name a folder with config.json and weights, or a GGUF file.",
    )


__all__ = ["Quantization", "UnknownModel", "facts_from", "facts_from_gguf", "read_facts"]
