"""LiteLLM's callback: a line of JSON for each request, which the studio makes rows of. It never fails a request.

A line has the engine's own id of the answer, by which it is joined to what `serve` counted; prompts and answers are
not in it. Lines go to `NAME-NUMBER.jsonl` files, where the name is this process's; a full file is followed by another.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

try:
    from litellm.integrations.custom_logger import CustomLogger as _Base
except ImportError:  # outside of LiteLLM's environment
    _Base = object

#: Bytes after which another file is begun.
FULL = 256 * 1024


class StudioCallback(_Base):  # type: ignore[misc]
    """Writes what LiteLLM tells of requests.

    Args:
        folder: Where to; None: what `GATEWAY_CALLS` names.
    """

    def __init__(self, folder: str | None = None) -> None:
        super().__init__()
        self._folder = Path(folder or os.environ.get("GATEWAY_CALLS") or os.devnull)
        self._begun = time.time_ns()
        self._number = 0

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write("success", kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write("failure", kwargs, response_obj, start_time, end_time)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write("success", kwargs, response_obj, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._write("failure", kwargs, response_obj, start_time, end_time)

    def _write(self, status: str, kwargs: Any, response: Any, start: Any, end: Any) -> None:
        try:
            line = json.dumps(_facts(status, kwargs, response, start, end), separators=(",", ":")) + "\n"
            path = self._path()
            if path.exists() and path.stat().st_size >= FULL:
                self._number += 1
                path = self._path()
            # One write with O_APPEND: a line is there as a whole or not at all.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
        except Exception:  # noqa: BLE001, S110 - a request is never failed for its record
            pass

    def _path(self) -> Path:
        return self._folder / f"{os.getpid()}-{self._begun}-{self._number:06}.jsonl"


def _facts(status: str, kwargs: Any, response: Any, start: Any, end: Any) -> dict[str, Any]:
    told = kwargs.get("standard_logging_object") or {}
    metadata = told.get("metadata") or {}
    error = told.get("error_information") or {}
    began, ended = _seconds(start), _seconds(end)
    failed = status == "failure"
    return {
        "v": 1,
        "call": _text(kwargs.get("litellm_call_id") or told.get("litellm_call_id") or told.get("id")),
        "at": ended or time.time(),
        "status": status,
        "response": None if failed else _text(_member(response, "id")) or _text(told.get("id")),
        "kind": _text(told.get("call_type") or kwargs.get("call_type")),
        "model": _text(told.get("model_group")) or _text(kwargs.get("model")),
        "recipe": _text(told.get("model_id")),
        "key": _text(metadata.get("user_api_key_alias")),
        "cache_hit": bool(told.get("cache_hit") or kwargs.get("cache_hit")),
        "cost": None if failed else _number(told.get("response_cost")),
        "prompt_tokens": None if failed else _number(told.get("prompt_tokens")),
        "completion_tokens": None if failed else _number(told.get("completion_tokens")),
        "seconds": round(ended - began, 6) if ended and began else None,
        "streamed": bool(told.get("stream")),
        "error": _text(error.get("error_class")) if failed else None,
        "http_status": _text(error.get("error_code")) if failed else None,
    }


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _text(value: Any) -> str | None:
    return value[:300] if isinstance(value, str) and value else None


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _seconds(moment: Any) -> float | None:
    """Return a moment in seconds since the epoch; LiteLLM's have the local zone and do not say so."""
    return moment.timestamp() if isinstance(moment, datetime) else _number(moment)


#: What the configuration names.
callback = StudioCallback()
