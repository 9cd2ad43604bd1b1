"""Random lives of a home as before, now with what goes wrong around it among the steps.

A full disk, a locked database, torn files, odd figures in `/metrics`, odd lines in the log, a stranger on the port.
Whatever comes: no orphan, no held port, no state that is not so, `stop` ends what it names, and nothing is counted
that our engines did not spend. `SEQUENCES=1000 pytest -m slow` tries a thousand; a failure names its seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.disks import fill, own_disk
from tests.ports import free_port
from tests.process.house import House, until, wait_ready
from tests.process.test_random_sequences import Sequence
from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, Sampling
from vllm_studio_tui.domain.errors import LaunchRefused, StoreError, StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.keeper.files import LEDGER, SPEC, STATE
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.launching.targets import Targets
from vllm_studio_tui.studio import Studio

#: Text of the last second may die with its program; a slow machine is given another one.
LOST_SECONDS = 2.0
#: What the policy of the runs here (leader 2 s, tree 1 s) and the patience with a stuck keeper (20 s) allow, and some.
STOPPED_WITHIN = 30.0
TORN: tuple[bytes, ...] = (
    b"",
    b"{",
    b'{"run_id": 7, "state": [], "pid": "x", "started_at": 1e300, "attempt": {}}',
    b"[" * 50_000,
    b"\xff\xfe\x00garbage",
    b"null",
)
ODD_METRICS = (
    'vllm:generation_tokens_total{model_name="sim",engine="1"} 1e308\n'
    'vllm:generation_tokens_total{model_name="sim",engine="2"} 1e308',
    "vllm:prompt_tokens_total NaN\nvllm:generation_tokens_total -5",
    "vllm:prompt_tokens_total " + "9" * 400,
    "vllm:num_requests_running{" + "a" * 9000,
    "{" * 3000,
)
ODD_LINES = (
    "Loading safetensors checkpoint shards:  1% Completed | " + "9" * 400 + "/1",
    "Loading safetensors checkpoint shards: 100% Completed | 4/0",
    "\x1b]0;title\x07\x1b[2J\x9b31m" + "\u202e" * 50,
    "Traceback (most recent call last):\n  File x\nValueError: one request was wrong",
    "\n" * 20_000,
    "x" * 200_000,
    '(EngineCore pid=1) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. "',
)


class Stranger(BaseHTTPRequestHandler):
    """Another program's server, which answers as ours would and has spent what ours has not."""

    answers: ClassVar[dict[str, bytes]] = {
        "/health": b'{"status": "ok"}',
        "/v1/models": b'{"object": "list", "data": [{"id": "sim", "object": "model"}]}',
        "/metrics": b"vllm:prompt_tokens_total 1000000\nvllm:generation_tokens_total 1000000\n",
    }

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.answers.get(self.path.partition("?")[0], b"{}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Faults(Sequence):
    """One random life in which the disk, the database, the files, the engine and the port misbehave.

    Attributes:
        inexact: Something was lost that no program could have kept: then only "never more than was spent" holds.
    """

    def __init__(self, house: House, seed: int, *, disk: Path | None) -> None:
        super().__init__(house, seed)
        self.disk = disk
        self.inexact = False
        self.writer: sqlite3.Connection | None = None
        self.strangers: dict[int, ThreadingHTTPServer] = {}
        #: What was read of each answer, by the id of its message.
        self.answers: dict[str, str] = {}
        #: What was printed of each answer whose program was killed, but for the last moments.
        self.printed: list[str] = []

    def step(self) -> None:
        plain: list[Callable[[], None]] = [self.launch, self.launch, self.ask, self.ask, self.kill_keeper]
        plain += [self.kill_engine, self.kill_both, self.stop, self.force, self.settle, self.term_keeper, self.fold]
        faults: list[Callable[[], None]] = [self.tear, self.odd_metrics, self.odd_line, self.stranger, self.go_away]
        plain += [self.chat, self.chat, self.chat_is_killed]
        faults += [self.lock_database, self.unlock_database]
        if self.disk is not None:
            faults += [self.fill_disk, self.free_disk]
        self.random.choice(self.random.choice([plain, faults]))()
        self.check_states()

    # --- the steps of before, where a fault may be in their way ---------------------------------------------

    def ask(self) -> None:
        with self._refused():
            super().ask()

    def fold(self) -> None:
        with self._refused():
            super().fold()

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """A locked database or a full disk refuses in words; never in another way, and never without a cause."""
        try:
            yield
        except StoreError as error:
            assert self.writer is not None or self.full(), error
            self.inexact = True  # the test's own record of a request is not tried again

    def kill_keeper(self) -> None:
        # What it could not write to the full disk dies with it.
        self.inexact = self.inexact or self.full()
        super().kill_keeper()

    def kill_both(self) -> None:
        self.inexact = self.inexact or self.full()
        super().kill_both()

    def stop(self) -> None:
        self._stop(force=False)

    def force(self) -> None:
        self._stop(force=True)

    def _stop(self, *, force: bool) -> None:
        run = self.pick()
        if run is None:
            return
        begin = time.monotonic()
        now = control.stop(run, force=force)
        assert time.monotonic() - begin < STOPPED_WITHIN, ("stop took too long", self.house.log(run))
        assert now.status.final, (now, self.house.log(run))

    # --- chats ----------------------------------------------------------------------------------------------

    def chat(self) -> None:
        """A program asks, reads, and ends in order: all that it read is kept, now or when there is room."""
        run = self._ready()
        if run is None:
            return
        with Studio.open_sync(self.house.places) as studio:
            try:
                asyncio.run(self._chat(studio, run))
            except StudioError as error:
                assert self._in_trouble(run), error

    async def _chat(self, studio: Studio, run: read.RunView) -> None:
        target = Targets(studio.places, lambda: studio.recipes).target(recipe=run.run_id)
        session = await asyncio.to_thread(studio.chat.new_session, "count")
        stop_at = self.random.choice([None, None, 1, 5])
        answer = studio.chat.send(session, "count", target, sampling=Sampling(max_tokens=40))
        text, pieces = "", 0
        async with contextlib.aclosing(answer) as events:
            async for event in events:
                if isinstance(event, Ended):
                    self.cut_off += event.finish not in ("stop", "length")
                elif isinstance(event, Relabel):
                    text = ""
                elif isinstance(event, Delta):
                    text += event.content
                    pieces += 1
                leaf = studio.chat.messages.leaf(session)
                assert leaf is not None
                self.answers[leaf] = text
                if stop_at is not None and pieces >= stop_at:
                    self.cut_off += 1
                    break

    def chat_is_killed(self) -> None:
        """A program that asks is killed at any moment: what it printed is kept but for the last second."""
        run = self._ready()
        if run is None:
            return
        argv = (sys.executable, "-m", "vllm_studio_tui", "chat", "count", "--recipe", run.run_id, "--max-tokens", "40")
        environ = {**os.environ, "VLLM_STUDIO_HOME": str(self.house.root)}
        self.cut_off += 1
        pieces: list[tuple[float, str]] = []
        with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
            assert program.stdout is not None
            patience = self.random.uniform(0.0, 1.5)
            end = None
            while raw := os.read(program.stdout.fileno(), 4096):
                pieces.append((time.monotonic(), raw.decode(errors="replace")))
                end = end or time.monotonic() + patience
                if time.monotonic() >= end:
                    break
            killed = time.monotonic()
            program.kill()
        kept = "".join(piece for at, piece in pieces if at < killed - LOST_SECONDS)
        if kept.strip():
            self.printed.append(kept.strip())

    def _ready(self) -> read.RunView | None:
        run = self.pick()
        now = None if run is None else wait_ready(run, 2.0)
        return now if now is not None and now.state is State.READY else None

    def _in_trouble(self, run: read.RunView) -> bool:
        """Whether something stands against an answer of this run."""
        now = read.view(run.folder)
        return self.writer is not None or self.full() or now.spec is None or now.state is not State.READY

    def check_words(self) -> None:
        """Every answer is kept as it was read, by the next program at the latest."""
        with Studio.open_sync(self.house.places) as studio:
            kept = {
                str(row["id"]): str(row["content"]) for row in studio.db.rows("SELECT id, content FROM chat_messages")
            }
        for message, text in self.answers.items():
            assert kept.get(message) == text
        for text in self.printed:
            assert any(one.strip().startswith(text) for one in kept.values()), text

    # --- faults ---------------------------------------------------------------------------------------------

    def tear(self) -> None:
        run = self.pick()
        if run is None:
            return
        name = self.random.choice([STATE, STATE, SPEC, LEDGER])
        with contextlib.suppress(OSError):
            if name == LEDGER:
                with (run.folder / LEDGER).open("ab") as file:
                    file.write(b'{"seq": 99')
            else:
                (run.folder / name).write_bytes(self.random.choice(TORN))
        self.inexact = True

    def odd_metrics(self) -> None:
        self._simulate(metrics=self.random.choice(ODD_METRICS))

    def odd_line(self) -> None:
        self._simulate(log=self.random.choice(ODD_LINES))

    def _simulate(self, **switches: str) -> None:
        run = self.pick()
        if run is None or run.base_url is None:
            return
        url = run.base_url.removesuffix("/v1") + "/simulate"
        with contextlib.suppress(OSError, ValueError):
            urllib.request.urlopen(urllib.request.Request(url, json.dumps(switches).encode()), timeout=2).close()

    def stranger(self) -> None:
        """Another program takes the port before our engine listens on it."""
        port = free_port()
        rule = self.random.choice([Restart(), Restart("on-failure", delay=0.05, max_delay=0.2)])
        try:
            run = self.house.launch("--load-seconds", "0.7", recipe="r9", port=port, restart=rule)
        except LaunchRefused:
            return
        deadline = time.monotonic() + 3.0
        while port not in self.strangers and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.strangers[port] = ThreadingHTTPServer(("127.0.0.1", port), Stranger)
                threading.Thread(target=self.strangers[port].serve_forever, daemon=True).start()
            if self.house.now(run).status.final or self.house.now(run).state is State.READY:
                break
            time.sleep(0.01)

    def go_away(self) -> None:
        for server in self.strangers.values():
            server.shutdown()
            server.server_close()
        self.strangers.clear()

    def lock_database(self) -> None:
        if self.writer is None:
            self.writer = sqlite3.connect(self.house.places.database, isolation_level=None, timeout=1.0)
            try:
                self.writer.execute("BEGIN IMMEDIATE")
            except sqlite3.Error:
                self.unlock_database()

    def unlock_database(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def fill_disk(self) -> None:
        assert self.disk is not None
        fill(self.disk)

    def free_disk(self) -> None:
        assert self.disk is not None
        (self.disk / "filler").unlink(missing_ok=True)

    def full(self) -> bool:
        return self.disk is not None and (self.disk / "filler").exists()

    # --- what must hold -------------------------------------------------------------------------------------

    def check_states(self) -> None:
        """Ready is only said of an engine that lives and that has its port."""
        for run in read.all_runs(self.house.places):
            if run.state is State.READY:
                until(lambda run=run: self._true(run), f"{run.run_id} is ready only while it is")  # type: ignore[misc]

    def _true(self, run: read.RunView) -> bool:
        now = read.view(run.folder)
        if now.state is not State.READY:
            return True
        return now.engine_alive and now.port not in self.strangers

    def end(self) -> None:
        self.free_disk() if self.disk is not None else None
        self.unlock_database()
        self.go_away()
        self.check_words()
        super().end()

    def check_totals(self, counted: int | None, wanted: int, most: int, key: str) -> None:
        if self.inexact:
            assert (counted or 0) <= wanted, key
        else:
            super().check_totals(counted, wanted, most, key)

    def check_energy(self, counted: float | None) -> None:
        if not self.inexact:
            super().check_energy(counted)


def live(tmp_path: Path, seed: int) -> None:
    with own_disk(tmp_path / "home", 24) as disk:
        # What was really spent must be known also when the disk of the home is full.
        house = House(tmp_path / "home", accounts=tmp_path / "accounts")
        sequence = Faults(house, seed, disk=disk)
        try:
            for _ in range(sequence.random.randint(5, 14)):
                sequence.step()
            sequence.end()
        finally:
            if disk is not None:
                sequence.free_disk()
            sequence.go_away()
            sequence.unlock_database()
            house.end()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("gpus")
def test_whatever_fails_around_it_nothing_is_left_and_nothing_is_said_that_is_not_so(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, int(os.environ.get("SEQUENCES", "200")) + 100))
@pytest.mark.usefixtures("gpus")
def test_many_sequences_with_faults(tmp_path: Path, seed: int) -> None:
    live(tmp_path, seed)
