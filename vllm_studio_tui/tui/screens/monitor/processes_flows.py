"""Signals to processes, after saying what they would do: the gentlest answer first, and twice where one is not ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.processes import SIGNALS, Consequence
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

if TYPE_CHECKING:
    from vllm_studio_tui.domain.processes import Process
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.shell import Shell

#: Characters of a command in a question.
MOST_COMMAND = 60
#: What the answers of a question are pressed by.
STOP, TERM, MORE, SEND = "r", "s", "i", "y"


async def stop_or_signal(shell: Shell, commands: Commands, picked: Sequence[Process]) -> bool:
    """Ask what shall become of processes, and do it; return whether something was done."""
    processes = shell.studio.processes

    def look() -> list[Consequence]:
        return [processes.consequence(one.pid) for one in picked]

    told = [one for one in await shell.in_thread(look) if _same(one, picked)]
    reached = [one for one in told if one.refusal is None]
    if not reached:
        words = told[0].refusal if told else "it has gone"
        shell.tell(f"Nothing can be sent to {_named([one.process for one in told] or picked)}: {words}.", "warning")
        return False
    answer = await shell.ask(_question(reached))
    if answer == STOP:
        run = next((run for run in _runs(shell) if run.run_id == reached[0].run_id), None)
        if run is not None:
            await commands.stop(run)
        return True
    name = "TERM" if answer == TERM else None
    if answer == MORE:
        name = await shell.ask(_signals(reached))
    if name not in SIGNALS:
        return False
    others = [one.process for one in reached if one.run_id is None]
    if others and await shell.ask(_again(others, str(name))) != SEND:
        return False
    targets = [(one.process.pid, one.process.start) for one in reached]
    sent = await shell.in_thread(partial(processes.signal, targets, str(name)))
    for one in sent:
        if one.sent is None:
            shell.tell(f"{one.pid}: {one.words}.", "warning")
    done = [one for one in sent if one.sent is not None]
    if len(done) == 1:
        words = f": {done[0].words}" if done[0].words else ""
        shell.tell(f"{done[0].sent} was sent to {done[0].pid}{words}.")
    elif done:
        shell.tell(f"{name} was sent to {len(done)} processes.")
    return bool(done)


def _question(told: Sequence[Consequence]) -> Question:
    """Make the first question: to stop the run is the gentle answer, where there is one and the same."""
    runs = {one.run_id for one in told}
    options = []
    if len(runs) == 1 and told[0].run_id is not None:
        options.append(Option(STOP, f"stop the run {told[0].run}", gentle=True))
    options.append(Option(TERM, f"TERM: {SIGNALS['TERM'].replace('it', 'it' if len(told) == 1 else 'them', 1)}"))
    options.append(Option(MORE, "more signals"))
    if len(told) == 1:
        text = "\n".join(told[0].words)
    else:
        text = "\n".join(f"{one.process.pid} {_short(one.process)}: {' '.join(one.words)}" for one in told)
    return Question(f"End {_named([one.process for one in told])}?", text, options, "leave it")


def _again(others: Sequence[Process], name: str) -> Question:
    owners = ", ".join(sorted({one.user or "somebody else" for one in others}))
    belongs = "It belongs" if len(others) == 1 else "They belong"
    text = f"{belongs} to {owners}, and to no run of this studio. {name} {_does(name)}."
    return Question(f"Really send {name} to {_named(others)}?", text, [Option(SEND, f"send {name}")], "leave it")


def _signals(told: Sequence[Consequence]) -> Chooser:
    """Offer what may be sent to all of them, the gentlest first; what is not theirs yet is left out."""
    allowed = [name for name in SIGNALS if all(name in one.signals for one in told)]
    empty = "There is no such signal here."
    return Chooser([Choice(name, name, SIGNALS[name]) for name in allowed], title="Which signal?", empty=empty)


def _does(name: str) -> str:
    return SIGNALS[name].partition(":")[0]


def _named(some: Sequence[Process]) -> str:
    if len(some) != 1:
        return f"{len(some)} processes"
    owner = f" of {some[0].user}" if some[0].user and some[0].run_id is None else ""
    return f"{some[0].pid} {_short(some[0])}{owner}"


def _short(one: Process) -> str:
    command = " ".join((one.command or "").split()[:3])
    return command[:MOST_COMMAND]


def _same(one: Consequence, picked: Sequence[Process]) -> bool:
    return any((one.process.pid, one.process.start) == (other.pid, other.start) for other in picked)


def _runs(shell: Shell) -> Sequence[RunView]:
    snapshot = shell.snapshot
    return snapshot.runs if snapshot is not None else ()
