"""What is done with a download from the hub, from any screen: pause it, go on with it, cancel it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.download import Download
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint.downloads import name_of, room
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell


async def pause(shell: Shell, one: Download) -> None:
    """Pause a download; nothing that came is lost."""
    await shell.in_thread(partial(shell.studio.downloads.pause, one.id))
    shell.tell(f"{name_of(one)} is paused; r goes on where it was.")
    shell.pulls.look()


async def go_on(shell: Shell, one: Download) -> None:
    """Go on with a download where it was."""
    await shell.in_thread(partial(shell.studio.downloads.resume, one.id))
    shell.tell(f"{name_of(one)} goes on.")
    shell.pulls.look()


async def cancel(shell: Shell, one: Download) -> bool:
    """Ask, and end a download for good; return whether it was."""
    loss = f"{numbers.size(one.bytes_done)} that came are deleted." if one.bytes_done else "Nothing came yet."
    answers = [Option("d", "cancel it, and delete what came")]
    if one.state.live:
        answers.insert(0, Option("s", "pause it: what came stays", gentle=True))
    said = await shell.ask(Question(f"Cancel the download of {name_of(one)}?", loss, answers, "let it be"))
    if said == "s":
        await pause(shell, one)
    if said != "d":
        return False
    ended = await shell.in_thread(partial(shell.studio.downloads.cancel, one.id))
    shell.tell(f"Cancelled {name_of(one)}; {room(ended.freed)} came free.")
    shell.pulls.look()
    return True


async def do(shell: Shell, verb: str, download_id: str) -> None:
    """Do what the palette was asked for, as long as there is such a download."""
    one = next((one for one in shell.pulls.unfinished if one.id == download_id), None)
    if one is None:
        shell.tell("This download is gone.")
    elif verb == "pull-cancel":
        await cancel(shell, one)
    else:
        await (pause if verb == "pull-pause" else go_on)(shell, one)
