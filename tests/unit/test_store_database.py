"""The database file: made with care, never deleted, and every fault told in words."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store import database, schema
from vllm_studio_tui.store.database import Database, applied, filesystem_of
from vllm_studio_tui.store.recipes import RecipeRows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "studio.db"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    opened = Database.open(path)
    yield opened
    opened.close()


def test_a_new_database_is_private_and_up_to_date(db: Database, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert applied(other) == list(schema.MIGRATIONS)
    row = db.row("PRAGMA journal_mode")
    assert row is not None
    assert row[0] == "wal"
    for name, value in (("foreign_keys", 1), ("busy_timeout", 5000), ("synchronous", 1)):
        row = db.row(f"PRAGMA {name}")
        assert row is not None
        assert row[0] == value, name
    RecipeRows(db).insert("a", {})
    assert {one.stat().st_mode & 0o077 for one in path.parent.iterdir()} == {0}


def test_the_list_of_migrations_is_the_list_that_is_run() -> None:
    from vllm_studio_tui.store.migrations import migrations

    assert tuple(one.name for one in migrations._migrations) == schema.MIGRATIONS


def test_reading_an_up_to_date_database_loads_no_sqlite_utils(db: Database, path: Path) -> None:
    RecipeRows(db).insert("a", {"x": 1})
    program = (
        "import sys; from pathlib import Path; from vllm_studio_tui.store.database import Database\n"
        "from vllm_studio_tui.store.recipes import RecipeRows\n"
        f"db = Database.open(Path({str(path)!r})); assert RecipeRows(db).list() == [('a', {{'x': 1}})]\n"
        "print('sqlite_utils' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_a_file_that_others_can_read_is_made_private(path: Path) -> None:
    Database.open(path).close()
    path.chmod(0o644)
    Database.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_file_is_not_made_unless_asked(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        Database.open(path, create=False)
    assert not path.exists()


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError) as caught:
        Database.open(tmp_path / "file" / "data" / "studio.db")
    assert caught.value.advice


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/ada/data/studio.db", "nfs4"),
        ("/home/ada/local dir/studio.db", "ext4"),
        ("/var/studio.db", "ext4"),
        ("/homes/studio.db", "ext4"),
        ("/mnt/share/studio.db", "cifs"),
        ("/covered/studio.db", "tmpfs"),
    ],
)
def test_the_filesystem_is_that_of_the_nearest_mount(tmp_path: Path, place: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/sdb /home/ada/local\\040dir ext4 rw 0 0\n"
        "//server/share /mnt/share cifs rw 0 0\nx /covered nfs rw 0 0\ny /covered tmpfs rw 0 0\ntorn\n"
    )
    assert filesystem_of(Path(place), mounts) == kind


def test_no_write_ahead_log_on_a_network_filesystem(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "filesystem_of", lambda path: "nfs4")
    with contextlib.closing(Database.open(path)) as db:
        row = db.row("PRAGMA journal_mode")
        assert row is not None
        assert row[0] == "delete"
        RecipeRows(db).insert("a", {})


def test_a_file_that_is_no_database_is_named_and_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database, but something else that is long enough to be looked at" * 50)
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Database.open(path)
    assert str(path) in caught.value.title
    assert "aside" in caught.value.advice
    assert path.read_bytes() == before


def test_a_damaged_page_is_an_error_in_words_and_found_by_the_check(path: Path) -> None:
    with contextlib.closing(Database.open(path)) as db:
        for number in range(200):
            RecipeRows(db).insert(f"r{number}", {"text": "x" * 400})
        assert db.check() == []
    raw = bytearray(path.read_bytes())
    for start in range(len(raw) * 3 // 4, len(raw), 4096):  # the tables themselves are described before
        raw[start : start + 512] = b"\xff" * 512
    path.write_bytes(raw)
    with contextlib.closing(Database.open(path)) as db:
        assert db.check() != []
        with pytest.raises(StoreError, match="damaged"):
            RecipeRows(db).list()
    assert path.read_bytes() == bytes(raw)


def test_a_newer_schema_is_opened_for_reading_only(path: Path) -> None:
    with contextlib.closing(Database.open(path)) as db:
        RecipeRows(db).insert("a", {"x": 1})
        with db.write() as tables:
            tables.table("_sqlite_migrations").insert(
                {"migration_set": schema.MIGRATION_SET, "name": "9999_future", "applied_at": "2030-01-01"}
            )
    with contextlib.closing(Database.open(path)) as db:
        assert db.read_only
        assert db.warning is not None
        assert "9999_future" in db.warning
        assert RecipeRows(db).get("a") == {"x": 1}
        with pytest.raises(StoreError, match="reading only"):
            RecipeRows(db).insert("b", {})


def test_an_older_database_is_copied_before_it_is_changed(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE earlier (x)")
        old.execute("INSERT INTO earlier VALUES (42)")
        old.commit()
    Database.open(path).close()
    backup = path.with_name("studio.db.backup-0")
    assert backup.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("SELECT x FROM earlier").fetchall() == [(42,)]
        assert applied(copy) == []
    with contextlib.closing(Database.open(path)) as db:
        assert [tuple(row) for row in db.rows("SELECT x FROM earlier")] == [(42,)]


def test_a_migration_that_fails_leaves_nothing_behind(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE runs (something_else)")  # the name is taken, halfway through the statements
        old.commit()
    with pytest.raises(StoreError, match="refused"):
        Database.open(path)
    with contextlib.closing(sqlite3.connect(path)) as after:
        names = {row[0] for row in after.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "recipes" not in names
        assert applied(after) == []


def test_a_database_in_use_is_an_error_after_the_busy_timeout(db: Database, path: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
        contextlib.closing(Database.open(path, busy_timeout=0.05)) as impatient,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use") as caught:
            RecipeRows(impatient).insert("a", {})
        assert caught.value.advice
        other.execute("ROLLBACK")
        RecipeRows(impatient).insert("a", {})
    assert RecipeRows(db).get("a") == {}


def test_a_full_disk_is_an_error_and_the_old_content_stays(db: Database) -> None:
    RecipeRows(db).insert("a", {"x": 1})
    pages = db.row("PRAGMA page_count")
    assert pages is not None
    db.row(f"PRAGMA max_page_count = {pages[0] + 1}")
    with pytest.raises(StoreError, match="full"):
        RecipeRows(db).insert("b", {"x": "y" * 100_000})
    assert RecipeRows(db).list() == [("a", {"x": 1})]
    db.row("PRAGMA max_page_count = 1000000")
    RecipeRows(db).insert("b", {})
    assert len(RecipeRows(db).list()) == 2


def test_a_transaction_is_kept_as_a_whole_or_not_at_all(db: Database) -> None:
    rows = RecipeRows(db)

    def half() -> None:
        with db.write():
            rows.insert("a", {})
            with db.write():
                rows.insert("b", {})
            raise KeyError("something else went wrong")

    with pytest.raises(KeyError):
        half()
    assert rows.list() == []
    rows.insert("a", {})


def test_a_reader_sees_what_was_kept_and_can_change_nothing(db: Database) -> None:
    RecipeRows(db).insert("a", {})
    with db.reader() as reader:
        assert [row["id"] for row in reader.rows("SELECT id FROM recipes")] == ["a"]
        with db.write():
            RecipeRows(db).insert("b", {})
            # A writer within its transaction does not hold up a reader.
            assert len(reader.rows("SELECT id FROM recipes")) == 1
        assert len(reader.rows("SELECT id FROM recipes")) == 2
        with pytest.raises(StoreError, match="written"):
            reader.rows("DELETE FROM recipes")


def test_threads_share_one_database(db: Database) -> None:
    rows = RecipeRows(db)
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(20):
                rows.insert(f"{name}-{number}", {})
                rows.list()
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(rows.list()) == 80


def _write_from_a_process(path: Path, name: int, start: threading.Barrier) -> None:
    start.wait()
    with contextlib.closing(Database.open(path)) as db:
        for number in range(30):
            RecipeRows(db).insert(f"{name}-{number}", {"n": number})


def test_processes_make_and_write_one_database_at_once(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    processes = [context.Process(target=_write_from_a_process, args=(path, name, start)) for name in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with contextlib.closing(Database.open(path)) as db:
        assert len(RecipeRows(db).list()) == 90
        assert db.check() == []


def test_recipes_are_kept_changed_and_deleted(db: Database) -> None:
    rows = RecipeRows(db)
    rows.insert("b", {"x": 1})
    rows.insert("a", {"text": "\ud800 \x00 é"})
    assert rows.list() == [("a", {"text": "\ud800 \x00 é"}), ("b", {"x": 1})]
    with pytest.raises(StoreError, match="exists"):
        rows.insert("a", {})
    rows.update("b", {"x": 2})
    assert rows.get("b") == {"x": 2}
    with pytest.raises(StoreError, match="no recipe"):
        rows.update("c", {})
    assert rows.delete("b")
    assert not rows.delete("b")
    assert rows.get("b") is None


def test_a_recipe_whose_data_is_torn_hides_no_other(db: Database) -> None:
    RecipeRows(db).insert("a", {"x": 1})
    RecipeRows(db).insert("b", {"x": 2})
    with db.write() as tables:
        tables.execute("UPDATE recipes SET data = '[1' WHERE id = 'a'")
    assert RecipeRows(db).list() == [("a", {}), ("b", {"x": 2})]
