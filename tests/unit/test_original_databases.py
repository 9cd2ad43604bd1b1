"""Databases of the original: what is taken over of them, once, and that nothing in a hostile one acts."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.originals import CHATS, LEGACY_RECIPES, LIFETIME, PEAKS, RECIPES, made, original_recipe
from vllm_studio_tui.domain.errors import StoreError, StudioError
from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.original import OriginalFile, find_databases, take_in
from vllm_studio_tui.services.recipes.sources import read_source
from vllm_studio_tui.services.recipes.starting import Typed, read_typed
from vllm_studio_tui.store.database_files import read_database
from vllm_studio_tui.store.original import BrokenRow, read_original
from vllm_studio_tui.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path / "home")) as one:
        yield one


def lifetime(**values: float) -> bytes:
    return made([LIFETIME], {"lifetime_metrics": [(key, value, "2026-01-01") for key, value in values.items()]})


def test_recipes_of_the_original_come_in_without_its_blanket_defaults(studio: Studio) -> None:
    rows = [("llama3-8b", json.dumps(original_recipe("llama3-8b")), "2025-01-01", "2025-01-02")]
    report = studio.recipes.import_(made([RECIPES], {"recipes": rows}), "recipes.db")
    assert report.imported == ["llama3-8b"]
    recipe = studio.recipes.get("llama3-8b")
    assert (recipe.host, recipe.port, recipe.trust_remote_code) == ("127.0.0.1", None, False)
    assert recipe.max_model_len == 32768
    again = studio.recipes.import_(made([RECIPES], {"recipes": rows}), "recipes.db")
    assert (again.imported, again.existing) == ([], ["llama3-8b"])


def test_the_first_versions_kept_them_in_a_column_json() -> None:
    data = {"name": "No id in here", "model_path": "/m"}
    raw = made([LEGACY_RECIPES], {"recipes": [("the-row", json.dumps(data), "a", "b", "key", 1)]})
    assert read_original(raw, "controller.db").recipes == ({**data, "id": "the-row"},)


def test_a_row_that_cannot_be_read_hides_no_other(studio: Studio) -> None:
    rows = [
        ("bad", "{not json", "", ""),
        ("list", "[1]", "", ""),
        ("deep", "[" * 100_000, "", ""),
        ("none", None, "", ""),
        ("blob", b"\xff\xfe", "", ""),
        ("huge", json.dumps({"id": "huge", "notes": "x" * 5_000_000}), "", ""),
        ("good", json.dumps(original_recipe("good")), "", ""),
    ]
    raw = made([RECIPES.replace("data TEXT NOT NULL", "data TEXT")], {"recipes": rows})
    found = read_original(raw, "recipes.db")
    assert [one.id for one in found.recipes or () if isinstance(one, BrokenRow)] == [
        "bad", "list", "deep", "none", "blob",
    ]  # fmt: skip
    assert found.notes == ("1 rows of recipes.db are too large, and were left out",)
    report = studio.recipes.import_(raw, "recipes.db")
    assert report.imported == ["good"]
    assert [one["id"] for one in report.failed] == ["bad", "list", "deep", "none", "blob"]


def test_best_speeds_are_taken_where_they_are_better(studio: Studio) -> None:
    rows = [("m", 1000.0, 50.0, 80.0, 5, 1, ""), ("bad", "text", float("inf"), -1, 0, 0, ""), (None, 1, 1, 1, 0, 0, "")]
    raw = made([PEAKS], {"peak_metrics": rows})
    assert studio.usage.import_(raw, "metrics.db", dry_run=True).peaks == ("m",)
    assert studio.usage.report(UsageQuery()).peaks == {}
    found = studio.usage.import_(raw, "metrics.db")
    assert (found.peaks, found.models) == (("m",), 1)
    assert studio.usage.report(UsageQuery()).peaks["m"] == {"prefill_tps": 1000.0, "generation_tps": 50.0, "ttft": 0.08}
    assert studio.usage.import_(raw, "metrics.db").peaks == ()


def test_totals_go_on_and_are_never_counted_twice(studio: Studio) -> None:
    def totals() -> dict[str, Any]:
        return dict(studio.usage.report(UsageQuery()).lifetime)

    before = lifetime(tokens_total=1000, requests_total=10, energy_wh=5, first_started_at=1.7e9, uptime_seconds=60)
    assert studio.usage.import_(before, "lifetime.db", dry_run=True).added["tokens_total"] == 1000
    assert totals()["tokens_total"] == 0
    assert studio.usage.import_(before, "lifetime.db").added["tokens_total"] == 1000
    assert studio.usage.import_(before, "controller.db").added == {}
    told = totals()
    assert (told["tokens_total"], told["energy_wh"], told["first_started_at"]) == (1000, 5, 1.7e9)
    assert studio.usage.report(UsageQuery(days=1)).lifetime["tokens_total"] == 1000
    grown = lifetime(tokens_total=1500, requests_total=12, energy_wh=5, first_started_at=1.7e9)
    assert studio.usage.import_(grown, "lifetime.db").added == {"tokens_total": 500, "requests_total": 2}
    another = lifetime(tokens_total=7, first_started_at=1.6e9)
    studio.usage.import_(another, "lifetime.db")
    assert (totals()["tokens_total"], totals()["first_started_at"]) == (1507, 1.6e9)


def test_a_directory_is_taken_over_at_once_and_a_second_time_adds_nothing(studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "old" / "data"
    folder.mkdir(parents=True)
    rows = [("one", json.dumps(original_recipe("one")), "", "")]
    (folder / "recipes.db").write_bytes(made([RECIPES], {"recipes": rows}))
    sessions = [("s", "A chat", "m", None, "2025-01-01T00:00:00", "2025-01-01T00:00:00")]
    messages = [("a", "s", "user", "hello"), ("b", "s", "assistant", "hi")]
    chats = [(*one, "m", None, None, None, None, None, f"2025-01-01T00:00:0{at}") for at, one in enumerate(messages)]
    (folder / "chats.db").write_bytes(made(CHATS, {"chat_sessions": sessions, "chat_messages": chats}))
    (folder / "lifetime.db").write_bytes(lifetime(tokens_total=5))
    (folder / "metrics.db").write_bytes(made([PEAKS], {"peak_metrics": [("m", 1, 2, 3, 0, 0, "")]}))
    (folder / "broken.db").write_bytes(b"SQLite format 3\x00" + b"x" * 500)
    files = find_databases(str(tmp_path / "old"))
    assert [one.name for one in files] == ["recipes.db", "chats.db", "metrics.db", "lifetime.db", "broken.db"]
    dry = take_in(studio, files, dry_run=True)
    assert not studio.recipes.all()
    assert [bool(one.failed) for one in dry] == [False] * 4 + [True]
    done = take_in(studio, files)
    assert done[0].recipes is not None
    assert done[0].recipes.imported == ["one"]
    assert done[1].chats is not None
    assert [one.title for one in done[1].chats.taken] == ["A chat"]
    again = take_in(studio, files)
    assert again[0].recipes is not None
    assert (again[0].recipes.imported, again[0].recipes.existing) == ([], ["one"])
    assert again[1].chats is not None
    assert (len(again[1].chats.taken), len(again[1].chats.known)) == (0, 1)
    assert again[3].usage is not None
    assert (again[3].usage.added, again[3].usage.has_totals) == ({}, True)
    json.dumps([one.to_json() for one in again])


def test_a_path_that_is_nothing_of_it_says_what_to_name(tmp_path: Path) -> None:
    text = tmp_path / "recipes.json"
    text.write_text("{}")
    for path, words in ((tmp_path / "gone", "is not there"), (text, "is no database"), (tmp_path, "no database in")):
        with pytest.raises(StudioError, match=words) as raised:
            find_databases(str(path))
        assert raised.value.advice


def test_changes_that_wait_beside_a_database_are_in_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipes.db"
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute(RECIPES)
        writer.execute("INSERT INTO recipes VALUES ('new', ?, '', '')", (json.dumps(original_recipe("new")),))
        writer.commit()
        there = sorted(one.name for one in tmp_path.iterdir())
        stands = path.read_bytes()
        assert read_original(read_source(str(path)), "recipes.db").recipes
        assert path.read_bytes() == stands
        assert sorted(one.name for one in tmp_path.iterdir()) == there
        Path(f"{path}-wal").write_bytes(b"broken")
        raw, notes = read_database(str(path))
        assert raw == stands or notes


def test_a_typed_path_of_a_database_is_a_file_to_import(tmp_path: Path) -> None:
    path = tmp_path / "recipes.db"
    path.write_bytes(made([RECIPES], {}))
    assert read_typed(str(path)) == [Typed("file", str(path))]


def test_the_sql_of_a_hostile_database_is_never_run() -> None:
    loop = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS id, 'x' AS data FROM n"
    view = made([f"CREATE VIEW recipes AS {loop}", LIFETIME], {})
    assert read_original(view, "recipes.db").recipes is None
    computed = "CREATE TABLE recipes (id TEXT, junk TEXT, data TEXT AS (hex(zeroblob(3000000))))"
    raw = made([computed], {})
    (one,) = read_original(raw, "recipes.db").recipes or ()
    assert isinstance(one, BrokenRow)
    virtual = made(["CREATE VIRTUAL TABLE recipes USING fts5(id, data)", LIFETIME], {})
    assert read_original(virtual, "recipes.db").recipes is None
    with pytest.raises(StoreError, match="is the database of a studio"):
        read_original(made([RECIPES, "CREATE TABLE recipe_revisions (a)"], {}), "studio.db")
    with pytest.raises(StoreError, match="no database of the original"):
        read_original(made(["CREATE TABLE places (a)"], {}), "places.sqlite")


def seeds() -> Sequence[bytes]:
    rows = [(str(at), json.dumps(original_recipe(f"r{at}")), "", "") for at in range(5)]
    legacy = [(str(at), json.dumps(original_recipe(f"r{at}")), "", "", "", 0) for at in range(3)]
    return [
        made([RECIPES, PEAKS, LIFETIME], {"recipes": rows, "peak_metrics": [("m", 1, 2, 3, 0, 0, "")]}),
        made([LEGACY_RECIPES, *CHATS], {"recipes": legacy}),
        lifetime(tokens_total=5, first_started_at=1.7e9),
    ]


def mutated(raw: bytes, chance: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(16, len(data)) if chance.random() < 0.8 else chance.randrange(16, 120)
        kind = chance.randrange(4)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            data[at : at + 4] = chance.randbytes(4)
        elif kind == 2:
            size = chance.randint(1, 64)
            other = chance.randrange(16, len(data))
            data[at : at + size] = data[other : other + size]
        else:
            del data[chance.randrange(min(100, len(data)), len(data) + 1) :]
            if len(data) < 120:
                data += bytes(200)
    return bytes(data)


def test_broken_databases_are_refused_in_words_and_in_a_moment(studio: Studio) -> None:
    chance, given, slowest = random.Random(7), seeds(), 0.0
    read_original(given[0], "some.db")  # what is imported then is not counted
    for turn in range(600):
        raw = mutated(given[turn % len(given)], chance)
        began = time.thread_time()
        with contextlib.suppress(StudioError):
            read_original(raw, "some.db")
        slowest = max(slowest, time.thread_time() - began)
        if turn % 20 == 0:
            take_in(studio, [OriginalFile("some.db", raw)], dry_run=True)
    assert slowest < 0.05
