"""The models on this machine with the recipes that use them, as the original listed them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.json_body import read_object

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.models.local import FoundModel

#: Bytes that a config.json may have.
MAX_CONFIG = 4 * 1024 * 1024
_CONTEXT = ("max_position_embeddings", "max_seq_len", "seq_length", "n_ctx")
_QUANTIZATIONS = ("awq", "gptq", "gguf", "fp16", "bf16", "int8", "int4", "w4a16", "w8a16", "fp8", "nvfp4", "mxfp4")


def models_document(found: Iterable[FoundModel], recipes: Iterable[Recipe], folders: Iterable[Path]) -> dict[str, Any]:
    """Return models with what their config.json says and the recipes of each. Blocking.

    Args:
        folders: Those of the settings.
    """
    found, recipes, folders = list(found), list(recipes), list(folders)
    paths = {one.path for one in found}
    names: dict[str, list[str]] = {}
    for one in found:
        names.setdefault(Path(one.path).name, []).append(one.path)
    users: dict[str, list[str]] = {}
    for recipe in recipes:
        path = recipe.model_path.rstrip("/")
        # By its path, else by its folder's name where only one model has that.
        same = names.get(Path(path).name, [])
        used = path if path in paths else same[0] if path and len(same) == 1 else None
        if used is not None:
            users.setdefault(used, []).append(recipe.id)
    return {
        "models": [_model(one, users.get(one.path, [])) for one in found],
        "roots": _roots(found, recipes, folders),
        "configured_models_dir": str(folders[0]) if folders else None,
    }


def _model(model: FoundModel, users: list[str]) -> dict[str, Any]:
    config = _config(Path(model.path))
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    assert isinstance(text, dict)
    kinds = config.get("architectures")
    lengths = [value for name in _CONTEXT for part in (config, text) if isinstance(value := part.get(name), int)]
    return {
        "name": model.name,
        "path": model.path,
        "size_bytes": model.size,
        "modified_at": _changed(Path(model.path)),
        "architecture": kinds[0] if isinstance(kinds, list) and kinds and isinstance(kinds[0], str) else None,
        "quantization": _quantization(model, config),
        "context_length": lengths[0] if lengths else None,
        "recipe_ids": users,
        "has_recipe": bool(users),
        "kind": model.kind,
        "origin": model.origin,
    }


def _quantization(model: FoundModel, config: dict[str, Any]) -> str | None:
    """Return how the weights are stored: as config.json says, else as the name does."""
    given = config.get("quantization_config")
    method = given.get("quant_method") if isinstance(given, dict) else None
    if isinstance(method, str):
        return method[:40]
    name = model.name.lower()
    return next((one for one in _QUANTIZATIONS if one in name), "gguf" if model.kind == "GGUF" else None)


def _config(path: Path) -> dict[str, Any]:
    if not path.is_absolute():
        return {}
    try:
        with (path / "config.json").open("rb") as file:
            return read_object(file.read(MAX_CONFIG))
    except (OSError, ValueError):
        return {}


def _changed(path: Path) -> str | None:
    try:
        return iso_time(path.stat().st_mtime) if path.is_absolute() else None
    except OSError:
        return None


def _roots(found: list[FoundModel], recipes: list[Recipe], folders: list[Path]) -> list[dict[str, Any]]:
    """Return the folders that were searched: those of the settings, those beside recipes' models, and others."""
    beside: dict[str, list[str]] = {}
    for recipe in recipes:
        path = Path(recipe.model_path)
        if path.is_absolute() and path.parent != Path(path.anchor):
            beside.setdefault(str(path.parent), []).append(recipe.id)
    configured = [str(one) for one in folders]
    others = [one.origin for one in found if one.origin != "cache"]
    return [
        {
            "path": root,
            "exists": Path(root).is_dir(),
            "sources": [
                name
                for name, has in (("config", root in configured), ("recipe_parent", root in beside))
                if has
            ] or ["usual"],
            "recipe_ids": beside.get(root, []),
        }
        for root in dict.fromkeys((*configured, *beside, *others))
    ]  # fmt: skip
