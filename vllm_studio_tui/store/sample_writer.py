"""Keep samples in a database of their own, under a size that it never exceeds. One process at a time writes it.

Steps of 10 s are put into blocks of ten minutes. When a block is over, it is folded into the coarser ones, so that a
sample of ten minutes has the mean, the least and the largest of all that were in it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.kit.paths import private_dir
from vllm_studio_tui.store.database import NETWORK, filesystem_of
from vllm_studio_tui.store.errors import BROKEN, primary_code, store_error
from vllm_studio_tui.store.sample_blocks import TIERS, Block, Step, Tier
from vllm_studio_tui.store.sample_reader import VERSION

T = TypeVar("T")
#: Tier, begin and series of a block.
Key = tuple[int, int, int]
FINEST = TIERS[0]
PAGE = 4096
#: What the write-ahead log may have beside the database.
LOG_BYTES = 1024 * 1024
#: Where this share of the size is used, the oldest is let go, until no more than the second is.
FULL, ROOMY = 0.9, 0.75
#: Series that are taken of one moment, and characters of a name.
MOST_SERIES, MOST_LETTERS = 4000, 200
#: Seconds after which a series without samples is forgotten.
FORGET = TIERS[-1].keep + 2 * TIERS[-1].block
_DAY = 86_400
_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID",
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, run TEXT, recipe TEXT, last INTEGER NOT NULL)""",
    "CREATE INDEX series_of_recipes ON series (recipe) WHERE recipe IS NOT NULL",
    """CREATE TABLE blocks (
        tier INTEGER NOT NULL, start INTEGER NOT NULL, series INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (tier, start, series)) WITHOUT ROWID""",
)

#: Steps of series, by name and begin.
Steps = Mapping[str, Mapping[int, Step]]


