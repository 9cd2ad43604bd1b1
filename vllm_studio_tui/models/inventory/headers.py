"""What the headers of models say, read once for each state of their files and kept from program to program."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any

from vllm_studio_tui.domain.architecture import ModelFacts
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.model import Kind
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.gguf import Gguf, read_gguf
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.kit.safetensors import read_safetensors
from vllm_studio_tui.kit.tensors import BadFile, Tensor, TooLarge
from vllm_studio_tui.models.facts import MOST_FILES, facts_from, facts_from_gguf, read_facts
from vllm_studio_tui.models.inventory.folders import MAX_CONFIG, read_json
from vllm_studio_tui.models.inventory.found import Found

#: Models whose headers are kept, and bytes of that file.
KEPT, MAX_FILE = 5000, 16 << 20
#: Counts what is read: what an older program kept is read anew.
FORM = 2
#: Seconds that one look spends on headers that are not known yet; the next look goes on.
SECONDS = 20.0
#: `general.type` of GGUF files that are no models by themselves.
_PARTS = ("mmproj", "imatrix")
_ABOUT = ("general.name", "general.basename", "general.license", "general.base_model.0.repo_url", "general.description")
_WORDS = ("awq", "gptq", "fp8", "nvfp4", "mxfp4", "int8", "int4", "w4a16", "w8a16", "w8a8", "bnb", "hqq")
_GGUF_WORD = re.compile(r"(?:^|[-_.])((?:I?Q\d[A-Z0-9_]*|MXFP4[A-Z0-9_]*|BF16|F16|F32|FP16))(?=$|[-_.])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Headers:
    """What the headers of a model say.

    Attributes:
        kind: Its format, where the headers know it better than the names of its files.
        part: It is no model: a projector, a vocabulary alone, or what a quantization was made with.
        broken: What is wrong with its files, in words; empty where they are whole.
        read: Whether they could be read at all.
    """

    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context: int | None = None
    bits: float | None = None
    dtype: str | None = None
    kind: str = ""
    part: bool = False
    broken: str = ""
    read: bool = False
    about: dict[str, str] = field(default_factory=dict)


#: The types of what is kept.
_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("architecture", "quantization", "dtype"), (str, NoneType)),
    **dict.fromkeys(("parameters", "context"), (int, NoneType)),
    **dict.fromkeys(("kind", "broken"), (str,)),
    **dict.fromkeys(("part", "read"), (bool,)),
    "bits": (int, float, NoneType),
    "about": (dict,),
}


class HeaderStore:
    """Headers by the state of their files.

    Args:
        path: Where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] | None = None
        self._used: set[str] = set()
        self._new = False
        self._until = 0.0

    def begin(self) -> None:
        """Begin a look: it may take `SECONDS` for what is not known."""
        self._until = time.monotonic() + SECONDS
        self._used = set()

    def of(self, found: Found) -> Headers:
        """Return the headers of a model. Blocking; it never raises."""
        known = self._load()
        key = _key(found)
        self._used.add(key)
        if (kept := _headers_of(known.get(key))) is not None:
            return kept
        if time.monotonic() > self._until:
            return by_name(found)
        headers = read_headers(found)
        known[key] = asdict(headers)
        self._new = True
        return headers

    def save(self) -> None:
        """Keep what is known, where there is something new. What cannot be written is read again next time."""
        if not self._new or self._known is None:
            return
        self._new = False
        order = sorted(self._known, key=lambda key: key in self._used)[-KEPT:]
        document = {"form": FORM, "headers": {key: self._known[key] for key in order}}
        try:
            private_dir(self._path.parent)
            write_atomic(self._path, json.dumps(document).encode())
        except (OSError, ValueError):
            return

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._known is None:
            document = read_json(str(self._path), MAX_FILE)
            listed = document.get("headers") if document.get("form") == FORM else None
            self._known = (
                {key: one for key, one in listed.items() if isinstance(one, dict)} if isinstance(listed, dict) else {}
            )
        return self._known


def _headers_of(data: Any) -> Headers | None:
    """Return headers as they were kept; None where that is no such thing."""
    if not isinstance(data, dict) or data.keys() != _FIELDS.keys():
        return None
    if not all(isinstance(data[name], kinds) for name, kinds in _FIELDS.items()):
        return None
    return Headers(**data)


