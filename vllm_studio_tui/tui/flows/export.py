"""Writing to a file: asks where, never writes over something unasked, and says where it wrote."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import private_dir
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell


async def export(
    shell: Shell, name: str, suffix: str, make: Callable[[], str | Iterable[str]], what: str = ""
) -> Path | None:
    """Ask for a path, and write what `make` returns to it. From within `spawn`.

    Args:
        name: What it is: `usage`, `recipes`, a run's id. The path that is offered is that and the time, in the
            `exports` directory of the home.
        suffix: Such as `.csv`.
        what: What it is, as a person says it; empty: the name.
        make: Called in a thread once the path is settled: the text, or its pieces one after the other.

    Returns:
        The path that was written; None where none was.
    """
    folder = shell.studio.places.exports
    letters = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)[:80]
    stem = letters.strip("-") or "export"  # a name that begins with - would be an option of every command
    path = folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}{suffix}"
    while True:
        said = await shell.ask(
            Prompt(f"Write {what or name} to", str(path), note="a file, or a directory", select=True)
        )
        if said is None or not said.strip():
            return None
        path, exists = await shell.in_thread(partial(_place, said.strip(), path.name))
        if not exists:
            break
        question = Question(
            f"{path.name} exists already", f"In {path.parent}.", [Option("o", "write over it")], "choose another name"
        )
        if await shell.ask(question) == "o":
            break
    await shell.in_thread(lambda: _write(path, folder, make))
    shell.tell(f"written to {path}")
    return path


def _place(text: str, name: str) -> tuple[Path, bool]:
    """Return the path that somebody typed, with `name` in it where it is a directory, and whether it exists."""
    path = Path(text).expanduser().absolute()
    path = path / name if path.is_dir() else path
    return path, path.exists()


def _write(path: Path, folder: Path, make: Callable[[], str | Iterable[str]]) -> None:
    """Write the file as a whole or not at all, readable by its owner alone."""
    try:
        if path.parent == folder:
            private_dir(folder)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name[:80]}.", delete=False) as stream:
            temporary = Path(stream.name)
            try:
                made = make()
                for text in (made,) if isinstance(made, str) else made:
                    stream.write(text.encode("utf-8", "replace"))
                stream.flush()
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        advice = f"Choose another place, or look at it: ls -ld '{path.parent}'"
        raise StudioError(f"{path} cannot be written", cause=error.strerror or str(error), advice=advice) from None
