"""What the files that a text names would be sent as, or why they would not: looked at while somebody writes."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from vllm_studio_tui.domain.chat import Attached, Attachment
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.chat.attachments import reading

#: Files that are remembered: looking at a PDF takes seconds.
KEPT = 100


@dataclass(frozen=True, slots=True)
class Looked:
    """A file that a text names.

    Attributes:
        word: How the text names it, with the `@`.
        file: What is known of it, without what is sent.
        problem: Why it would not be sent; empty: it would.
    """

    word: str
    file: Attachment
    problem: str = ""


class FileLook:
    """Looks at files, each again only when it has changed. Used by one thread at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, int], tuple[Attachment, str]] = OrderedDict()

    def at(self, text: str, folder: str | Path | None = None) -> list[Looked]:
        """Return the files that a text names, each once, in order. Blocking; never raises for a file."""
        found: dict[str, Looked] = {}
        for word, paths in reading.named(text, folder):
            for path in paths[: reading.MOST_FILES]:
                if path not in found:
                    file, problem = self._look(path)
                    found[path] = Looked(word, file, problem)
        return list(found.values())[: reading.MOST_FILES]

    def _look(self, path: str) -> tuple[Attachment, str]:
        name = Path(path).name
        try:
            state = os.stat(path)  # noqa: PTH116, RUF100
        except (OSError, ValueError) as error:
            return Attachment(name, path=path), getattr(error, "strerror", None) or str(error)
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._known:
            self._known[key] = _looked(path, name, state.st_size)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def _looked(path: str, name: str, size: int) -> tuple[Attachment, str]:
    try:
        file = reading.read(path).file
    except StudioError as error:
        return Attachment(name, size=size, path=path), error.cause or error.title
    return replace(file, text=None if file.text is None else ""), ""


def read_again(file: Attachment) -> Attached:
    """Return a file as it is sent, to be looked at whole. Blocking.

    Raises:
        StudioError: It cannot be sent.
    """
    assert file.path is not None
    return reading.read(file.path)
