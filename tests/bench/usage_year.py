"""How long a report of usage takes of a year with 1 000 requests a day: `python -m tests.bench.usage_year`.

Runs of a week, or one of a year (`--one`); an engine's counters and two GPUs' energy are read every half a minute.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from vllm_studio_tui.domain.usage import DAY, CompletedRequest, UsageQuery
from vllm_studio_tui.kit.local_time import begin_of, day_of
from vllm_studio_tui.services.usage import report
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows

DAYS, A_DAY = 365, 1000
#: Seconds between two readings, as a keeper takes them.
EVERY = 30.0


def fill(db: Database, now: float, *, week: int = 7) -> None:
    """Write the year; a run lives `week` days."""
    chance = random.Random(1)
    begin = now - DAYS * DAY
    for first in range(0, DAYS, week):
        run = f"run-{first}"
        model = f"model-{first // week % 4}"
        RunRows(db).record(
            {"run_id": run, "recipe_id": f"rec-{first // week % 4}", "model": model, "created_at": begin + first * DAY},
            {"run_id": run, "state": "ready", "started_at": begin + first * DAY},
        )
        prompt = written = count = 0
        lines: list[dict[str, object]] = []
        requests = []
        days = min(week, DAYS - first)
        moments = sorted(begin + first * DAY + chance.random() * days * DAY for _ in range(days * A_DAY))
        seq, position = 1, 0
        at = begin + first * DAY
        while at < begin + (first + days) * DAY:
            at += EVERY
            before = position
            while position < len(moments) and moments[position] <= at:
                source = chance.choice(("chat", "proxy", "proxy", "proxy"))
                tokens, answer = chance.randrange(50, 4000), chance.randrange(10, 900)
                prompt, written, count = prompt + tokens, written + answer, count + 1
                requests.append(
                    CompletedRequest(
                        moments[position], source, "stop", run_id=run, attempt=1, model=model, prompt_tokens=tokens,
                        completion_tokens=answer, cached_tokens=tokens // 3, ttft=chance.random(),
                        total_seconds=2 + chance.random(), tokens_per_second=40 + chance.random() * 9,
                        key_id=chance.choice(("a", "b")) if source == "proxy" else None,
                    )
                )  # fmt: skip
                position += 1
            gpus = {"gpu-0": int((at - begin) * 300_000), "gpu-1": int((at - begin) * 200_000)}
            lines.append({"seq": seq, "t": at, "attempt": 1, "kind": "energy", "gpus": gpus, "boot_id": run})
            seq += 1
            if position != before:
                values = {"prompt_tokens": float(prompt), "generation_tokens": float(written), "requests": float(count),
                          "cached_tokens": float(prompt // 3)}  # fmt: skip
                lines.append({"seq": seq, "t": at, "attempt": 1, "kind": "counters", "values": values})
                seq += 1
        RunRows(db).fold(run, lines)
        RequestRows(db).record_all(requests, None)


def main() -> None:
    one = "--one" in sys.argv
    now = time.time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(next((arg for arg in sys.argv[1:] if not arg.startswith("-")), f"{folder}/studio.db"))
        fresh = not path.exists()
        db = Database.open(path)
        if fresh:
            fill(db, now, week=DAYS if one else 7)
        else:
            now = float(db.rows("SELECT MAX(at) FROM requests")[0][0])
        rows = [db.rows(f"SELECT COUNT(*) FROM {name}")[0][0] for name in ("requests", "run_readings", "gpu_energy")]  # noqa: S608
        print(f"{rows[0]} requests, {rows[1]} readings, {rows[2]} of energy; {path.stat().st_size >> 20} MiB")
        today = day_of(now)
        for words, query in (
            ("14 days, the screen's first picture", UsageQuery(days=14, every=False, latencies=False)),
            ("14 days, with latencies", UsageQuery(days=14, every=False)),
            ("the 14 days before", UsageQuery(since=begin_of(today - 27), until=begin_of(today - 13), every=False)),
            ("14 days by hour", UsageQuery(days=14, by="hour", every=False)),
            ("30 days", UsageQuery(days=30, every=False)),
            ("365 days", UsageQuery(days=365, every=False)),
            ("all, every division (usage --json)", UsageQuery()),
        ):
            took = []
            for _ in range(5 if query.days and query.days < 300 else 2):
                begin, cpu = time.perf_counter(), time.process_time()
                made = report(db, query, now=now)
                took.append((time.process_time() - cpu, time.perf_counter() - begin))
            cpu, wall = min(took)
            print(f"{words:40} {cpu * 1000:7.0f} ms of CPU, {wall * 1000:7.0f} ms   {made.totals.requests} requests")
        db.close()


if __name__ == "__main__":
    main()