class SampleWriter:
    """Writes samples.

    Args:
        most: Bytes that the database and its log have together, at most.

    Raises:
        StoreError: It cannot be made or written, or is of a newer version.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._pages = max(64, (most - 2 * LOG_BYTES) // PAGE)
        try:
            private_dir(path.parent)
            with contextlib.suppress(FileExistsError):  # SQLite would make it with the umask's rights
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError("samples cannot be kept", cause=str(error)) from None
        try:
            self._db = self._open()
        except sqlite3.Error as error:
            if primary_code(error) not in BROKEN:
                raise store_error(error, path) from None
            self._set_aside()
            try:
                self._db = self._open()
            except sqlite3.Error as again:
                raise store_error(again, path) from None
        #: Blocks that are written to, by tier, begin and series.
        self._blocks: dict[Key, Block] = {}
        self._ids: dict[str, int] = {}

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=2.0,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute(f"PRAGMA page_size = {PAGE}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA trusted_schema = OFF")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise StoreError(f"{self._path} was written by a newer version", advice="Samples are not kept there.")
            db.execute(f"PRAGMA journal_mode = {'delete' if filesystem_of(self._path) in NETWORK else 'wal'}")
            db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            db.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // PAGE // 2}")
            db.execute("PRAGMA cache_size = -1024")
            if not version:
                db.execute("BEGIN IMMEDIATE")
                for statement in _TABLES:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
                db.execute("COMMIT")
            db.execute(f"PRAGMA max_page_count = {self._pages}")
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self) -> None:
        """Put a damaged file aside: only charts of the past are lost, and they go on."""
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(f"{self._path.name}.broken"))
            for ending in ("-wal", "-shm"):
                self._path.with_name(f"{self._path.name}{ending}").unlink(missing_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    @property
    def written_until(self) -> float:
        """Return the moment up to which samples were written, by whichever process."""
        return self._fact("written")

    def write(self, steps: Steps, recipes: Mapping[str, str], until: float) -> None:
        """Keep steps, all or none of them.

        Args:
            recipes: The recipe of each run.
            until: Samples before this moment are among them, or there are none.

        Raises:
            StoreError: They could not be kept.
        """
        try:
            if self._crowded():  # its size was made smaller, or much came at once
                self._shrink(until)
            try:
                folded = self._transaction(lambda: self._write(steps, recipes, until))
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_FULL:
                    raise
                self._shrink(until)  # on a full disk this cannot be done either
                folded = self._transaction(lambda: self._write(steps, recipes, until))
            if folded:
                self._transaction(lambda: self._let_go(until, 1.0))
                if self._crowded():
                    self._shrink(until)
                self._give_back()
        except sqlite3.Error as error:
            if primary_code(error) in BROKEN:
                self.close()
                self._set_aside()
                with contextlib.suppress(sqlite3.Error):
                    self._db = self._open()
            raise store_error(error, self._path) from None

    def put(self, blocks: Iterable[tuple[Tier, int, str, Block]], recipes: Mapping[str, str], until: float) -> None:
        """Keep whole blocks in the place of those that are there: a past that is made at once.

        Args:
            until: The end of what they have, a whole number of the longest steps.

        Raises:
            StoreError: They could not be kept.
        """
        try:
            self._transaction(lambda: self._put(blocks, recipes, until))
            if self._crowded():
                self._shrink(until)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from None

    def _put(self, blocks: Iterable[tuple[Tier, int, str, Block]], recipes: Mapping[str, str], until: float) -> None:
        for tier, start, name, block in blocks:
            series = self._id(name, recipes, start + tier.block)
            self._db.execute(
                "INSERT OR REPLACE INTO blocks (tier, start, series, data) VALUES (?, ?, ?, ?)",
                (tier.step, start, series, block.write()),
            )
        self._note("written", until)
        self._note("folded", until)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    # --- steps ------------------------------------------------------------------------------------------

    def _transaction(self, work: Callable[[], T]) -> T:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            done = work()
            self._db.execute("COMMIT")
        except BaseException:
            # What is in memory is ahead of the file now.
            self._blocks.clear()
            self._ids.clear()
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        return done

    def _write(self, steps: Steps, recipes: Mapping[str, str], until: float) -> bool:
        """Put steps into their blocks, fold those that are over; return whether one was."""
        changed: set[Key] = set()
        for name, values in sorted(steps.items())[:MOST_SERIES]:
            taken = {begin: step for begin, step in values.items() if until - FINEST.keep < begin <= until}
            series = self._id(name, recipes, max(taken)) if taken and len(name) <= MOST_LETTERS else None
            if series is None:
                continue
            for begin, step in taken.items():
                start = begin // FINEST.block * FINEST.block
                self._block((FINEST.step, start, series)).add((begin - start) // FINEST.step, step)
                changed.add((FINEST.step, start, series))
        # A block that some process wrote and did not live to fold is among those since the last folding.
        folded = self._fact("folded")
        since = folded if folded <= until + FINEST.block else 0.0  # a clock that was wrong and was put right
        rows = self._db.execute(
            "SELECT start, series FROM blocks WHERE tier = ? AND start BETWEEN ? AND ?",
            (FINEST.step, since, until - FINEST.block),
        )
        over = {(FINEST.step, int(start), int(series)) for start, series in rows.fetchall()}
        over |= {key for key in changed if key[1] + FINEST.block <= until}
        for key in over:
            changed |= self._fold(key)
        self._db.executemany(
            "INSERT OR REPLACE INTO blocks (tier, start, series, data) VALUES (?, ?, ?, ?)",
            [(*key, self._blocks[key].write()) for key in sorted(changed)],
        )
        self._note("written", until)
        self._note("folded", until // FINEST.block * FINEST.block)
        if over:
            latest = [(start, series) for _, start, series in over]
            self._db.executemany("UPDATE series SET last = max(last, ?) WHERE id = ?", latest)
        self._blocks = {key: block for key, block in self._blocks.items() if key[0] == FINEST.step and key not in over}
        return bool(over)

    def _fold(self, key: Key) -> set[Key]:
        """Put a block that is over into the coarser ones; return which these are."""
        _, start, series = key
        block, changed = self._block(key), set()
        for tier in TIERS[1:]:
            for first, step in block.fold(tier.step // FINEST.step):
                at = start + first * FINEST.step
                whole = (tier.step, at // tier.block * tier.block, series)
                self._block(whole).put((at - whole[1]) // tier.step, step)
                changed.add(whole)
        return changed

    def _block(self, key: Key) -> Block:
        known = self._blocks.get(key)
        if known is None:
            query = "SELECT data FROM blocks WHERE tier = ? AND start = ? AND series = ?"
            row = self._db.execute(query, key).fetchone()
            known = self._blocks[key] = Block() if row is None else Block.read(row[0])
        return known

    def _id(self, name: str, recipes: Mapping[str, str], at: int) -> int:
        known = self._ids.get(name)
        if known is None:
            row = self._db.execute("SELECT id FROM series WHERE name = ?", (name,)).fetchone()
            if row is None:
                run = name.split("/")[1] if name.startswith("run/") and name.count("/") > 1 else None
                values = (name, run, recipes.get(run) if run is not None else None, at)
                row = self._db.execute(
                    "INSERT INTO series (name, run, recipe, last) VALUES (?, ?, ?, ?) RETURNING id", values
                ).fetchone()
            known = self._ids[name] = int(row[0])
        return known

    def _fact(self, name: str) -> float:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return 0.0 if row is None else float(row[0])

    def _note(self, name: str, value: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    # --- room -------------------------------------------------------------------------------------------

    def _number(self, pragma: str) -> int:
        return int(self._db.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _used(self) -> int:
        return self._number("page_count") - self._number("freelist_count")

    def _crowded(self) -> bool:
        return self._used() > self._pages * FULL

    def _let_go(self, until: float, share: float) -> None:
        """Delete what is older than it is kept, or than a share of that; and what a wrong clock put into the future."""
        for tier in TIERS:
            late = tier.block if share == 1.0 else 0
            self._db.execute(
                "DELETE FROM blocks WHERE tier = ? AND (start < ? OR start > ?)",
                (tier.step, until - share * tier.keep - late, until + _DAY),
            )
        if self._db.execute("DELETE FROM series WHERE last < ?", (until - FORGET,)).rowcount > 0:
            self._ids.clear()

    def _shrink(self, until: float) -> None:
        """Let go of the oldest of each resolution, by the same share of its age, until there is room."""
        share = 1.0
        while self._used() > self._pages * ROOMY and share > 1e-4:
            share *= 0.8
            self._transaction(partial(self._let_go, until, share))
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._give_back()
        self._db.execute(f"PRAGMA max_page_count = {self._pages}").fetchall()

    def _give_back(self) -> None:
        """Give pages that are free back to the disk where they are many, or more than there may be."""
        free, all_pages = self._number("freelist_count"), self._number("page_count")
        if free and (all_pages > self._pages or free > max(256, all_pages // 4)):
            self._blocks.clear()
            self._db.executescript("PRAGMA incremental_vacuum;")  # `execute` would free one page
