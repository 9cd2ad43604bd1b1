"""Which GGUF file of a folder is the model."""

from __future__ import annotations

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
    models = [one for one in found if not one.name.lower().startswith("mmproj")]
    firsts = [one for one in models if "-of-" not in one.name or "-00001-of-" in one.name]
    if len(firsts) == 1:
        return firsts[0]
    names = ", ".join(one.name for one in firsts[:5])
    raise _ambiguous(path, f"holds several models: {names}" if firsts else "holds no GGUF file")


def _ambiguous(path: Path, message: str) -> InvalidRecipe:
    return InvalidRecipe(
        "the model file cannot be told",
        [("model_path", f"{path} {message}")],
        advice="Name one GGUF file in model_path.",
    )
