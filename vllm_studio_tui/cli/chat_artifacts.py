"""`chats artifacts`: code, pages and drawings in the answers of a chat, to list and to save."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.paths import write_atomic

if TYPE_CHECKING:
    from vllm_studio_tui.services.chat.artifacts import Artifact

JSON = typer.Option(False, "--json", help="One JSON document, with their texts.")
SESSION = typer.Argument(help="The chat's id, the beginning of it, or last.")


def register_artifacts(nouns: typer.Typer) -> None:
    """Add this command to `chats`."""

    @nouns.command("artifacts")
    def artifacts(
        session: str = SESSION,
        save: str = typer.Option(
            "", "--save", help="Write these to files: a number of the list, several as 1,3, or all."
        ),
        output: str = typer.Option("", "--output", "-o", help="The folder they are written into; this one without it."),
        force: bool = typer.Option(False, "--force", help="Write over files that are there."),
        as_json: bool = JSON,
    ) -> None:
        """Code blocks, pages and drawings in the answers that are shown, also those within thinking."""
        if (output or force) and not save:
            raise UsageError("--output and --force are for --save", advice="Add --save all, or a number of the list.")
        from vllm_studio_tui.services.chat.artifacts import artifacts_of

        with open_studio() as studio:
            one = studio.chats.find(session)
            found = artifacts_of(studio.chats.branch(one.id))
        paths = _save(_chosen(found, save), Path(output or ".").expanduser(), force=force) if save else {}
        if as_json:
            told = [
                {**item.to_json(), **({"path": str(paths[item.number])} if item.number in paths else {})}
                for item in found
            ]
            emit({"session": one.id, "artifacts": told})
        elif save:
            for path in paths.values():
                note(f"written to {path}")
        elif not found:
            say("No code block, page or drawing is in this chat.")
        else:
            _show(found)


def _show(found: list[Artifact]) -> None:
    rows = []
    for item in found:
        where = [*(["in thinking"] if item.thinking else []), *(["cut off"] if item.cut else [])]
        size = numbers.size(len(item.data))
        rows.append([str(item.number), item.name, item.kind, size, item.message_id, ", ".join(where)])
    table(["N", "NAME", "KIND", "SIZE", "MESSAGE", ""], rows, right=[0, 3])


def _chosen(found: list[Artifact], text: str) -> list[Artifact]:
    """Return the artifacts that `--save` names."""
    if not found:
        raise StudioError("there is nothing to save", cause="no code block, page or drawing is in this chat")
    if text.strip().lower() == "all":
        return found
    by_number = {str(item.number): item for item in found}
    wanted = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in wanted:
        if word not in by_number:
            raise UsageError(
                f"--save {text}: no artifact has this number",
                cause=f"they are numbered from 1 to {len(found)}",
                advice="List them with `vllm-studio chats artifacts`, or --save all.",
            )
    return [by_number[word] for word in wanted]


def _save(chosen: list[Artifact], folder: Path, *, force: bool) -> dict[int, Path]:
    """Write artifacts into a folder; none at all where one would take the place of a file."""
    paths = {item.number: folder / item.name for item in chosen}
    there = [path for path in paths.values() if os.path.lexists(path)]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise StudioError(f"{there[0]}{more} exists", advice="Name another folder, or write over it: --force.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in chosen:
            _write(paths[item.number], item.data, force=force)
    except FileExistsError as error:
        where = Path(error.filename or folder)
        raise StudioError(f"{where} exists", cause="it was not there a moment ago or is no folder") from None
    except OSError as error:
        cause = error.strerror or str(error)
        raise StudioError(f"{error.filename or folder} cannot be written", cause=cause) from None
    return paths


def _write(path: Path, data: bytes, *, force: bool) -> None:
    if force:
        write_atomic(path, data, mode=0o644)
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as stream:
        stream.write(data)
