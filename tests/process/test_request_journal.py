"""kill -9 of a process that logs requests, at any moment: what it said has ended is a row, once, and so is the rest."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving.journal import MEMORY, NEW, journal_folder, memory_folder
from vllm_studio_tui.services.serving.request_log import RequestLog, settle_journals
from vllm_studio_tui.store.database import Database

#: Logs requests as fast as it can, one of ten left under way and one forgotten, and says after each what is safe now.
WORKER = """
import sys
from pathlib import Path
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving import request_log
from vllm_studio_tui.store.database import Database

request_log.JOURNAL_BYTES = 20_000
request_log.BATCH_SECONDS = 0.02
places = Places.under(Path(sys.argv[1]))
log = request_log.RequestLog(places, Database.open(places.database))
for number in range(1_000_000):
    name = f"{sys.argv[2]}-{number}"
    log.begin(CompletedRequest(1e9, "proxy", "streaming", id=name, completion_tokens=1))
    print("begun", name, flush=True)
    if number % 10 == 5:
        log.forget(name)
        print("forgotten", name, flush=True)
    elif number % 10:
        log.put(CompletedRequest(1e9, "proxy", "stop", id=name, prompt_tokens=2, completion_tokens=3))
        print("ended", name, flush=True)
"""


#: Notes requests as `serve` does, and takes none of them to the log within the life of this test.
NOTER = """
import sys
from pathlib import Path
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving import request_notes
from vllm_studio_tui.services.serving.journal import memory_folder

request_notes.GATHER = 600.0
folder = memory_folder(Places.under(Path(sys.argv[1])), make=True)
notes = request_notes.RequestNotes(folder, print, print, print, [print])
for number in range(1_000_000):
    known = {"id": str(number), "at": 1e9, "source": "proxy"}
    notes.note({**known, "finish": "streaming"})
    print("begun", number, flush=True)
    if number % 10:
        notes.note({**known, "finish": "stop", "prompt_tokens": 2, "completion_tokens": 3})
        print("ended", number, flush=True)
"""


@pytest.mark.skipif(not MEMORY.is_dir(), reason="this system has no place for files in memory")
def test_what_was_noted_a_moment_before_a_kill_is_a_row_though_no_disk_was_written(tmp_path: Path) -> None:
    places = Places.under(tmp_path)
    db = Database.open(places.database)
    said: dict[str, str] = {}
    with subprocess.Popen([sys.executable, "-c", NOTER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as noter:
        assert noter.stdout is not None
        while len(said) < 200:
            state, _, name = noter.stdout.readline().strip().partition(" ")
            said[name] = state
        assert not journal_folder(places).exists()
        assert settle_journals(places, db) == 0, "it lives"
        noter.send_signal(signal.SIGKILL)
        for line in noter.communicate()[0].rpartition("\n")[0].splitlines():
            state, _, name = line.partition(" ")
            said[name] = state
    assert settle_journals(places, db) >= len(said)
    found = {row["id"]: (row["finish"], row["completion_tokens"]) for row in db.rows("SELECT * FROM requests")}
    wanted = {"begun": ("interrupted", None), "ended": ("stop", 3)}
    wrong = {
        name: found.get(name)
        for name, state in said.items()
        if found.get(name) != wanted[state] and not (state == "begun" and found.get(name) == wanted["ended"])
    }
    assert wrong == {}
    assert settle_journals(places, db) == 0
    assert memory_folder(places) is None
    db.close()


def test_no_request_is_lost_or_counted_twice_by_kills(tmp_path: Path) -> None:
    """Two processes log to one home, and a third one is alive all the time."""
    chance = random.Random(11)
    places = Places.under(tmp_path)
    db = Database.open(places.database)
    alive = RequestLog(places, db)
    said: dict[str, str] = {}
    for round_ in range(3):
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(tmp_path), f"{round_}-{which}"], stdout=subprocess.PIPE, text=True
            )
            for which in "ab"
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline().startswith("begun")  # it is under way
        time.sleep(chance.uniform(0.0, 0.5))
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            out, _ = worker.communicate(timeout=30)
            # Whole ones: a piece that was read with the first line is not in it, and the last was cut off.
            for line in out.rpartition("\n")[0].splitlines()[1:]:
                state, _, name = line.partition(" ")
                said[name] = state
            settle_journals(places, db)  # the other worker may be alive: its journal is left alone
    settle_journals(places, db)
    found = {row["id"]: (row["finish"], row["completion_tokens"]) for row in db.rows("SELECT * FROM requests")}
    wanted = {"begun": ("interrupted", 1), "ended": ("stop", 3), "forgotten": None}
    assert len(said) > 100
    assert "forgotten" in said.values()
    # A line that was written a moment before the kill may not have been said any more: then it ended all the same.
    wrong = {
        name: found.get(name)
        for name, state in said.items()
        if found.get(name) != wanted[state]
        and not (state == "begun" and found.get(name) == wanted["forgotten" if name.endswith("5") else "ended"])
    }
    assert wrong == {}
    assert set(found.values()) <= {wanted["begun"], wanted["ended"]}
    left = [
        one.name for one in journal_folder(places).iterdir() if not one.name.endswith(NEW)
    ]  # a kill may leave those
    assert len(left) == 1, f"the journal of the one that lives: {left}"
    alive.close()
    db.close()
