"""All models below a folder, whatever stores lie in it."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_studio_tui.domain.model import Source
from vllm_studio_tui.models.inventory.folders import in_folder
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.hub import is_hub_cache, of_cache
from vllm_studio_tui.models.inventory.ollama import is_store, of_store
from vllm_studio_tui.models.inventory.walking import Budget, walk


def in_folders(root: str, budget: Budget, *, source: str = Source.FOLDER, origin: str = "") -> Iterator[Found]:
    """Yield the models below a folder. Blocking."""
    closed: set[str] = set()
    for folder in walk(root, budget, enter=lambda path: path not in closed):
        if is_hub_cache(folder):
            closed.add(folder.path)
            yield from of_cache(folder, budget, by_name=False)
        elif is_store(folder):
            closed.add(folder.path)
            yield from of_store(folder.path, budget)
        else:
            found = list(in_folder(folder, source=source, origin=origin or root))
            if "model_index.json" in folder.files or any(one.path == folder.path for one in found):
                closed.add(folder.path)  # what is in it are its parts, or states of its training
            yield from found
