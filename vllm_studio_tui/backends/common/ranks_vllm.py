"""vLLM on several machines: the same `vllm serve` on each with its place, or Ray, or prefill and decode apart.

Flags of 0.32 and 0.33. Where `--nnodes` is given, vLLM itself computes from `--node-rank` which ranks of tensor,
pipeline and data parallelism a machine has (`EngineArgs.create_engine_config`); nothing of that is done here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Command, LaunchContext
from vllm_studio_tui.backends.common.commands import find_program, not_found
from vllm_studio_tui.backends.common.flags import FlagStyle, as_json
from vllm_studio_tui.backends.common.ranks import (
    ROUTER_PATIENCE,
    disaggregated,
    extra,
    network_variables,
    numbered,
    own_flags,
    refused,
    router_problems,
    size_problems,
)
from vllm_studio_tui.domain.ranks import CACHE, COPIES, DECODE, HTTP, MEET, PREFILL, RankPart, RankPlace, http_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.recipe import Recipe

TITLE = "vLLM"
#: What the studio says for each rank.
PLACE_FLAGS = frozenset({
    "nnodes", "node-rank", "master-addr", "master-port", "headless", "data-parallel-rank", "data-parallel-start-rank",
    "data-parallel-size-local", "data-parallel-address", "data-parallel-rpc-port", "data-parallel-hybrid-lb",
    "data-parallel-external-lb", "data-parallel-multi-port-external-lb",
})  # fmt: skip
ON_RAY = (
    "Ray places the other ranks: it must run on every machine before (`ray start --head --port=6379` on the first, "
    "`ray start --address=FIRST:6379` on the others), with Ray in vLLM's own environment."
)
ROUTER_ADVICE = "Install vllm-router beside vLLM on the first machine: pip install vllm-router."


def uses_ray(recipe: Recipe, style: FlagStyle) -> bool:
    """Return whether the recipe has Ray place the ranks."""
    return any(
        extra(recipe, style, name) == "ray" for name in ("distributed-executor-backend", "data-parallel-backend")
    )


def parts(recipe: Recipe, style: FlagStyle) -> tuple[RankPart, ...]:
    """Return the parts of a recipe.

    Raises:
        InvalidRecipe: Its sizes, flags and strategy contradict each other.
    """
    nodes = recipe.node_count
    if nodes == 1:
        return numbered(1)
    problems = [*size_problems(recipe), *router_problems(recipe), *own_flags(TITLE, recipe, style, PLACE_FLAGS)]
    ray = uses_ray(recipe, style)
    if ray and recipe.strategy == "pd":
        problems.append(("strategy", "pd has engines of their own on each machine, and no Ray between them"))
    backend = extra(recipe, style, "distributed-executor-backend")
    if not ray and backend not in (None, "mp"):
        problems.append(("extra_args", f"distributed_executor_backend {backend} cannot span machines: mp or ray can"))
    if problems:
        raise refused(TITLE, problems)
    if recipe.strategy == "pd":
        return disaggregated(nodes)
    return (RankPart(0, 0, "rank 0", serves=True),) if ray else numbered(nodes)


def arguments(recipe: Recipe, place: RankPlace, style: FlagStyle) -> Iterator[str]:
    """Yield what a part's place adds to the recipe's own arguments."""
    if place.role in (PREFILL, DECODE):
        if extra(recipe, style, "kv-transfer-config") is None:
            role = "kv_producer" if place.role == PREFILL else "kv_consumer"
            made = {"kv_connector": "NixlConnector", "kv_role": role}
            yield from ("--kv-transfer-config", as_json("kv_transfer_config", made))
        return
    if place.nodes == 1 or uses_ray(recipe, style):
        return
    yield from ("--nnodes", str(place.nodes), "--node-rank", place.word)
    yield from ("--master-addr", place.head, "--master-port", str(place.port(MEET)))
    if recipe.strategy == "dp":
        yield from ("--data-parallel-size-local", str(recipe.data_parallel_size // place.nodes))
        yield from ("--data-parallel-address", place.head, "--data-parallel-rpc-port", str(place.port(COPIES)))
    if place.index > 0:
        yield "--headless"


def variables(recipe: Recipe, place: RankPlace) -> dict[str, str]:
    """Return the variables of a part, without those that the recipe sets."""
    found = network_variables(recipe, place, host_variable="VLLM_HOST_IP")
    if place.role in (PREFILL, DECODE):
        own = {"VLLM_NIXL_SIDE_CHANNEL_HOST": place.address, "VLLM_NIXL_SIDE_CHANNEL_PORT": str(place.port(CACHE))}
        found |= {name: value for name, value in own.items() if name not in recipe.env_vars}
    return found


def notes(recipe: Recipe, style: FlagStyle) -> tuple[str, ...]:
    """Return what a person should know of a recipe of several machines."""
    return (ON_RAY,) if recipe.node_count > 1 and uses_ray(recipe, style) else ()


def router(place: RankPlace, context: LaunchContext, beside: str, env: dict[str, str]) -> Command:
    """Return the command of the router before prefill and decode.

    Args:
        beside: vLLM's program on this machine: the router is looked for in the same folder first.

    Raises:
        LaunchRefused: It is not installed.
    """
    looked = [str(Path(beside).parent / "vllm-router") if "/" in beside else None, "vllm-router"]
    program = find_program(looked, context)
    if program is None:
        raise not_found("vllm-router", looked, ROUTER_ADVICE, context)
    argv = [program, "--vllm-pd-disaggregation", "--host", context.host, "--port", str(context.port)]
    argv += ["--prefill", http_address(place.head, place.port(HTTP))]
    for address in place.addresses[1:]:
        argv += ["--decode", http_address(address, place.port(HTTP))]
    # Two of them on a machine would have the same default.
    argv += ["--prometheus-port", str(place.port(MEET)), *ROUTER_PATIENCE]
    return Command(tuple(argv), env)
