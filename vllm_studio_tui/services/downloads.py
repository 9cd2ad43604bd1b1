"""Downloads of models from a hub: planned, begun, paused, resumed and cancelled. Each works in a process of its own."""

from __future__ import annotations

import builtins
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.download import Cancelled, Download, DownloadPlan, DownloadState
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.numbers import size
from vllm_studio_tui.kit.paths import Places, locked, private_dir
from vllm_studio_tui.models.pulling.directory import (
    ASKED,
    PAUSE,
    DownloadSpec,
    begin,
    create,
    is_held,
    read_spec,
    read_state,
    view,
)
from vllm_studio_tui.runs.control import scope_prefix

if TYPE_CHECKING:
    from vllm_studio_tui.models.hub_client import HubAccess

#: Seconds that the process of a download has to end when it is told to; then it is killed, and nothing is lost by that.
PATIENCE = 8.0


class Downloads:
    """The downloads of this machine. Every call blocks; those that ask the hub may take seconds.

    Args:
        scope: Whether processes are put into systemd scopes of their own, which outlive a session.
    """

    def __init__(
        self,
        places: Places,
        environ: Mapping[str, str] | None = None,
        *,
        scope: Callable[[], bool] = lambda: False,
    ) -> None:
        self._places = places
        self._environ = environ
        self._scope = scope

    @property
    def _access(self) -> HubAccess:
        from vllm_studio_tui.models.hub_client import HubAccess  # it loads the HTTP client

        return HubAccess.of(os.environ if self._environ is None else self._environ)

    def list(self) -> builtins.list[Download]:
        """Return every download, the latest first."""
        try:
            folders = [one for one in self._places.downloads.iterdir() if one.is_dir()]
        except OSError:
            return []
        found = [one for folder in folders if (one := view(folder)) is not None]
        return sorted(found, key=lambda one: (-one.started, one.id))

    def get(self, download_id: str) -> Download:
        """Return a download by its id, or by the name of its model.

        Raises:
            NotFound: There is none.
        """
        found = self.list()
        for one in found:
            if one.id == download_id:
                return one
        named = [one for one in found if download_id in (one.repo, one.name)]
        if named:
            return next((one for one in named if one.state is not DownloadState.DONE), named[0])
        there = ", ".join(one.id for one in found[:10])
        raise NotFound(
            f"there is no download {download_id[:80]}",
            cause=f"There are: {there}" if there else "There is none.",
            advice="`vllm-studio models downloads` lists them.",
        )

    def plan(
        self, repo: str, *, revision: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> DownloadPlan:
        """Return what a download would bring; the hub is asked.

        Raises:
            StudioError: It has no such model, or does not give it, or cannot be reached.
        """
        from vllm_studio_tui.models.pulling.plan import make_plan

        return make_plan(self._access, repo, revision=revision, include=include, exclude=exclude)

    def start(
        self, repo: str, *, revision: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Download:
        """Begin a download, or go on with one of the same files; another that runs goes first.

        Raises:
            StudioError: The hub does not give it, the disk has no room, or nothing can be written.
        """
        return self.start_planned(self.plan(repo, revision=revision, include=include, exclude=exclude))

    def start_planned(self, plan: DownloadPlan) -> Download:
        """Begin a download that was planned a moment ago.

        Raises:
            StudioError: The disk has no room, or nothing can be written.
        """
        if plan.fits is False:
            raise no_room(plan)
        access = self._access
        try:
            private_dir(self._places.downloads)
            with locked(self._places.downloads / "start.lock"):
                same = self._same(plan)
                if same is not None and same.state is not DownloadState.DONE:
                    return same if same.state.live else self.resume(same.id)
                if same is not None:
                    self._remove(self._folder(same.id))
                spec = create(self._places.downloads, plan, endpoint=access.endpoint, cache=access.cache)
                self._begin(self._folder(spec.id))
        except TimeoutError:
            raise StudioError("another download is being started", advice="Try again in a moment.") from None
        except OSError as error:
            raise _unwritten(error, self._places.downloads) from error
        return self.get(spec.id)

    def pause(self, download_id: str) -> Download:
        """End the process of a download; what has come is kept. One that does not run is left as it is.

        Raises:
            NotFound: There is none.
        """
        one = self.get(download_id)
        if one.state.live:
            self._end(self._folder(one.id))
        return self.get(one.id)

    def resume(self, download_id: str) -> Download:
        """Go on with a download that was paused, failed or interrupted. One that runs is left as it is.

        Raises:
            NotFound: There is none.
            StudioError: Its process cannot be started.
        """
        one = self.get(download_id)
        if one.state.live or one.state is DownloadState.DONE:
            return one
        folder = self._folder(one.id)
        last = read_state(folder)
        if last.pid is not None and is_held(folder):  # its process has written its end, and is about to leave
            process.wait_gone(last.pid, last.start, PATIENCE)
        try:
            self._begin(folder)
        except OSError as error:
            raise _unwritten(error, self._places.downloads) from error
        return self.get(one.id)

    def cancel(self, download_id: str) -> Cancelled:
        """End a download for good: what it brought is deleted, but for files that a snapshot has. One that is done
        is only forgotten: its model stays.

        Raises:
            NotFound: There is none.
        """
        one = self.get(download_id)
        folder = self._folder(one.id)
        if one.state.live:
            self._end(folder)
        spec = read_spec(folder)
        freed = 0
        if one.state is not DownloadState.DONE and spec is not None:
            freed = self._discard(spec)
        self._remove(folder)
        return Cancelled(one, freed)

    def forget(self, download_id: str) -> None:
        """Take a download that is over from the list; its files stay where they are.

        Raises:
            NotFound: There is none.
            StudioError: It is not over.
        """
        one = self.get(download_id)
        if one.state.live:
            raise StudioError(f"{one.id} is not over", cause=f"It is {one.state}.", advice="Pause or cancel it first.")
        self._remove(self._folder(one.id))

    def _begin(self, folder: Path) -> None:
        if self._scope() and begin(folder, scope_prefix(folder.name)):
            return
        begin(folder)  # also where systemd refused

    def _same(self, plan: DownloadPlan) -> Download | None:
        """Return the download of the same files of the same commit."""
        names = {one.name for one in plan.files}
        for one in self.list():
            if one.repo != plan.repo:
                continue
            spec = read_spec(self._folder(one.id))
            if spec is not None and spec.commit == plan.commit and {file.name for file in spec.files} == names:
                return one
        return None

    def _end(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            (folder / ASKED).write_text(PAUSE, encoding="ascii")
            (folder / ASKED).chmod(0o600)
        deadline = time.monotonic() + PATIENCE
        told = None
        while is_held(folder):
            state = read_state(folder)
            if state.pid is not None:
                if time.monotonic() > deadline:
                    process.send(state.pid, state.start, signal.SIGKILL)
                    process.wait_gone(state.pid, state.start, 5.0)
                    return
                if told != state.pid and process.send(state.pid, state.start, signal.SIGTERM):
                    told = state.pid
            elif time.monotonic() > deadline:
                return
            time.sleep(0.03)

    def _discard(self, spec: DownloadSpec) -> int:
        from vllm_studio_tui.models.pulling.cache import RepoCache

        # What another download of the same repository still wants stays.
        wanted: set[str] = set(spec.before)
        for other in self.list():
            if other.id != spec.id and other.repo == spec.repo and other.state is not DownloadState.DONE:
                its = read_spec(self._folder(other.id))
                wanted |= {one.digest for one in its.files} if its is not None else set()
        cache = RepoCache(Path(spec.cache), spec.repo)
        return cache.discard(one.digest for one in spec.files if one.digest not in wanted)

    def _folder(self, download_id: str) -> Path:
        return self._places.downloads / download_id

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)


def no_room(plan: DownloadPlan) -> StudioError:
    """Return the error for a disk that is too small for a plan."""
    return StudioError(
        f"there is no room for {plan.repo}",
        cause=f"{size(plan.missing)} have to come, and {size(plan.room)} are free at {plan.folder}.",
        advice="Free some space (`vllm-studio models list` has the sizes), or name another disk in HF_HOME.",
    )


def _unwritten(error: OSError, folder: Path) -> StudioError:
    return StudioError(
        "the download cannot be begun",
        cause=f"{error.strerror or error}: {error.filename or folder}",
        advice=f"See who may write there (`ls -ld {folder}`), or set VLLM_STUDIO_HOME to another place.",
    )
