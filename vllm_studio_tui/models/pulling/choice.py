"""Choose which files of a repository are downloaded: one form of its weights, and nothing that runs when it is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from vllm_studio_tui.domain.download import SkippedFiles
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit.numbers import size
from vllm_studio_tui.models.hub_client import HubFile

#: What is taken of a GGUF repository where nobody said which: as llama.cpp and Ollama do.
USUAL = ("Q4_K_M", "Q4_K_XL", "Q4_0", "Q8_0")
#: Weights that are Python pickles: reading one can run what its maker put in.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
#: The same weights for programs that are none of ours.
OTHER = (
    ".h5",
    ".msgpack",
    ".ot",
    ".onnx",
    ".onnx_data",
    ".tflite",
    ".mlmodel",
    ".mlpackage",
    ".pb",
    ".engine",
    ".nemo",
)
OTHER_FOLDERS = ("onnx/", "openvino/", "coreml/", "tf/", "flax/")
#: What of a GGUF repository is taken besides the weights, up to so many bytes each.
BESIDES, BESIDES_MOST = (".json", ".md", ".txt", ".jinja", ".model", ".yaml", ".yml"), 64 << 20
_LABEL = re.compile(
    r"(?i)(?<![a-z0-9])(?:UD-)?((?:I?Q[1-8]|TQ[12])(?:_[0-9A-Z]+){0,3}|BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4)(?![a-z0-9])"
)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is downloaded of a repository.

    Attributes:
        quantizations: Those of a GGUF repository, with the bytes of each.
        first: The GGUF file that an engine is given; empty where it is given the folder.
    """

    files: tuple[HubFile, ...]
    skipped: tuple[SkippedFiles, ...] = ()
    quantization: str = ""
    quantizations: tuple[tuple[str, int], ...] = ()
    first: str = ""
    warnings: tuple[str, ...] = ()


@dataclass
class _Skipping:
    """Files that are left, by why."""

    by_reason: dict[str, list[HubFile]] = field(default_factory=dict)

    def add(self, why: str, one: HubFile) -> None:
        self.by_reason.setdefault(why, []).append(one)

    def all(self) -> tuple[SkippedFiles, ...]:
        return tuple(
            SkippedFiles(tuple(one.name for one in files), sum(one.size for one in files), why)
            for why, files in self.by_reason.items()
        )


