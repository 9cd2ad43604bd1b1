"""Write made files into a directory, without touching what a person changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import write_atomic


def write_files(files: Mapping[str, str], folder: Path, *, force: bool = False) -> dict[str, str]:
    """Write files below a directory; return what became of each: written, replaced or unchanged.

    Raises:
        StudioError: One is there with other content and is not forced, or nothing can be written. Before that nothing
            is written.
    """
    outcome: dict[str, str] = {}
    for name, text in files.items():
        path = _below(folder, name)
        try:
            there = path.read_bytes()
        except FileNotFoundError:
            outcome[name] = "written"
            continue
        except OSError as error:
            raise StudioError(f"{path} cannot be read", cause=error.strerror or str(error)) from None
        outcome[name] = "unchanged" if there == text.encode() else "replaced"
    changed = [name for name, one in outcome.items() if one == "replaced"]
    if changed and not force:
        raise StudioError(
            f"{', '.join(changed)} would be overwritten",
            cause=f"In {folder} there is another content, made earlier or by somebody.",
            advice="Compare with what is printed without -o; --force overwrites.",
        )
    for name, text in files.items():
        if outcome[name] == "unchanged":
            continue
        path = _below(folder, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode())
        except OSError as error:
            raise StudioError(f"{path} cannot be written", cause=error.strerror or str(error)) from None
    return outcome


def _below(folder: Path, name: str) -> Path:
    """Return the path of a file below a directory.

    Raises:
        StudioError: It would be somewhere else.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise StudioError(f"{name!r} is no path below a directory")
    return folder.joinpath(*parts)
