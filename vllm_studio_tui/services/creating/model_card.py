"""What is known of a model: where it lies, how large it is, its format and its shape, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.backends.common.commands import is_local
from vllm_studio_tui.domain.creation import ModelCard
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.services.published import find_published

if TYPE_CHECKING:
    from vllm_studio_tui.domain.architecture import ModelFacts
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.services.protocols import StudioApi


def card_of(studio: StudioApi, model: str, facts: ModelFacts | None, unknown: str) -> ModelCard:
    """Return what is known of a model. Blocking.

    Args:
        facts: Its shape; None: `unknown` says why it is not known.
    """
    path = expanded(model)
    found = next((one for one in studio.models.list() if one.path in (model, path)), None)
    published = find_published(model)
    return ModelCard(
        model,
        found.name if found is not None else published.name if published is not None else _name(model),
        found.bytes if found is not None else published.bytes if published is not None else _bytes(facts),
        found is not None or is_local(model),
        found.complete if found is not None else None,
        found.origin if found is not None else path if is_local(model) else "the hub, by its name",
        _format(model, found, facts) or (published.format if published is not None else ""),
        facts.architecture.name if facts is not None else (found.architecture or "") if found is not None else "",
        _words(facts),
        facts.architecture.context if facts is not None else found.context if found is not None else None,
        unknown,
    )


def _name(model: str) -> str:
    return model.rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf").replace(":", " ")


def _bytes(facts: ModelFacts | None) -> int | None:
    return facts.bytes or None if facts is not None else None


def _format(model: str, found: Model | None, facts: ModelFacts | None) -> str:
    if found is not None:
        return found.weights
    if facts is not None and facts.source == "gguf":
        return "gguf"
    name, _, quantization = model.rpartition(":")
    if model.lower().endswith(".gguf") or (
        name and quantization and "/" not in quantization and "gguf" in name.lower()
    ):
        return "gguf"
    return "safetensors" if facts is not None else ""


def parameter_words(count: int) -> str:
    """Return how many parameters a model has, as people name it: `32.8B`."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            value = count / size
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"
    return str(count)


def _words(facts: ModelFacts | None) -> tuple[str, ...]:
    if facts is None:
        return ()
    shape = facts.architecture
    heads = next((group.heads for group in shape.caches if group.heads), None)
    words = [
        parameter_words(facts.parameters) if facts.parameters else "",
        facts.quantization or facts.dtype or "",
        f"{shape.layers} layers",
        f"{heads} KV heads" if heads else "",
        f"{shape.experts_used} of {shape.experts} experts" if shape.experts else "",
    ]
    return tuple(one for one in words if one)
