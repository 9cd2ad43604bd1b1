"""The tables of runs and of the readings in their ledgers.

A reading is kept once, by run and sequence number; everything else is derived from readings when it is asked for.
So ledgers may be folded in any order, in pieces, again and again, and by several processes at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.run import FINAL
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.store.conversion import from_json, integer, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.peaks import PEAK_TOKENS

#: The raw cumulative counters of an engine, as a `counters` line names them.
COUNTERS = ("prompt_tokens", "generation_tokens", "cached_tokens", "requests")
_OWN_KEYS = frozenset({"seq", "t", "attempt", "kind"})
_MOST_DATA = 8192
_MOST_GPUS = 64


class RunRows:
    """The tables `runs`, `run_readings`, `gpu_energy` and `run_gpus`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, spec: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Save what a run's `spec.json` and `state.json` say now. An ended run never becomes live again."""
        row = _run_row(spec, state)
        if row is None:
            return
        known = self.get(row["run_id"])
        if known is not None:
            if known["state"] in FINAL and row["state"] not in FINAL:
                return
            if all(known[name] == value for name, value in row.items()):
                return
        with self._db.write() as tables:
            tables.table("runs").upsert(row, pk="run_id")

    def get(self, run_id: str) -> dict[str, Any] | None:
        """Return a run's row."""
        row = self._db.row("SELECT * FROM runs WHERE run_id = ?", (run_id,))
        return None if row is None else dict(row)

    def list(self, *, recipe_id: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Return runs, the latest first, with `gpus` as a list."""
        where, values = ("WHERE recipe_id = ?", [recipe_id]) if recipe_id is not None else ("", [])
        query = f"SELECT * FROM runs {where} ORDER BY created_at DESC, run_id DESC LIMIT ?"  # noqa: RUF100, S608
        return [{**dict(row), "gpus": from_json(row["gpus"], list)} for row in self._db.rows(query, (*values, limit))]

    def fold(self, run_id: str, lines: Iterable[Mapping[str, Any]]) -> int:
        """Save the lines of a ledger that are not saved yet, and return how many these were.

        A line is `{"seq", "t", "attempt", "kind", ..}`. Lines without a usable number or time are passed over; kinds
        and keys that are not known are kept as they are.
        """
        run_id = storable(run_id)
        readings = {row["seq"]: row for line in lines if (row := _reading(run_id, line)) is not None}
        if not readings:
            return 0
        with self._db.write() as tables:
            before = tables.conn.total_changes
            # Table.insert_all looks for the rowid of what it ignored, and this table has none.
            columns = ("run_id", "seq", "at", "attempt", "kind", *COUNTERS, "data")
            tables.conn.executemany(
                f"INSERT OR IGNORE INTO run_readings ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: RUF100, S608
                [[row[name] for name in columns] for row in readings.values()],
            )
            new: int = tables.conn.total_changes - before
            if new:
                for row in readings.values():
                    _keep_energy(tables.conn, row)
        return new

    def peak_generation(self, run_id: str) -> float | None:
        """Return the highest known speed in tokens per second; None if nothing is known.

        The fastest answer of ours, the fastest stretch of answers as the engine timed them, or, of an engine that was
        busy with many, all its tokens between two readings of one attempt.
        """
        found = [
            row[0]
            for row in self._db.rows(
                """SELECT MAX(tokens_per_second) FROM requests WHERE run_id = ?1 AND completion_tokens >= ?2
                    UNION ALL SELECT json_extract(data, '$.tokens_per_second') FROM run_readings
                    WHERE run_id = ?1 AND kind = 'peak' AND json_valid(data)""",
                (run_id, PEAK_TOKENS),
            )
        ]
        speeds = [speed for one in found if (speed := as_number(one)) is not None and speed > 0]
        speeds += [tokens / seconds for tokens, seconds in self._stretches(run_id)]
        return max(speeds, default=None)

    def mean_generation(self, run_id: str) -> float | None:
        """Return the tokens per second over the time in which the engine wrote any; None if nothing is known."""
        busy = [(tokens, seconds) for tokens, seconds in self._stretches(run_id) if tokens > 0]
        seconds = sum(one for _, one in busy)
        return sum(tokens for tokens, _ in busy) / seconds if seconds > 0 else None

    def _stretches(self, run_id: str) -> Iterator[tuple[float, float]]:
        """Yield tokens and seconds between each two readings of one attempt."""
        last: tuple[int, float, float] | None = None
        for attempt, at, tokens in self._db.rows(
            """SELECT attempt, at, generation_tokens FROM run_readings WHERE run_id = ? AND kind = 'counters'
                AND generation_tokens IS NOT NULL ORDER BY seq""",
            (run_id,),
        ):
            if last is not None and last[0] == attempt and at > last[1] and tokens >= last[2]:
                yield tokens - last[2], at - last[1]
            last = (attempt, at, tokens)

    def last_seq(self, run_id: str) -> int:
        """Return the number of the last saved line; 0 without one. Folding in order has saved all before it."""
        row = self._db.row("SELECT MAX(seq) FROM run_readings WHERE run_id = ?", (storable(run_id),))
        return int(row[0] or 0) if row is not None else 0

    def folded_seq(self, run_id: str) -> int:
        """Return the number up to which every line of the run's ledger is saved; 0 if the first is not."""
        row = self._db.row(
            "SELECT COUNT(*), MIN(seq), MAX(seq) FROM run_readings WHERE run_id = ? AND seq > 0", (run_id,)
        )
        if row is None or row[1] != 1:
            return 0
        if row[0] == row[2]:
            return int(row[2])
        gap = self._db.row(
            """SELECT MIN(a.seq) FROM run_readings a WHERE a.run_id = ?1 AND a.seq > 0 AND NOT EXISTS
                (SELECT 1 FROM run_readings b WHERE b.run_id = ?1 AND b.seq = a.seq + 1)""",
            (run_id,),
        )
        return int(gap[0]) if gap else 0


def _run_row(spec: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any] | None:
    run_id = spec.get("run_id") or state.get("run_id")
    if not isinstance(run_id, str):
        return None
    gpus = spec.get("gpus")
    names = ("recipe_id", "name", "backend", "model", "base_url")
    return {
        "run_id": storable(run_id),
        **{name: optional_text(spec.get(name)) for name in names},
        "port": integer(spec.get("port")),
        "gpus": to_json([str(one) for one in gpus] if isinstance(gpus, list | tuple) else []),
        "simulated": int(bool(spec.get("simulated"))),
        "created_at": as_number(spec.get("created_at")),
        **{name: as_number(state.get(name)) for name in ("started_at", "ready_at", "ended_at")},
        "state": optional_text(None if state.get("state") is None else str(state["state"])),
        **{name: integer(state.get(name)) for name in ("attempt", "restarts", "exit_code", "exit_signal")},
        "reason": optional_text(state.get("reason")),
        "title": optional_text(state.get("title")),
        "recipe": _object(spec.get("recipe")),
        "marks": _object(state.get("marks")),
        **{name: optional_text(spec.get(name)) for name in ("recipe_revision", "engine_version")},
        "revision_number": integer(spec.get("revision_number")),
    }


def _object(value: Any) -> str | None:
    return to_json(dict(value)) if isinstance(value, Mapping) and value else None


def _reading(run_id: str, line: Mapping[str, Any]) -> dict[str, Any] | None:
    seq, at, kind = integer(line.get("seq")), as_number(line.get("t")), line.get("kind")
    if seq is None or at is None or not isinstance(kind, str):
        return None
    values = line.get("values") if kind == "counters" else None
    counters = {name: as_number(values.get(name)) if isinstance(values, Mapping) else None for name in COUNTERS}
    data: str | None = None
    if kind not in ("counters", "energy"):
        data = to_json({key: value for key, value in line.items() if key not in _OWN_KEYS})
    return {
        "run_id": run_id,
        "seq": seq,
        "at": at,
        "attempt": integer(line.get("attempt")) or 1,
        "kind": storable(kind)[:40],
        **counters,
        "data": data if data is None or len(data) <= _MOST_DATA else None,
        "energy": _energy(line) if kind == "energy" else {},
    }


def _energy(line: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return millijoules by GPU and boot: a counter starts again with the boot."""
    gpus = line.get("gpus")
    boot = optional_text(line.get("boot_id")) or ""
    if not isinstance(gpus, Mapping):
        return {}
    found = {}
    for uuid, millijoules in list(gpus.items())[:_MOST_GPUS]:
        value = as_count(millijoules)
        if isinstance(uuid, str) and value is not None:
            found[storable(uuid), boot] = value
    return found


def _keep_energy(connection: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    """Save a GPU's reading once, whichever run brought it. Largest, first and last do not depend on the order."""
    at = row["at"]
    for (uuid, boot), millijoules in row["energy"].items():
        connection.execute(
            """INSERT INTO gpu_energy (uuid, boot_id, at, millijoules) VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET millijoules = max(millijoules, excluded.millijoules)""",
            (uuid, boot, at, millijoules),
        )
        connection.execute(
            """INSERT INTO run_gpus (run_id, uuid, boot_id, first_at, last_at) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET
                    first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)""",
            (row["run_id"], uuid, boot, at, at),
        )
