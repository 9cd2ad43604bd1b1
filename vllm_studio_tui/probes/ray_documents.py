"""What Ray's dashboard answers, by our names. Values are passed on as they are: `read_ray_view` looks at each.

No function here raises, whatever a document holds; None is an answer that says nothing of what was asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.ray_reading import MOST, needs, pairs
from vllm_studio_tui.domain.ray_view import ALIVE
from vllm_studio_tui.kit.outside_values import as_number

#: Ray sends names of resources as it does those of fields.
_PLAIN_NAMES = {"objectStoreMemory": "object_store_memory", "nodeInternalHead": "node:__internal_head__"}
#: Ends of an actor that somebody wanted, or that nobody needed.
_MEANT = frozenset({"RAY_KILL", "OUT_OF_SCOPE", "REF_DELETED"})
_GONE = frozenset({"CREATED", "REMOVED"})
MIB = 1024**2


def at(data: Any, *path: str) -> Any:
    """Return what is at a path of mappings; None where there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def rows(data: Any) -> Iterator[Mapping[str, Any]]:
    """Return the mappings of a list."""
    if isinstance(data, list):
        yield from (one for one in data[:MOST] if isinstance(one, Mapping))


def listed(data: Any) -> list[Mapping[str, Any]] | None:
    """Return the rows that the state API lists; None where the answer has no list."""
    found = at(data, "data", "result", "result")
    return list(rows(found)) if isinstance(found, list) else None


def nodes_of(listing: Any, summary: Any, status: Any) -> list[dict[str, Any]] | None:
    """Return the nodes.

    Args:
        listing: `/api/v0/nodes`.
        summary: `/nodes?view=summary`: what they are really busy with; None: not known.
        status: `/api/cluster_status`: what tasks and actors took of them; None: not known.
    """
    found = listed(listing)
    if found is None:
        return None
    measured = {str(at(one, "raylet", "nodeId")): one for one in rows(at(summary, "data", "summary"))}
    usage = at(status, "data", "clusterStatus", "loadMetricsReport", "usageByNode")
    return [_node(one, measured.get(str(one.get("node_id")), {}), at(usage, str(one.get("node_id")))) for one in found]


def _node(data: Mapping[str, Any], measured: Mapping[str, Any], usage: Any) -> dict[str, Any]:
    alive = data.get("state") == ALIVE
    totals = dict(pairs(data.get("resources_total")))
    used: dict[str, Any] = {}
    for name, pair in pairs(usage) if alive else ():
        name = _PLAIN_NAMES.get(str(name), str(name))
        if isinstance(pair, list) and len(pair) == 2:
            used[name] = pair[0]
            totals.setdefault(name, pair[1])
    ours = [str(name) for name in totals if not str(name).startswith("node:")]
    return {
        "id": data.get("node_id"),
        "address": data.get("node_ip"),
        "head": data.get("is_head_node"),
        "state": data.get("state"),
        "why": data.get("state_message"),
        "since": _seconds(data.get("start_time_ms")),
        "ended": _seconds(data.get("end_time_ms")),
        "resources": [
            {"name": name, "used": used.get(name), "total": totals[name]} for name in sorted(ours, key=_rank)
        ],
        **(_measured(measured) if alive else {}),  # what is told of a dead one is from when it lived
    }


def _rank(name: str) -> tuple[int, str]:
    known = ("CPU", "GPU", "memory", "object_store_memory")
    return (known.index(name) if name in known else len(known), name)


