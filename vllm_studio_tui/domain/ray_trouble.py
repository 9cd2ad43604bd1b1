"""What is wrong with a Ray cluster, in sentences with numbers, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vllm_studio_tui.domain.ray_view import (
    RayActor,
    RayApplication,
    RayDemand,
    RayDeployment,
    RayGroup,
    RayNode,
    RayView,
)
from vllm_studio_tui.domain.ray_words import bundles_words, gist, needs_words, no_room, no_room_for_group, state_words
from vllm_studio_tui.kit import numbers

Severity = Literal["trouble", "warning", "note"]
_ORDER: Mapping[Severity, int] = {"trouble": 0, "warning": 1, "note": 2}
_BAD = frozenset({"UNHEALTHY", "DEPLOY_FAILED"})
#: From this share on Ray ends workers of a node to free memory, unless it was told otherwise.
FULL_MEMORY = 0.95
FULL_STORE = 0.9
#: What cannot be read, by the name of what is missing.
_PARTS: Mapping[str, str] = {
    "nodes": "nodes", "load": "how busy nodes are", "usage": "resources in use and demands", "actors": "actors",
    "idle_actors": "actors that died or wait", "groups": "placement groups", "serve": "applications of Serve",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RayTrouble:
    """A sentence about what is wrong; a `note` is worth knowing, and no harm by itself.

    Attributes:
        part: What it is about: `cluster`, `nodes`, `serve`, `groups`, `demands`, `actors` or `missing`.
    """

    severity: Severity
    part: str
    words: str


def ray_troubles(view: RayView) -> list[RayTrouble]:
    """Return what is wrong, the worst first."""
    if view.error:
        return [RayTrouble("trouble", "cluster", f"Ray does not answer: {view.error}")]
    found = [*_nodes(view), *_applications(view), *_proxies(view), *_groups(view), *_demands(view), *_actors(view)]
    return sorted([*found, *_missing(view)], key=lambda one: _ORDER[one.severity])


def ray_document(view: RayView) -> dict[str, Any]:
    """Return a cluster as JSON, with what is wrong in sentences."""
    return {**view.to_json(), "troubles": [asdict(one) for one in ray_troubles(view)]}


def _nodes(view: RayView) -> Iterator[RayTrouble]:
    nodes, alive = view.nodes or (), view.alive
    lost = [one for one in nodes if not one.alive and not _replaced(one, alive) and not one.why.startswith("Expected")]
    for node in lost:
        yield RayTrouble("trouble", "nodes", _dead_words(node, view, len(alive) + len(lost)))
    for node in alive:
        store = node.amount("object_store_memory")
        if store.used is not None and store.total and store.used / store.total >= FULL_STORE:
            of = f"{numbers.percent(store.used / store.total)}, {numbers.memory(store.used, store.total)}"
            yield RayTrouble("warning", "nodes", f"The object store of {node.address} is full: {of}")
        if node.memory_used is not None and node.memory_total and node.memory_used / node.memory_total >= FULL_MEMORY:
            of = f"{numbers.percent(node.memory_used / node.memory_total)}"
            yield RayTrouble(
                "warning", "nodes", f"The memory of {node.address} is {of} used: Ray ends workers to free it"
            )


def _replaced(node: RayNode, alive: Iterable[RayNode]) -> bool:
    return any(one.address == node.address and (one.since or 0.0) >= (node.since or 0.0) for one in alive)


def _dead_words(node: RayNode, view: RayView, whole: int) -> str:
    since = f" for {numbers.duration(view.at - node.ended)}" if node.ended is not None and view.at >= node.ended else ""
    lost = {name: total for name in ("GPU", "CPU") if (total := node.amount(name).total)}
    had = f", with {needs_words(lost)}" if lost else ""
    why = gist(node.why)
    what = "The head" if node.head else "Node"
    return (
        f"{what} {node.address} is dead{since}{had}; {len(view.alive)} of {whole} nodes left{f': {why}' if why else ''}"
    )


def _applications(view: RayView) -> Iterator[RayTrouble]:
    dead = {node.id: node.address for node in view.nodes or () if not node.alive}
    for app in view.applications or ():
        told = [one for deployment in app.deployments if (one := _deployment(app, deployment, view, dead))]
        yield from told
        if app.status in _BAD and not any(one.severity == "trouble" for one in told):
            why = gist(app.why)
            yield RayTrouble("trouble", "serve", f"{app.name} is {state_words(app.status)}{f': {why}' if why else ''}")


def _deployment(app: RayApplication, one: RayDeployment, view: RayView, dead: Mapping[str, str]) -> RayTrouble | None:
    states = Counter(one.states())
    gone = Counter(dead[replica.node_id] for replica in one.replicas if replica.node_id in dead)
    running = states.pop("RUNNING", 0)
    short = one.target is not None and running < one.target
    if one.status not in _BAD and not short and not gone:
        return None
    of = f"{running} of {numbers.count(one.target)} replicas run"
    others = "".join(f", {count} {state_words(state)}" for state, count in sorted(states.items()))
    why = _starting_words(one, view) or (gist(one.why) if one.status in _BAD else "")
    lost = "".join(f"; {count} on {address}, which is dead" for address, count in gone.items())
    status = f", {state_words(one.status)}" if one.status else ""
    words = f"{app.name} {one.name}: {of}{others}{status}{lost}{f'; {why}' if why else ''}"
    return RayTrouble("trouble" if one.status in _BAD or gone else "warning", "serve", words)


def _starting_words(one: RayDeployment, view: RayView) -> str:
    """Return why replicas that are not placed yet have no room."""
    if not any(replica.state == "STARTING" and not replica.node_id for replica in one.replicas) or not one.needs:
        return ""
    reason = no_room(one.needs, view.alive) if view.nodes is not None else ""
    return f"each needs {needs_words(one.needs)}, and {reason}" if reason else ""


def _proxies(view: RayView) -> Iterator[RayTrouble]:
    for proxy in view.proxies:
        if proxy.status not in ("HEALTHY", "STARTING"):
            yield RayTrouble(
                "warning",
                "serve",
                f"The proxy of Serve on {proxy.node} is {state_words(proxy.status) or 'in an unknown state'}",
            )


def _groups(view: RayView) -> Iterator[RayTrouble]:
    strategies = {_key(demand): demand.strategy for demand in view.demands or () if demand.kind == "group"}
    for group in view.waiting_groups:
        strategy = strategies.get(_group_key(group), "")
        since = f" for {numbers.duration(view.at - group.since)}" if group.since and view.at >= group.since else ""
        needs = f"it needs {bundles_words(group.bundles)}{f' ({strategy})' if strategy else ''}"
        reason = no_room_for_group(group.bundles, strategy, view.alive) if view.nodes is not None else ""
        if not reason and group.why == "INFEASIBLE":
            reason = "Ray calls that infeasible with the nodes there are"
        name = group.name or group.id[:8]
        yield RayTrouble(
            "warning", "groups", f"Placement group {name} waits{since}: {needs}{f', and {reason}' if reason else ''}"
        )


def _demands(view: RayView) -> Iterator[RayTrouble]:
    """Tell of tasks and actors that wait, but for replicas and groups, of which it is told already."""
    told = Counter(
        needs_words(deployment.needs)
        for app in view.applications or ()
        for deployment in app.deployments
        for replica in deployment.replicas
        if replica.state == "STARTING" and not replica.node_id
    )
    pending = [actor for actor in view.idle_actors if actor.state == "PENDING_CREATION"]
    for demand in view.demands or ():
        if demand.kind == "group" or not demand.bundles:
            continue
        needs = demand.bundles[0].needs
        count = demand.count - told.get(needs_words(needs), 0)
        if count <= 0:
            continue
        if demand.kind == "request":
            yield RayTrouble("note", "demands", f"The autoscaler was asked for {count} times {needs_words(needs)}")
            continue
        reason = no_room(needs, view.alive) if view.nodes is not None else ""
        each = "it needs" if count == 1 else "each needs"
        words = f"{_who_waits(count, needs, pending)}: {each} {needs_words(needs)}{f', and {reason}' if reason else ''}"
        yield RayTrouble("warning", "demands", words)


def _who_waits(count: int, needs: Mapping[str, float], pending: Sequence[RayActor]) -> str:
    """Return who waits, by name where it is one actor."""
    actors = [one for one in pending if needs_words(one.needs) == needs_words(needs)]
    if len(actors) == count == 1:
        return f"The actor {actors[0].name or actors[0].kind} waits"
    kind = "actor" if len(actors) == count else "task" if not actors else "task or actor"
    if count == 1:
        return f"1 {kind} waits"
    return f"{count} {'tasks and actors' if kind == 'task or actor' else f'{kind}s'} wait"


def _actors(view: RayView) -> Iterator[RayTrouble]:
    again = Counter(one.kind for one in view.idle_actors if one.state == "RESTARTING")
    for kind, count in again.items():
        yield RayTrouble("warning", "actors", f"{count} {'actor' if count == 1 else 'actors'} {kind} restart")
    died = [one for one in view.idle_actors if one.state == "DEAD" and not one.meant]
    for (kind, node), count in Counter((one.kind, one.node) for one in died).items():
        first = next(one for one in died if (one.kind, one.node) == (kind, node))
        why = gist(first.why)
        where = f" on {node}" if node else ""
        yield RayTrouble("note", "actors", f"{count} {kind or 'unnamed'} died{where}{f': {why}' if why else ''}")


def _missing(view: RayView) -> Iterator[RayTrouble]:
    by_reason: dict[str, list[str]] = {}
    for name, why in view.missing.items():
        by_reason.setdefault(why, []).append(_PARTS.get(name, name))
    for why, parts in by_reason.items():
        yield RayTrouble("note", "missing", f"Not known: {', '.join(parts)}: {why}")


def _key(demand: RayDemand) -> frozenset[tuple[str, int]]:
    return frozenset((needs_words(one.needs), one.count) for one in demand.bundles)


def _group_key(group: RayGroup) -> frozenset[tuple[str, int]]:
    return frozenset((needs_words(one.needs), one.count) for one in group.bundles)
