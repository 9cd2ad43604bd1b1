"""What a large database costs. Slow: `pytest -m slow tests/unit/test_store_speed.py -s` tells the figures."""

from __future__ import annotations

import contextlib
import itertools
import random
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.services.usage import report
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.store.search import search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHATS, MESSAGES_EACH = 10_000, 10
#: Percent of each letter in English, a to z.
LETTERS = (
    *(8.2, 1.5, 2.8, 4.3, 12.7, 2.2, 2.0, 6.1, 7.0, 0.15, 0.77, 4.0, 2.4),
    *(6.7, 7.5, 1.9, 0.095, 6.0, 6.3, 9.1, 2.8, 0.98, 2.4, 0.15, 2.0, 0.074),
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """10 000 chats with 100 000 messages of 120 words, from a vocabulary with common and rare ones."""
    db = Database.open(tmp_path_factory.mktemp("large") / "studio.db")
    chance = random.Random(1)
    # Words of letters as often as English has them, so that beginnings are shared as they are in real texts.
    made = {"".join(chance.choices(string.ascii_lowercase, LETTERS, k=chance.randint(1, 9))) for _ in range(20_000)}
    words = sorted(made, key=lambda word: (len(word), word))
    often = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))
    with db.write() as tables:
        for chat in range(CHATS):
            moment = f"2026-{1 + chat % 12:02}-{1 + chat % 28:02}T00:00:00Z"
            tables.execute(
                "INSERT INTO chat_sessions (id, title, model, created_at, updated_at) VALUES (?, ?, 'm', ?, ?)",
                (f"s{chat}", f"chat number {chat}", moment, moment),
            )
            tables.conn.executemany(
                "INSERT INTO chat_messages (id, session_id, parent_id, role, content, created_at)"
                " VALUES (?, ?, ?, 'user', ?, ?)",
                [
                    (
                        f"m{chat}-{number}",
                        f"s{chat}",
                        f"m{chat}-{number - 1}" if number else None,
                        " ".join(chance.choices(words, cum_weights=often, k=120)) + (" needle" if chat == 5000 else ""),
                        moment,
                    )
                    for number in range(MESSAGES_EACH)
                ],
            )
    yield db
    db.close()


def best(what: str, call: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of several calls, which is what the code costs on a busy machine."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    print(f"\n{what}: {min(took) * 1000:.1f} ms")
    return min(took)


def test_listing_ten_thousand_chats(large: Database) -> None:
    rows = ChatRows(large)
    assert len(rows.list()) == CHATS
    assert best("10 000 chats, all of them", rows.list) < 0.15
    assert best("10 000 chats, a page of 50", lambda: rows.list(limit=50)) < 0.15
    assert best("10 000 chats, a search in titles", lambda: rows.list(limit=50, search="number 99")) < 0.15


@pytest.mark.parametrize("text", ["needle", "needl", "e ", "e t a ", "a", "th", "the", "e th", "needle e", "xyzzy"])
def test_searching_a_hundred_thousand_messages(large: Database, text: str) -> None:
    assert best(f"search for {text!r}", lambda: search(large, text)) < 0.1


def test_opening_a_chat(large: Database) -> None:
    session = ChatRows(large).create("long").id
    with large.write() as tables:
        for number in range(1000):
            tables.execute(
                "INSERT INTO chat_messages (id, session_id, parent_id, role, content, created_at)"
                " VALUES (?, ?, ?, 'user', 'text', '')",
                (f"l{number}", session, f"l{number - 1}" if number else None),
            )
    assert len(MessageRows(large).branch(session)) == 1000
    assert best("a chat of 1 000 messages", lambda: MessageRows(large).branch(session)) < 0.1


def test_reporting_a_month_of_readings(tmp_path: Path) -> None:
    """One run that was read every 12 s for 30 days, on 8 GPUs that were read every minute."""
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as db:
        lines: list[dict[str, object]] = []
        for step in range(30 * 7200):
            at = 1.7e9 + 12 * step
            values = {"prompt_tokens": 50.0 * step, "generation_tokens": 20.0 * step, "requests": step / 10}
            lines.append({"seq": len(lines) + 1, "t": at, "attempt": 1, "kind": "counters", "values": values})
            if step % 5 == 0:
                gpus = {f"GPU-{number}": step * 12 * 300_000 for number in range(8)}
                lines.append({"seq": len(lines) + 1, "t": at, "attempt": 1, "kind": "energy", "gpus": gpus})
        begin = time.perf_counter()
        assert RunRows(db).fold("r", lines) == len(lines)
        print(f"\nfolding {len(lines)} lines: {time.perf_counter() - begin:.1f} s")
        begin = time.perf_counter()
        assert RunRows(db).fold("r", lines[-5:]) == 0
        assert RunRows(db).folded_seq("r") == len(lines)
        print(f"folding again: {(time.perf_counter() - begin) * 1000:.1f} ms")
        made = report(db, UsageQuery())
        assert made.totals.completion_tokens == 20 * (30 * 7200 - 1)
        assert made.totals.energy_wh == pytest.approx(8 * 300 * (30 * 24 - 1 / 60))
        # Off the UI's thread; a bound that tells a plain scan from a quadratic one.
        assert best("a report over a month", lambda: report(db, UsageQuery()), 2) < 10
