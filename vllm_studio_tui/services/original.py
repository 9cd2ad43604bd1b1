"""Takes in all that the system that this one re-imagines kept: recipes, chats, best speeds and totals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.store.database_files import is_database, read_database

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat_imports import ImportedChats
    from vllm_studio_tui.domain.usage_imports import LogImport, UsageImport
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.importing import ImportReport

#: Files of a directory that are looked at.
MAX_FILES = 1000
#: Bytes of logs, which are read at once.
MAX_LOGS = 2 << 30
#: In this order a person reads of them; others come after these.
_ORDER = ("controller.db", "recipes.db", "chats.db", "metrics.db", "lifetime.db")


@dataclass(frozen=True, slots=True)
class OriginalFile:
    """A database, whole; or `logs` of LiteLLM."""

    name: str
    raw: bytes
    notes: tuple[str, ...] = ()
    logs: bool = False


@dataclass(slots=True)
class FileReport:
    """What came of one database.

    Attributes:
        recipes, chats, usage, logs: What was taken in; None where it has none of them.
        failed: Why something could not be taken in, a sentence each.
    """

    name: str
    recipes: ImportReport | None = None
    chats: ImportedChats | None = None
    usage: UsageImport | None = None
    logs: LogImport | None = None
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what `import --json` prints of it."""
        chats = None
        if self.chats is not None:
            chats = {
                "imported": [one.to_json() for one in self.chats.taken],
                "known": [one.to_json() for one in self.chats.known],
                "grown": [one.to_json() for one in self.chats.grown],
            }
        return {
            "file": self.name,
            "recipes": None if self.recipes is None else self.recipes.to_json(),
            "chats": chats,
            "usage": None if self.usage is None else self.usage.to_json(),
            "logs": None if self.logs is None else self.logs.to_json(),
            "notes": self.notes,
            "failed": self.failed,
        }


def find_databases(path: str) -> list[OriginalFile]:
    """Return the databases of a directory, of the `data` directory in it, or the one that a path names. Blocking.

    Raises:
        StudioError: There is none, or it cannot be read.
    """
    place = Path(path).expanduser()
    try:
        names = [place] if not place.is_dir() else _in_folder(place) or _in_folder(place / "data")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise StudioError(f"{path} cannot be read", cause=cause) from None
    found = []
    for one in names:
        if is_database(str(one)):
            raw, notes = read_database(str(one))
            found.append(OriginalFile(one.name, raw, tuple(notes)))
    if not found and place.is_file():
        found += _logs(place)
    if found:
        return found
    if not place.is_dir():
        if not place.exists():
            raise StudioError(f"{path} is not there", advice="Name the original's data directory, or a database.")
        advice = f"Recipes: vllm-studio recipes import {path}. Chats: vllm-studio chats import {path}."
        raise StudioError(f"{path} is no database", advice=advice)
    raise StudioError(
        f"there is no database in {path}",
        cause="The original keeps recipes.db or controller.db, chats.db, metrics.db and lifetime.db.",
        advice="Name its data directory: that of its variable with DATA_DIR in its name, else data in its folder.",
    )


def _logs(place: Path) -> list[OriginalFile]:
    """Return a file that may have logs of LiteLLM, which the original asked for its usage; nothing for any other."""
    from vllm_studio_tui.services.litellm_logs import looks_like_logs

    try:
        if place.stat().st_size > MAX_LOGS:
            raise StudioError(
                f"{place.name} is larger than {MAX_LOGS >> 30} GiB", advice="Take in a part of the time at once."
            )
        raw = place.read_bytes()
    except OSError as error:
        raise StudioError(f"{place} cannot be read", cause=error.strerror or str(error)) from None
    return [OriginalFile(place.name, raw, logs=True)] if looks_like_logs(raw) else []


def _in_folder(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    found = [one for _, one in zip(range(MAX_FILES), place.iterdir(), strict=False) if one.suffix in (".db", ".sqlite")]
    ranks = {name: rank for rank, name in enumerate(_ORDER)}
    return sorted(found, key=lambda one: (ranks.get(one.name, len(ranks)), one.name))


def take_in(
    studio: StudioApi, files: Iterable[OriginalFile], *, dry_run: bool = False, replace: bool = False
) -> list[FileReport]:
    """Take in what each database has; what of one cannot be read hides nothing of the others. Blocking.

    Args:
        dry_run: Nothing is kept.
        replace: A recipe of the same id with other content gives way; else both are kept.
    """
    from vllm_studio_tui.store.original import read_original

    reports = []
    for one in files:
        report = FileReport(one.name, notes=list(one.notes))
        reports.append(report)
        if one.logs:
            with _telling(report):
                report.logs = studio.usage.import_logs(one.raw, one.name, dry_run=dry_run)
            continue
        try:
            has = read_original(one.raw, one.name)
            report.notes += has.notes
        except StudioError as error:
            report.failed.append(str(error))
            continue
        if has.recipes:
            with _telling(report):
                report.recipes = studio.recipes.import_(one.raw, one.name, dry_run=dry_run, replace=replace)
        if has.has_chats:
            with _telling(report):
                report.chats = studio.chats.import_(one.raw, one.name, dry_run=dry_run)
                report.notes += report.chats.notes
        if has.peaks or has.totals:
            with _telling(report):
                report.usage = studio.usage.import_(one.raw, one.name, dry_run=dry_run)
    return reports


@contextlib.contextmanager
def _telling(report: FileReport) -> Iterator[None]:
    """Have an error of the block told in a report."""
    try:
        yield
    except StudioError as error:
        report.failed.append(str(error))
