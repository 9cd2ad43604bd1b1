"""The bytes of what a person names to be imported: a file, a database, standard input."""

from __future__ import annotations

from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.recipes.formats.original_database import DATABASE


def read_source(source: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`.

    Raises:
        StudioError: It cannot be read.
    """
    import sys

    from vllm_studio_tui.store.database_files import MAX_DATABASE, read_database

    if source == "-":
        raw = sys.stdin.buffer.read(8 * 1024 * 1024)
        return raw + sys.stdin.buffer.read(MAX_DATABASE) if raw.startswith(DATABASE) else raw
    try:
        with Path(source).expanduser().open("rb") as stream:
            raw = stream.read(8 * 1024 * 1024)
    except OSError as error:
        raise StudioError(f"{source} cannot be read", cause=error.strerror or str(error)) from None
    return read_database(source)[0] if raw.startswith(DATABASE) else raw
