"""`gpus processes`, `gpus environment` and `gpus signal`: the processes of runs and on GPUs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.processes import SIGNALS, Consequence, ProcessRow
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.processes import Process

DASH = "-"
JSON = typer.Option(False, "--json", help="One JSON document.")
#: Seconds between the two looks by which the use of a CPU is known.
BETWEEN = 0.4
MOST_COMMAND = 70


def register_with(nouns: typer.Typer) -> None:
    """Add the commands to those of `gpus`."""

    @nouns.command("processes")
    def processes(
        as_json: bool = JSON,
        tree: bool = typer.Option(True, "--tree/--flat", help="Parents above their children, or who holds most first."),
    ) -> None:
        """Show the processes of runs and on GPUs: user, container, memory, CPU, and which run."""
        with open_studio() as studio:
            rows = studio.processes.tree(seconds=BETWEEN)
        if not tree:
            rows = tuple(sorted(rows, key=lambda row: (-(row.process.gpu_memory or 0), row.process.pid)))
        if as_json:
            emit({"processes": [{**row.process.to_json(), "depth": row.depth if tree else 0} for row in rows]})
            return
        if not rows:
            say("No run lives here, and no process is seen on a GPU.")
            return
        in_containers = any(row.process.container for row in rows)
        head = ["PID", "COMMAND", "USER", *(["CONTAINER"] if in_containers else []), "GPU", "GPU MEMORY", "SM", "CPU",
                "MEMORY", "TIME", "RUN"]  # fmt: skip
        shift = int(in_containers)
        right = (0, *(column + shift for column in range(3, 9)))
        table(head, [_line(row, tree=tree, in_containers=in_containers) for row in rows], right=right)

    @nouns.command("environment")
    def environment(pid: int = typer.Argument(..., help="Its process."), as_json: bool = JSON) -> None:
        """Show the variables that a process was started with; secrets are masked."""
        with open_studio() as studio:
            one = studio.processes.consequence(pid).process
            found = studio.processes.environment(pid, one.start)
        if as_json:
            emit({"pid": pid, "environment": dict(found)})
            return
        for name, value in found:
            say(f"{name}={value}")

    @nouns.command("signal")
    def signal(
        pids: list[int] = typer.Argument(..., metavar="PID...", help="Processes of `gpus processes`."),
        name: str = typer.Option("TERM", "--signal", "-s", help=f"One of {', '.join(SIGNALS)}."),
        yes: bool = typer.Option(False, "--yes", "-y", help="Without asking."),
        dry_run: bool = typer.Option(False, "--dry-run", help="Say what it would do, and send nothing."),
        as_json: bool = JSON,
    ) -> None:
        """Send a signal to processes of runs and on GPUs, after saying what it would do.

        A process that no run of the studio started is asked to end before it is killed, and is asked about twice.
        """
        name = name.upper().removeprefix("SIG")
        if name not in SIGNALS:
            raise UsageError(f"there is no signal {name[:20]!r} here", advice=f"There are {', '.join(SIGNALS)}.")
        with open_studio() as studio:
            told = [studio.processes.consequence(pid) for pid in dict.fromkeys(pids)]
            if dry_run:
                if as_json:
                    emit({"signal": name, "consequences": [one.to_json() for one in told]})
                else:
                    _tell(told)
                return
            if not yes:
                _tell(told)
                if reached := [one for one in told if one.refusal is None]:
                    _ask(reached, name)
            sent = studio.processes.signal([(one.process.pid, one.process.start) for one in told], name)
        if as_json:
            emit({"signal": name, "sent": [one.to_json() for one in sent]})
        else:
            for one in sent:
                if one.sent is not None:
                    say(f"{one.pid}: {one.sent} was sent{f': {one.words}' if one.words else ''}")
        failed = [one for one in sent if one.sent is None]
        if failed:
            words = "; ".join(f"{one.pid}: {one.words}" for one in failed)
            raise StudioError("the signal did not reach all of them", cause=words)


def _line(row: ProcessRow, *, tree: bool, in_containers: bool) -> list[str]:
    one = row.process
    own = [one.container or DASH] if in_containers else []
    return [
        str(one.pid),
        (branch(row.last) if tree else "") + (one.command or DASH)[:MOST_COMMAND],
        one.user or DASH,
        *own,
        " ".join(map(str, one.gpus)) or DASH,
        numbers.size(one.gpu_memory, DASH),
        numbers.fixed(one.sm, 0, "%", DASH),
        numbers.fixed(one.cpu, 0, "%", DASH),
        numbers.size(one.memory, DASH),
        numbers.duration(one.seconds, DASH),
        one.run_id or DASH,
    ]


def branch(last: Sequence[bool]) -> str:
    """Return the lines of a tree that lead to a process; plain characters where the terminal has no others."""
    try:
        "├└│".encode(sys.stdout.encoding or "utf-8")
        through, end, down = "├ ", "└ ", "│ "
    except (UnicodeEncodeError, LookupError):
        through, end, down = "|-", "`-", "| "
    return "".join([*("  " if one else down for one in last[:-1]), *([end if last[-1] else through] if last else [])])


def _tell(told: Sequence[Consequence]) -> None:
    for one in told:
        note(f"{_named(one.process)}")
        for words in (*one.words, *([f"Nothing can be sent to it: {one.refusal}."] if one.refusal else [])):
            note(f"  {words}")
        if one.run_id is not None:
            note(f"  To end the whole run: vllm-studio stop {one.run_id}")


def _ask(told: Sequence[Consequence], name: str) -> None:
    """Ask, and once more where a process is not ours.

    Raises:
        UsageError: Nobody can be asked.
        NotFound: The answer was no.
    """
    if not _can_ask():
        raise UsageError("this must be confirmed", advice="Use --yes where nobody can be asked.")
    which = _named(told[0].process) if len(told) == 1 else f"these {len(told)} processes"
    questions = [f"Send {name} to {which}? It {SIGNALS[name]}."]
    others = [one.process for one in told if one.run_id is None]
    if others:
        owners = ", ".join(sorted({one.user or "somebody else" for one in others}))
        what = "It belongs" if len(told) == 1 else f"{len(others)} of them belong"
        questions.append(f"{what} to no run here, but to {owners}. Send it all the same?")
    for question in questions:
        if not typer.confirm(question, err=True):
            raise NotFound("nothing was done")


def _named(one: Process) -> str:
    return f"{one.pid} {(one.command or '')[:MOST_COMMAND]}".rstrip()


def _can_ask() -> bool:
    return sys.stdin.isatty()
