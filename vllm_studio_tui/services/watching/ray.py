"""The Ray cluster that runs of this machine use: where its dashboard is, and what it says. Read only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.ray_reading import dashboard_of
from vllm_studio_tui.domain.ray_view import RayView
from vllm_studio_tui.kit.secrets import resolve
from vllm_studio_tui.probes.ray import read_ray

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.runs.read import RunView

#: Seconds for which an answer serves all who ask.
FRESH = 4.0
#: Variables that name a dashboard and a token, as Ray's own programs read them, and where else these look.
ADDRESSES = ("RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS")
TOKEN, _OWN_FILE = "RAY_AUTH_TOKEN", "~/.ray/auth_token"


class Ray:
    """A Ray cluster. Nothing is asked where no address is known.

    Args:
        settings: Returns the settings as they are now.
        runs: Returns the runs of this machine, oldest first.
        environ: The variables that Ray's own programs read.
        read: Asks a cluster.
        clock: Seconds that go on by themselves.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        runs: Callable[[], Iterable[RunView]],
        environ: Mapping[str, str] = os.environ,
        read: Callable[[str, str | None], RayView] = read_ray,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._runs = runs
        self._environ = environ
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[str, float, RayView] | None = None

    def look(self, address: str | None = None) -> RayView | None:
        """Return what a cluster says of itself; None where none is known. Blocking, for seconds where it hangs.

        Args:
            address: Of its dashboard; None: that of the settings, of Ray's own variables or of a live run.
        """
        settings = self._settings()
        where, reference = address or settings.ray_address or self._of_environment(), settings.ray_token
        if not where:
            where, theirs = self._of_runs()
            reference = reference or theirs
        if not where:
            return None
        with self._lock:
            if self._last is not None and self._last[0] == where and self._clock() - self._last[1] < FRESH:
                return self._last[2]
            try:
                token = resolve(reference, self._environ) if reference else self._token()
            except (ValueError, OSError) as error:
                view = RayView(where, time.time(), error=f"its token cannot be read: {error}")
            else:
                view = self._read(where, token)
            self._last = (where, self._clock(), view)
            return view

    def _of_environment(self) -> str:
        return next((found for name in ADDRESSES if (found := dashboard_of(self._environ.get(name)))), "")

    def _of_runs(self) -> tuple[str, str | None]:
        """Return the address that the latest live run was handed over to, and the reference to the token it took."""
        for run in reversed(list(self._runs())):
            if run.spec is None or not run.live or run.spec.follow.get("kind") != "ray-serve":
                continue
            if found := dashboard_of(run.spec.follow.get("address")):
                return found, run.spec.env_refs.get(TOKEN)
        return "", None

    def _token(self) -> str | None:
        """Return the token where Ray's own programs find it; None where there is none."""
        if given := self._environ.get(TOKEN):
            return given
        named = self._environ.get(f"{TOKEN}_PATH")
        path = Path(named or _OWN_FILE).expanduser()
        return resolve(f"file:{path}") if named or path.is_file() else None
