"""Read the errors of NVIDIA's GPUs (Xid) that their driver told the kernel's log, where we may read it.

`/dev/kmsg` where this user may open it, else `journalctl`. Nothing here waits unasked: the device is read without
blocking, and journalctl is a child whose output is taken when it is there. The text is hostile: a program that may
write to the log can write what looks like the driver's, so only what the kernel itself said counts, numbers are
bounded, and words stay raw until they are shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from vllm_studio_tui.domain.gpus import MOST_XIDS, Xid

KMSG = "/dev/kmsg"
#: The longest record of the kernel's log, and how many are read in one look; the rest is read in the next.
RECORD = 8192
MOST_RECORDS = 4000
#: Seconds between two looks through journalctl, and those that one of them may take.
JOURNAL_EVERY = 60.0
JOURNAL_WAIT = 10.0
#: Bytes of journalctl's output that are looked at.
MOST_BYTES = 1 << 20
JOURNAL = (
    "journalctl", "--dmesg", "--boot", "--no-pager", "--quiet", "--output=json", "--lines=200",
    "--output-fields=MESSAGE,SYSLOG_FACILITY", "--grep=NVRM: Xid",
)  # fmt: skip
MOST_WORDS = 200
#: What is looked for before anything else is.
_MARK = "NVRM: Xid"
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.[0-7])?\): ([0-9]{1,4})\b,? ?(.*)",
    re.DOTALL,
)
_PID = re.compile(r"pid='?([0-9]{1,10})'?,? ?")
_NAME = re.compile(r"(?:pid=[^,]{0,40}, ?)?name=[^,]{0,80},? ?")
_BUS = re.compile(r"([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.[0-7]")

#: Domain, bus and device.
Bus = tuple[int, int, int]


def bus_of(text: str | None) -> Bus | None:
    """Return where a GPU is plugged in, from what its driver calls it."""
    found = _BUS.fullmatch(text or "")
    return None if found is None else (int(found[1], 16), int(found[2], 16), int(found[3], 16))


def parse(message: str, at: float) -> tuple[Bus, Xid] | None:
    """Return the error in a message of the kernel's log, and the place of its GPU; None if there is none."""
    if _MARK not in message:
        return None
    found = _XID.search(message[:RECORD])
    if found is None:
        return None
    said = found[5][:MOST_WORDS]
    pid = _PID.match(said)
    for pattern in (_PID, _NAME):
        said = pattern.sub("", said, count=1) if pattern.match(said) else said
    number = int(pid[1]) if pid and 0 < int(pid[1]) < 2**31 else None
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16)), Xid(int(found[4]), at, said.strip(), number)


class KernelLog:
    """The errors of GPUs in the kernel's log, by the place of the GPU. Nothing here raises or waits.

    Args:
        path: The kernel's log.
        journal: The command that reads it for those who may not; its output is a JSON object a line.
        clock: Seconds since the epoch; `monotonic` those since the machine was started, as the log counts them.
    """

    def __init__(
        self,
        path: str = KMSG,
        journal: Sequence[str] = JOURNAL,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._journal = tuple(journal)
        self._clock = clock
        self._monotonic = monotonic
        self._file: int | None = None
        self._tried = False
        self._child: subprocess.Popen[bytes] | None = None
        self._child_began = self._next_journal = 0.0
        self._said = b""
        self._found: dict[Bus, list[Xid]] = {}

    def of(self, bus: str | None) -> tuple[Xid, ...]:
        """Return the errors of a GPU, the latest last."""
        place = bus_of(bus)
        return tuple(self._found.get(place, ())) if place is not None else ()

    def look(self) -> None:
        """Take what is new."""
        if not self._tried:
            self._tried = True
            with contextlib.suppress(OSError):
                self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file is not None:
            self._read_device(self._file)
        else:
            self._read_journal()

    def look_through(self, patience: float) -> None:
        """Take all that is there, for at most so many seconds: for whoever looks once."""
        deadline = time.monotonic() + patience
        self.look()
        while self._child is not None and time.monotonic() < deadline:
            time.sleep(0.02)
            self.look()

    def close(self) -> None:
        """Let the log go."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        self._end_child()

    def _read_device(self, file: int) -> None:
        for _ in range(MOST_RECORDS):
            try:
                record = os.read(file, RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # what came next was overwritten: the reading goes on with the oldest that is left
                continue
            except OSError:
                os.close(file)
                self._file = None  # the device may be opened and not read: journalctl may
                return
            if not record:
                return
            self._take_record(record)

    def _take_record(self, record: bytes) -> None:
        """Take `PRIORITY,NUMBER,MICROSECONDS,FLAGS;MESSAGE`."""
        if b"NVRM: Xid" not in record:
            return
        head, _, message = record.partition(b";")
        numbers = head.split(b",")
        if len(numbers) < 3 or not all(one.isdigit() and len(one) < 20 for one in numbers[:3]):
            return
        if int(numbers[0]) >> 3:  # its facility: some program said so, not the kernel
            return
        age = max(0.0, self._monotonic() - int(numbers[2]) / 1e6)
        self._take(message.split(b"\n", 1)[0].decode("utf-8", "replace"), self._clock() - age)

    def _read_journal(self) -> None:
        now = self._monotonic()
        child = self._child
        if child is None:
            if now >= self._next_journal:
                self._next_journal = now + JOURNAL_EVERY
                self._start_child(now)
            return
        ended = child.poll() is not None
        try:
            while child.stdout is not None and (piece := os.read(child.stdout.fileno(), 65536)):
                self._said += piece
                if len(self._said) > MOST_BYTES:
                    break
        except BlockingIOError:
            pass
        except OSError:
            ended = True
        if ended or len(self._said) > MOST_BYTES:
            said, self._said = self._said, b""
            self._end_child()
            found, self._found = self._found, {}
            for line in said[:MOST_BYTES].splitlines():
                self._take_line(line)
            self._found = self._found or found
        elif now - self._child_began > JOURNAL_WAIT:
            self._end_child()

    def _start_child(self, now: float) -> None:
        if not self._journal:
            return
        try:
            self._child = subprocess.Popen(
                self._journal,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
                start_new_session=True,
            )
        except OSError:
            self._next_journal = now + 10 * JOURNAL_EVERY  # there is none
            return
        self._child_began, self._said = now, b""
        if self._child.stdout is not None:
            os.set_blocking(self._child.stdout.fileno(), False)

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.kill()
        if child.stdout is not None:
            child.stdout.close()

    def _take_line(self, line: bytes) -> None:
        try:
            record: dict[str, Any] = json.loads(line)
            message = record.get("MESSAGE")
            if isinstance(message, list):  # bytes that are no text
                message = bytes(message).decode("utf-8", "replace")
            at = int(record["__REALTIME_TIMESTAMP"]) / 1e6
            if isinstance(message, str) and str(record.get("SYSLOG_FACILITY", "0")) == "0" and 0 <= at < 2**40:
                self._take(message, at)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return

    def _take(self, message: str, at: float) -> None:
        found = parse(message, at)
        if found is not None:
            kept = self._found.setdefault(found[0], [])
            kept.append(found[1])
            del kept[:-MOST_XIDS]
