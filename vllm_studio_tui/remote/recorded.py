"""Read a recording. A file may hold anything: what it is not is said in words, what cannot be read is passed over."""

from __future__ import annotations

import bisect
import contextlib
import json
import re
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.timeline import TimelineEvent
from vllm_studio_tui.remote.any_value import BadShape
from vllm_studio_tui.remote.contract import shapes
from vllm_studio_tui.remote.recording import FORMAT, VERSION
from vllm_studio_tui.remote.samples import SampleReader
from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Bytes of a file, of what is in it, and of one line: a year of samples does not fit, a week does.
MOST_FILE = 512 * 1024 * 1024
MOST_BYTES = 4 * 1024 * 1024 * 1024
MOST_LINE = 8 * 1024 * 1024
MOST_EVENTS = 20_000
#: What `bytes` may become of one of them: a text that repeats itself more is made to be large.
_STEP = 256 * 1024
_HEAD = re.compile(rb'\{"at":(\d{1,12}(?:\.\d{1,6})?),"whole":(true|false),')


class Recorded:
    """A recording, laid out so that any moment of it is found.

    Raises:
        UsageError: It is none, or of a newer version.
        StudioError: There is no room to lay it out.

    Attributes:
        times: The moments of its samples, in order.
        left: Lines that could not be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.times: list[float] = []
        self._places: list[tuple[int, int]] = []
        self._wholes: list[int] = []
        self.events: tuple[TimelineEvent, ...] = ()
        self.left = 0
        try:
            if not path.is_file():
                raise UsageError(f"{path} is no file")
            if path.stat().st_size > MOST_FILE:
                raise UsageError(f"{path} is too large for a recording", cause=f"More than {MOST_FILE // 2**20} MiB.")
            self._text: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, RUF100
            with path.open("rb") as packed:
                self._lay_out(packed, path)
        except OSError as error:
            raise StudioError(f"{path} cannot be replayed", cause=str(error)) from None
        if not self.times:
            raise UsageError(f"{path} has no samples", advice="Make one: vllm-studio record FILE")

    @property
    def since(self) -> float:
        return self.times[0]

    @property
    def until(self) -> float:
        return self.times[-1]

    def close(self) -> None:
        self._text.close()

    def index(self, at: float) -> int:
        """Return the number of the sample of a moment: the last one before it, else the first."""
        return max(0, bisect.bisect_right(self.times, at) - 1)

    def play(self, first: int) -> Iterator[tuple[int, Snapshot]]:
        """Yield samples with their number, from one on; those that cannot be read are passed over."""
        # What says everything stands a while before it.
        begin = self._wholes[max(0, bisect.bisect_right(self._wholes, first) - 1)] if self._wholes else 0
        reader = SampleReader()
        for number in range(begin, len(self._places)):
            offset, size = self._places[number]
            self._text.seek(offset)
            try:
                document = json.loads(self._text.read(size))["sample"]
                snapshot = reader.snapshot(document)
            except (ValueError, KeyError, TypeError, RecursionError, BadShape):
                self.left += 1
                continue
            if number >= first:
                yield number, snapshot

    def _lay_out(self, packed: IO[bytes], path: Path) -> None:
        offset, line = 0, b""
        first = True
        for piece in _unpacked(packed, path):
            *lines, line = (line + piece).split(b"\n")
            for one in lines:
                if first:
                    _check(one, path)
                    first = False
                else:
                    self._take(one, offset)
                self._text.write(one + b"\n")
                offset += len(one) + 1
            if len(line) > MOST_LINE:
                raise UsageError(f"{path} is no recording", cause="A line of it has no end.")
            if offset > MOST_BYTES:
                raise UsageError(f"{path} is too large for a recording", cause="It unpacks to more than it may.")
        if first:
            _check(line, path)

    def _take(self, line: bytes, offset: int) -> None:
        head = _HEAD.match(line)
        if head is not None:
            at = float(head[1])
            if self.times and at < self.times[-1]:
                self.left += 1  # a clock that was put back: time goes on from where it was
                return
            if head[2] == b"true":
                self._wholes.append(len(self.times))
            self.times.append(at)
            self._places.append((offset, len(line)))
        elif line.startswith(b'{"events":') and len(self.events) < MOST_EVENTS:
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, BadShape):
                found = shapes().of(tuple[TimelineEvent, ...]).decode(json.loads(line)["events"])
                self.events += tuple(one for one in found if 0 < one.at < 1e11)[: MOST_EVENTS - len(self.events)]
                return
            self.left += 1
        elif line:
            self.left += 1


def _unpacked(packed: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield what is in a gzip file, a piece at a time. One that ends early, as of a killed recorder, just ends."""
    unpack = zlib.decompressobj(31)
    while data := packed.read(64 * 1024):
        while data:
            try:
                piece = unpack.decompress(data, _STEP)
            except zlib.error:
                if packed.tell() <= 64 * 1024 and not unpack.unconsumed_tail:
                    raise UsageError(
                        f"{path} is no recording", cause="It is not gzip.", advice="Make one: vllm-studio record FILE"
                    ) from None
                return
            if piece:
                yield piece
            data = unpack.unconsumed_tail
        if unpack.eof:
            return


def _check(line: bytes, path: Path) -> None:
    """Refuse what does not say that it is a recording that can be read."""
    made: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        made = json.loads(line)
    if not isinstance(made, dict) or made.get("format") != FORMAT:
        raise UsageError(f"{path} is no recording", advice="Make one: vllm-studio record FILE")
    version = made.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version > VERSION:
        raise UsageError(
            f"{path} was recorded by a newer version ({str(made.get('studio'))[:40]})", advice="Update vllm-studio."
        )
