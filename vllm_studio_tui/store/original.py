"""Reads what the system that this one re-imagines kept in its databases: recipes, best speeds, totals.

Its first versions had `recipes.db` or `controller.db`, `chats.db`, `metrics.db` and `lifetime.db`; later ones have all
but the chats in `controller.db`. So a file is known by its tables, never by its name. Chats: `import_sqlite`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.hostile_database import HostileDatabase, open_hostile

#: Tables of which each is one of a studio of ours.
_OURS = frozenset({"recipe_revisions", "run_readings", "chat_search"})
#: Names of totals, the same here and there.
TOTALS = (
    "tokens_total",
    "prompt_tokens_total",
    "completion_tokens_total",
    "requests_total",
    "energy_wh",
    "uptime_seconds",
    "first_started_at",
)
MAX_RECIPES = 10_000
MAX_MODELS = 10_000


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A recipe that cannot be read: its id in the table, and why."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Original:
    """What a database of the original has.

    Attributes:
        recipes: JSON objects as it wrote them; None: it has no table of recipes.
        peaks: By model: `prefill_tps`, `generation_tps`, and `ttft` in seconds; None: no such table.
        totals: By the names of `TOTALS`; None: no such table.
        has_chats: It has tables of chats.
        notes: What could not be read, a sentence each.
    """

    recipes: tuple[dict[str, Any] | BrokenRow, ...] | None = None
    peaks: dict[str, dict[str, float]] | None = None
    totals: dict[str, float] | None = None
    has_chats: bool = False
    notes: tuple[str, ...] = field(default=())


def read_original(raw: bytes, source: str) -> Original:
    """Return what a database of the original has.

    Raises:
        StoreError: It is broken, of a studio of ours, or has none of the original's tables.
    """
    with open_hostile(raw, source) as db:
        tables = db.tables
        if not _OURS.isdisjoint(tables):
            advice = "Use --home for it, or take recipes along: vllm-studio recipes export -o recipes.yaml"
            raise StoreError(f"{source} is the database of a studio", advice=advice)
        found = Original(
            recipes=tuple(_recipes(db)) if "recipes" in tables else None,
            peaks=_peaks(db) if "peak_metrics" in tables else None,
            totals=_totals(db) if "lifetime_metrics" in tables else None,
            has_chats={"chat_sessions", "chat_messages"} <= tables,
            notes=(),
        )
        notes = (f"{db.left} rows of {source} are too large, and were left out",) if db.left else ()
    if found.recipes is None and found.peaks is None and found.totals is None and not found.has_chats:
        names = ", ".join(sorted(tables))[:200] or "none"
        raise StoreError(f"{source} is no database of the original", cause=f"Its tables are: {names}.")
    return Original(found.recipes, found.peaks, found.totals, found.has_chats, notes)


def _recipes(db: HostileDatabase) -> list[dict[str, Any] | BrokenRow]:
    """Return the recipes: `data` has the JSON, in the first versions a column `json`."""
    columns = db.columns("recipes")
    if "data" not in columns and "json" not in columns:
        names = ", ".join(columns)[:200]
        return [BrokenRow("recipes", f"the table has neither a column data nor json, but {names}")]
    found: list[dict[str, Any] | BrokenRow] = []
    for row in db.rows("recipes", ("id", "data", "json"), MAX_RECIPES):
        name = str(row.get("id") or "")[:80]
        text = row.get("data") if row.get("data") is not None else row.get("json")
        try:
            data = json.loads(text if isinstance(text, str | bytes) else "")
        except (ValueError, RecursionError) as error:
            found.append(BrokenRow(name, f"its data is no JSON: {str(error)[:100] or 'nested too deeply'}"))
            continue
        if isinstance(data, dict):
            # The id of the row is the one by which the original found it.
            found.append({**data, "id": data.get("id") or row.get("id")})
        else:
            found.append(BrokenRow(name, f"its data is no object, but {type(data).__name__}"))
    return found


def _peaks(db: HostileDatabase) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in db.rows("peak_metrics", ("model_id", "prefill_tps", "generation_tps", "ttft_ms"), MAX_MODELS):
        name = row.get("model_id")
        if not isinstance(name, str) or not name:
            continue
        values = {one: as_number(row.get(one)) for one in ("prefill_tps", "generation_tps", "ttft_ms")}
        kept = {one: value for one, value in values.items() if value}
        if "ttft_ms" in kept:
            kept["ttft"] = kept.pop("ttft_ms") / 1000
        if kept:
            found[name[:400]] = kept
    return found


def _totals(db: HostileDatabase) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in db.rows("lifetime_metrics", ("key", "value"), 1000):
        value = as_number(row.get("value"))
        if row.get("key") in TOTALS and value:  # it writes 0 for all that it does not know
            found[str(row["key"])] = value
    return found
