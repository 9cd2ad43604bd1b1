"""Takes in logs of requests of another program, so that each request counts once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.domain.usage_imports import LogImport
from vllm_studio_tui.services.litellm_logs import SOURCE, fields_of, is_cache_hit, read_logs, request_of
from vllm_studio_tui.store.database import Database, Reader
from vllm_studio_tui.store.requests import RequestRows

#: Requests of one transaction: others that write wait no longer than that.
BATCH = 2000
#: Parameters of one query.
ASKED = 500
_HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "host.docker.internal"})  # noqa: S104


def import_logs(db: Database, raw: bytes, source: str, *, dry_run: bool = False) -> LogImport:
    """Take in the spend logs of a LiteLLM. Blocking.

    What came in before is left as it is; what was recorded here when it was made, and what no engine computed, is left
    out. A request that a run here answered is given to it: of a run the larger of its counters and its requests count.

    Raises:
        StoreError: They cannot be read, or not be kept.
    """
    rows = read_logs(raw, source)
    fields = fields_of(rows)
    cached = sum(is_cache_hit(row) for row in rows)
    read = [(row, request_of(row)) for row in rows if not is_cache_hit(row)]
    by_id = {one.id: (one, row) for row, one in read if one is not None}
    with db.reader() as reader:
        known = _known(reader, "id", list(by_id))
        ours = _known(reader, "upstream_id", [one.upstream_id or "" for one, _ in by_id.values()])
        runs = reader.rows("SELECT run_id, recipe_id, model, port, base_url, started_at, ended_at FROM runs")
    taken = [
        _of_run(one, row, runs)
        for name, (one, row) in by_id.items()
        if name not in known and one.upstream_id not in ours
    ]
    if not dry_run:
        for begin in range(0, len(taken), BATCH):
            RequestRows(db).record_all(taken[begin : begin + BATCH], None)
    return LogImport(
        requests=len(taken),
        tokens=sum((one.prompt_tokens or 0) + (one.completion_tokens or 0) for one in taken),
        known=len(known),
        ours=sum(one.upstream_id in ours and name not in known for name, (one, _) in by_id.items()),
        from_cache=cached,
        unreadable=sum(one is None for _, one in read),
        of_runs=sum(one.run_id is not None for one in taken),
        since=min((one.at for one in taken), default=None),
        until=max((one.at for one in taken), default=None),
        fields=fields,
    )


def _known(reader: Reader, column: str, values: Sequence[str]) -> set[str]:
    """Return which values a column of requests has; what came in from logs is not asked by the engine's id."""
    found: set[str] = set()
    besides = f"AND source != '{SOURCE}'" if column == "upstream_id" else ""
    for begin in range(0, len(values), ASKED):
        some = values[begin : begin + ASKED]
        marks = ", ".join("?" * len(some))
        query = f"SELECT {column} FROM requests WHERE {column} IN ({marks}) {besides}"  # noqa: RUF100, S608
        found |= {row[0] for row in reader.rows(query, some)}
    return found


def _of_run(request: CompletedRequest, row: dict[str, Any], runs: Sequence[Any]) -> CompletedRequest:
    """Return a request with the run here that answered it, by the engine's address and the time."""
    try:
        place = urlsplit(str(row.get("api_base") or ""))
        host, port = place.hostname, place.port
    except ValueError:
        return request
    for run in runs:
        if run["port"] != port or port is None or run["started_at"] is None:
            continue
        base = urlsplit(run["base_url"] or "").hostname
        lived = run["started_at"] <= request.at <= (run["ended_at"] or float("inf"))
        if lived and (host == base or (host in _HERE and base in _HERE)):
            return replace(request, run_id=run["run_id"], attempt=1, recipe_id=run["recipe_id"], model=run["model"])
    return request
