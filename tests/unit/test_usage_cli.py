"""`vllm-studio usage`."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.elsewhere import where  # noqa: F401, RUF100
from vllm_studio_tui.cli import usage as command
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.domain.usage import BY, DAY, CompletedRequest, Price, UsageQuery, UsageReport, UsageRow
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.store import schema
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.peaks import PeakRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.usage import rows as paint

pytestmark = pytest.mark.usefixtures("where")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    return Places.of(os.environ)


def app() -> typer.Typer:
    made = typer.Typer()
    command.register(made)

    @made.command("other")
    def other() -> None:
        """Makes `usage` a subcommand."""

    return made


def ask(places: Places, model: str = "m") -> None:
    db = Database.open(places.database)
    RequestRows(db).record(
        CompletedRequest(
            time.time(), "chat", "stop", model=model, prompt_tokens=12_000, completion_tokens=345, ttft=0.25
        )
    )
    db.close()


def test_the_document_has_the_promised_keys(places: Places) -> None:
    ask(places)
    done = CliRunner().invoke(app(), ["usage", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["totals"]["total_tokens"] == 12_345
    assert document["totals"]["energy_wh"] is None
    assert {"totals", "cache", "by_model", "daily"} <= set(document)
    assert document["by_model"][0]["model"] == "m"
    db = Database.open(places.database)
    assert PeakRows(db).lifetime()["tokens_total"] == 12_345
    db.close()


def test_a_ledger_is_folded_before_it_is_reported(places: Places) -> None:
    folder = places.runs / "rec-1"
    folder.mkdir(parents=True)
    now = time.time()
    spec = RunSpec("rec-1", "rec", "Rec", "vllm", "model", ("x",), "127.0.0.1", 1, "http://127.0.0.1:1/v1", now)
    (folder / "spec.json").write_text(json.dumps(spec.to_json()))
    (folder / "state.json").write_text(json.dumps(RunState("rec-1", State.EXITED, started_at=now).to_json()))
    values = {"prompt_tokens": 40.0, "generation_tokens": 2.0, "requests": 3.0}
    lines = [
        {"seq": 1, "t": now, "attempt": 1, "kind": "spawn", "pid": 1},
        {"seq": 2, "t": now, "attempt": 1, "kind": "counters", "values": values},
    ]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"seq": 3, "t": to')
    for _ in range(2):
        document = json.loads(CliRunner().invoke(app(), ["usage", "--json"]).stdout)
        assert (document["totals"]["total_tokens"], document["totals"]["total_requests"]) == (42, 3)
        assert document["by_recipe"][0]["recipe"] == "rec"


def test_the_table_reads_at_a_glance(places: Places) -> None:
    ask(places)
    done = CliRunner().invoke(app(), ["usage", "--days", "2"])
    assert "last 2 days: 12.3k tokens (12.0k prompt, 345 completion) · 1 request · energy not measured" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("m "))
    assert row.split() == ["m", "12.3k", "12.0k", "345", "1", "250", "ms", "–", "–", "–", "–"]


def test_nothing_used_is_said(places: Places) -> None:
    assert "Nothing used yet." in CliRunner().invoke(app(), ["usage"]).stdout
    assert "Nothing used since" in CliRunner().invoke(app(), ["usage", "--days", "1"]).stdout


def test_csv_has_one_row_each_and_no_formulas(places: Places) -> None:
    ask(places, "=HYPERLINK(1)")
    ask(places, 'a,"b"\nc')
    done = CliRunner().invoke(app(), ["usage", "--csv"])
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["model"] for row in rows} == {"'=HYPERLINK(1)", 'a,"b"\nc'}
    assert {(row["total_tokens"], row["energy_wh"], row["ttft_p50"]) for row in rows} == {("12345", "", "0.25")}


def test_what_the_screen_exports_has_no_formulas_either() -> None:
    row = UsageRow("=HYPERLINK(1)", prompt_tokens=1)
    text = paint.as_csv([row], "model", UsageReport(UsageQuery(), 1.0, None, None, row))
    assert next(csv.DictReader(io.StringIO(text)))["model"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(("by", "key"), [(one, one) for one in BY])
def test_rows_can_be_by_other_things(places: Places, by: str, key: str) -> None:
    ask(places)
    done = CliRunner().invoke(app(), ["usage", "--by", by, "--csv"])
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert next(iter(row)) == key
    assert row["total_requests"] == "1"


def test_weeks_stand_against_the_one_before_and_sources_have_words(places: Places) -> None:
    db = Database.open(places.database)
    now = time.time()
    for back, tokens, source, key in ((0, 150, "proxy", "ci"), (7, 100, "chat", None), (21, 50, "bench", None)):
        request = CompletedRequest(
            now - back * DAY, source, "stop", model="m", prompt_tokens=tokens, key_id=key, key_name=key
        )
        RequestRows(db).record(request)
    db.close()
    weeks = CliRunner().invoke(app(), ["usage", "--by", "week"]).stdout.splitlines()
    head = next(index for index, line in enumerate(weeks) if line.startswith("WEEK"))
    assert [line.split()[-1] for line in weeks[head + 1 : head + 4]] == ["+50%", "–", "–"]
    sources = CliRunner().invoke(app(), ["usage", "--by", "source"]).stdout
    assert all(words in sources for words in ("programs, by serve", "chats here", "benchmarks"))
    keys = CliRunner().invoke(app(), ["usage", "--by", "key"]).stdout
    assert "\nci " in keys
    assert "\nwithout a key " in keys


def test_an_unknown_division_is_wrong_usage(places: Places) -> None:
    done = CliRunner().invoke(app(), ["usage", "--by", "moon"])
    assert isinstance(done.exception, UsageError)
    assert isinstance(CliRunner().invoke(app(), ["usage", "--json", "--csv"]).exception, UsageError)


def test_a_newer_database_is_reported_with_a_warning(places: Places) -> None:
    ask(places)
    db = Database.open(places.database)
    with db.write() as tables:
        tables.table("_sqlite_migrations").insert(
            {"migration_set": schema.MIGRATION_SET, "name": "9999_future", "applied_at": ""}
        )
    db.close()
    done = CliRunner().invoke(app(), ["usage", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["totals"]["total_tokens"] == 12_345
    assert "9999_future" in done.stderr


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (950, "950"), (9999, "9999"), (12_345, "12.3k"), (4.56e6, "4.56M")]
)
def test_amounts(value: float | None, text: str) -> None:
    assert numbers.rounded_count(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0004, "0.000 Wh"), (12.34, "12.3 Wh"), (1500, "1.50 kWh")])
def test_energies(value: float | None, text: str) -> None:
    assert numbers.watt_hours(value) == text


def test_estimated_figures_are_marked() -> None:
    row = UsageRow("", completion_tokens=5, energy_wh=12.34, energy_estimated=True, tokens_estimated=True)
    line = command.summary_line(UsageReport(UsageQuery(), 1.0, None, None, row, price=Price(0.3, "CHF")))
    assert "~5 completion" in line
    assert "energy ~12.3 Wh · cost ~0.0037 CHF" in line


@pytest.mark.parametrize("where", ["here"], indirect=True)
def test_what_energy_cost_is_shown_where_its_price_is_set(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(places)

    def measured(*args: object, **options: object) -> UsageReport:
        row = UsageRow("m", prompt_tokens=1, completion_tokens=1, requests=1, energy_wh=2500.0)
        none = UsageRow("n", prompt_tokens=1, completion_tokens=1, requests=1)
        return UsageReport(UsageQuery(), 1.0, None, None, row, by_model=(row, none))

    monkeypatch.setattr("vllm_studio_tui.services.usage.report", measured)
    plain = CliRunner().invoke(app(), ["usage"]).stdout
    assert "COST" not in plain
    assert json.loads(CliRunner().invoke(app(), ["usage", "--json"]).stdout)["totals"]["cost"] is None
    monkeypatch.setenv("VLLM_STUDIO_ELECTRICITY_PRICE", "0.30")
    monkeypatch.setenv("VLLM_STUDIO_CURRENCY", "CHF")
    shown = CliRunner().invoke(app(), ["usage"]).stdout
    assert "COST" in shown
    assert "cost 0.7500 CHF" in shown
    document = json.loads(CliRunner().invoke(app(), ["usage", "--json"]).stdout)
    assert (document["currency"], document["totals"]["cost"]) == ("CHF", 0.75)
    assert [row["cost"] for row in document["by_model"]] == [0.75, None]
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(app(), ["usage", "--csv"]).stdout)))
    assert [row["cost_chf"] for row in rows] == ["0.75", ""]
    assert [row["cost_chf_per_million"] for row in rows] == ["375000.0", ""]
    priced = replace(measured(), price=Price(0.3, "CHF"))
    cost = next(one for one in paint.columns_of(priced, "model", UNICODE) if one.name == "cost")
    assert cost.head == "CHF"
    assert cost.value(priced.totals) == [("0.7500", "fg")]
