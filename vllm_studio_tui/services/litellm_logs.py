"""Read the spend logs of a LiteLLM: what its API answers (JSON), its table as CSV, or a dump of its Postgres.

Its row is a request that it sent on, or answered from its own cache. Money is what its price table says of a provider,
not what an engine here costs, and texts are no usage: both are left out, and the report says so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit import postgres_dump, safe_json

TABLE = "LiteLLM_SpendLogs"
SOURCE = "litellm"
#: What becomes of each column.
FIELDS: Mapping[str, str] = {
    "request_id": "known by it: a request comes in once",
    "call_type": "the endpoint",
    "api_key": "the key, by its name; of a hash its first letters",
    "spend": "left out: what energy costs is reckoned from what was measured",
    "total_tokens": "left out: the sum of the next two",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "answered tokens",
    "startTime": "its time",
    "endTime": "when it ended",
    "completionStartTime": "the time to the first token, of streams",
    "request_duration_ms": "left out: the two times say it",
    "model": "the model",
    "model_group": "the model as it was asked for",
    "api_base": "the engine: where it is one of a run here, its counters count",
    "metadata": "cached and thought tokens, the name of the key, the error",
    "cache_hit": "answers from LiteLLM's own cache are left out: no engine computed them",
    "end_user": "the client",
    "requester_ip_address": "the client",
    "status": "how it ended",
    "messages": "left out: texts are no usage",
    "response": "left out: texts are no usage",
    "proxy_server_request": "left out: texts are no usage",
}
_ENDPOINTS = {
    "completion": "/v1/chat/completions", "text_completion": "/v1/completions", "embedding": "/v1/embeddings",
    "responses": "/v1/responses", "rerank": "/v1/rerank", "anthropic_messages": "/v1/messages",
}  # fmt: skip
_HASH = re.compile(r"[0-9a-f]{64}")
#: Columns without which it is something else.
_NEEDED = {"request_id", "startTime"}


def looks_like_logs(raw: bytes) -> bool:
    """Return whether this may be spend logs, by what stands in its begin."""
    return raw[:5] == postgres_dump.CUSTOM or b"request_id" in raw[:200_000] or TABLE.encode() in raw[:200_000]


def read_logs(raw: bytes, source: str) -> list[dict[str, Any]]:
    """Return the rows of spend logs, each a mapping by column; JSON is parsed.

    Raises:
        StoreError: It is none of the forms.
    """
    if raw.startswith(postgres_dump.CUSTOM):
        advice = f"Make SQL of it: pg_restore -t '\"{TABLE}\"' -f logs.sql {source}"
        raise StoreError(f"{source} is a dump that only pg_restore reads", advice=advice)
    text = raw.decode("utf-8-sig", "replace")
    begin = text.lstrip()[:1]
    if begin in ("[", "{"):
        rows = list(_json_rows(text))
    elif "COPY " in text or "INSERT INTO " in text:
        rows = list(postgres_dump.rows_of(text, TABLE))
    else:
        rows = list(_csv_rows(text))
    rows = [row for row in rows if row.keys() >= _NEEDED]
    if not rows:
        raise StoreError(
            f"{source} has no spend logs of LiteLLM",
            cause=f"No row of it has {' and '.join(sorted(_NEEDED))}.",
            advice=f'Take GET /spend/logs, a CSV of the table "{TABLE}", or pg_dump -t \'"{TABLE}"\'.',
        )
    return rows


def _json_rows(text: str) -> Iterator[dict[str, Any]]:
    try:
        found = safe_json.loads(text)
    except ValueError:
        for line in text.splitlines():  # an object a line
            try:
                one = safe_json.loads(line) if line.strip() else None
            except ValueError:
                continue
            if isinstance(one, dict):
                yield one
        return
    for _ in range(3):  # a page of the API has them in `data`
        if isinstance(found, dict) and not found.keys() >= _NEEDED:
            found = next((found[name] for name in ("data", "logs", "spend_logs") if name in found), [])
    yield from (one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict))


def _csv_rows(text: str) -> Iterator[dict[str, Any]]:
    before = csv.field_size_limit(2**31 - 1)
    try:
        head = text.split("\n", 1)[0]
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ","
        )
        for row in reader:
            yield {name: value if value != "" else None for name, value in row.items() if isinstance(name, str)}
    except csv.Error:
        return
    finally:
        csv.field_size_limit(before)


def is_cache_hit(row: Mapping[str, Any]) -> bool:
    """Return whether LiteLLM answered from its own cache."""
    return str(row.get("cache_hit")).lower() in ("true", "t")


def request_of(row: Mapping[str, Any]) -> CompletedRequest | None:
    """Return a row as a request; None where it has no time or no id."""
    name = row.get("request_id")
    start, end = _time(row.get("startTime")), _time(row.get("endTime"))
    end = start if end is None else end
    if not isinstance(name, str) or not name or end is None:
        return None
    meta = _object(row.get("metadata"))
    usage = _object(meta.get("usage_object")) or _object(meta.get("additional_usage_values"))
    first = _time(row.get("completionStartTime"))
    streamed = first is not None and start is not None and start < first < end
    written = _count(row.get("completion_tokens"))
    took = end - start if start is not None and end >= start else None
    failed = str(row.get("status") or meta.get("status") or "").lower() in ("failure", "failed", "error")
    speed = written / (end - first) if streamed and first is not None and written and written > 1 else None
    error = _object(meta.get("error_information")).get("error_message") if failed else None
    call = str(row.get("call_type") or "").removeprefix("a")
    return CompletedRequest(
        end,
        SOURCE,
        "failed" if failed else "stop",
        id=f"{SOURCE}-{name}",
        model=_text(row.get("model")) or _text(row.get("model_group")),
        requested_model=_text(row.get("model_group")) or _text(row.get("model")),
        prompt_tokens=_count(row.get("prompt_tokens")),
        completion_tokens=written,
        reasoning_tokens=_count(_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cached_tokens=_count(_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        ttft=first - start if streamed and first is not None and start is not None else None,
        total_seconds=took,
        tokens_per_second=speed,
        error=_text(error),
        key_name=_key(row, meta),
        endpoint=_ENDPOINTS.get(call, f"/{call}" if call else None),
        status=500 if failed else 200,
        streamed=streamed,
        upstream_id=name,
        client=_text(row.get("end_user")) or _text(row.get("requester_ip_address")),
    )


def fields_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return by column that has anything what becomes of it."""
    names: dict[str, str] = {}
    for row in rows:
        for name, value in row.items():
            if value not in (None, "", "{}", "[]", {}, []) and name not in names:
                names[name[:80]] = FIELDS.get(name, "left out")
    return dict(sorted(names.items()))


def _key(row: Mapping[str, Any], meta: Mapping[str, Any]) -> str | None:
    alias = _text(meta.get("user_api_key_alias"))
    key = _text(row.get("api_key")) or _text(meta.get("user_api_key"))
    return alias or (key[:8] if key is not None and _HASH.fullmatch(key) else key)


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = safe_json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value[:400] if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    try:
        found = int(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < 2**53 else None


def _time(value: Any) -> float | None:
    """Return seconds since the epoch; without a zone it is UTC, as LiteLLM writes it."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        at = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return at if 0 < at < 1e11 else None
