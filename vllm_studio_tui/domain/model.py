"""Models on a machine: what is there, where it was looked for, and what deleting one would free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time


class Source(StrEnum):
    """Whose store a model lies in."""

    FOLDER = "folder"
    HUB = "hub"
    OLLAMA = "ollama"
    LMSTUDIO = "lmstudio"
    LLAMA_CPP = "llama.cpp"
    DEMO = "demo"

    @property
    def words(self) -> str:
        """Return what it is called."""
        return _TITLES[self]


_TITLES: Mapping[Source, str] = {
    Source.FOLDER: "Folders",
    Source.HUB: "Hugging Face cache",
    Source.OLLAMA: "Ollama",
    Source.LMSTUDIO: "LM Studio",
    Source.LLAMA_CPP: "llama.cpp's cache",
    Source.DEMO: "The demo",
}


_DTYPES: Mapping[str, str] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


class Kind(StrEnum):
    """The format of a model's weights."""

    SAFETENSORS = "safetensors"
    PYTORCH = "pytorch"  # .bin and .pth: loading them may run code
    GGUF = "gguf"
    EXL2 = "exl2"
    EXL3 = "exl3"
    MLX = "mlx"
    ADAPTER = "adapter"  # a LoRA: nothing without its base model
    NOTHING = "no weights"  # a folder of a model, without them


@dataclass(frozen=True, slots=True)
class Model:
    """A model on this machine. Sizes are bytes, times seconds since the epoch.

    Attributes:
        path: What a recipe's `model_path` takes: a folder, a file, or a name on the hub that is in the cache.
        bytes: Of its weights, as far as they are there.
        source: A value of `Source`.
        origin: The folder that it was found in: a folder of models, or the root of a cache.
        kind: A value of `Kind`.
        architecture: The class that engines know it by, of a GGUF file its own word; None: its files do not say.
        parameters: How many it has, by its tensors.
        quantization: How its weights are stored, as `fp8` or `Q4_K_M`; None: not quantized, or unknown.
        bits: Bits of each weight, where it is quantized and that is known.
        dtype: The type that it is computed in, as its configuration says: `bfloat16`.
        context: Tokens that it was made for.
        complete: Whether all its files are there, and whole; None: nobody could tell.
        missing: What is not, in words; empty where it is complete.
        recipes: Ids of the recipes that use it.
        last_run: When it was last launched.
        modified: When its files last changed.
        projector: The file by which it reads pictures, of a GGUF file; empty: none beside it.
        revision: The commit that is used, of a model in the hub's cache.
    """

    path: str
    name: str
    bytes: int
    source: str
    origin: str
    kind: str
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context: int | None = None
    complete: bool | None = None
    missing: str = ""
    recipes: tuple[str, ...] = ()
    last_run: float | None = None
    modified: float | None = None
    projector: str = ""
    revision: str = ""
    bits: float | None = None
    dtype: str | None = None

    @property
    def numbers(self) -> str:
        """Return how its weights are stored, in a word for people: `Q4_K_M`, `FP8`, `EXL3 4.0`, `bf16`."""
        if self.quantization:
            word = self.quantization.upper() if self.quantization.islower() else self.quantization
            return f"{word} {self.bits:.1f}" if self.bits and self.kind in (Kind.EXL2, Kind.EXL3) else word
        return _DTYPES.get(self.dtype or "", "") if self.kind not in (Kind.ADAPTER, Kind.NOTHING) else ""

    @property
    def runnable(self) -> bool:
        """Return whether it is a model that an engine could load by itself."""
        return self.kind not in (Kind.ADAPTER, Kind.NOTHING)

    @property
    def weights(self) -> str:
        """Return the format by which engines say what they read, see `Backend.weights`."""
        return Kind.SAFETENSORS if self.kind == Kind.PYTORCH else self.kind

    def to_json(self) -> dict[str, Any]:
        """Return what `models list --json` prints of it."""
        return {
            "path": self.path,
            "name": self.name,
            "kind": self.kind,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "quantization": self.quantization,
            "bits": self.bits,
            "dtype": self.dtype,
            "context": self.context,
            "bytes": self.bytes,
            "complete": self.complete,
            "missing": self.missing,
            "source": self.source,
            "origin": self.origin,
            "revision": self.revision or None,
            "projector": self.projector or None,
            "recipes": list(self.recipes),
            "last_run": iso_time(self.last_run),
            "modified": iso_time(self.modified),
        }


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model.

    Attributes:
        path: Where it lies.
        role: `weights`, `projector`, `template`, `config`, `tokenizer`, or `other`.
        shared: Something else uses the same bytes: another revision or model, or another name of the file.
    """

    path: str
    bytes: int
    role: str = "other"
    shared: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what `models show --json` prints of it."""
        return {"path": self.path, "bytes": self.bytes, "role": self.role, "shared": self.shared}


