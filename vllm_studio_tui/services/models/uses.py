"""Which model a recipe uses: by the path that it names, wherever in it, or by the name of its folder alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.model import Kind, Source
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.headers import by_name
from vllm_studio_tui.models.inventory.hub import repo_name

#: Texts of a recipe that are looked through, and characters of one of them.
MOST_TEXTS, LONGEST = 2000, 4000


class Uses:
    """Finds the models that recipes name.

    Args:
        models: All that were found.
        known_as: Paths by what recipes write for them, such as `demo:smollm2-135m`.
    """

    def __init__(self, models: Iterable[Found], known_as: Mapping[str, str]) -> None:
        self._known_as = dict(known_as)
        self._by_path: dict[str, str] = {}
        names: dict[str, list[str]] = {}
        folders: dict[str, str] = {}
        for one in models:
            for path in (one.path, one.read, *(file.path for file in one.files if file.role != "other")):
                if path:
                    self._by_path.setdefault(path, one.path)
                    self._by_path.setdefault(_real_in(path, folders), one.path)
            for alias in _aliases(one):
                self._by_path.setdefault(alias, one.path)
            names.setdefault(one.path.rpartition("/")[2], []).append(one.path)
        self._by_name = {name: paths[0] for name, paths in names.items() if len(paths) == 1}

    def of_recipe(self, data: Mapping[str, Any], *, by_name: bool = True) -> list[str]:
        """Return the paths of the models that a recipe uses; that of its `model_path` comes first.

        Args:
            by_name: A folder's name is enough where only one model has it: the recipe may be of another machine.
        """
        given = str(data.get("model_path") or "").rstrip("/")
        found: dict[str, None] = {}
        main = self.of_path(given) or (self._by_name.get(given.rpartition("/")[2]) if by_name and given else None)
        if main is not None:
            found[main] = None
        rest = {name: value for name, value in data.items() if name != "model_path"}
        for count, text in enumerate(_texts(rest)):
            if count >= MOST_TEXTS:
                break
            for word in {text, *text[:LONGEST].replace("=", " ").split()} if "/" in text else ():
                other = self.of_path(word.strip("'\"").rstrip("/"))
                if other is not None:
                    found[other] = None
        return list(found)

    def of_path(self, path: str) -> str | None:
        """Return the path of the model that a path or name means, or that the file belongs to; None: none here."""
        path = self._known_as.get(path, path)
        if path in self._by_path:
            return self._by_path[path]
        if not path.startswith(("/", "~")):
            return None
        whole = expanded(path)
        return self._by_path.get(whole) or self._by_path.get(_real(whole))


def _aliases(found: Found) -> list[str]:
    """Return the names by which engines fetch a GGUF file of the hub's cache: `owner/name`, `owner/name:Q4_K_M`."""
    if found.kind != Kind.GGUF or not found.repo or found.source != Source.HUB:
        return []
    repo = repo_name(found.repo)
    word = by_name(found).quantization
    return [f"{repo}:{word}", repo] if word else [repo]


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in what a recipe has, however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path) if path.startswith("/") else path
    except (OSError, ValueError):
        return path


def _real_in(path: str, folders: dict[str, str]) -> str:
    """Return the same as `_real`; where folders lead is looked up once: many files lie in one."""
    folder, _, name = path.rpartition("/")
    if not folder or os.path.islink(path):  # noqa: PTH114, RUF100
        return _real(path)
    if folder not in folders:
        folders[folder] = _real(folder)
    return f"{folders[folder]}/{name}"
