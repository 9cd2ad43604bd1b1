"""Bring one file of a repository to the cache: from where an earlier try ended, and verified before it counts.

huggingface_hub (2.4) resumes within one call only: each call writes to a file of its own and deletes it when it ends
early, so a download that is paused or killed would begin anew. It compares sizes, no digests. So the bytes are brought
here, and the library makes the snapshot of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from vllm_studio_tui.domain.download import PlannedFile
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.numbers import size as words_of
from vllm_studio_tui.kit.paths import locked
from vllm_studio_tui.models.hub_client import WEB_ERRORS, HubClient
from vllm_studio_tui.models.hub_errors import HubError, unreachable
from vllm_studio_tui.models.pulling.cache import RepoCache, room_at

#: Bytes after which is looked whether the disk still has room.
STRIDE = 32 << 20
#: Bytes of one answer: the hub gives files over 50 GB by ranges alone, and none longer than that.
SLICE = 16 << 30
#: Seconds between tries that bring nothing; after the last one it fails. Half an hour in all: nobody may be looking.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 300.0, 300.0, 600.0)
#: Seconds that a hub may ask us to wait.
LONGEST_WAIT = 900.0
#: Seconds between looks whether another process, which fetches the same file, is done.
LOOK = 1.0


class Stopped(Exception):
    """The download is to pause: what has come is kept."""


class DiskFull(StudioError):
    """There is no room for what is missing."""


class _Seen:
    """The digest of what is here of a file, as the hub makes it: sha256 of a large one, git's sha1 of a small one."""

    def __init__(self, file: PlannedFile) -> None:
        self._file = file
        self.begin()

    def begin(self) -> None:
        if len(self._file.digest) == 64:
            self._hash = hashlib.sha256()
        else:
            self._hash = hashlib.sha1(b"blob %d\0" % self._file.size, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    @property
    def right(self) -> bool:
        return self._hash.hexdigest() == self._file.digest


@dataclass
class Transfer:
    """What brings the files of one download; its methods may be called by several threads.

    Attributes:
        stop: Set when the download is to pause.
        tell: Told the name of a file and how many bytes of it are here.
        waits: Told what is waited for, an error; None when it goes on.
    """

    hub: HubClient
    cache: RepoCache
    commit: str
    stop: threading.Event
    tell: Callable[[str, int], None]
    waits: Callable[[HubError | None], None]
    pauses: tuple[float, ...] = PAUSES
    slice: int = SLICE

    def fetch(self, file: PlannedFile) -> None:
        """Bring a file whole, if it is not here yet.

        Raises:
            Stopped: It is to pause.
            HubError: The hub does not give it, or gives another one.
            DiskFull, OSError: It cannot be written.
        """
        blob = self.cache.blob(file.digest)
        if not blob.exists():
            blob.parent.mkdir(parents=True, exist_ok=True)
            with self._alone(file):
                if not blob.exists():
                    self._bring(file, blob)
        self.tell(file.name, file.size)

    @contextlib.contextmanager
    def _alone(self, file: PlannedFile) -> Any:
        """Hold the lock that the library holds, too, while it fetches this file."""
        path = self.cache.lock(file.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(path, timeout=0.0))
                    break
                except TimeoutError:
                    self.waits(HubError("busy", f"another program fetches {file.name}", passing=True))
                    self._pause(LOOK)
            self.waits(None)
            yield

    def _bring(self, file: PlannedFile, blob: Path) -> None:
        part = self.cache.partial(file.digest)
        with contextlib.suppress(OSError):
            if part.stat().st_size > file.size:
                part.unlink()
        for last in (False, True):
            with part.open("ab", buffering=0) as stream:
                begun = stream.tell()
                seen = _Seen(file)
                self._hash_begun(part, begun, seen)
                self._receive(file, stream, seen)
                os.fsync(stream.fileno())
            if seen.right:
                part.replace(blob)
                return
            part.unlink()
            if last or not begun:
                raise HubError(
                    "wrong",
                    f"{file.name} is not what the hub says it is",
                    cause=f"What came has another digest than {file.digest[:16]}..; it was deleted.",
                    advice="A proxy or mirror may have changed it. Try again, or another HF_ENDPOINT.",
                )
            # What an earlier try left may have been damaged by a power cut: once more, from the start.

    def _hash_begun(self, part: Path, begun: int, seen: _Seen) -> None:
        with part.open("rb") as stream:
            while begun > 0 and (piece := stream.read(min(begun, 1 << 20))):
                seen.update(piece)
                begun -= len(piece)
                self._look()

    def _receive(self, file: PlannedFile, stream: Any, seen: _Seen) -> None:
        """Bring what is missing, with patience."""
        tries = 0
        while (have := stream.tell()) < file.size or have == 0:
            try:
                self._request(file, stream, seen)
            except HubError as error:
                if not error.passing:
                    raise
                tries = 0 if stream.tell() > have else tries + 1
                if tries > len(self.pauses):
                    raise
                self.waits(error)
                wait = self.pauses[max(0, tries - 1)] if error.after is None else min(error.after, LONGEST_WAIT)
                self._pause(wait)
            if file.size == 0:
                break
        self.waits(None)

    def _request(self, file: PlannedFile, stream: Any, seen: _Seen) -> None:
        have = stream.tell()
        end = min(file.size, have + self.slice)
        headers = {"Accept-Encoding": "identity"}
        if have or end < file.size:
            headers["Range"] = f"bytes={have}-{end - 1 if end < file.size else ''}"
        url = self.hub.file_url(self.cache.repo, self.commit, file.name)
        with self.hub.stream("GET", url, headers=headers, repo=self.cache.repo, file=file.name) as response:
            self._check_promise(file, response)
            if have and response.status_code != 206:  # the whole file, or a range that the server cannot give
                stream.seek(0)
                stream.truncate()
                have = 0
                seen.begin()
                if response.status_code == 416:
                    raise HubError("cut", f"the server cannot go on with {file.name}", passing=True)
            self._check_extent(file, response, have)
            self.waits(None)
            self._take(file, response, stream, seen, have, end if response.status_code == 206 else file.size)

    def _check_promise(self, file: PlannedFile, response: httpx2.Response) -> None:
        """Compare what the hub says of the file with what it said before."""
        linked = response.extensions["hub"].get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", linked) and len(file.digest) == 64 and linked != file.digest:
            raise HubError(
                "wrong",
                f"the hub has another {file.name} than it listed",
                cause=f"Its sha256 is {linked[:16]}.., not {file.digest[:16]}..",
                advice="Begin the download anew.",
            )

    def _check_extent(self, file: PlannedFile, response: httpx2.Response, have: int) -> None:
        total: int | None = None
        if response.status_code == 206:
            found = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", response.headers.get("content-range", ""))
            if found is None or int(found[1]) != have:
                raise HubError("cut", f"the server sent another part of {file.name} than was asked for", passing=True)
            total = None if found[2] == "*" else int(found[2])
        elif response.headers.get("content-encoding", "identity") == "identity":
            length = response.headers.get("content-length", "")
            total = int(length) if re.fullmatch(r"\d{1,15}", length) else None
        if total is not None and total != file.size:
            raise HubError(
                "wrong",
                f"{file.name} has another size than the hub listed",
                cause=f"{words_of(total)} instead of {words_of(file.size)} ({total} and {file.size} bytes).",
                advice="Something between may have answered in the hub's place: a login page, a proxy.",
            )

    def _take(
        self, file: PlannedFile, response: httpx2.Response, stream: Any, seen: _Seen, have: int, end: int
    ) -> None:
        looked = -STRIDE
        plain = response.headers.get("content-encoding", "identity") == "identity"
        try:
            # As the pieces come: gathered into larger ones, the last would be lost with the connection.
            for piece in response.iter_raw() if plain else response.iter_bytes():
                if have + len(piece) > end:
                    raise HubError("wrong", f"more came of {file.name} than it has", advice="Look at HF_ENDPOINT.")
                if have - looked >= STRIDE:
                    self._check_room(file, have)
                    looked = have
                self._look()
                _write(stream, piece)
                seen.update(piece)
                have += len(piece)
                self.tell(file.name, have)
        except WEB_ERRORS as error:
            raise unreachable(error, response.url.host) from error
        if have < end:
            raise HubError("cut", f"the connection to {response.url.host} was closed early", passing=True)

    def _check_room(self, file: PlannedFile, have: int) -> None:
        room = room_at(self.cache.folder)
        if room is not None and room < min(STRIDE, file.size - have):
            raise full(self.cache.folder)

    def _look(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped


def full(folder: Path) -> DiskFull:
    """Return the error for a disk without room."""
    return DiskFull(
        "the disk is full",
        cause=f"There is no more room for the download at {folder}; some is left for other programs.",
        advice="Free some space, then resume it: what has come is kept. HF_HOME names another disk.",
    )


def is_full(error: OSError) -> bool:
    """Return whether that is why something could not be written."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _write(stream: Any, piece: bytes) -> None:
    """Write all of it: an unbuffered write may take a part only."""
    rest = memoryview(piece)
    while rest:
        rest = rest[stream.write(rest) :]
