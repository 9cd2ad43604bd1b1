"""A Ray cluster at one moment, as its dashboard tells of it. What is unknown is None, never zero.

Texts are as they came; who shows them makes them safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ALIVE = "ALIVE"


@dataclass(frozen=True, slots=True)
class RayAmount:
    """How much of a resource is used, of how much: a count, or bytes of `memory` and `object_store_memory`."""

    name: str
    used: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node of the cluster.

    Attributes:
        state: In Ray's words: ALIVE or DEAD.
        why: Why it died, as Ray says it.
        since, ended: In seconds since the epoch.
        resources: What tasks and actors took of it, by what they asked for; see `cpu`, `memory_used` for what is so.
        cpu: How busy its processors are, in percent.
        gpu: Likewise the mean of its GPUs.
    """

    id: str
    address: str = ""
    head: bool = False
    state: str = ""
    why: str = ""
    since: float | None = None
    ended: float | None = None
    resources: tuple[RayAmount, ...] = ()
    cpu: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    gpu: float | None = None
    gpu_memory_used: float | None = None
    gpu_memory_total: float | None = None

    @property
    def alive(self) -> bool:
        return self.state == ALIVE

    def amount(self, name: str) -> RayAmount:
        return next((one for one in self.resources if one.name == name), RayAmount(name))


@dataclass(frozen=True, slots=True)
class RayActor:
    """An actor that is not alive.

    Attributes:
        kind: Its class.
        why: Why it died.
        meant: It was ended on purpose, or by nobody needing it any more.
    """

    id: str
    kind: str = ""
    name: str = ""
    state: str = ""
    why: str = ""
    meant: bool = False
    node: str = ""
    needs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RayBundle:
    """So many times the same resources."""

    needs: Mapping[str, float] = field(default_factory=dict)
    count: int = 1


@dataclass(frozen=True, slots=True)
class RayDemand:
    """What waits for resources.

    Attributes:
        kind: `task` (a task or an actor), `group` (a placement group) or `request` (asked of the autoscaler).
        count: So many of them wait.
        bundles: What one of them needs.
        strategy: Where the bundles of a placement group may be, as `STRICT_PACK`.
    """

    kind: str
    count: int = 1
    bundles: tuple[RayBundle, ...] = ()
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class RayGroup:
    """A placement group that is not there yet; `why` is how its scheduling stands, in Ray's word."""

    id: str
    name: str = ""
    state: str = ""
    why: str = ""
    since: float | None = None
    bundles: tuple[RayBundle, ...] = ()


@dataclass(frozen=True, slots=True)
class RayReplica:
    """A copy of a deployment, on the node of this address and id; empty: not placed."""

    id: str
    state: str = ""
    node: str = ""
    node_id: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class RayDeployment:
    """A deployment of an application of Serve.

    Attributes:
        trigger: What brought it into its state, in Serve's word.
        target: How many replicas there should be.
        dead: How many replicas died lately.
    """

    name: str
    status: str = ""
    why: str = ""
    trigger: str = ""
    target: int | None = None
    replicas: tuple[RayReplica, ...] = ()
    dead: int | None = None
    needs: Mapping[str, float] = field(default_factory=dict)

    def states(self) -> dict[str, int]:
        """Return how many replicas are in each state."""
        return dict(Counter(one.state for one in self.replicas))


@dataclass(frozen=True, slots=True)
class RayApplication:
    """An application of Serve."""

    name: str
    status: str = ""
    why: str = ""
    route: str = ""
    since: float | None = None
    deployments: tuple[RayDeployment, ...] = ()


@dataclass(frozen=True, slots=True)
class RayProxy:
    """A proxy of Serve, which takes requests in on a node."""

    node: str
    status: str = ""


@dataclass(frozen=True, slots=True)
class RayView:
    """A Ray cluster now.

    Attributes:
        address: Where it was asked.
        at: When, in seconds since the epoch.
        error: Why it does not answer; empty: it does.
        advice: What to do about that.
        nodes: None: not known, as for every other list here.
        actors: How many actors are in each state.
        idle_actors: Those that are not alive, as far as they were listed.
        groups: How many placement groups are in each state.
        waiting_groups: Those that are not there yet.
        missing: What could not be read, and why: `nodes`, `usage`, `load`, `actors`, `groups`, `serve`.
    """

    address: str = ""
    at: float = 0.0
    version: str = ""
    error: str = ""
    advice: str = ""
    nodes: tuple[RayNode, ...] | None = None
    demands: tuple[RayDemand, ...] | None = None
    actors: Mapping[str, int] | None = None
    idle_actors: tuple[RayActor, ...] = ()
    groups: Mapping[str, int] | None = None
    waiting_groups: tuple[RayGroup, ...] = ()
    applications: tuple[RayApplication, ...] | None = None
    proxies: tuple[RayProxy, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> tuple[RayNode, ...]:
        return tuple(one for one in self.nodes or () if one.alive)

    @property
    def ordered(self) -> tuple[RayNode, ...]:
        """Return the nodes, those that died first, then the head."""
        return tuple(sorted(self.nodes or (), key=lambda one: (one.alive, not one.head, one.address, one.since or 0.0)))

    def resources(self) -> list[RayAmount]:
        """Return what the nodes that are alive have together; what is not known of a node is left out."""
        names = dict.fromkeys(one.name for node in self.alive for one in node.resources)
        return [self._sum(name) for name in names]

    def _sum(self, name: str) -> RayAmount:
        known = [node.amount(name) for node in self.alive]
        used = [one.used for one in known if one.used is not None]
        whole = [one.total for one in known if one.total is not None]
        return RayAmount(name, sum(used) if used else None, sum(whole) if whole else None)

    def to_json(self) -> dict[str, Any]:
        """Return what `ray --json` prints and `/ray` answers; unknown is null."""
        return asdict(self)