@dataclass(frozen=True, slots=True)
class ModelRun:
    """A launch of a model."""

    run_id: str
    recipe_id: str | None
    state: str | None
    started: float | None
    live: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what `models show --json` prints of it."""
        return {
            "run_id": self.run_id,
            "recipe_id": self.recipe_id,
            "state": self.state,
            "started": iso_time(self.started),
            "live": self.live,
        }


@dataclass(frozen=True, slots=True)
class ModelDetail:
    """All that is known of a model.

    Attributes:
        runs: Its latest launches, the latest first.
        suggestions: Fields of a recipe that its family needs, each with its value and why.
        about: Facts of its files for people, such as `license` or `base_model`.
        notes: What should be known of it, in words.
    """

    model: Model
    files: tuple[ModelFile, ...] = ()
    runs: tuple[ModelRun, ...] = ()
    suggestions: tuple[tuple[str, str, str], ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `models show --json` prints."""
        return {
            **self.model.to_json(),
            "files": [one.to_json() for one in self.files],
            "runs": [one.to_json() for one in self.runs],
            "suggestions": [{"field": name, "value": value, "why": why} for name, value, why in self.suggestions],
            "about": dict(self.about),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A folder that was searched for models.

    Attributes:
        why: Why it is searched, in words: `models_dirs`, `HF_HUB_CACHE`, ..
        there: Whether it exists.
        models: How many were found in it.
        bytes: Of their weights.
        troubles: What could not be read and why, each a sentence.
    """

    path: str
    source: str
    why: str
    there: bool
    models: int = 0
    bytes: int = 0
    troubles: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `models scan --json` prints of it."""
        return {
            "path": self.path,
            "source": self.source,
            "why": self.why,
            "there": self.there,
            "models": self.models,
            "bytes": self.bytes,
            "troubles": list(self.troubles),
        }


@dataclass(frozen=True, slots=True)
class ModelScan:
    """What a look at every place found."""

    models: tuple[Model, ...]
    places: tuple[ModelPlace, ...]
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what `models scan --json` prints."""
        return {
            "models": [one.to_json() for one in self.models],
            "places": [one.to_json() for one in self.places],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting a model frees, and who needs it.

    Attributes:
        frees: Bytes that come free.
        keeps: Bytes that others use as well, and that stay.
        files: What is deleted: files and folders.
        recipes: Ids of the recipes that use it.
        runs: Ids of the runs that have it loaded: while there is one, it is not deleted.
        owner: The program whose store it lies in, where that is none of ours; it has a way of its own to do this.
        refused: Why it cannot be deleted, in words; empty where it can.
        advice: What to do instead.
        done: It has been deleted.
    """

    model: Model
    frees: int
    keeps: int = 0
    files: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    owner: str = ""
    refused: str = ""
    advice: str = ""
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what `models delete --json` prints."""
        return {
            "path": self.model.path,
            "name": self.model.name,
            "source": self.model.source,
            "frees": self.frees,
            "keeps": self.keeps,
            "files": list(self.files),
            "recipes": list(self.recipes),
            "runs": list(self.runs),
            "owner": self.owner or None,
            "refused": self.refused or None,
            "advice": self.advice or None,
            "deleted": self.done,
        }
