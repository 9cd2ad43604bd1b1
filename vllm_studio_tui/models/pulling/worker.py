"""The process of one download: it waits for its turn, brings the files, and has huggingface_hub make the snapshot.

It is the only writer of the download's state. Whoever looks reads that; whoever wants it to pause sends SIGTERM.
"""

from __future__ import annotations

import fcntl
import glob
import os
import queue
import threading
import time
import traceback
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.download import DownloadState
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.process import start_ticks
from vllm_studio_tui.models.pulling.directory import (
    ASKED,
    DownloadSpec,
    State,
    is_held,
    read_state,
    write_state,
)

if TYPE_CHECKING:
    from vllm_studio_tui.models.hub_errors import HubError
    from vllm_studio_tui.models.pulling.transfer import Transfer

#: Files that are fetched at once, of one download.
AT_ONCE = 4
#: Seconds between looks whether it is our turn, and between states that are written.
LOOK, TELL = 0.3, 0.5
#: Seconds over which the speed is measured.
WINDOW = 8.0
#: Seconds that threads have to end once it is to pause; what they have written by then counts.
GRACE = 3.0
#: Tries of the last step, in which the library asks the hub for each file once more.
TRIES = 4


class Worker:
    """Works on one download until it is done, paused or failed."""

    def __init__(self, folder: Path, spec: DownloadSpec) -> None:
        self._folder = folder
        self._spec = spec
        self.stop = threading.Event()
        old = read_state(folder)
        self._state = replace(old, pid=os.getpid(), start=start_ticks(os.getpid()))
        self._have: dict[str, int] = {}
        self._waits = ""
        self._moments: deque[tuple[float, int]] = deque()
        self._fetched = 0

    def run(self) -> None:
        """Work on it; each end is a state."""
        try:
            self._write(DownloadState.QUEUED)  # with our process id: we may be told to pause
            slot = self._my_turn()
            if slot is None:
                self._end_paused()
                return
            self._write(DownloadState.RUNNING)
            self._download()
        except StudioError as error:
            full = type(error).__name__ == "DiskFull"
            self._write(
                DownloadState.PAUSED if full else DownloadState.FAILED,
                error=_line(error),
                advice=error.advice or "Resume it to try again: what has come is kept.",
            )
        except OSError as error:
            self._end_for(error)
        except BaseException as error:  # a fault of ours: it is in the log, and said
            traceback.print_exc()
            self._write(
                DownloadState.FAILED,
                error=f"a fault of the program: {type(error).__name__}: {str(error)[:200]}",
                advice=f"Its log is {self._folder / 'download.log'}. Resume it to try again.",
            )
            raise

    def _my_turn(self) -> int | None:
        """Wait until no other download runs, and none that was there before waits; None: it is to pause."""
        slot = os.open(self._folder.parent / "slot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while not self.stop.is_set():
            if not self._somebody_before():
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    pass
                else:
                    return slot
            self.stop.wait(LOOK)
        os.close(slot)
        return None

    def _somebody_before(self) -> bool:
        for other in self._folder.parent.iterdir():
            if other != self._folder and other.is_dir() and is_held(other):
                state = read_state(other)
                if state.state is DownloadState.QUEUED and 0 < state.queued < self._state.queued:
                    return True
        return False

    def _download(self) -> None:
        # All that is needed is loaded now: the installation may be replaced while gigabytes come.
        os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1")
        import huggingface_hub.file_download  # noqa: F401
        from huggingface_hub import snapshot_download

        from vllm_studio_tui.models.hub_client import HubAccess, HubClient
        from vllm_studio_tui.models.pulling.cache import RepoCache, room_at
        from vllm_studio_tui.models.pulling.transfer import Transfer, full

        spec = self._spec
        cache = RepoCache(Path(spec.cache), spec.repo)
        access = replace(HubAccess.of(os.environ), endpoint=spec.endpoint, cache=cache.root)
        self._have = {one.name: cache.here(one, spec.commit) for one in spec.files}
        room = room_at(cache.folder)
        if room is not None and room < spec.total - sum(self._have.values()):
            raise full(cache.folder)
        cache.root.mkdir(parents=True, exist_ok=True)
        # Files of the cache have the rights of its folder, as if the library had been called by hand.
        os.umask(0o777 & ~cache.root.stat().st_mode)
        with HubClient(access) as hub:
            self._bring_all(Transfer(hub, cache, spec.commit, self.stop, self._tell, self._wait_for))
        if self.stop.is_set():
            self._end_paused()
            return
        self._make_snapshot(snapshot_download, access.token)
        cache.write_ref(spec.revision, spec.commit)
        missing = cache.missing((one.name for one in spec.files), spec.commit)
        if missing:
            raise StudioError("the snapshot is not whole", cause=f"{missing[0]} is missing in it.")
        self._have = {one.name: one.size for one in spec.files}
        self._write(DownloadState.DONE)

    def _bring_all(self, transfer: Transfer) -> None:
        """Bring every file, several at once, and write down how far that is."""
        left: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for one in sorted(self._spec.files, key=lambda file: file.size):
            left.put(one)
        faults: list[BaseException] = []
        threads = [
            threading.Thread(target=self._fetch_some, args=(transfer, left, faults), daemon=True)
            for _ in range(AT_ONCE)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self.stop.is_set() and not faults:
            threads[0].join(TELL) if threads[0].is_alive() else self.stop.wait(TELL / 5)
            self._tell_all()
        if faults:
            asked = self.stop.is_set()
            self.stop.set()
            self._join(threads)
            if not asked:
                self.stop.clear()
            self._tell_all()
            raise faults[0]
        if self.stop.is_set():
            self._join(threads)
        self._tell_all()

    def _fetch_some(self, transfer: Transfer, left: queue.SimpleQueue[Any], faults: list[BaseException]) -> None:
        from vllm_studio_tui.models.pulling.transfer import Stopped

        while not self.stop.is_set() and not faults:
            try:
                file = left.get_nowait()
            except queue.Empty:
                return
            try:
                transfer.fetch(file)
            except Stopped:
                return
            except BaseException as error:  # noqa: BLE001, RUF100
                faults.append(error)
                return

    def _join(self, threads: list[threading.Thread]) -> None:
        until = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _make_snapshot(self, snapshot_download: Any, token: str | None) -> None:
        """Have the library link the files: all of them are there, so that it asks for their heads alone."""
        spec = self._spec
        for attempt in range(TRIES):
            try:
                snapshot_download(
                    spec.repo,
                    revision=spec.commit,
                    cache_dir=spec.cache,
                    endpoint=spec.endpoint,
                    token=token or False,
                    allow_patterns=[glob.escape(one.name) for one in spec.files],
                    max_workers=AT_ONCE,
                )
            except OSError:
                raise
            except Exception as error:
                if attempt + 1 == TRIES or self.stop.wait(2.0**attempt):
                    raise StudioError(
                        "the last step did not come about",
                        cause=f"{type(error).__name__}: {_short(error)}",
                        advice="All bytes are here: resume it, and only this step is made again.",
                    ) from error
            else:
                return

    def _tell(self, name: str, have: int) -> None:
        self._have[name] = have

    def _wait_for(self, error: HubError | None) -> None:
        self._waits = "" if error is None else _line(error)

    def _tell_all(self) -> None:
        now, done = time.monotonic(), sum(self._have.values())
        if self._moments and done < self._moments[-1][1]:
            self._moments.clear()  # something is fetched anew
        self._moments.append((now, done))
        while len(self._moments) > 2 and now - self._moments[0][0] > WINDOW:
            self._moments.popleft()
        before, at = self._moments[0]
        speed = (done - at) / (now - before) if now - before > 0.3 and done > at else None
        if done != self._state.bytes_done or speed != self._state.speed or self._waits != self._state.error:
            self._write(DownloadState.RUNNING, speed=speed, error=self._waits, lasting=False)

    def _end_paused(self) -> None:
        try:
            asked = (self._folder / ASKED).exists()
        except OSError:
            asked = False
        error = "" if asked else "interrupted: its process was told to end"
        self._write(DownloadState.PAUSED, error=error, advice="Resume it: it goes on where it was.")

    def _end_for(self, error: OSError) -> None:
        from vllm_studio_tui.models.pulling.transfer import full, is_full

        if is_full(error):
            why = full(Path(self._spec.cache))
            self._write(DownloadState.PAUSED, error=_line(why), advice=why.advice)
            return
        self._write(
            DownloadState.FAILED,
            error=f"it cannot be written: {error.strerror or _short(error)}: {error.filename or self._spec.cache}",
            advice="See who may write there; HF_HOME names another place. Then resume it.",
        )

    def _write(
        self,
        state: DownloadState,
        *,
        speed: float | None = None,
        error: str = "",
        advice: str = "",
        lasting: bool = True,
    ) -> None:
        sizes = {one.name: one.size for one in self._spec.files}
        done = sum(1 for name, have in self._have.items() if have >= sizes.get(name, 0))
        self._state = State(
            state,
            sum(self._have.values()) if self._have else self._state.bytes_done,
            done if self._have else self._state.files_done,
            speed,
            error,
            advice,
            self._state.queued,
            self._state.pid,
            self._state.start,
            time.time(),
        )
        for _ in range(50 if lasting else 1):
            try:
                write_state(self._folder, self._state, lasting=lasting)
                return
            except OSError:
                # A full disk: the last words are tried for a while, the figures of this second are not.
                if not lasting or not self._folder.is_dir():
                    return
                time.sleep(0.2)


def _line(error: StudioError) -> str:
    """Return what and why as one line."""
    return f"{error.title}: {error.cause}" if error.cause else error.title


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
