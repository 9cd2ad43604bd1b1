"""Watches the hosts of the settings for the single line, as long as somebody asks for it: `python -m` this module.

One connection to each host stays open meanwhile, and each is asked every few seconds. There is one such process for a
home and machine, by a lock; it ends when nobody asked for two minutes, or when no host is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vllm_studio_tui.config.hosts import read_hosts
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.remote.host_watch import HostWatch
from vllm_studio_tui.remote.host_words import STATES, in_order, rank, trouble
from vllm_studio_tui.runs.host_line import HostNow, asked_file, lock_file

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host
    from vllm_studio_tui.remote.host_state import HostState

#: Seconds from one question to a host to the next, at least.
PACE = 5.0
#: Seconds without anybody who asks after which it ends; between looks at that, at the settings, and at what changed.
ALONE, AGAIN, STEP = 120.0, 10.0, 1.0
#: Seconds that ending the connections may take.
GRACE = 6.0


def line_documents(states: Iterable[HostState]) -> list[HostNow]:
    """Return hosts as the line shows them, trouble first."""
    found = []
    for state in in_order(states):
        overview = state.overview if state.answers else None
        found.append(
            HostNow(
                state.name,
                STATES[rank(state)],
                trouble(state),
                overview.tokens_per_second if overview is not None else None,
                overview.waiting if overview is not None else None,
            )
        )
    return found


def main() -> int:
    """Watch until nobody asks any more.

    Returns:
        0; also where another one watches already.
    """
    places = Places.of()
    private_dir(places.host_line.parent)
    lock = os.open(lock_file(places), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    hosts, watch, looked = dict[str, "Host"](), None, 0.0
    changed = threading.Event()
    try:
        while _asked(places):
            if time.monotonic() - looked >= AGAIN or watch is None:
                looked = time.monotonic()
                now = _hosts(places, hosts)
                if not now:
                    _write(places, [])
                    return 0
                if watch is None or now != hosts:
                    watch = _watch(now, changed, watch)
                    hosts = now
            if changed.wait(STEP):
                changed.clear()
                _write(places, watch.states)
                time.sleep(STEP)  # what comes meanwhile is written at once
    finally:
        if watch is not None:
            watch.close(GRACE)
    return 0


def _asked(places: Places) -> bool:
    try:
        return abs(time.time() - asked_file(places).stat().st_mtime) < ALONE
    except OSError:
        return False


def _hosts(places: Places, known: dict[str, Host]) -> dict[str, Host]:
    try:
        return read_hosts(places)
    except StudioError:
        return known  # they are being written, or somebody has to mend them


def _watch(hosts: dict[str, Host], changed: threading.Event, before: HostWatch | None) -> HostWatch:
    watch = HostWatch(hosts, changed.set, pace=PACE)
    if before is not None:
        watch.keep({state.name: state for state in before.states})
        before.close(GRACE)
    watch.start()
    return watch


def _write(places: Places, states: Iterable[HostState]) -> None:
    document = {"hosts": [one.to_json() for one in line_documents(states)]}
    with contextlib.suppress(OSError):
        write_atomic(places.host_line, json.dumps(document).encode())


if __name__ == "__main__":
    raise SystemExit(main())