def choose(
    files: Sequence[HubFile], *, part: str = "", include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Choice:
    """Choose of the files of a repository.

    Args:
        part: A quantization, or the name of a file.
        include, exclude: Patterns as of a shell; where some are included, just those are taken.

    Raises:
        UsageError: There are several quantizations and none is the usual one.
        NotFound: Nothing is left, or there is no such quantization.
    """
    skipping = _Skipping()
    left = []
    for one in files:
        if _matches(one.name, exclude):
            skipping.add("excluded", one)
        else:
            left.append(one)
    if include:
        taken = [one for one in left if _matches(one.name, include)]
        if not taken:
            raise NotFound("no file of the repository is included", cause=_some(left), advice="Patterns are as *.json")
        first = _first(taken) if all(_is_gguf(one) for one in taken if one.size > BESIDES_MOST) else ""
        return Choice(tuple(taken), skipping.all(), first=first, warnings=_pickles(taken))
    if any(_is_gguf(one) for one in left) and not any(_is_safetensors(one) for one in left):
        return _of_gguf(left, part, skipping)
    if part:
        return _of_gguf(left, part, skipping) if any(_is_gguf(one) for one in left) else _one_file(left, part, skipping)
    return _of_weights(left, skipping)


def quantization_of(name: str) -> str:
    """Return the quantization that the name of a GGUF file says, in capitals; empty where it says none."""
    stem = _SPLIT.sub("", name).removesuffix(".gguf")
    found = _LABEL.findall(stem.rsplit("/", 1)[-1]) or _LABEL.findall(stem)
    return found[-1].upper().replace("FP16", "F16").replace("FP32", "F32") if found else ""


def _of_gguf(files: Sequence[HubFile], part: str, skipping: _Skipping) -> Choice:
    weights = [one for one in files if _is_gguf(one)]
    projectors = [one for one in weights if "mmproj" in one.name.lower()]
    groups: dict[str, list[HubFile]] = {}
    for one in weights:
        if "mmproj" not in one.name.lower():
            groups.setdefault(_group(one.name), []).append(one)
    if not groups and projectors:
        groups[_group(projectors[0].name)] = projectors
        projectors = []
    sizes = tuple((name, sum(one.size for one in group)) for name, group in groups.items())
    chosen = _chosen(groups, part, sizes)
    taken = list(groups[chosen])
    projector = _projector(projectors)
    taken += [projector] if projector is not None else []
    names = {one.name for one in taken}
    for one in files:
        if one.name in names:
            continue
        if _is_gguf(one):
            skipping.add("another quantization", one)
        elif (one.name.lower().endswith(BESIDES) or "license" in one.name.lower()) and one.size <= BESIDES_MOST:
            taken.append(one)
        else:
            skipping.add("not needed to run it", one)
    return Choice(tuple(taken), skipping.all(), chosen, sizes, _first(groups[chosen]))


def _chosen(groups: dict[str, list[HubFile]], part: str, sizes: tuple[tuple[str, int], ...]) -> str:
    there = ", ".join(f"{name} ({size(amount)})" for name, amount in sizes[:40])
    if part:
        wanted = part.upper().replace("FP16", "F16").replace("FP32", "F32").removeprefix("UD-")
        for name, group in groups.items():
            if name.upper() == part.upper() or any(one.name in (part, f"{part}.gguf") for one in group):
                return name
        for name, group in groups.items():
            if name.upper() == wanted or any(one.name.rsplit("/", 1)[-1].lower() == part.lower() for one in group):
                return name
        raise NotFound(f"the repository has no {part[:80]}", cause=f"It has: {there}")
    if len(groups) == 1:
        return next(iter(groups))
    for usual in USUAL:
        if usual in groups:
            return usual
    raise UsageError("which quantization?", cause=f"It has: {there}", advice="Name one: OWNER/NAME:QUANTIZATION")


def _group(name: str) -> str:
    """Return what a GGUF file belongs to: its quantization; else its name."""
    label = quantization_of(name)
    if re.search(r"(?i)(?<![a-z0-9])UD-" + re.escape(label), name) and label:
        return f"UD-{label}"
    return label or _SPLIT.sub("", name).removesuffix(".gguf")


def _projector(files: Sequence[HubFile]) -> HubFile | None:
    """Return the one projector of pictures that is taken: F16, else the smallest."""
    if not files:
        return None
    return min(files, key=lambda one: (quantization_of(one.name) != "F16", one.size))


def _first(files: Sequence[HubFile]) -> str:
    """Return the file that an engine is given: the first part of a split one."""
    names = sorted(one.name for one in files if _is_gguf(one) and "mmproj" not in one.name.lower())
    return names[0] if names else ""


def _one_file(files: Sequence[HubFile], part: str, skipping: _Skipping) -> Choice:
    taken = [one for one in files if one.name == part]
    if not taken:
        raise NotFound(f"the repository has no {part[:80]}", cause=_some(files))
    return Choice(tuple(taken), skipping.all(), warnings=_pickles(taken))


def _of_weights(files: Sequence[HubFile], skipping: _Skipping) -> Choice:
    safe = any(_is_safetensors(one) for one in files)
    usual = any(re.search(r"(^|/)model(-\d+-of-\d+)?\.safetensors$", one.name) for one in files)
    taken = []
    for one in files:
        name = one.name.lower()
        if name.endswith(OTHER) or name.startswith(OTHER_FOLDERS):
            skipping.add("the same weights for other programs", one)
        elif _is_gguf(one) and safe:
            skipping.add("the same weights as GGUF; name a quantization to have them", one)
        elif safe and (name.endswith(PICKLED) or name.startswith("original/")):
            skipping.add(
                "pickled weights, which can run code when they are read; the same are here as safetensors", one
            )
        elif usual and re.search(r"(^|/)consolidated[^/]*\.safetensors$", name):
            skipping.add("the same weights in the form of another program", one)
        else:
            taken.append(one)
    if not taken:
        raise NotFound("the repository has no file to download", cause=_some(files))
    return Choice(tuple(taken), skipping.all(), warnings=_pickles(taken))


def _pickles(files: Sequence[HubFile]) -> tuple[str, ...]:
    pickled = [one.name for one in files if one.name.lower().endswith(PICKLED)]
    if not pickled:
        return ()
    return (f"{pickled[0]} is a Python pickle, which can run code when it is read: only from somebody you trust",)


def _is_gguf(one: HubFile) -> bool:
    return one.name.lower().endswith(".gguf")


def _is_safetensors(one: HubFile) -> bool:
    return one.name.lower().endswith(".safetensors")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern matches, as huggingface_hub has it: one that ends with `/` is a folder."""
    return any(fnmatchcase(name, f"{one}*" if one.endswith("/") else one) for one in patterns)


def _some(files: Sequence[HubFile]) -> str:
    names = [one.name for one in files[:12]]
    return f"It has: {', '.join(names)}{', ..' if len(files) > 12 else ''}" if names else "It is empty."
