"""The database on disks without room, and in homes that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from tests.disks import fill, read_only, small_disk
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store import database, errors, schema
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.errors import store_error
from vllm_studio_tui.store.recipes import RecipeRows


def made(path: Path) -> Path:
    with contextlib.closing(Database.open(path)) as db:
        RecipeRows(db).insert("a", {"x": 1})
    return path


def ioerr() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR | (19 << 8)  # SQLITE_IOERR_SHMSIZE
    return error


def test_an_input_output_error_on_a_disk_without_room_is_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "studio.db"
    for number, title in ((errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is used up")):
        monkeypatch.setattr(errors, "write_error", lambda _, number=number: OSError(number, os.strerror(number)))
        error = store_error(ioerr(), path)
        assert error.title == title
        assert str(tmp_path) in error.advice
    monkeypatch.undo()
    error = store_error(ioerr(), path)
    assert (error.title, "dmesg" in error.advice) == ("the database cannot be read or written", True)


def test_a_database_on_a_full_disk_is_read_and_the_reason_is_said(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = made(disk / "studio.db")
        filler = fill(disk)
        with contextlib.closing(Database.open(path)) as db:
            assert RecipeRows(db).list() == [("a", {"x": 1})]
            with db.reader() as reader:
                assert len(reader.rows("SELECT id FROM recipes")) == 1
            assert (db.read_only, "the disk is full" in (db.warning or "")) == (True, True)
            with pytest.raises(StoreError) as refused:
                RecipeRows(db).insert("b", {})
            assert "the disk is full" in str(refused.value)
        filler.unlink()
        with contextlib.closing(Database.open(path)) as db:
            RecipeRows(db).insert("b", {})


def test_a_disk_that_fills_up_is_called_full_by_whoever_reads_or_writes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = made(disk / "studio.db")
        with contextlib.closing(Database.open(path)) as db:
            fill(disk)
            with pytest.raises(StoreError, match="the disk is full"):
                RecipeRows(db).insert("b", {"x": "y" * 100_000})
            assert RecipeRows(db).list() == [("a", {"x": 1})]


def test_a_home_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    path = made(tmp_path / "home" / "studio.db")
    with read_only(path.parent), contextlib.closing(Database.open(path)) as db:
        assert RecipeRows(db).list() == [("a", {"x": 1})]
        with db.reader() as reader:
            assert len(reader.rows("SELECT id FROM recipes")) == 1
        assert db.read_only
        assert str(path) in (db.warning or "")


def test_changes_that_a_home_cannot_show_are_not_passed_over(tmp_path: Path) -> None:
    path = made(tmp_path / "home" / "studio.db")
    with contextlib.closing(sqlite3.connect(path)) as other:  # its write-ahead log is not brought in
        other.execute("INSERT INTO recipes VALUES ('b', '{}', '', '')")
        other.commit()
        copies = {name: path.with_name(name).read_bytes() for name in ("studio.db", "studio.db-wal")}
    for name, content in copies.items():
        path.with_name(name).write_bytes(content)
    with read_only(path.parent), pytest.raises(StoreError) as refused:
        Database.open(path)
    assert "studio.db-wal" in refused.value.cause
    assert str(path.parent) in refused.value.advice


def test_a_home_in_which_no_database_can_be_made_is_empty(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = home / "data" / "studio.db"
    with read_only(home), contextlib.closing(Database.open(path)) as db:
        assert RecipeRows(db).list() == []
        assert "Nothing is kept" in (db.warning or "")
        with db.reader() as reader:
            assert reader.rows("SELECT * FROM requests") == []
        with pytest.raises(StoreError, match="reading only"):
            RecipeRows(db).insert("b", {})
    assert list(home.iterdir()) == []


def test_an_older_database_in_a_home_that_cannot_be_written_is_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home" / "studio.db"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as old:
        for statement in schema.TABLES:
            old.execute(statement)
        old.execute(
            "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
        )
        old.execute("INSERT INTO _sqlite_migrations VALUES (1, 'studio', '0001_tables', '')")
        old.execute("INSERT INTO recipes VALUES ('a', '{}', '', '')")
        old.commit()
    before = path.read_bytes()
    with read_only(path.parent), contextlib.closing(Database.open(path)) as db:
        assert RecipeRows(db).list() == [("a", {})]
        assert not set(schema.MIGRATIONS) - set(database.applied(db._connection))
        with db.reader() as reader:
            assert reader.rows("SELECT marks FROM runs") == []
    assert path.read_bytes() == before
