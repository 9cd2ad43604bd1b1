"""Rows of processes: the columns of their table, the short list below the charts, and what is known of one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.processes import Process, ProcessRow
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.paint.table import Column, Parts, lay_out, natural_widths, put_heads, put_values

if TYPE_CHECKING:
    from vllm_studio_tui.domain.run import State
    from vllm_studio_tui.runs.read import RunView

#: The beginning of the keys of processes.
PROCESS = "pid:"
#: A title that a worker gives itself: the program, then which part of it this is.
_TITLE = re.compile(r"[\w.-]{1,40}::([\w.:-]{1,80})\Z")
#: What the letters of the kernel mean that a person should know.
STATES = {
    "D": "waits inside the kernel: no signal reaches it before that ends",
    "T": "is held",
    "t": "is held by a debugger",
    "Z": "has ended; its parent has not taken note",
}
#: Variables that are shown of a process, at most.
MOST_VARIABLES = 400


@dataclass(frozen=True, slots=True)
class Line:
    """A process as a row of the table.

    Attributes:
        family: It and all that descends from it.
        folded: What descends from it is not shown.
        run: The name of its run; None: none of this studio's.
        state: The state of that run.
        branches: The lines of the tree are drawn.
    """

    row: ProcessRow
    glyphs: Glyphs
    family: tuple[Process, ...]
    folded: bool = False
    run: str | None = None
    state: State | None = None
    branches: bool = True

    @property
    def one(self) -> Process:
        return self.row.process

    @property
    def key(self) -> str:
        return f"{PROCESS}{self.one.pid}:{self.one.start}"

    @property
    def shown(self) -> tuple[Process, ...]:
        """The processes that its figures are of: where the others are folded away, all together."""
        return self.family if self.folded else self.family[:1]

    @property
    def name(self) -> str:
        """What it is called, where its parents are above it."""
        command = self.one.command or self.glyphs.unknown
        title = _TITLE.match(command)
        return title[1].replace("_", " ") if title else command

    def words(self) -> str:
        """Return the text that a filter looks through."""
        one = self.one
        parts = [str(one.pid), one.command, one.user, one.container, self.run or "not ours", one.run_id]
        parts += [f"gpu{gpu}" for gpu in one.gpus]
        return " ".join(part for part in parts if part)


def lines_of(
    rows: Sequence[ProcessRow],
    runs: Sequence[RunView],
    glyphs: Glyphs,
    folded: frozenset[tuple[int, int]] | set[tuple[int, int]] = frozenset(),
    *,
    branches: bool = True,
) -> list[Line]:
    """Return the rows of a tree, without those below the ones that are folded."""
    known = {run.run_id: run for run in runs}
    made: list[Line] = []
    hidden: int | None = None
    ends = _ends(rows)
    for index, row in enumerate(rows):
        if hidden is not None and row.depth > hidden:
            continue
        hidden = None
        family = [one.process for one in rows[index : ends[index]]]
        is_folded = len(family) > 1 and (row.process.pid, row.process.start) in folded
        if is_folded:
            hidden = row.depth
        run = known.get(row.process.run_id or "")
        name, state = (run.name, run.state) if run is not None else (None, None)
        made.append(Line(row, glyphs, tuple(family), is_folded, name, state, branches))
    return made


def _ends(rows: Sequence[ProcessRow]) -> list[int]:
    """Return for each row where all that descends from it ends."""
    ends = [len(rows)] * len(rows)
    open_ones: list[int] = []
    for index, row in enumerate(rows):
        while open_ones and rows[open_ones[-1]].depth >= row.depth:
            ends[open_ones.pop()] = index
        open_ones.append(index)
    return ends


# --- figures of several -----------------------------------------------------------------------------------


def total(some: Sequence[Process], value: Callable[[Process], float | None]) -> float | None:
    """Return the sum of what is known; None where nothing is."""
    known = [found for one in some if (found := value(one)) is not None]
    return sum(known) if known else None


def gpus_of(some: Sequence[Process]) -> tuple[int, ...]:
    return tuple(sorted({gpu for one in some for gpu in one.gpus}))


def where(gpus: Sequence[int], unknown: str) -> str:
    """Return the indices of GPUs in few cells."""
    if not gpus:
        return unknown
    if len(gpus) > 3 and tuple(gpus) == tuple(range(gpus[0], gpus[-1] + 1)):
        return f"{gpus[0]}-{gpus[-1]}"
    return " ".join(map(str, gpus))


def _busiest(some: Sequence[Process]) -> int | None:
    return max((one.sm for one in some if one.sm is not None), default=None)


#: By what a table of processes is ordered: of one and all that descends from it. A tree keeps its shape.
ORDERS: dict[str, Callable[[Sequence[Process]], Any]] = {
    "pid": lambda family: family[0].pid,
    "user": lambda family: family[0].user,
    "container": lambda family: family[0].container,
    "GPU": lambda family: min(gpus_of(family), default=None),
    "memory": lambda family: total(family, lambda one: one.gpu_memory),
    "SM": _busiest,
    "CPU": lambda family: total(family, lambda one: one.cpu),
    "host": lambda family: total(family, lambda one: one.memory),
    "time": lambda family: family[0].seconds,
    "run": lambda family: next((one.run_id for one in family if one.run_id), None),
    "command": lambda family: family[0].command,
}


# --- the table --------------------------------------------------------------------------------------------


def _branch(line: Line) -> str:
    if not line.branches or not line.row.last:
        return ""
    glyphs = line.glyphs
    above = "".join("  " if last else f"{glyphs.inside} " for last in line.row.last[:-1])
    return above + (glyphs.tree_last if line.row.last[-1] else glyphs.tree_middle) + " "


def _command(line: Line) -> Parts:
    parts = [(_branch(line), "track")] if line.row.last and line.branches else []
    if line.folded:
        parts.append((f"{line.glyphs.folded} ", "accent"))
    stuck = line.one.state in ("D", "Z", "T", "t")
    style = "fg" if line.one.run_id or line.one.gpus else "dim"
    return [*parts, (line.name if line.branches else line.one.command or line.name, "warn" if stuck else style)]


def _run(line: Line) -> Parts:
    if line.run is None or line.state is None:
        own = [("not ours", "faint")] if not line.one.run_id else [(line.one.run_id, "faint")]
    else:
        mark, colour = line.glyphs.state(line.state)
        own = [(f"{mark} ", colour), (line.run, "fg")]
    return [*own, (f" {line.glyphs.folded} {len(line.family) - 1}", "dim")] if line.folded else own


def columns_of(
    glyphs: Glyphs, *, containers: bool, position: Callable[[str, Line], Any] | None = None
) -> list[Column[Line]]:
    """Return the columns of the table.

    Args:
        containers: One of the processes is in a container.
        position: Returns where a line comes in the order of a column; None: the table is not ordered.
    """
    none = glyphs.unknown

    def order(name: str) -> Callable[[Line], Any] | None:
        return (lambda line: position(name, line)) if position is not None else None

    def figure(value: Callable[[Process], float | None], form: Callable[[float | None, str], str]) -> Any:
        return lambda line: [(form(total(line.shown, value), none), "fg")]

    return [
        Column("pid", lambda line: [(str(line.one.pid), "fg")], 5, right=True, order=order("pid")),
        Column("command", _command, 12, grow=5, order=order("command")),
        Column("user", lambda line: [(line.one.user or none, "dim")], 5, grow=3, drop=4, order=order("user")),
        *(
            [Column("container", lambda line: [(line.one.container or none, "dim")], 9, grow=4, drop=5,
                    order=order("container"))]
            if containers else []
        ),
        Column("GPU", lambda line: [(where(gpus_of(line.shown), none), "fg bold")], 3, right=True, order=order("GPU")),
        Column("memory", figure(lambda one: one.gpu_memory, numbers.size), 8, right=True, order=order("memory"),
               falling=True),
        Column("SM", lambda line: [(numbers.fixed(_busiest(line.shown), 0, "%", none), "fg")], 4, right=True, drop=6,
               order=order("SM"), falling=True),
        Column("CPU", figure(lambda one: one.cpu, lambda value, none: numbers.fixed(value, 0, "%", none)), 5,
               right=True, drop=3, order=order("CPU"), falling=True),
        Column("host", figure(lambda one: one.memory, numbers.size), 8, right=True, drop=8, order=order("host"),
               falling=True),
        Column("time", lambda line: [(numbers.duration(line.one.seconds, none), "dim")], 6, right=True, drop=7,
               order=order("time"), falling=True),
        Column("run", _run, 10, grow=2, drop=2, order=order("run")),
    ]  # fmt: skip


def short(lines: Sequence[Line], glyphs: Glyphs, width: int, size: Size, room: int) -> list[Row]:
    """Draw as many processes as there is room for, with a heading, for a place below something else."""
    x = margin(size)
    head = Row()
    at = head.put(x, "PROCESSES", "dim bold")
    head.put(at + 2, "tree", "faint")
    if not lines:
        none = Row()
        none.put(x, "No run lives here, and no process is seen on a GPU.", "dim")
        return [head, none][:room]
    columns = columns_of(glyphs, containers=any(line.one.container for line in lines))
    cells = lay_out(columns, natural_widths(columns, lines), width - x - 2, x)
    rows = [put_heads(cells, head if width >= 200 else Row())]
    if width < 200:
        rows.insert(0, head)
    left = len(lines) - (room - len(rows))
    shown = lines if left <= 0 else lines[: max(0, room - len(rows) - 1)]
    rows += [put_values(cells, Row(key=line.key), line, glyphs) for line in shown]
    if len(shown) < len(lines):
        more = Row()
        more.put(x, f"and {len(lines) - len(shown)} more", "faint")
        rows.append(more)
    return rows[:room]


# --- what is known of one ---------------------------------------------------------------------------------


def details(
    line: Line,
    x: int,
    width: int,
    environment: Sequence[tuple[str, str]] | str | None = None,
    *,
    tight: bool = False,
) -> list[Row]:
    """Draw all that is known of a process.

    Args:
        environment: Its variables, or why they cannot be read; None: they are not shown.
        tight: There is room for a few rows only.
    """
    one, none = line.one, line.glyphs.unknown
    title = Row()
    title.put(x, f"Process {one.pid}", "fg bold")
    rows = [title] if tight else [title, Row()]
    held = numbers.size(one.gpu_memory, none)
    started = f", since {numbers.moment(one.created, time.time())}" if one.created is not None else ""
    facts = [
        ("run", f"{line.run}, {line.state}" if line.run else one.run_id or "none: the studio did not start it"),
        ("user", one.user or none),
        ("container", one.container or ""),
        ("state", STATES.get(one.state or "", "")),
        ("GPU", f"{where(one.gpus, none)}   {held}   SM {numbers.fixed(one.sm, 0, '%', none)}"),
        ("host", f"{numbers.size(one.memory, none)}   CPU {numbers.fixed(one.cpu, 0, '%', none)} of a core"),
        ("time", f"{numbers.duration(one.seconds, none)}{started}"),
        ("below", f"{len(line.family) - 1} processes" if len(line.family) > 1 else ""),
        ("command", " ".join(one.argv) or one.command or none),
    ]
    if tight:
        facts = [fact for fact in facts if fact[0] in ("command", "state", "container")]
    for name, text in facts:
        rows += _fact(x, width, name, text) if text else []
    if environment is not None and not tight:
        rows.append(Row())
        head = Row()
        at = head.put(x, "ENVIRONMENT", "dim bold")
        head.put(at + 2, "as it was started, secrets masked", "faint", max(0, width - at - 4))
        rows.append(head)
        if isinstance(environment, str):
            rows += _text(x, width, environment, "dim")
        else:
            for name, value in environment[:MOST_VARIABLES]:
                rows += _text(x, width, f"{name}={value}", "fg")
            if not environment:
                rows += _text(x, width, "It has none.", "dim")
    return rows


def _fact(x: int, width: int, name: str, text: str) -> list[Row]:
    rows = []
    for index, part in enumerate(cut_lines(text, max(8, width - x - 12), 8)):
        row = Row()
        row.put(x, name if index == 0 else "", "dim")
        row.put(x + 10, part, "fg")
        rows.append(row)
    return rows


def _text(x: int, width: int, text: str, style: str) -> list[Row]:
    rows = []
    for part in cut_lines(text, max(8, width - x - 2), 4):
        row = Row()
        row.put(x, part, style)
        rows.append(row)
    return rows
