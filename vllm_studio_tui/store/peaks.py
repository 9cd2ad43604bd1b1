"""The highest speeds of each model, and totals over all time."""

from __future__ import annotations

from collections.abc import Mapping

from vllm_studio_tui.store.conversion import now, number, storable
from vllm_studio_tui.store.database import Database, Reader

#: Shorter answers say little about a speed.
PEAK_TOKENS = 16


def read_peaks(db: Reader) -> dict[str, dict[str, float | None]]:
    """Return by model: `prefill_tps` and `generation_tps` in tokens per second, `ttft` in seconds."""
    found = db.rows("SELECT * FROM peak_metrics")
    return {row["model_id"]: {name: row[name] for name in ("prefill_tps", "generation_tps", "ttft")} for row in found}


def read_lifetime(db: Reader) -> dict[str, float | None]:
    """Return the totals over all time by name, as they were last saved."""
    return {row["key"]: row["value"] for row in db.rows("SELECT key, value FROM lifetime_metrics")}


class PeakRows:
    """The tables `peak_metrics` and `lifetime_metrics`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self) -> dict[str, dict[str, float | None]]:
        """See `read_peaks`."""
        return read_peaks(self._db)

    def offer(
        self,
        model: str,
        *,
        prefill_tps: float | None = None,
        generation_tps: float | None = None,
        ttft: float | None = None,
    ) -> bool:
        """Save what is better than before: the higher speed, the shorter time. Returns whether anything was."""
        model = storable(model)
        best = (number(prefill_tps), number(generation_tps), number(ttft))
        row = self._db.row("SELECT prefill_tps, generation_tps, ttft FROM peak_metrics WHERE model_id = ?", (model,))
        known: tuple[float | None, ...] = (None, None, None) if row is None else tuple(row)
        better = [
            new is not None and (old is None or (new < old if shorter else new > old))
            for new, old, shorter in zip(best, known, (False, False, True), strict=True)
        ]
        if not any(better):
            return False
        with self._db.write() as tables:
            # SQLite's max() and min() of several values are null when one is.
            tables.execute(
                """INSERT INTO peak_metrics (model_id, prefill_tps, generation_tps, ttft, updated_at)
                    VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
                    prefill_tps = COALESCE(max(prefill_tps, excluded.prefill_tps), prefill_tps, excluded.prefill_tps),
                    generation_tps = COALESCE(
                        max(generation_tps, excluded.generation_tps), generation_tps, excluded.generation_tps),
                    ttft = COALESCE(min(ttft, excluded.ttft), ttft, excluded.ttft),
                    updated_at = excluded.updated_at""",
                (model, *best, now()),
            )
        return True

    def lifetime(self) -> dict[str, float | None]:
        """See `read_lifetime`."""
        return read_lifetime(self._db)

    def set_lifetime(self, values: Mapping[str, float | None]) -> bool:
        """Replace the totals, which are derived anew each time; returns whether anything changed."""
        known = self.lifetime()
        changed = {key: value for key, value in values.items() if value is not None and known.get(key) != value}
        if not changed:
            return False
        with self._db.write() as tables:
            rows = [{"key": key, "value": value, "updated_at": now()} for key, value in changed.items()]
            tables.table("lifetime_metrics").upsert_all(rows, pk="key")
        return True
