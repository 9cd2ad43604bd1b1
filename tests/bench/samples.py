"""What a month of kept samples costs: bytes, a minute's writing, questions of 30 days; and the same in `studio.db`.

113 series are those of 8 GPUs, three engines and the host. Their values are noise, which hardly can be compressed.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figure import Figure
from vllm_studio_tui.store.database import Database, back_up
from vllm_studio_tui.store.sample_blocks import STEPS, TIERS, Block
from vllm_studio_tui.store.sample_reader import SampleReader
from vllm_studio_tui.store.sample_writer import SampleWriter

#: A whole multiple of every block.
BEGIN = 4166 * 432_000
MONTH = 30 * 86_400
SERIES = [
    *(f"gpu/{number}/{name}" for number in range(8) for name in "abcdefg"),
    *(f"run/{number}/{name}" for number in range(3) for name in "abcdefghijklmnopq"),
    *(f"host/{name}" for name in "abcdef"),
]


def block(rolls: random.Random) -> bytes:
    made = Block()
    for index in range(STEPS):
        value = 50 + rolls.gauss(0, 5)
        made.put(index, (value, value - abs(rolls.gauss(0, 2)), value + abs(rolls.gauss(0, 2))))
    return made.write()


def month(path: Path) -> SampleWriter:
    """Return the writer of a file that has a month of all series, as it is when they were written minute by minute."""
    writer = SampleWriter(path, 256 * 1024 * 1024)
    step = {BEGIN - 10: (1.0, 1.0, 1.0)}
    writer.write(dict.fromkeys(SERIES, step), {}, BEGIN)
    rolls = random.Random(1)
    some = [block(rolls) for _ in range(2000)]
    end = BEGIN + MONTH
    with contextlib.closing(sqlite3.connect(path)) as db:
        ids = [row[0] for row in db.execute("SELECT id FROM series")]
        for tier in TIERS:
            first = (end - tier.keep) // tier.block * tier.block
            db.executemany(
                "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)",
                ((tier.step, at, one, rolls.choice(some)) for at in range(first, end, tier.block) for one in ids),
            )
        db.execute("UPDATE facts SET value = ?", (end,))
        db.execute("UPDATE series SET last = ?", (end,))
        db.commit()
    return writer


def took(work: Callable[[], object], times: int) -> float:
    """Median milliseconds."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(found)


def figures(*, quick: bool) -> list[Figure]:
    times = 3 if quick else 15
    made: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples" / "samples.db"
        writer = month(path)
        end = BEGIN + MONTH
        reader = SampleReader(path, clock=lambda: end)
        size = sum(one.stat().st_size for one in path.parent.iterdir()) / 2**20
        made.append(Figure("a month of 113 series, on the disk", size, "MiB", None, 64))
        for count in (1, 12, 20):
            ask = lambda count=count: reader.over(SERIES[:count], end - MONTH, end, 120)  # noqa: E731
            made.append(Figure(f"30 days of {count} series in 120 columns", took(ask, times), "ms", None, 100))
        ask_figures = lambda: reader.figures(SERIES[:12], end - MONTH, end)  # noqa: E731
        made.append(Figure("mean, p95, max of 12 over 30 days", took(ask_figures, times), "ms", None, 100))
        at = [end]
        cpu = time.process_time()
        minutes = 10 * (1 if quick else 4)

        def minute() -> None:
            step = {at[0] + offset: (1.0 + offset, 1.0, 99.0) for offset in range(0, 60, 10)}
            at[0] += 60
            writer.write(dict.fromkeys(SERIES, step), {}, at[0])

        wall = took(minute, minutes)
        made.append(Figure("writing a minute of 113 series, wall", wall, "ms", None, 100))
        spent = (time.process_time() - cpu) / minutes / 60 * 100
        made.append(Figure("the same, share of a core", spent, "%", None, 0.1))
        writer.close()
        made += in_one_database(Path(folder), path, times)
    return made


def in_one_database(folder: Path, path: Path, times: int) -> list[Figure]:
    """What a backup, and the opening of a copy, of `studio.db` would take with the samples in it."""
    database = folder / "studio.db"
    with contextlib.closing(Database.open(database)) as db:
        plain = took(lambda: back_up(db._connection, folder / "copy.db"), times)
        db._connection.execute("ATTACH ? AS samples", (str(path),))
        db._connection.execute("CREATE TABLE blocks AS SELECT * FROM samples.blocks")
        db._connection.execute("DETACH samples")
        whole = took(lambda: back_up(db._connection, folder / "copy.db"), times)
        check = took(db.check, times)
    return [
        Figure("backup of studio.db, were they in it", whole, "ms", plain, 2),
        Figure("quick check of studio.db, were they in it", check, "ms", None, 100),
    ]