def _key(found: Found) -> str:
    """Return what changes when a file of the model does."""
    words = [found.read, *(f"{one.path}:{one.bytes}:{one.changed}" for one in found.files if one.role != "other")]
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def read_headers(found: Found) -> Headers:
    """Return what the headers of a model's files say. Blocking; it never raises."""
    if not found.read or found.kind in (Kind.ADAPTER, Kind.NOTHING):
        return by_name(found)
    try:
        return _of_gguf(found) if found.kind == Kind.GGUF else _of_folder(found)
    except (StudioError, OSError, ValueError, ArithmeticError, RecursionError):
        return by_name(found)


def _of_gguf(found: Found) -> Headers:
    headers: list[Gguf] = []
    broken: list[str] = []
    for file in found.weights[:MOST_FILES]:
        name = file.path.rpartition("/")[2]
        try:
            one = read_gguf(Path(file.path))
        except BadFile as error:
            broken.append(f"{name} {error}")
            continue
        except TooLarge:
            continue
        headers.append(one)
        if not one.readable:
            broken.append(f"{name} is GGUF of a kind that llama.cpp does not read here")
        elif one.needed > one.size:
            broken.append(cut_off(name, one.size, one.needed))
    kind = str(headers[0].values.get("general.type") or "") if headers else ""
    if kind in _PARTS or (headers and headers[0].readable and not any(one.tensors for one in headers)):
        return Headers(part=True, read=True)
    said = replace(by_name(found), broken=_first(broken), kind=Kind.ADAPTER if kind == "adapter" else "")
    if not headers or not headers[0].readable or kind == "adapter":
        return said
    facts = facts_from_gguf(headers)
    values = headers[0].values
    about = {name.partition(".")[2]: str(values[name])[:300] for name in _ABOUT if isinstance(values.get(name), str)}
    return replace(said, **_common(facts), read=True, about=about)


def _of_folder(found: Found) -> Headers:
    tensors: list[Tensor] = []
    broken: list[str] = []
    files = [Path(one.path) for one in found.weights]
    for file in files[:MOST_FILES]:
        try:
            one = read_safetensors(file)
        except BadFile as error:
            if file.suffix == ".safetensors":
                broken.append(f"{file.name} {error}")
        except TooLarge:
            continue
        else:
            tensors += one.tensors
            files.remove(file)
            if one.needed > one.size:
                broken.append(cut_off(file.name, one.size, one.needed))
    said = replace(by_name(found), broken=_first(broken))
    config = read_json(f"{found.read}/config.json", MAX_CONFIG)
    try:
        if tensors and not files:
            facts = facts_from(config, tensors, quantized=read_json(f"{found.read}/hf_quant_config.json", MAX_CONFIG))
        else:
            facts = read_facts(found.read)
    except StudioError:
        return said
    read = _common(facts)
    if not read["quantization"] and not facts.exact:
        read.pop("quantization")  # nobody knows: its name may
    return replace(said, **read, read=True)


def _common(facts: ModelFacts) -> dict[str, Any]:
    return {
        "architecture": facts.architecture.name[:100] or None,
        "parameters": facts.parameters,
        "quantization": facts.quantization or None,
        "context": facts.architecture.context,
        "bits": facts.bits if facts.quantization else None,
        "dtype": facts.dtype,
    }


def cut_off(name: str, size: int, needed: int) -> str:
    """Return that a file ends before its tensors do, in words."""
    return f"{name} is cut off: {numbers.size(size)} of {numbers.size(needed)}"


def _first(broken: list[str]) -> str:
    return "; ".join(broken[:3]) + (f"; and {len(broken) - 3} more" if len(broken) > 3 else "")


def by_name(found: Found) -> Headers:
    """Return what the name of a model says of its quantization: all there is where its headers cannot be read."""
    if found.kind == Kind.GGUF:
        words = _GGUF_WORD.findall(found.name) or _GGUF_WORD.findall(found.name.replace(":", "-"))
        return Headers(quantization=words[-1].upper() if words else None)
    name = found.name.lower()
    return Headers(quantization=next((one for one in _WORDS if one in name), None))
