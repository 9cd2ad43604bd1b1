"""Leaving: what is being answered is kept, engines go on, and the person reads how many."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.place import Place

#: Seconds that a screen may take to keep what it has.
LONGEST = 10.0


def leave_on_signals(studio: StudioApi, leave: Callable[[], None]) -> None:
    """Leave when the terminal goes or the process is asked to end: answers are kept, the terminal is put right."""

    def told(number: signal.Signals) -> None:
        studio.interrupt_answers(number.name)
        leave()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        loop.add_signal_handler(number, told, number)


def going_on(snapshot: Snapshot | None) -> list[str]:
    """Return the line for the terminal that says how many engines go on, if any does."""
    live = sum(run.live for run in snapshot.runs) if snapshot is not None else 0
    if not live:
        return []
    which = "1 engine goes" if live == 1 else f"{live} engines go"
    return [f"{which} on: vllm-studio status. To stop {'it' if live == 1 else 'them'}: vllm-studio stop --all"]


async def put_away(studio: StudioApi, places: Iterable[Place], failed: Callable[[BaseException], object]) -> list[str]:
    """Let every screen keep what it has, save what is not saved yet; return lines for the terminal.

    Args:
        failed: Told of a screen that could not; the others keep what they have all the same.
    """
    for place in places:
        try:
            await asyncio.wait_for(place.leaving(), LONGEST)
        except Exception as error:  # noqa: BLE001, RUF100
            failed(error)
    await asyncio.to_thread(studio.close_chat)
    return [f"An answer is not saved yet. It lies in {path}; the next start takes it in." for path in studio.unsaved]
