"""Rows of the monitor: a Ray cluster, what is wrong with it first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from vllm_studio_tui.domain.ray_trouble import RayTrouble, ray_troubles
from vllm_studio_tui.domain.ray_view import RayActor, RayAmount, RayApplication, RayDeployment, RayNode, RayView
from vllm_studio_tui.domain.ray_words import gist, needs_words, share_words, state_words
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.paint.table import Column, Parts, lay_out, natural_widths, put_heads, put_values

#: The beginning of the keys of their rows, which the cursor goes to where not all of them are in sight.
RAY = "ray:"
_STYLES: Mapping[str, str] = {"trouble": "err", "warning": "warn", "note": "dim"}
#: Lines of one sentence, by layout.
_LINES = {Size.STRIP: 1, Size.COMPACT: 2, Size.BASE: 3}
#: Seconds after which it is said how old the answer is.
OLD = 15.0

_Item = TypeVar("_Item")
_Deployed = tuple[RayApplication, RayDeployment]
#: Actors that are alike: whether they are dead, class, state, node, why, and how many.
_Actors = tuple[bool, str, str, str, str, int]


def ray_rows(view: RayView, glyphs: Glyphs, width: int, size: Size, now: float) -> list[Row]:
    """Draw a cluster: sentences about what is wrong, then nodes, applications of Serve, and actors."""
    x = margin(size)
    gap = [Row()] if size >= Size.BASE else []
    rows = [_head(view, glyphs, width, size, now)]
    told = _sentences(view, glyphs, width, size)
    blocks = [told, _nodes(view, glyphs, width, size), _serve(view, glyphs, width, size)]
    if size > Size.STRIP:
        blocks.append(_actors(view, glyphs, width, size))
    for block in blocks:
        if block:
            rows += [*gap, *block]
    for number, row in enumerate(rows):
        row.key = f"{RAY}{number}" if row.pieces else None
        row.span = (max(0, x - 2), width) if x >= 2 else None
    return rows


def ray_line(view: RayView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    """Draw a cluster in one row, for the page of charts; where there is little room, only what is wrong."""
    told = [one for one in ray_troubles(view) if one.severity != "note"]
    if size < Size.WIDE and not told:
        return []
    x = margin(size)
    row = Row()
    at = row.run(x, [("RAY", "dim bold"), ("  ", "")])
    if not told:
        at = row.run(at, [*_counts(view, glyphs), ("   ", "")])
        _put_replicas(row, at, width, view)
        return [row]
    at = row.run(at, [(_sign(told[0], glyphs), _STYLES[told[0].severity]), (" ", "")])
    more = f"+{len(told) - 1}" if len(told) > 1 else ""
    end = row.put_right(width - max(1, x), more, "dim") - 1 if more else width - max(1, x)
    row.put(at, told[0].words, _STYLES[told[0].severity], max(0, end - at))
    return [row]


def _put_replicas(row: Row, x: int, width: int, view: RayView) -> None:
    deployed = _deployed(view)
    if deployed and width - x > 30:
        running = sum(one.states().get("RUNNING", 0) for _, one in deployed)
        words = f" {'replica of Serve runs' if running == 1 else 'replicas of Serve run'}"
        row.run(x, [(str(running), "fg"), (words, "dim")])


def _head(view: RayView, glyphs: Glyphs, width: int, size: Size, now: float) -> Row:
    row = Row()
    at = row.put(margin(size), "RAY", "dim bold") + 2
    end = width - max(1, margin(size))
    age = now - view.at
    if age >= OLD:
        end = row.put_right(end, f"as it was {numbers.duration(age)} ago", "warn") - 2
    parts: list[Parts] = []
    if not view.error:
        parts.append(_counts(view, glyphs))
        parts += [_amount_parts(one, glyphs) for one in view.resources() if _is_shown(one, size)]
    if size >= Size.WIDE or view.error:
        parts.append([(f"{view.version}  " if view.version else "", "dim"), (view.address, "faint")])
    for part in parts:
        wide = sum(len(text) for text, _ in part)
        if at + wide > end:
            continue
        at = row.run(at, part) + 3
    return row


def _counts(view: RayView, glyphs: Glyphs) -> Parts:
    if view.nodes is None:
        return [(glyphs.unknown, "faint"), (" nodes", "dim")]
    alive, whole = len(view.alive), len(view.nodes)
    of = str(alive) if alive == whole else f"{alive} of {whole}"
    return [(of, "fg"), (" node" if whole == 1 else " nodes", "dim")]


def _is_shown(one: RayAmount, size: Size) -> bool:
    names = ("CPU", "GPU", "object_store_memory") if size >= Size.BASE else ("GPU",)
    return one.name in names and bool(one.total)


def _amount_parts(one: RayAmount, glyphs: Glyphs) -> Parts:
    if one.name == "object_store_memory":
        return [("object store ", "dim"), (numbers.memory(one.used, one.total, unknown=glyphs.unknown), "fg")]
    return [(f"{one.name} ", "dim"), (share_words(one, glyphs.unknown), "fg")]


def _sign(one: RayTrouble, glyphs: Glyphs) -> str:
    return {"trouble": glyphs.failed, "warning": glyphs.warning}.get(one.severity, glyphs.bullet)


def _sentences(view: RayView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    x, rows = margin(size), []
    # Actors that died stand in the table of actors.
    told = [one for one in ray_troubles(view) if one.part != "actors" or one.severity != "note"]
    if view.error and view.advice and size > Size.STRIP:
        told = [*told, RayTrouble("note", "cluster", view.advice)]
    for one in told:
        bar = _STYLES[one.severity] if one.severity != "note" and size > Size.STRIP else ""
        lines = cut_lines(one.words, max(10, width - x - 4), _LINES.get(size, 3))
        for number, text in enumerate(lines):
            row = Row(bar=bar)
            if not number:
                row.put(x, _sign(one, glyphs), _STYLES[one.severity])
            row.put(x + 2, text, "dim" if one.severity == "note" else "fg")
            rows.append(row)
    return rows


# --- tables ---------------------------------------------------------------------------------------------------


def _nodes(view: RayView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    if not view.nodes:
        return []
    unknown = glyphs.unknown

    def is_(node: RayNode) -> Parts:
        style = "dim" if node.alive else "err"
        return [(f"{node.state.lower() or unknown}{', head' if node.head else ''}", style)]

    def share(name: str) -> Callable[[RayNode], Parts]:
        def parts(node: RayNode) -> Parts:
            one = node.amount(name)
            return [
                (share_words(one, unknown) if node.alive else unknown, "fg" if node.alive and one.total else "faint")
            ]

        return parts

    def bar(node: RayNode, room: int) -> Parts:
        one = node.amount("GPU")
        known = node.alive and one.used is not None and one.total
        return charts.bar(glyphs, (one.used or 0.0) / (one.total or 1.0) if known else None, room)

    def busy(value: Callable[[RayNode], float | None]) -> Callable[[RayNode], Parts]:
        return lambda node: _known(numbers.fixed(value(node), 0, "%", unknown), value(node) is not None)

    def memory(
        used: Callable[[RayNode], float | None], whole: Callable[[RayNode], float | None]
    ) -> Callable[[RayNode], Parts]:
        return lambda node: _known(
            numbers.memory(used(node), whole(node), tight=size < Size.WIDE, unknown=unknown)
            if node.alive and whole(node)
            else unknown,
            used(node) is not None,
        )

    def since(node: RayNode) -> Parts:
        at = view.at - node.since if node.alive and node.since is not None else None
        return _known(numbers.duration(at, unknown), at is not None)

    store = memory(lambda one: _store(one).used, lambda one: _store(one).total)
    columns: list[Column[RayNode]] = [
        Column("node", lambda node: [(node.address or node.id[:12], "fg bold")], 12, grow=1),
        Column("is", is_, 11, title=""),
        Column("GPUs", share("GPU"), right=True, gap=3),
        Column("CPUs", share("CPU"), right=True, gap=3, drop=7),
        Column("cpu", busy(lambda node: node.cpu), right=True, gap=3, drop=4),
        Column("memory", memory(lambda one: one.memory_used, lambda one: one.memory_total), right=True, gap=3, drop=3),
        Column("object store", store, right=True, gap=3, drop=2),
        Column("up", since, right=True, gap=3, drop=5),
    ]
    if size >= Size.WIDE:
        columns.insert(3, Column("bar", lambda _: [], 12, title="", draw=bar, drop=6))
    if any(node.gpu is not None for node in view.nodes):  # of GPUs that are there, and not only said to be
        held = memory(lambda one: one.gpu_memory_used, lambda one: one.gpu_memory_total)
        columns.insert(-3, Column("gpu", busy(lambda node: node.gpu), right=True, gap=3, drop=3))
        columns.insert(-3, Column("GPU memory", held, right=True, gap=3, drop=4))

    def sign(node: RayNode) -> tuple[str, str]:
        return glyphs.state("ready") if node.alive else (glyphs.failed, "err")

    return _table("NODES", view.ordered, columns, sign, glyphs, width, size)


def _known(text: str, known: bool) -> Parts:
    return [(text, "fg" if known else "faint")]


def _store(node: RayNode) -> RayAmount:
    return node.amount("object_store_memory")


def _deployed(view: RayView) -> list[_Deployed]:
    return [(app, one) for app in view.applications or () for one in app.deployments]


def _serve(view: RayView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    deployed = _deployed(view)
    if not deployed:
        return []

    def status(item: _Deployed) -> Parts:
        style = _colour(item[1].status)
        return [(state_words(item[1].status) or glyphs.unknown, style if style != "ok" else "dim")]

    def replicas(item: _Deployed) -> Parts:
        one = item[1]
        return [(f"{one.states().get('RUNNING', 0)} of {numbers.count(one.target, glyphs.unknown)}", "fg")]

    def others(item: _Deployed) -> Parts:
        states = {state: count for state, count in item[1].states().items() if state != "RUNNING"}
        return [(", ".join(f"{count} {state_words(state)}" for state, count in sorted(states.items())), "warn")]

    def where(item: _Deployed) -> Parts:
        return [(_places(item[1]), "dim")]

    columns: list[Column[_Deployed]] = [
        Column("application", lambda item: [(item[0].name, "fg bold")], 6, title="app", grow=1, drop=4),
        Column("deployment", lambda item: [(item[1].name, "fg")], 10, grow=2),
        Column("status", status, 13, title=""),
        Column("run", replicas, 6, right=True),
        Column("others", others, 10, title="", grow=3, gap=3, drop=3),
        Column("each needs", lambda item: [(needs_words(item[1].needs) if item[1].needs else "", "dim")], 14, grow=4,
               gap=3, drop=6),
        Column("on", where, 12, grow=5, gap=3, drop=5),
    ]  # fmt: skip

    def sign(item: _Deployed) -> tuple[str, str]:
        return _status_mark(item[1], glyphs)

    return _table("SERVE", deployed, columns, sign, glyphs, width, size)


def _colour(status: str) -> str:
    if status in ("UNHEALTHY", "DEPLOY_FAILED"):
        return "err"
    return "ok" if status == "HEALTHY" else "accent"


def _status_mark(one: RayDeployment, glyphs: Glyphs) -> tuple[str, str]:
    if one.status in ("UNHEALTHY", "DEPLOY_FAILED"):
        return glyphs.state("failed")
    return glyphs.state("ready" if one.status == "HEALTHY" else "loading")


def _places(one: RayDeployment) -> str:
    """Return on which nodes replicas run, those with several of them counted."""
    found = Counter(replica.node for replica in one.replicas if replica.node)
    return ", ".join(f"{node} {count}" if count > 1 else node for node, count in sorted(found.items()))


def _actors(view: RayView, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    if view.actors is None and view.groups is None:
        return []
    head = Row()
    x = margin(size)
    at = head.put(x, "ACTORS", "dim bold") + 2
    at = head.run(at, _states(view.actors, glyphs))
    groups = [("PLACEMENT GROUPS", "dim bold"), ("  ", ""), *_states(view.groups, glyphs)]
    if view.groups and at + 3 + sum(len(text) for text, _ in groups) < width:
        head.run(at + 3, groups)
    alike: Counter[tuple[bool, str, str, str, str]] = Counter(
        (one.state == "DEAD", one.kind or one.name or one.id[:12], one.state, one.node, _why(one))
        for one in view.idle_actors
        if not one.meant
    )
    shown = [(*what, count) for what, count in sorted(alike.items())]
    columns: list[Column[_Actors]] = [
        Column("count", lambda one: [(str(one[-1]), "fg")], title="", right=True),
        Column("actor", lambda one: [(one[1], "fg")], 12, grow=1, gap=1),
        Column("state", lambda one: [(state_words(one[2]), "dim" if one[0] else "warn")], 8, grow=2, title=""),
        Column("on", lambda one: [(one[3] or glyphs.unknown, "dim" if one[3] else "faint")], 10, drop=2, grow=3),
        Column("why", lambda one: [(one[4], "dim")], 20, grow=4, drop=1),
    ]

    def sign(one: _Actors) -> tuple[str, str]:
        return glyphs.state("exited" if one[0] else "starting")

    return [head, *_table("", shown, columns, sign, glyphs, width, size)]


def _why(one: RayActor) -> str:
    """Return why an actor died, or what it waits for."""
    waits = f"needs {needs_words(one.needs)}" if one.state != "DEAD" and one.needs else ""
    return gist(one.why) or waits


def _states(counts: Mapping[str, int] | None, glyphs: Glyphs) -> Parts:
    if counts is None:
        return [(glyphs.unknown, "faint")]
    if not counts:
        return [("none", "dim")]
    found: list[tuple[str, str]] = []
    for state, count in sorted(counts.items()):
        found += [(str(count), "fg"), (f" {state_words(state)}   ", "dim")]
    return [*found[:-1], (found[-1][0].rstrip(), "dim")]


def _table(
    title: str,
    items: Sequence[_Item],
    columns: Iterable[Column[_Item]],
    sign: Callable[[_Item], tuple[str, str]],
    glyphs: Glyphs,
    width: int,
    size: Size,
) -> list[Row]:
    """Draw a table; its title stands above the signs, and its headings beside it."""
    if not items:
        return []
    kept, x = list(columns), margin(size) + 2
    cells = lay_out(kept, natural_widths(kept, items), max(1, width - x - max(1, margin(size))), x)
    rows = []
    if size > Size.COMPACT:
        head = put_heads(cells, Row())
        if title:
            head.pieces = [piece for piece in head.pieces if piece[0] != cells[0].start]
            head.put(margin(size), title, "dim bold")
        rows.append(head)
    for item in items:
        row = Row()
        mark, colour = sign(item)
        row.put(margin(size), mark, colour)
        rows.append(put_values(cells, row, item, glyphs))
    return rows
