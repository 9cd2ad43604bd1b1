"""What the headers of models say, read once for each state of their files and kept from program to program."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.model import Kind
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.models.inventory.folders import MAX_CONFIG, read_json
from vllm_studio_tui.models.inventory.found import Found

#: Models whose headers are kept, and bytes of that file.
KEPT, MAX_FILE = 5000, 16 << 20
#: Counts what is read: what an older program kept is read anew.
FORM = 1
#: Seconds that one look spends on headers that are not known yet; the next look goes on.
SECONDS = 20.0
_CONTEXT = ("max_position_embeddings", "max_seq_len", "seq_length", "n_ctx")
_WORDS = ("awq", "gptq", "fp8", "nvfp4", "mxfp4", "int8", "int4", "w4a16", "w8a16", "w8a8", "bnb", "hqq")
_GGUF_WORD = re.compile(r"(?:^|[-_.])((?:I?Q\d[A-Z0-9_]*|MXFP4[A-Z0-9_]*|BF16|F16|F32|FP16))(?=$|[-_.])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Headers:
    """What the headers of a model say.

    Attributes:
        kind: Its format, where the headers know it better than the names of its files.
        part: It is no model: a projector, or what a quantization was made with.
        broken: What is wrong with its files, in words; empty where they are whole.
        read: Whether they could be read at all.
    """

    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context: int | None = None
    kind: str = ""
    part: bool = False
    broken: str = ""
    read: bool = False
    about: dict[str, str] = field(default_factory=dict)


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
        if key in known:
            try:
                return Headers(**known[key])
            except TypeError:
                pass
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


def _key(found: Found) -> str:
    """Return what changes when a file of the model does."""
    words = [found.read, *(f"{one.path}:{one.bytes}:{one.changed}" for one in found.files if one.role != "other")]
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def read_headers(found: Found) -> Headers:
    """Return what the headers of a model's files say. Blocking; it never raises."""
    if not found.read or found.kind in (Kind.ADAPTER, Kind.NOTHING):
        return by_name(found)
    config = read_json(f"{found.read}/config.json", MAX_CONFIG) if found.kind != Kind.GGUF else {}
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else {}
    kinds = config.get("architectures")
    lengths = [value for name in _CONTEXT for part in (config, text) if isinstance(value := part.get(name), int)]
    given = config.get("quantization_config")
    method = given.get("quant_method") if isinstance(given, dict) else None
    named = by_name(found)
    return replace(
        named,
        architecture=kinds[0][:100] if isinstance(kinds, list) and kinds and isinstance(kinds[0], str) else None,
        context=lengths[0] if lengths else None,
        quantization=method[:40] if isinstance(method, str) else named.quantization,
        read=bool(config),
    )


def by_name(found: Found) -> Headers:
    """Return what the name of a model says of its quantization: all there is where its headers cannot be read."""
    if found.kind == Kind.GGUF:
        words = _GGUF_WORD.findall(found.name) or _GGUF_WORD.findall(found.name.replace(":", "-"))
        return Headers(quantization=words[-1].upper() if words else None)
    name = found.name.lower()
    return Headers(quantization=next((one for one in _WORDS if one in name), None))
