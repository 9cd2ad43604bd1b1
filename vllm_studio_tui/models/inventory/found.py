"""What a look at a store returns: models with their files, before anything was read in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Endings of files of weights, in small letters.
SAFETENSORS, PYTORCH, GGUF = ".safetensors", (".bin", ".pth", ".pt"), ".gguf"
#: `name-00001-of-00005`, before its ending.
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5,6})-of-(?P<count>\d{5,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a model. `changed`: when it was last written, seconds since the epoch."""

    path: str
    bytes: int
    changed: float
    role: str = "other"


@dataclass(frozen=True, slots=True)
class Found:
    """A model that lies here, by its files alone.

    Attributes:
        path, name, source, origin, kind, projector, revision: As of a `Model`.
        read: The folder or file whose headers say what it is; empty: there is none.
        files: All of its files.
        missing: What is not there, in words.
        complete: Whether all is there by name; whether it is whole, its headers say.
        repo: The folder of its repository in the hub's cache, or its manifest in Ollama's store; empty elsewhere.
        about: Facts for people that its store has.
    """

    path: str
    name: str
    source: str
    origin: str
    kind: str
    read: str
    files: tuple[FoundFile, ...] = ()
    missing: str = ""
    complete: bool | None = True
    projector: str = ""
    revision: str = ""
    repo: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> tuple[FoundFile, ...]:
        return tuple(one for one in self.files if one.role == "weights")

    @property
    def bytes(self) -> int:
        """Return the bytes of its weights."""
        return sum(one.bytes for one in self.weights)

    @property
    def modified(self) -> float | None:
        """Return when it last changed: its weights, or without any its other files."""
        return max((one.changed for one in self.weights or self.files), default=None)


def role_of(name: str) -> str:
    """Return what a file of a model is for, by its name."""
    low = name.lower()
    if low.endswith((SAFETENSORS, GGUF)) or (low.endswith(PYTORCH) and not low.startswith(_NO_WEIGHTS)):
        return "projector" if is_projector(low) else "weights"
    if low in ("chat_template.jinja", "chat_template.json"):
        return "template"
    if low.startswith(("tokenizer", "vocab", "merges", "tekken", "special_tokens", "added_tokens")):
        return "tokenizer"
    return "config" if low.endswith(".json") else "other"


#: Files of a training that end like weights.
_NO_WEIGHTS = ("optimizer", "scheduler", "scaler", "rng_state", "training_args", "trainer_state", "imatrix")


def is_projector(name: str) -> bool:
    """Return whether a GGUF file is what has another one read pictures."""
    return name.lower().endswith(GGUF) and "mmproj" in name.lower()


def parts_missing(numbers: set[int], count: int) -> str:
    """Return which parts of a split model are not there, in words; empty where all are."""
    gone = [one for one in range(1, min(count, 10_000) + 1) if one not in numbers]
    if not gone:
        return ""
    named = ", ".join(f"{one:05d}" for one in gone[:4]) + (", .." if len(gone) > 4 else "")
    return f"{len(gone)} of {count} parts: {named}"


def names_missing(names: list[str]) -> str:
    """Return which files are not there, in words; empty where all are."""
    if not names:
        return ""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{files}: {', '.join(names[:3])}" + (", .." if len(names) > 3 else "")
