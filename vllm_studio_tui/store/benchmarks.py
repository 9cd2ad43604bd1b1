"""The tables of benchmarks: a result each, and what was measured of its requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.conversion import from_json, integer, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database

#: Columns of `benchmarks` besides the document; the document has them too.
_TEXTS = ("recipe_id", "run_id", "model", "engine", "engine_version")


class BenchmarkRows:
    """The tables `benchmarks` and `benchmark_requests`. A result is a document: see `domain.bench.BenchResult`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(
        self,
        result: Mapping[str, Any],
        requests: Mapping[tuple[int, int], Mapping[str, Sequence[Any]]],
    ) -> None:
        """Keep a result in the place of an earlier one of its id.

        Args:
            requests: By step and repeat, what was measured of each request, column by column.
        """
        row = {
            "id": storable(str(result["id"])),
            "at": as_number(result.get("at")) or 0.0,
            **{name: optional_text(result.get(name)) for name in _TEXTS},
            "revision": integer(result.get("revision")),
            "state": storable(str(result.get("state"))),
            "source": storable(str(result.get("source"))),
            "data": to_json(dict(result)),
        }
        with self._db.write() as tables:
            tables.execute("DELETE FROM benchmarks WHERE id = ?", (row["id"],))
            tables.table("benchmarks").insert(row)
            tables.conn.executemany(
                "INSERT INTO benchmark_requests (bench_id, step, repeat, data) VALUES (?, ?, ?, ?)",
                [(row["id"], step, repeat, to_json(dict(data))) for (step, repeat), data in requests.items()],
            )

    def get(self, bench_id: str) -> dict[str, Any] | None:
        """Return the document of a result."""
        row = self._db.row("SELECT data FROM benchmarks WHERE id = ?", (storable(bench_id),))
        return None if row is None else from_json(row[0], dict)

    def list(self, recipe: str | None = None, limit: int = 100) -> Iterable[dict[str, Any]]:
        """Return documents, the latest first: all, or those of a recipe, a run or a model."""
        where, values = "", tuple[Any, ...]()
        if recipe is not None:
            where, values = "WHERE ? IN (recipe_id, run_id, model)", (storable(recipe),)
        query = f"SELECT data FROM benchmarks {where} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: RUF100, S608
        return [from_json(row[0], dict) for row in self._db.rows(query, (*values, limit))]

    def requests(self, bench_id: str) -> dict[tuple[int, int], dict[str, Any]]:
        """Return what was measured of each request, by step and repeat, column by column."""
        found = self._db.rows(
            "SELECT step, repeat, data FROM benchmark_requests WHERE bench_id = ? ORDER BY step, repeat",
            (storable(bench_id),),
        )
        return {(row["step"], row["repeat"]): from_json(row["data"], dict) for row in found}

    def delete(self, bench_id: str) -> bool:
        """Delete a result with its requests; return whether there was one."""
        with self._db.write() as tables:
            return bool(tables.execute("DELETE FROM benchmarks WHERE id = ?", (storable(bench_id),)).rowcount)
