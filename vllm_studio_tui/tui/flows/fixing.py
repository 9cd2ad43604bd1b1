"""The changes of a recipe that answer a failure: shown as a diff, and launched with when one is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.tui.flows.changes import propose
from vllm_studio_tui.tui.flows.run_facts import offered

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.shell import Shell


async def fix(shell: Shell, run: RunView, *, chosen: int = 0) -> None:
    """Show what would answer the failure of a run; save what is agreed to, and launch. From within `spawn`.

    Args:
        chosen: Which of the changes is shown first.
    """
    offer = await shell.in_thread(lambda: offered(shell, run))
    found = offer.proposals
    if not found:
        shell.tell(offer.why_not)
        return
    at = chosen % len(found)
    await propose(shell, [*found[at:], *found[:at]], run=True)
