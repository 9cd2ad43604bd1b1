"""Logs of a real LiteLLM, as its API, its table as CSV and `pg_dump` of its Postgres give them: each request once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.errors import StoreError, StudioError
from vllm_studio_tui.domain.usage import CompletedRequest, UsageQuery
from vllm_studio_tui.kit import postgres_dump
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.litellm_logs import TABLE, read_logs, request_of
from vllm_studio_tui.services.original import find_databases, take_in
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.studio import Studio

FILES = Path(__file__).parents[1] / "fixtures" / "litellm"
NAMES = ("spend-logs.json", "spend-logs.csv", "dump-copy.sql", "dump-inserts.sql", "dump-columns.sql")
FIRST = "chatcmpl-dfa4859b5bff47b680b4c2fdcaa5b6fa"


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path / "home")) as one:
        yield one


@pytest.mark.parametrize("name", NAMES)
def test_every_form_says_the_same_and_comes_in_once(studio: Studio, name: str) -> None:
    raw = (FILES / name).read_bytes()
    planned = studio.usage.import_logs(raw, name, dry_run=True)
    assert (planned.requests, planned.tokens, planned.from_cache, planned.unreadable) == (7, 136, 2, 0)
    assert studio.usage.report(UsageQuery()).totals.requests == 0
    done = studio.usage.import_logs(raw, name)
    assert done == planned
    for other in NAMES:
        again = studio.usage.import_logs((FILES / other).read_bytes(), other)
        assert (again.requests, again.known) == (0, 7)
    made = studio.usage.report(UsageQuery())
    assert (made.totals.total_tokens, made.totals.requests, made.totals.failed) == (136, 7, 1)
    rows = {row.key: row for row in made.by_key}
    assert rows["phone"].kinds == {"computed": 2, "cached": 4, "untold": 0, "thinking": 12, "answer": 8}
    assert [row.key for row in made.by_source] == ["litellm"]
    assert done.fields["messages" if "messages" in done.fields else "spend"].startswith("left out")


def test_a_row_has_the_times_and_the_error_that_litellm_wrote() -> None:
    rows = {row["request_id"]: row for row in read_logs((FILES / "dump-copy.sql").read_bytes(), "x")}
    stream = request_of(rows["chatcmpl-8b21d807d2844ea7b4644abf66abebca"])
    assert stream is not None
    assert stream.streamed
    assert stream.ttft == pytest.approx(0.941, abs=1e-3)
    assert stream.total_seconds == pytest.approx(1.131, abs=1e-3)
    failed = request_of(rows["6f6ab1f2-0000-4000-8000-000000000001"])
    assert failed is not None
    assert (failed.finish, failed.status, failed.error) == ("failed", 500, "Connection error.\nTab\there")
    whole = request_of(rows[FIRST])
    assert whole is not None
    assert (whole.ttft, whole.endpoint, whole.requested_model) == (None, "/v1/chat/completions", "small")


def test_what_was_recorded_here_and_what_a_run_here_counted_is_not_added(studio: Studio) -> None:
    raw = (FILES / "spend-logs.json").read_bytes()
    at = next(
        one.at for row in read_logs(raw, "x") if (one := request_of(row)) is not None and row["request_id"] == FIRST
    )
    RequestRows(studio.db).record(
        CompletedRequest(
            at, "proxy", "stop", id="own", model="m", prompt_tokens=1, completion_tokens=20, upstream_id=FIRST
        )
    )
    spec = {"run_id": "r", "recipe_id": "rec", "model": "m", "port": 18911, "base_url": "http://127.0.0.1:18911/v1"}
    RunRows(studio.db).record({**spec, "created_at": at - 60}, {"run_id": "r", "state": "ready", "started_at": at - 60})
    values = {"prompt_tokens": 100.0, "generation_tokens": 400.0, "requests": 20.0}
    RunRows(studio.db).fold("r", [{"seq": 1, "t": at + 90, "attempt": 1, "kind": "counters", "values": values}])
    done = studio.usage.import_logs(raw, "spend-logs.json")
    assert (done.requests, done.ours, done.of_runs) == (6, 1, 6)
    made = studio.usage.report(UsageQuery())
    assert made.totals.total_tokens == 500 + 21  # the counters, and the one that named no run
    assert {row.key: row.total_tokens for row in made.by_source} == {"engine": 385, "litellm": 115, "proxy": 21}


def test_the_import_command_knows_them_from_the_originals_databases(studio: Studio, tmp_path: Path) -> None:
    found = find_databases(str(FILES / "dump-copy.sql"))
    (report,) = take_in(studio, found, dry_run=True)
    assert report.logs is not None
    assert report.to_json()["logs"]["requests"] == 7
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(StudioError, match="is no database"):
        find_databases(str(tmp_path / "other.json"))


def test_a_dump_for_pg_restore_says_how_to_make_sql_of_it() -> None:
    with pytest.raises(StoreError, match="only pg_restore reads") as caught:
        read_logs(b"PGDMP\x01\x0e\x00", "litellm.dump")
    assert "pg_restore" in caught.value.advice


def test_texts_with_quotes_tabs_and_ends_of_lines_come_out_of_a_dump_as_they_were() -> None:
    copied = f'COPY public."{TABLE}" (request_id, "a b") FROM stdin;\none\\ttwo\\\\\t\\N\nx\ty\\n\n\\.\n'
    assert list(postgres_dump.rows_of(copied, TABLE)) == [
        {"request_id": "one\ttwo\\", "a b": None},
        {"request_id": "x", "a b": "y\n"},
    ]
    inserted = (
        f'CREATE TABLE public."{TABLE}" (\n    request_id text NOT NULL,\n    "a b" text,\n'
        "    CONSTRAINT c PRIMARY KEY (request_id)\n);\n"
        f"INSERT INTO public.\"{TABLE}\" VALUES ('it''s; (a)', E'\\n'), ('two\nlines', NULL);\n"
        "INSERT INTO public.other VALUES ('no', 'no');\n"
        f"INSERT INTO public.\"{TABLE}\" (\"a b\", request_id) VALUES ('{{}}'::jsonb, 'z');\n"
    )
    assert list(postgres_dump.rows_of(inserted, TABLE)) == [
        {"request_id": "it's; (a)", "a b": "\n"},
        {"request_id": "two\nlines", "a b": None},
        {"request_id": "z", "a b": "{}"},
    ]


def test_no_file_does_harm(studio: Studio) -> None:
    chance = random.Random(7)
    for name in NAMES:
        raw = (FILES / name).read_bytes()
        for _ in range(25):
            cut = bytearray(raw[: chance.randrange(len(raw))])
            for _ in range(chance.randrange(40)):
                if cut:
                    cut[chance.randrange(len(cut))] = chance.randrange(256)
            try:
                studio.usage.import_logs(bytes(cut), name, dry_run=True)
            except StudioError as error:
                assert str(error)
    odd = [
        {"request_id": "a", "startTime": 7, "endTime": None},
        {"request_id": 5, "startTime": "2026-01-01"},
        {"request_id": "b", "startTime": "9999-12-31T23:59:59", "metadata": "[" * 5000},
        {"request_id": "c", "startTime": "2026-01-01 00:00:00", "prompt_tokens": -4, "completion_tokens": 1e300,
         "metadata": {"usage_object": [1]}, "api_base": "http://[::", "model": ["x"], "cache_hit": {}},
    ]  # fmt: skip
    done = studio.usage.import_logs(json.dumps(odd).encode(), "odd.json")
    assert (done.requests, done.unreadable) == (1, 3)
