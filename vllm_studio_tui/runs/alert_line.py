"""The worst alert in a few words: on the strip of the screens, and for `status --line` in a file beside the runs.

Light: `status --line` reads it, takes no samples and knows no rules.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.domain.alerts import Alert
    from vllm_studio_tui.kit.paths import Places

#: Rules whose trouble the line shows already: by the states of runs, and by GPUs that are lost.
SHOWN = ("engine-died", "engine-stalled", "engine-restarts", "gpu-lost")
#: Seconds after which nobody keeps the file any more; who does writes it each ten.
FRESH = 30.0
#: Bytes of it that are read.
LIMIT = 400


def worst_alert(alerts: Iterable[Alert]) -> tuple[str, str]:
    """Return what is worst and not shown by the line already, and its colour; empty where there is nothing.

    Trouble is worse than a warning; of equals the newest is.
    """
    there = [one for one in alerts if one.firing and one.rule not in SHOWN]
    if not there:
        return "", ""
    worst = max(there, key=lambda one: (one.severity == "trouble", one.since))
    words = f"{worst.subject} {worst.rule}" if worst.rule != worst.subject else worst.rule
    return words, "err" if worst.severity == "trouble" else "warn"


def write_worst(places: Places, alerts: Iterable[Alert]) -> None:
    """Keep the worst alert for those who take no samples. Blocking; raises nothing."""
    from vllm_studio_tui.kit.paths import private_dir, write_atomic

    words, colour = worst_alert(alerts)
    with contextlib.suppress(OSError):
        if words:
            private_dir(places.alert_line.parent)
            write_atomic(places.alert_line, f"{colour}\n{words}".encode())
        else:
            places.alert_line.unlink(missing_ok=True)


def read_worst(places: Places, now: float | None = None) -> tuple[str, str]:
    """Return what `write_worst` kept, as `worst_alert` does; nothing where it is old or cannot be read."""
    try:
        handle = os.open(places.alert_line, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return "", ""
    try:
        if not -FRESH < (time.time() if now is None else now) - os.fstat(handle).st_mtime < FRESH:
            return "", ""
        colour, _, words = os.read(handle, LIMIT).decode(errors="replace").partition("\n")
    except OSError:
        return "", ""
    finally:
        os.close(handle)
    return (words, colour) if colour in ("err", "warn") else ("", "")
