"""What Ray Serve tells of one application, as a `Look`. Pure functions of its answers; none of them is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.job import Cause, Part, Phase
from vllm_studio_tui.followers.ray_logs import Replica
from vllm_studio_tui.followers.system import Look

#: What Ray counts, as a person reads it; the rest is by its own name.
_WORDS = {"CPU": "CPUs", "GPU": "GPUs"}
#: Lines of a message that say why, from its end.
EVIDENCE = 12


def read(name: str, found: Mapping[str, Any], memory: dict[str, Any], more: Any = None) -> Look:
    """Return what is told of an application.

    Args:
        memory: Keeps whether it ran before, and where its replicas were.
        more: `nodes` and `status`, the answers about nodes and free resources; None: they were not asked for.
    """
    state = _text(found.get("status")) or "NOT_STARTED"
    rows = list(_replicas(found))
    running = [one for _, one in rows if one.get("state") == "RUNNING"]
    placed = [one for _, one in rows if one.get("node_ip")]
    parts = tuple(_part(deployment, one) for deployment, one in rows)
    if running:
        memory["ran"] = True
    if state == "DEPLOY_FAILED" and not running:
        return Look(Phase.ENDED, state, parts=parts, cause=_why(found))
    if state == "DELETING":
        if memory.get("told_off") is not True and not running and not placed:
            return Look(Phase.RUNNING, state, "Ray takes it down", parts=parts)
        return Look(Phase.RUNNING, state, trouble="it is being taken out of Ray Serve", parts=parts)
    trouble = _trouble(found, rows, memory, more)
    memory["placed"] = {_text(one.get("replica_id")): _place(one) for one in placed}
    if running:
        return Look(Phase.RUNNING, state, trouble=trouble, parts=parts)
    if placed:
        return Look(Phase.RUNNING, state, "" if not memory.get("ran") else "Ray starts another replica", trouble,
                    parts=parts)  # fmt: skip
    return Look(Phase.WAITING, state, _waiting(found, more), trouble, parts=parts)


def whole(found: Mapping[str, Any]) -> bool:
    """Return whether it runs and every replica that it is to have does."""
    rows = list(_replicas(found))
    return found.get("status") == "RUNNING" and bool(rows) and all(one.get("state") == "RUNNING" for _, one in rows)


def replicas(found: Mapping[str, Any]) -> list[Replica]:
    """Return the replicas whose logs can be read; those that died last, too."""
    made = []
    for deployment, one in (*_replicas(found, "recent_dead_replicas"), *_replicas(found)):
        actor, name = _text(one.get("actor_id")), _text(one.get("replica_id"))
        if actor:
            made.append(Replica(actor, f"{deployment} {name}".strip()))
    return made


def proxies(told: Mapping[str, Any]) -> list[str]:
    """Return the hosts of Serve's proxies that are healthy, that of the controller's node first."""
    found = told.get("proxies")
    rows = [one for one in found.values() if isinstance(one, Mapping)] if isinstance(found, Mapping) else []
    head = told.get("controller_info")
    at = head.get("node_ip") if isinstance(head, Mapping) else None
    healthy = sorted({_text(one.get("node_ip")) for one in rows if one.get("status") == "HEALTHY"} - {""})
    return sorted(healthy, key=lambda host: host != at)


def _replicas(found: Mapping[str, Any], key: str = "replicas") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, deployment in _deployments(found):
        rows = deployment.get(key)
        for one in rows if isinstance(rows, list) else ():
            if isinstance(one, Mapping):
                yield name, one


def _deployments(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows = found.get("deployments")
    return (
        [(str(key), one) for key, one in rows.items() if isinstance(one, Mapping)] if isinstance(rows, Mapping) else []
    )


def _part(deployment: str, one: Mapping[str, Any]) -> Part:
    where = _text(one.get("node_ip"))
    pid = one.get("pid")
    words = f"process {pid}" if isinstance(pid, int) else "" if where else "not placed yet"
    return Part(f"{deployment} {_text(one.get('replica_id'))}", where, _text(one.get("state")), words)


def _trouble(
    found: Mapping[str, Any], rows: list[tuple[str, Mapping[str, Any]]], memory: dict[str, Any], more: Any
) -> str:
    """Return what is wrong with one that ran: which node or replica is lost, and what Ray does about it."""
    if not memory.get("ran"):
        return ""
    told = []
    before = memory.get("placed")
    was = {**(before if isinstance(before, dict) else {}), **_lost_from(memory)}
    now = {_text(one.get("replica_id")) for _, one in rows}
    wanted = sum(count for _, one in _deployments(found) if isinstance(count := one.get("target_num_replicas"), int))
    up = sum(1 for _, one in rows if one.get("state") == "RUNNING")
    gone = {str(name): str(place) for name, place in was.items() if name and name not in now}
    memory["lost"] = gone if up < wanted else {}
    if up < wanted:
        dead = _dead_nodes(more)
        told += [f"node {host} is lost" for host in sorted({_host(one) for one in gone.values() if one in dead})]
        ended = sorted(name for name, place in gone.items() if place not in dead)
        told += [f"replica {', '.join(ended[:4])} has ended"] if ended else []
        told.append(
            f"{up} of {wanted} replicas run, Ray starts others" if up else "no replica runs, Ray starts another"
        )
        pending = any(not one.get("node_ip") for _, one in rows)
        told += [_need(found, more)] if pending and _need(found, more) else []
    if found.get("status") in ("UNHEALTHY", "DEPLOY_FAILED"):
        said = _message(found)
        errors = [line.strip() for line in said if _names_error(line)]
        if said and (errors or not told):
            told.append(" ".join((said[0], *errors[-1:]))[:400])
    return "; ".join(told)


def _place(one: Mapping[str, Any]) -> str:
    """Return where a replica is: the address of its node, and the id, as a node that comes back has another one."""
    return f"{_text(one.get('node_ip'))} {_text(one.get('node_id'))}"


def _host(place: str) -> str:
    return place.partition(" ")[0]


def _lost_from(memory: Mapping[str, Any]) -> dict[str, Any]:
    kept = memory.get("lost")
    return kept if isinstance(kept, dict) else {}


def _dead_nodes(more: Any) -> set[str]:
    """Return the places whose raylet has ended."""
    told: Any = more.get("nodes") if isinstance(more, Mapping) else None
    try:
        rows = told["data"]["result"]["result"]
        return {f"{one['node_ip']} {one['node_id']}" for one in rows if one["state"] == "DEAD"}
    except (TypeError, KeyError, AttributeError):
        return set()


# --- waiting ------------------------------------------------------------------------------------------------


def _waiting(found: Mapping[str, Any], more: Any) -> str:
    """Return why no replica of it is placed."""
    if not any(True for _ in _replicas(found)):
        return "Ray reads the application"
    return f"waiting in Ray: {_need(found, more) or 'a replica is being placed'}"


def _need(found: Mapping[str, Any], more: Any) -> str:
    """Return what a replica needs and no node has; empty: nothing is known to be missing."""
    nodes = _free(more)
    if not nodes:
        return ""
    for _, deployment in _deployments(found):
        needed, spread = _required(deployment)
        missing = []
        for name, amount in needed.items():
            free = [node.get(name, (0.0, 0.0)) for node in nodes.values()]
            best = sum(one for one, _ in free) if spread else max(one for one, _ in free)
            if best + 1e-6 < amount:
                left, total = sum(one for one, _ in free), sum(one for _, one in free)
                words = (
                    f"a replica needs {_amount(name, amount)}, the cluster has {_number(left)} free of {_number(total)}"
                )
                missing.append(words if spread or left < amount else f"{words}, at most {_number(best)} on one node")
        if missing:
            return "; ".join(missing)
    return ""


def _required(deployment: Mapping[str, Any]) -> tuple[dict[str, float], bool]:
    """Return what one replica needs, and whether it may be spread over nodes."""
    config = deployment.get("deployment_config")
    bundles = config.get("placement_group_bundles") if isinstance(config, Mapping) else None
    if isinstance(bundles, list) and bundles:
        total: dict[str, float] = {}
        for bundle in bundles:
            for name, amount in bundle.items() if isinstance(bundle, Mapping) else ():
                if isinstance(amount, int | float):
                    total[str(name)] = total.get(str(name), 0.0) + amount
        strategy = str(config.get("placement_group_strategy")) if isinstance(config, Mapping) else ""
        return total, strategy != "STRICT_PACK"
    told = deployment.get("required_resources")
    rows = told.items() if isinstance(told, Mapping) else ()
    return {str(name): float(amount) for name, amount in rows if isinstance(amount, int | float) and amount > 0}, False


def _free(more: Any) -> dict[str, dict[str, tuple[float, float]]]:
    """Return what each living node has free and has in all, by its names of resources."""
    told: Any = more.get("status") if isinstance(more, Mapping) else None
    try:
        report = told["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
        return {
            str(node): {
                str(name): (float(pair[1]) - float(pair[0]), float(pair[1]))
                for name, pair in rows.items()
                if isinstance(pair, list) and len(pair) == 2
            }
            for node, rows in report.items()
        }
    except (TypeError, KeyError, AttributeError, ValueError):
        return {}


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / 2**30:.1f} GiB of memory"
    words = _WORDS.get(name, name)
    return f"{_number(amount)} {words.removesuffix('s') if amount == 1 and name in _WORDS else words}"


def _number(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount > 2**20 else f"{amount:g}"


# --- the end ------------------------------------------------------------------------------------------------


def _message(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of the messages of an application and its deployments, without what is said twice."""
    said = [_text(one.get("message")) for _, one in _deployments(found)] + [_text(found.get("message"))]
    lines = [line.rstrip() for text in said for line in text.splitlines() if line.strip()]
    return list(dict.fromkeys(lines))


def _names_error(line: str) -> bool:
    """Return whether it is the last line of a traceback, as `ValueError: why`."""
    kind, colon, why = line.strip().partition(": ")
    return bool(colon and why) and kind.endswith("Error") and " " not in kind


def _why(found: Mapping[str, Any]) -> Cause:
    """Return why Ray gave up a deployment: the error of its last try, as far as it is told."""
    lines = _message(found)
    errors = [line.strip() for line in lines if _names_error(line)]
    last = errors[-1] if errors else (lines[-1].strip() if lines else "")
    title = f"Ray could not deploy it: {last[:400]}" if last else "Ray could not deploy it"
    advice = "See its log; Ray tried it several times and gave up."
    return Cause("ray_deploy_failed", title, advice, tuple(line[:400] for line in lines[-EVIDENCE:]), weak=True)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, int) else ""