def _measured(data: Mapping[str, Any]) -> dict[str, Any]:
    memory = data.get("mem")
    total, available = (memory[0], memory[1]) if isinstance(memory, list) and len(memory) >= 2 else (None, None)
    whole, free = as_number(total), as_number(available)
    gpus = list(rows(data.get("gpus")))
    return {
        "cpu": data.get("cpu"),
        "memory_total": whole,
        "memory_used": whole - free if whole is not None and free is not None and free <= whole else None,
        "gpu": _mean([as_number(one.get("utilizationGpu")) for one in gpus]),
        "gpu_memory_used": _sum([as_number(one.get("memoryUsed")) for one in gpus]),
        "gpu_memory_total": _sum([as_number(one.get("memoryTotal")) for one in gpus]),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sum(mebibytes: list[float | None]) -> float | None:
    """Return the sum in bytes; None where it is not known of each."""
    known = [value for value in mebibytes if value is not None]
    return sum(known) * MIB if known and len(known) == len(mebibytes) else None


def demands_of(status: Any) -> list[dict[str, Any]] | None:
    """Return what waits for resources, of `/api/cluster_status`."""
    report = at(status, "data", "clusterStatus", "loadMetricsReport")
    if not isinstance(report, Mapping):
        return None
    found = []
    for name, kind in (("resourceDemand", "task"), ("requestDemand", "request")):
        for needed, count in _counted(report.get(name)):
            found.append({"kind": kind, "count": count, "bundles": [{"needs": _named(needed)}]})
    for group, count in _counted(report.get("pgDemand")):
        bundles = [{"needs": _named(needed), "count": many} for needed, many in _counted(at(group, "bundles"))]
        found.append({"kind": "group", "count": count, "bundles": bundles, "strategy": at(group, "strategy")})
    return found


def _counted(data: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(data, list):
        yield from ((one[0], one[1]) for one in data[:MOST] if isinstance(one, list) and len(one) == 2)


def _named(data: Any) -> dict[str, float]:
    return {_PLAIN_NAMES.get(name, name): value for name, value in needs(data).items()}


def actor_counts(data: Any) -> dict[str, int] | None:
    """Return how many actors are in each state, of `/api/v0/actors/summarize`."""
    clusters = at(data, "data", "result", "result", "node_id_to_summary")
    if not isinstance(clusters, Mapping):
        return None
    found: Counter[str] = Counter()
    for _, cluster in pairs(clusters):
        for _, kind in pairs(at(cluster, "summary")):
            for state, count in pairs(at(kind, "state_counts")):
                if isinstance(state, str) and (known := as_number(count)):
                    found[state] += int(known)
    return dict(found)


def actors_of(data: Any) -> list[dict[str, Any]] | None:
    """Return the actors that are not alive, of `/api/v0/actors`."""
    found = listed(data)
    return None if found is None else [_actor(one) for one in found if one.get("state") != ALIVE]


def _actor(data: Mapping[str, Any]) -> dict[str, Any]:
    causes = [cause for _, cause in pairs(data.get("death_cause")) if isinstance(cause, Mapping)]
    cause: Mapping[str, Any] = causes[0] if causes else {}
    # Each kind of death has its own field for the words.
    told = [value for key, value in pairs(cause) if str(key).endswith("message") and isinstance(value, str)]
    return {
        "id": data.get("actor_id"),
        "kind": data.get("class_name"),
        "name": data.get("name"),
        "state": data.get("state"),
        "why": told[0] if told else None,
        "meant": isinstance(cause.get("reason"), str) and cause["reason"] in _MEANT,
        "node": cause.get("node_ip_address"),
        "needs": data.get("required_resources"),
    }


def group_counts(data: Any) -> dict[str, int] | None:
    """Return how many placement groups are in each state, of `/api/v0/placement_groups`."""
    found = listed(data)
    return None if found is None else dict(Counter(one["state"] for one in found if isinstance(one.get("state"), str)))


def waiting_groups(data: Any) -> list[dict[str, Any]] | None:
    """Return the placement groups that are not there yet."""
    found = listed(data)
    return None if found is None else [_group(one) for one in found if str(one.get("state")) not in _GONE]


def _group(data: Mapping[str, Any]) -> dict[str, Any]:
    asked = at(data, "stats", "creation_request_received_ns")
    same: Counter[tuple[tuple[str, float], ...]] = Counter(
        tuple(sorted(needs(one.get("unit_resources")).items())) for one in rows(data.get("bundles"))
    )
    return {
        "id": data.get("placement_group_id"),
        "name": data.get("name"),
        "state": data.get("state"),
        "why": at(data, "stats", "scheduling_state"),
        "since": int(asked) / 1e9 if isinstance(asked, str) and re.fullmatch(r"[0-9]{1,20}", asked) else None,
        "bundles": [{"needs": dict(needed), "count": count} for needed, count in same.items()],
    }


def applications_of(data: Any) -> list[dict[str, Any]] | None:
    """Return the applications, of `/api/serve/applications/`."""
    found = at(data, "applications")
    return [_application(one) for _, one in pairs(found)] if isinstance(found, Mapping) else None


def _application(data: Any) -> dict[str, Any]:
    return {
        "name": at(data, "name"),
        "status": at(data, "status"),
        "why": at(data, "message"),
        "route": at(data, "route_prefix"),
        "since": at(data, "last_deployed_time_s"),
        "deployments": [_deployment(one) for _, one in pairs(at(data, "deployments"))],
    }


def _deployment(data: Any) -> dict[str, Any]:
    dead = at(data, "recent_dead_replicas")
    return {
        "name": at(data, "name"),
        "status": at(data, "status"),
        "why": at(data, "message"),
        "trigger": at(data, "status_trigger"),
        "target": at(data, "target_num_replicas"),
        "dead": len(dead) if isinstance(dead, list) else None,
        "needs": at(data, "required_resources"),
        "replicas": [
            {
                "id": one.get("replica_id"),
                "state": one.get("state"),
                "node": one.get("node_ip"),
                "node_id": one.get("node_id"),
                "since": one.get("start_time_s"),
            }
            for one in rows(at(data, "replicas"))
        ],
    }


def proxies_of(data: Any) -> list[dict[str, Any]]:
    return [{"node": at(one, "node_ip"), "status": at(one, "status")} for _, one in pairs(at(data, "proxies"))]


def _seconds(milliseconds: Any) -> float | None:
    """Return seconds of milliseconds; Ray says 0 where nothing happened yet."""
    known = as_number(milliseconds)
    return known / 1000 if known else None
