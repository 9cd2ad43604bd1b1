"""Which GGUF file of a folder is the model, and which one has it read pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.kit.file_access import is_folder


def weights(path: Path) -> Path:
    """Return the file to load: the path itself, or of a folder its only GGUF, of shards the first.

    Raises:
        InvalidRecipe: The folder has no GGUF, or several.
    """
    if not is_folder(path):
        return path
    try:
        found = sorted(one for one in path.iterdir() if one.suffix.lower() == ".gguf")
    except OSError as error:
        raise _ambiguous(path, f"cannot be read: {error.strerror}") from None
    firsts = _firsts(found)
    if len(firsts) == 1:
        return firsts[0]
    names = ", ".join(one.name for one in firsts[:5])
    raise _ambiguous(path, f"holds several models: {names}" if firsts else "holds no GGUF file")


def projectors(path: Path) -> list[Path]:
    """Return the projectors (`mmproj`) that lie beside a model; none where several models lie there.

    Args:
        path: A GGUF file, or the folder that holds it.
    """
    folder = path if is_folder(path) else path.parent
    try:
        found = sorted(one for one in folder.iterdir() if one.suffix.lower() == ".gguf")
    except OSError:
        return []
    return [one for one in found if _is_projector(one)] if len(_firsts(found)) == 1 else []


def _firsts(found: Sequence[Path]) -> list[Path]:
    """Return the models among files, of one in several parts the first."""
    models = [one for one in found if not _is_projector(one)]
    return [one for one in models if "-of-" not in one.name or "-00001-of-" in one.name]


def _is_projector(path: Path) -> bool:
    return "mmproj" in path.name.lower()


def _ambiguous(path: Path, message: str) -> InvalidRecipe:
    return InvalidRecipe(
        "the model file cannot be told",
        [("model_path", f"{path} {message}")],
        advice="Name one GGUF file in model_path.",
    )
