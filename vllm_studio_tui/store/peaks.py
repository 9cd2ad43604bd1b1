"""The highest speeds of each model, and totals over all time."""

from __future__ import annotations

from collections.abc import Mapping

from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.conversion import now, storable
from vllm_studio_tui.store.database import Database, Reader

#: Shorter answers say little about a speed.
PEAK_TOKENS = 16
#: Seconds for which a speed must have been held to be a peak, of an engine or of one answer.
PEAK_SECONDS = 10.0
#: The total that is a moment: of several the earliest counts.
FIRST = "first_started_at"


def read_peaks(db: Reader) -> dict[str, dict[str, float | None]]:
    """Return by model: `prefill_tps` and `generation_tps` in tokens per second, `ttft` in seconds."""
    found = db.rows("SELECT * FROM peak_metrics")
    return {row["model_id"]: {name: row[name] for name in ("prefill_tps", "generation_tps", "ttft")} for row in found}


def read_lifetime(db: Reader) -> dict[str, float | None]:
    """Return the totals over all time by name, as they were last saved."""
    found = db.rows("SELECT key, value FROM lifetime_metrics WHERE key NOT LIKE 'carried:%'")
    return {row["key"]: row["value"] for row in found}


def read_carried(db: Reader) -> dict[str, float]:
    """Return by name what other systems had counted before this one went on, all of them together."""
    found: dict[str, float] = {}
    for row in db.rows("SELECT key, value FROM lifetime_metrics WHERE key LIKE 'carried:%'"):
        name, value = str(row["key"]).rpartition(":")[2], float(row["value"])
        if name in found:
            value = min(found[name], value) if name == FIRST else found[name] + value
        found[name] = value
    return found


def held_speed(tokens: int, speed: float | None) -> float | None:
    """Return the speed of an answer that took as long as a peak must; None of a shorter one."""
    return speed if speed is not None and speed > 0 and tokens / speed >= PEAK_SECONDS else None


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
        dry_run: bool = False,
    ) -> bool:
        """Save what is better than before: the higher speed, the shorter time. Returns whether anything was.

        Args:
            dry_run: Nothing is kept.
        """
        model = storable(model)
        best = (as_number(prefill_tps), as_number(generation_tps), as_number(ttft))
        row = self._db.row("SELECT prefill_tps, generation_tps, ttft FROM peak_metrics WHERE model_id = ?", (model,))
        known: tuple[float | None, ...] = (None, None, None) if row is None else tuple(row)
        better = [
            new is not None and (old is None or (new < old if shorter else new > old))
            for new, old, shorter in zip(best, known, (False, False, True), strict=True)
        ]
        if dry_run or not any(better):
            return any(better)
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

    def carry(self, source: str, totals: Mapping[str, float], *, dry_run: bool = False) -> dict[str, float]:
        """Keep what another system had counted, beside what is counted here; return by name what that adds.

        What the same system had counted when it was last taken in is in its totals: only what came since is added.

        Args:
            source: What that system is known by.
            dry_run: Nothing is kept.
        """
        keys = {name: f"carried:{storable(source)}:{name}" for name in totals}
        rows = self._db.rows("SELECT key, value FROM lifetime_metrics WHERE key LIKE 'carried:%'")
        known = {row["key"]: float(row["value"]) for row in rows}
        better = {
            name: value
            for name, value in totals.items()
            if (old := known.get(keys[name])) is None or (value < old if name == FIRST else value > old)
        }
        if better and not dry_run:
            with self._db.write() as tables:
                kept = [{"key": keys[name], "value": value, "updated_at": now()} for name, value in better.items()]
                tables.table("lifetime_metrics").upsert_all(kept, pk="key")
        return {name: value if name == FIRST else value - known.get(keys[name], 0.0) for name, value in better.items()}
