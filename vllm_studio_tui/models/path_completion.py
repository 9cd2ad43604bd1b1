"""What a path that is being typed may go on to: folders, and the files of some kind in them, such as GGUF files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.file_access import expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Entries of a folder that are looked at, and that are offered.
LOOKED_AT, OFFERED = 20_000, 100


@dataclass(frozen=True, slots=True)
class PathOffer:
    """A folder or a file.

    Attributes:
        path: What is typed becomes this; a folder that is no model ends with a slash, for what is in it comes next.
        name: Its name, of a folder with a slash.
        note: `model` of a folder that holds one, the size of a file.
    """

    path: str
    name: str
    note: str = ""


def is_path(text: str) -> bool:
    """Return whether a text is meant as a path, and not as a name on the hub."""
    return text.startswith(("/", "~", "./", "../"))


def paths_from(typed: str, endings: tuple[str, ...] = (".gguf",)) -> list[PathOffer]:
    """Return what a typed path may go on to, by name; nothing where it cannot be read. Blocking.

    Args:
        endings: Of the files that are of use, in small letters.
    """
    folder, slash, begun = typed.rpartition("/")
    if not slash or not is_path(typed):
        return []
    try:
        with os.scandir(expanded(f"{folder}/")) as entries:
            names = sorted(_of_use(islice(entries, LOOKED_AT), begun.lower(), endings), key=lambda one: one[0].lower())
    except (OSError, ValueError):
        return []
    found = [_offer(f"{folder}/", *one) for one in names[:OFFERED]]
    return [] if [one.path for one in found] == [typed] else found


def _of_use(
    entries: Iterator[os.DirEntry[str]], begun: str, endings: tuple[str, ...]
) -> Iterator[tuple[str, str, bool]]:
    """Yield name, real path and whether it is a folder, of what could be meant."""
    for entry in entries:
        name = entry.name
        hidden = name.startswith(".") and not begun.startswith(".")
        if hidden or not name.lower().startswith(begun) or "\n" in name or not _is_text(name):
            continue
        try:
            folder = entry.is_dir()
        except OSError:
            continue
        if folder or name.lower().endswith(endings):
            yield name, entry.path, folder


def _is_text(name: str) -> bool:
    """Return whether a name can be kept; one in another encoding cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _offer(parent: str, name: str, real: str, folder: bool) -> PathOffer:
    try:
        if not folder:
            return PathOffer(f"{parent}{name}", name, numbers.size(os.stat(real).st_size))  # noqa: PTH116, RUF100
        if os.path.exists(os.path.join(real, "config.json")):  # noqa: PTH110, PTH118, RUF100
            return PathOffer(f"{parent}{name}", f"{name}/", "model")
    except OSError:
        pass
    return PathOffer(f"{parent}{name}/" if folder else f"{parent}{name}", f"{name}/" if folder else name)
