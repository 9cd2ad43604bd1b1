"""What one engine reports, read for somebody who asked for it: once, or again and again at their pace. Blocking."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vllm_studio_tui.config.custom_metrics import custom_metrics
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.errors import EngineUnreachable, StudioError
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.engine.reader import EngineProbe, read_once

if TYPE_CHECKING:
    from vllm_studio_tui.runs.foreign import Foreign
    from vllm_studio_tui.runs.read import RunView

#: Seconds over which latencies and shares are taken where an engine is read again and again.
WINDOW = 60.0


def measure(places: Places, run: RunView | Foreign, seconds: float) -> EngineMetrics:
    """Read an engine twice, so many seconds apart; what went wrong is in `error`.

    Raises:
        StudioError: It cannot be asked.
    """
    base_url, backend, key = _asked(run)
    return read_once(base_url, backend, key, seconds, custom=custom_metrics(places)[0])


def readings(
    places: Places, run: RunView | Foreign, every: float, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[EngineMetrics]:
    """Read an engine every so many seconds, without an end; one that is away is waited for.

    Raises:
        StudioError: It cannot be asked.
    """
    base_url, backend, key = _asked(run)
    probe = EngineProbe(backend, window=WINDOW, custom=custom_metrics(places)[0])
    while True:
        yield probe.read(base_url, key)
        sleep(every)


def _asked(run: RunView | Foreign) -> tuple[str, str, str | None]:
    """Return where an engine is, which it is, and its key: one of somebody else is asked without any."""
    from vllm_studio_tui.runs.foreign import Foreign

    if isinstance(run, Foreign):
        if run.base_url is None:
            raise StudioError(
                f"process {run.pid} does not say on which port it listens",
                advice="Attach it by its address: vllm-studio recipes add NAME --set base_url=http://HOST:PORT/v1",
            )
        return run.base_url, run.backend, None
    if run.base_url is None or run.backend is None:
        raise StudioError(f"{run.run_id} does not say where its engine is", advice="Launch it again.")
    if run.status.stranger:
        raise EngineUnreachable(f"No metrics of {run.run_id}", cause=run.status.heard or "")
    return run.base_url, run.backend, api_key_of(run)


def api_key_of(run: RunView) -> str | None:
    """Return the API key of a run's engine, or None.

    Raises:
        StudioError: Its reference names nothing.
    """
    ref = run.spec.api_key_ref if run.spec else None
    if ref is None:
        return None
    try:
        return secrets.resolve(ref, os.environ)
    except ValueError as error:
        raise StudioError("The engine's API key cannot be read", cause=str(error)) from error
