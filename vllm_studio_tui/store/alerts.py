"""The table of alerts: what rules said, and whether it was told."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.conversion import optional_text, storable
from vllm_studio_tui.store.database import Database

#: How many alerts that are over are kept.
KEPT = 5000
#: Of one machine, or of all.
_OF = "(? IS NULL OR machine IN (?, ''))"


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """An alert with the key of what it is about, and whether it was told that it began."""

    key: str
    alert: Alert
    told: bool = False


class AlertRows:
    """The table `alerts`.

    Args:
        machine: The machine whose alerts are read, and those of which it is not known; None: all.
    """

    def __init__(self, db: Database, machine: str | None = None) -> None:
        self._db = db
        self._machine = machine

    def open(self) -> list[KeptAlert]:
        """Return those that are not over, oldest first."""
        found = self._db.rows(
            f"SELECT * FROM alerts WHERE until IS NULL AND {_OF} ORDER BY since",  # noqa: S608
            (self._machine, self._machine),
        )
        return [_kept(row) for row in found]

    def latest(self, since: float = 0.0, limit: int = 200) -> list[Alert]:
        """Return those that lasted at a moment or began after it, the latest first."""
        found = self._db.rows(
            f"SELECT * FROM alerts WHERE (until IS NULL OR until >= ?) AND {_OF}"  # noqa: S608
            " ORDER BY since DESC LIMIT ?",
            (since, self._machine, self._machine, limit),
        )
        return [_kept(row).alert for row in found]

    def put(self, key: str, alert: Alert, *, told: bool) -> None:
        """Keep an alert as it is now."""
        row = {
            "id": storable(alert.id),
            "rule": storable(alert.rule),
            "about": storable(key),
            "subject": storable(alert.subject),
            "run_id": optional_text(alert.run_id),
            "severity": alert.severity,
            "since": as_number(alert.since) or 0.0,
            "until": as_number(alert.until),
            "value": as_number(alert.value),
            "words": storable(alert.words),
            "told": int(told),
            "machine": storable(alert.machine),
            "host": storable(alert.host),
        }
        with self._db.write() as tables:
            tables.table("alerts").upsert(row, pk="id")
            if alert.until is not None:
                tables.execute(
                    "DELETE FROM alerts WHERE until IS NOT NULL AND id NOT IN"
                    " (SELECT id FROM alerts ORDER BY since DESC LIMIT ?)",
                    (KEPT,),
                )


def _kept(row: sqlite3.Row) -> KeptAlert:
    alert = Alert(
        str(row["rule"]),
        str(row["subject"]),
        as_number(row["since"]) or 0.0,
        str(row["severity"]),
        as_number(row["until"]),
        as_number(row["value"]),
        str(row["words"]),
        run_id=optional_text(row["run_id"]),
        id=str(row["id"]),
        machine=str(row["machine"]),
        host=str(row["host"]),
    )
    return KeptAlert(str(row["about"]), alert, bool(row["told"]))
