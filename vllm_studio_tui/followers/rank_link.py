"""The connection to one rank of a unit: `rank attend` on its host, over ssh, made anew as often as it is lost.

A thread reads what is said there and answers, so that the rank's lease is renewed however long something else takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.job import Cause
from vllm_studio_tui.followers.ssh import Host, cause_of
from vllm_studio_tui.kit import safe_json

#: Bytes of its log that wait to be taken; of what comes faster the oldest is left out.
MOST_LOG = 4 * 1024 * 1024
#: Bytes of a line; more was not written by us.
LONGEST = 1024 * 1024
#: Seconds between two tries to connect, at first; doubled up to a part of the lease.
PAUSE = 0.5
#: Seconds that the studio there may take to say a first word, once it is connected: it starts a program.
FIRST = 20.0
#: Seconds that the clocks of two hosts may be apart before it is told: what they write into logs cannot be compared.
APART = 30.0


class RankLink:
    """Watches one rank. Attributes are written by its thread, and read by anybody.

    Attributes:
        run: What its host tells of its run, as `runs/attend.py` does; empty: nothing was heard yet.
        heard_at: When something was heard last, of the monotonic clock; None: never.
        connected: It is heard now.
        cause: Why it is not; None: it is, or nothing was tried yet.
        missing: The host knows no such run.
        failing: What its log says has failed although it has not ended, once that was asked for; empty: nothing.
        apart: Seconds that the clock there is ahead of ours.
    """

    def __init__(
        self, host: Host, run_id: str, lost_after: float, *, forward: str = "", offset: int = 0, index: int = 0
    ) -> None:
        self.host, self.run_id, self.index = host, run_id, index
        self._forward, self._offset, self._lost_after = forward, offset, lost_after
        self.every = min(10.0, max(0.25, lost_after / 8))
        self.run: Mapping[str, Any] = {}
        self.failing: Mapping[str, Any] = {}
        self.heard_at: float | None = None
        self.leased_until: float | None = None
        self.began = time.monotonic()
        self.connected = self.missing = False
        self.cause: Cause | None = None
        self.apart = 0.0
        self.passed = offset  # bytes of the log that were handed out
        self._words, self._wish = "", 0
        self._asked_why = False
        self._log = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._apart: deque[float] = deque(maxlen=3)
        self._said: deque[str] = deque(maxlen=8)
        self._thread = threading.Thread(target=self._live, name=f"rank {index}", daemon=True)
        self._thread.start()

    # --- for the unit -----------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Return whether it has ended and all of its log is here, or it never was there."""
        return self.missing or self.run.get("over") is True

    @property
    def ended(self) -> bool:
        """Return whether it has ended."""
        return self.over or self.run.get("state") in ("exited", "failed")

    @property
    def silent(self) -> float:
        """Return the seconds for which nothing was heard."""
        return time.monotonic() - (self.heard_at or self.began)

    def say(self, words: str) -> None:
        """Have its host show this as how it stands, once the unit is ready."""
        self._words = words

    def stop(self, *, force: bool) -> None:
        """Have it stopped there, as soon as it is heard."""
        wish = 2 if force else 1
        if wish > self._wish:
            self._wish = wish
            self._send({"stop": wish})

    def ask_why(self) -> None:
        """Ask, once, whether its log tells of a failure although it has not ended."""
        if self.connected and not self._asked_why:
            self._asked_why = True
            self._send({"why": True})

    def take_log(self, most: int, *, all_of_it: bool) -> bytes:
        """Return whole lines of its log that are new.

        Args:
            all_of_it: The last line need not be whole: no more will come.
        """
        with self._lock:
            end = len(self._log) if all_of_it and len(self._log) <= most else self._log.rfind(b"\n", 0, most) + 1
            if not end and len(self._log) >= most:
                end = most  # a line without an end
            taken = bytes(self._log[:end])
            del self._log[:end]
            self.passed = self._offset - len(self._log)
            left, self._dropped = self._dropped, 0
        if left:
            taken = f"[vllm-studio] {left} bytes of its log came too fast and were left out\n".encode() + taken
        return taken

    def close(self) -> None:
        """Leave it alone. Its run goes on until its lease ends."""
        self._closed.set()
        self._kill()
        self._thread.join(5.0)

    # --- the thread -------------------------------------------------------------------------------------

    def _live(self) -> None:
        pause = PAUSE
        while not self._closed.is_set() and not self.over:
            before = self.heard_at
            try:
                self._connect()
            except (OSError, ValueError) as error:
                self.cause = Cause("ssh_missing", f"ssh cannot be run here: {error}", "Install OpenSSH's client.")
            finally:
                self.connected = False
                self._kill()
            pause = PAUSE if self.heard_at != before else min(pause * 2, max(PAUSE, min(15.0, self._lost_after / 8)))
            self._closed.wait(pause)

    def _connect(self) -> None:
        """Hear it until the connection ends."""
        arguments = ("rank", "attend", self.run_id, "--from", str(self._offset), "--every", f"{self.every:g}")
        connect = min(15.0, max(2.0, self._lost_after / 4))
        self._said.clear()
        self._asked_why = False
        process = self._process = subprocess.Popen(
            self.host.command(*arguments, connect=connect, forward=self._forward),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        errors = threading.Thread(target=self._read_errors, args=(process,), daemon=True)
        errors.start()
        patience, silence = connect + FIRST, max(2.0, 3 * self.every)
        rest, heard = b"", False
        while not self._closed.is_set():
            ready, _, _ = select.select([process.stdout], [], [], silence if heard else patience)
            if not ready:
                # What it said last is of a connection that was well.
                self.cause = cause_of(self.host, None, [] if heard else list(self._said))[0]
                return
            piece = os.read(process.stdout.fileno(), 256 * 1024)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST:
                rest = b""
            for line in lines:
                heard = self._hear(line) or heard
            if self.over:
                return
        if self._closed.is_set() or self.over:
            return
        errors.join(2.0)
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(2.0)
        self.cause = cause_of(self.host, code, list(self._said))[0]

    def _hear(self, line: bytes) -> bool:
        """Take a line; whether it is one of ours: shells there may say something of their own before."""
        try:
            data = safe_json.loads(line)
        except ValueError:
            return False
        if not isinstance(data, dict):
            return False
        if isinstance(data.get("error"), dict):
            self.missing = str(data["error"].get("title", "")).startswith("there is no run")
            self._said.append(str(data["error"].get("title")))
            return False
        if not {"run", "log", "beat", "why"} & data.keys():
            return False
        self.heard_at = time.monotonic()
        if not self.connected:
            self.connected, self.cause = True, None
            if self._wish:
                self._send({"stop": self._wish})
        if isinstance(data.get("run"), dict):
            self.run = data["run"]
        if isinstance(data.get("why"), dict):
            self.failing = data["why"]
        if isinstance(data.get("log"), str) and isinstance(data.get("to"), int):
            self._take(data["log"].encode("latin-1", "replace"), data["to"])
        if "beat" in data and isinstance(data.get("at"), int | float):
            # By then the lease that this renews has run out there, whatever becomes of the connection.
            self.leased_until = time.monotonic() + self._lost_after
            self._send({"echo": data["at"], "words": self._words})
            if isinstance(data.get("now"), int | float):
                # One that waited in a connection that was cut is late, and says nothing of the clock.
                self._apart.append(data["now"] - time.time())
                self.apart = min(self._apart, key=abs)
        return True

    def _take(self, piece: bytes, to: int) -> None:
        with self._lock:
            self._log += piece
            self._offset = to
            if len(self._log) > MOST_LOG:
                cut = self._log.find(b"\n", len(self._log) - MOST_LOG // 2) + 1
                self._dropped += cut
                del self._log[:cut]

    def _send(self, document: Mapping[str, Any]) -> None:
        """Say something there; what cannot be said now is said again later, or is of no use any more."""
        process = self._process
        if process is not None and process.stdin is not None and (self.connected or "echo" in document):
            with contextlib.suppress(OSError, ValueError):
                os.write(process.stdin.fileno(), json.dumps(document, separators=(",", ":")).encode() + b"\n")

    def _read_errors(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with contextlib.suppress(OSError, ValueError), process.stderr as said:
            for line in said:
                self._said.append(line.decode("utf-8", "replace")[:300])

    def _kill(self) -> None:
        """End ssh and what it started, such as a ProxyCommand."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError, AttributeError):
            process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)  # what attends it there goes on alone, and ends by itself
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
                break
        self._process = None
        with contextlib.suppress(OSError):
            if process.stdout is not None:
                process.stdout.close()
