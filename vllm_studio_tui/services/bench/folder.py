"""The folder of a benchmark while it is made, and until the database has it: all that was measured, whatever ends it.

`result.json` is the result so far, rewritten after each step; `requests.jsonl` has a line for each request that ended;
`progress.json` is where it is. Only the process that measures writes there, and it holds `lock` while it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.bench import STATES, BenchPlan, BenchProgress, BenchRequest, BenchResult, BenchStep
from vllm_studio_tui.domain.bench_plan import as_list
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.kit.paths import Places, machine_id, private_dir, write_atomic

RESULT, REQUESTS, PROGRESS, LOCK, LOG = "result.json", "requests.jsonl", "progress.json", "lock", "bench.log"
#: A file by which another program asks it to stop.
STOP = "stop"
#: Bytes of a result, and of all requests, that are read.
MAX_RESULT, MAX_REQUESTS = 32 << 20, 512 << 20
#: Of each request the database keeps these, column by column.
COLUMNS = tuple(one.name for one in fields(BenchRequest) if one.name not in ("step", "repeat"))


def folder_of(places: Places) -> Path:
    """Return where benchmarks of this machine are while they are made."""
    return places.state / "bench" / machine_id()


def result_document(result: BenchResult) -> dict[str, Any]:
    """Return a result as it is kept: `BenchResult.to_json` is for people's programs."""
    document = {one.name: getattr(result, one.name) for one in fields(result)}
    return {**document, "plan": result.plan.to_json(), "steps": [one.to_json() for one in result.steps]}


def result_of(data: object) -> BenchResult | None:
    """Return a result that was kept; None for what is none. Any value is taken."""
    if not isinstance(data, Mapping) or not isinstance(data.get("id"), str):
        return None
    found: dict[str, Any] = {}
    for one in fields(BenchResult):
        value = data.get(one.name)
        if one.name in ("gpus", "gpu_uuids", "notes"):
            found[one.name] = tuple(each[:1000] for each in as_list(value) if isinstance(each, str))
        elif one.name in ("at", "ended_at"):
            found[one.name] = as_number(value)
        elif one.name == "revision":
            found[one.name] = value if isinstance(value, int) and not isinstance(value, bool) else None
        elif one.name not in ("plan", "steps"):
            found[one.name] = value[:4000] if isinstance(value, str) else None
    found |= {"plan": BenchPlan.of_json(data.get("plan"))}
    found |= {"steps": tuple(BenchStep.of_json(one) for one in as_list(data.get("steps")))}
    found |= {"at": found["at"] or 0.0, "source": found["source"] or "studio", "name": found["name"] or ""}
    return BenchResult(**found | {"state": found["state"] if found["state"] in STATES else "interrupted"})


def progress_of(data: object) -> BenchProgress | None:
    """Return where a benchmark is, as its process wrote it. Any value is taken."""
    if not isinstance(data, Mapping) or not isinstance(data.get("id"), str):
        return None
    state, words = data.get("state"), data.get("words")
    return BenchProgress(
        data["id"],
        int(as_number(data.get("step")) or 0),
        int(as_number(data.get("of")) or 0),
        as_number(data.get("load")) or 0.0,
        as_number(data.get("share")) or 0.0,
        as_number(data.get("seconds_left")),
        BenchStep.of_json(data.get("so_far")),
        words[:500] if isinstance(words, str) else "",
        int(as_number(data.get("running")) or 0),
        state if state in STATES else "running",
    )


class BenchFolder:
    """One benchmark's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def id(self) -> str:
        return self.path.name

    # --- the process that measures ----------------------------------------------------------------------

    def take(self) -> bool:
        """Hold the lock until this process ends; return whether it was free."""
        private_dir(self.path)
        fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._lock = fd
        return True

    def write_result(self, result: BenchResult) -> None:
        """Write the result so far."""
        write_atomic(self.path / RESULT, json.dumps(result_document(result)).encode())

    def write_progress(self, progress: BenchProgress) -> None:
        """Write where it is."""
        document = {**{one.name: getattr(progress, one.name) for one in fields(progress)}}
        write_atomic(self.path / PROGRESS, json.dumps({**document, "so_far": progress.so_far.to_json()}).encode())

    # --- everybody else ---------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Return whether its process lives."""
        try:
            fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def ask_to_stop(self) -> None:
        """Ask the process that measures to stop."""
        with contextlib.suppress(OSError):
            (self.path / STOP).touch(mode=0o600)

    @property
    def to_stop(self) -> bool:
        """Return whether somebody asked it to stop."""
        return (self.path / STOP).exists()

    def result(self) -> BenchResult | None:
        """Return the result so far."""
        return result_of(_read(self.path / RESULT))

    def progress(self) -> BenchProgress | None:
        """Return where it is."""
        return progress_of(_read(self.path / PROGRESS))

    def requests(self) -> Iterator[BenchRequest]:
        """Yield every request that ended; a line that is cut off is passed over."""
        read = 0
        with contextlib.suppress(OSError), (self.path / REQUESTS).open("rb") as file:
            for line in file:
                read += len(line)
                if read > MAX_REQUESTS:
                    return
                one = request_of(line)
                if one is not None:
                    yield one


def _read(path: Path) -> object:
    try:
        with path.open("rb") as file:
            return safe_json.loads(file.read(MAX_RESULT))
    except (OSError, ValueError):
        return None


def request_line(one: BenchRequest) -> bytes:
    """Return a request as a line of `requests.jsonl`."""
    return json.dumps(asdict(one), separators=(",", ":")).encode() + b"\n"


def request_of(line: bytes) -> BenchRequest | None:
    """Return the request of a line; None for what is none."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request_from(data) if isinstance(data, dict) else None


def request_from(data: Mapping[str, Any]) -> BenchRequest:
    """Return a request from its fields. Any value is taken."""
    found: dict[str, Any] = {one: as_number(data.get(one)) for one in ("sent", "ttft", "first_answer", "e2e")}
    for one in ("step", "repeat", "prompt_tokens", "output_tokens", "cached_tokens"):
        value = as_number(data.get(one))
        found[one] = None if value is None else int(value)
    found |= {one: found[one] or 0 for one in ("step", "repeat", "sent")}
    error = data.get("error")
    return BenchRequest(
        **found, counted=data.get("counted") is not False, error=error[:500] if isinstance(error, str) else None
    )
