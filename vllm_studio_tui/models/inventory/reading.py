"""A model from its files and headers."""

from __future__ import annotations

import os

from vllm_studio_tui.domain.model import Kind, Model, Source
from vllm_studio_tui.kit.file_access import is_file
from vllm_studio_tui.models.inventory.below import in_folders
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.headers import Headers, read_headers
from vllm_studio_tui.models.inventory.walking import Budget

#: Formats whose headers tell whether a file is whole.
_WITH_HEADERS = (Kind.SAFETENSORS, Kind.GGUF, Kind.EXL2, Kind.EXL3, Kind.MLX)


def model_of(found: Found, headers: Headers, *, demo: str = "") -> Model | None:
    """Return the model; None for a file that looks like one and is a part of another.

    Args:
        demo: The path of the demo's model.
    """
    if headers.part:
        return None
    missing = found.missing or headers.broken
    return Model(
        path=found.path,
        name=found.name,
        bytes=found.bytes,
        source=Source.DEMO if demo and found.path == demo else found.source,
        origin=found.origin,
        kind=headers.kind or found.kind,
        architecture=headers.architecture,
        parameters=headers.parameters,
        quantization=headers.quantization,
        context=headers.context,
        bits=headers.bits,
        dtype=headers.dtype,
        complete=False if missing else found.complete if headers.read or found.kind not in _WITH_HEADERS else None,
        missing=missing,
        modified=found.modified,
        projector=found.projector,
        revision=found.revision,
    )


def models_below(path: str) -> list[Model]:
    """Return the models below a folder, or the one that a GGUF file is, by name. Blocking; it never raises."""
    whole = path.rstrip("/") or "/"
    root = os.path.dirname(whole) if is_file(whole) else whole  # noqa: PTH120, RUF100
    found = [one for one in in_folders(root, Budget()) if root == whole or one.path == whole]
    models = [model for one in found if (model := model_of(one, read_headers(one))) is not None]
    return sorted(models, key=lambda one: (one.name.lower(), one.path))
