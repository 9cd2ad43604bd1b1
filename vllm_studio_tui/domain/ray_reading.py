"""Read a `RayView` from a document: what a cluster or another studio says is read value by value.

This is the only gate: anything can be read, nothing raises, and what does not fit is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from vllm_studio_tui.domain.ray_view import (
    RayActor,
    RayAmount,
    RayApplication,
    RayBundle,
    RayDemand,
    RayDeployment,
    RayGroup,
    RayNode,
    RayProxy,
    RayReplica,
    RayView,
)
from vllm_studio_tui.kit.outside_values import as_count, as_number

#: How many rows of a list are taken, letters of a name, and letters of a message.
MOST, LONGEST, MESSAGE = 2000, 300, 4000

_Row = TypeVar("_Row")


def read_ray_view(data: Any) -> RayView:
    """Return the view that `RayView.to_json` wrote, as far as it is one."""
    data = data if isinstance(data, Mapping) else {}
    return RayView(
        text(data.get("address")),
        as_number(data.get("at")) or 0.0,
        text(data.get("version")),
        text(data.get("error"), MESSAGE),
        text(data.get("advice"), MESSAGE),
        _list(data.get("nodes"), _node),
        _list(data.get("demands"), _demand),
        counts(data.get("actors")),
        _list(data.get("idle_actors"), _actor) or (),
        counts(data.get("groups")),
        _list(data.get("waiting_groups"), _group) or (),
        _list(data.get("applications"), _application),
        _list(data.get("proxies"), _proxy) or (),
        {text(name): text(why, MESSAGE) for name, why in pairs(data.get("missing"))},
    )


def dashboard_of(address: Any) -> str:
    """Return an address as that of a dashboard; empty where it is that of something else, as `auto` or `host:6379`."""
    if not isinstance(address, str):
        return ""
    try:
        split = urlsplit(address.strip())
        known = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        return ""
    return address.strip().rstrip("/") if known else ""


def _node(data: Mapping[str, Any]) -> RayNode:
    return RayNode(
        text(data.get("id")),
        text(data.get("address")),
        data.get("head") is True,
        text(data.get("state")),
        text(data.get("why"), MESSAGE),
        as_number(data.get("since")),
        as_number(data.get("ended")),
        _list(data.get("resources"), _amount) or (),
        as_number(data.get("cpu")),
        as_number(data.get("memory_used")),
        as_number(data.get("memory_total")),
        as_number(data.get("gpu")),
        as_number(data.get("gpu_memory_used")),
        as_number(data.get("gpu_memory_total")),
    )


def _amount(data: Mapping[str, Any]) -> RayAmount | None:
    name = text(data.get("name"))
    return RayAmount(name, as_number(data.get("used")), as_number(data.get("total"))) if name else None


def _actor(data: Mapping[str, Any]) -> RayActor:
    return RayActor(
        text(data.get("id")),
        text(data.get("kind")),
        text(data.get("name")),
        text(data.get("state")),
        text(data.get("why"), MESSAGE),
        data.get("meant") is True,
        text(data.get("node")),
        needs(data.get("needs")),
    )


def _bundle(data: Mapping[str, Any]) -> RayBundle:
    return RayBundle(needs(data.get("needs")), as_count(data.get("count")) or 1)


def _demand(data: Mapping[str, Any]) -> RayDemand:
    return RayDemand(
        text(data.get("kind")),
        as_count(data.get("count")) or 1,
        _list(data.get("bundles"), _bundle) or (),
        text(data.get("strategy")),
    )


def _group(data: Mapping[str, Any]) -> RayGroup:
    return RayGroup(
        text(data.get("id")),
        text(data.get("name")),
        text(data.get("state")),
        text(data.get("why")),
        as_number(data.get("since")),
        _list(data.get("bundles"), _bundle) or (),
    )


def _replica(data: Mapping[str, Any]) -> RayReplica:
    return RayReplica(
        text(data.get("id")),
        text(data.get("state")),
        text(data.get("node")),
        text(data.get("node_id")),
        as_number(data.get("since")),
    )


def _deployment(data: Mapping[str, Any]) -> RayDeployment:
    return RayDeployment(
        text(data.get("name")),
        text(data.get("status")),
        text(data.get("why"), MESSAGE),
        text(data.get("trigger")),
        as_count(data.get("target")),
        _list(data.get("replicas"), _replica) or (),
        as_count(data.get("dead")),
        needs(data.get("needs")),
    )


def _application(data: Mapping[str, Any]) -> RayApplication:
    return RayApplication(
        text(data.get("name")),
        text(data.get("status")),
        text(data.get("why"), MESSAGE),
        text(data.get("route")),
        as_number(data.get("since")),
        _list(data.get("deployments"), _deployment) or (),
    )


def _proxy(data: Mapping[str, Any]) -> RayProxy:
    return RayProxy(text(data.get("node")), text(data.get("status")))


def _list(data: Any, read: Callable[[Mapping[str, Any]], _Row | None]) -> tuple[_Row, ...] | None:
    """Return the rows of a list, without what are none; None where it is no list."""
    if not isinstance(data, list | tuple):
        return None
    return tuple(row for one in data[:MOST] if isinstance(one, Mapping) and (row := read(one)) is not None)


def pairs(data: Any) -> Iterable[tuple[Any, Any]]:
    """Return the entries of a mapping, as far as there are not too many; of anything else none."""
    return list(data.items())[:MOST] if isinstance(data, Mapping) else ()


def text(value: Any, most: int = LONGEST) -> str:
    """Return a text; of one that is too long begin and end, where a traceback says what went wrong."""
    if not isinstance(value, str):
        return ""
    return value if len(value) <= most else f"{value[: most // 4]} … {value[3 - most + most // 4 :]}"


def counts(data: Any) -> dict[str, int] | None:
    """Return how many there are of each state; None where it is no mapping."""
    if not isinstance(data, Mapping):
        return None
    return {text(name): found for name, value in pairs(data) if (found := as_count(value)) is not None}


def needs(data: Any) -> dict[str, float]:
    """Return resources and how much of each is needed."""
    return {text(name): found for name, value in pairs(data) if name and (found := as_number(value))}
