"""Where in a recording the screens are: by the palette, and by keys of the monitor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.sheets.palette_ranking import Entry

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Replay
    from vllm_studio_tui.tui.shell import Shell

#: Seconds that it goes on, or back, by the name of the entry.
STEPS = {
    "back-10": ("10 seconds back", -10.0),
    "on-10": ("10 seconds on", 10.0),
    "back-60": ("1 minute back", -60.0),
    "on-60": ("1 minute on", 60.0),
    "back-600": ("10 minutes back", -600.0),
    "on-600": ("10 minutes on", 600.0),
}
FASTEST = 3600.0


def entries(shell: Shell) -> list[Entry]:
    """Return what can be done with the recording that is shown; nothing where the present is."""
    replay = shell.snapshot.replay if shell.snapshot is not None else None
    if replay is None:
        return []
    note = _where(replay)
    offered = [
        ("pause", "let it go on" if replay.speed == 0 else "let it stand still"),
        *((name, words) for name, (words, _) in STEPS.items()),
        ("begin", "from the beginning"),
        ("faster", "twice as fast"),
        ("slower", "half as fast"),
    ]
    return [
        Entry(f"replay:{name}", f"recording: {words}", note, "", "RECORDING", "do", "replay seek", enter="do it")
        for name, words in offered
    ]


def do(shell: Shell, name: str) -> None:
    """Do what was chosen."""
    replay = shell.snapshot.replay if shell.snapshot is not None else None
    if replay is None:
        return
    if name in STEPS:
        seek(shell, replay.at + STEPS[name][1])
    elif name == "begin":
        seek(shell, replay.since)
    else:
        speed = {"pause": 0.0 if replay.speed else 1.0, "faster": replay.speed * 2 or 1.0, "slower": replay.speed / 2}
        set_speed(shell, speed.get(name, 1.0))


def seek(shell: Shell, at: float) -> None:
    """Go to a moment of the recording; nothing happens in the present."""
    if (go := getattr(shell.studio.sampler, "seek", None)) is not None:
        go(at)


def set_speed(shell: Shell, speed: float) -> None:
    """Play the recording so many times as fast as it was; 0: stand still."""
    if (change := getattr(shell.studio.sampler, "set_speed", None)) is not None:
        change(min(FASTEST, speed))


def _where(replay: Replay) -> str:
    at, end = (time.strftime("%H:%M:%S", time.localtime(one)) for one in (replay.at, replay.until))
    return f"{at} of {end}, {'stands still' if replay.speed == 0 else f'{replay.speed:g}x'}"
