"""How recipes are spread over machines: what is the same for several engines."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.ranks import DECODE, HTTP, PREFILL, ROUTER, RankPart, RankPlace

if TYPE_CHECKING:
    from vllm_studio_tui.backends.common.flags import FlagStyle
    from vllm_studio_tui.domain.recipe import Recipe

COPIES_INSTEAD = (
    "For more users give each machine a recipe of its own with one node, and put `vllm-studio serve` before them; "
    "for a model that is too large for one machine use vllm or sglang."
)
#: Variables by which the libraries between GPUs of several machines are told which network they use.
INTERFACE_VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")

#: Routers give engines up that load for longer than ten minutes; how long a start may take is the recipe's to say.
ROUTER_PATIENCE = ("--worker-startup-timeout-secs", "86400", "--worker-startup-check-interval", "5")


def one_machine(title: str, recipe: Recipe) -> tuple[RankPart, ...]:
    """Return the one part of an engine that runs on one machine only.

    Raises:
        InvalidRecipe: The recipe wants several.
    """
    if recipe.node_count > 1:
        raise refused(
            title,
            [("nodes", f"{title} runs on one machine, and the recipe wants {recipe.node_count}")],
            COPIES_INSTEAD,
        )
    return (RankPart(0, 0, "rank 0", serves=True),)


def refused(title: str, problems: list[tuple[str, str]], advice: str = "") -> InvalidRecipe:
    """Return the error for what an engine cannot do on several machines."""
    return InvalidRecipe(f"{title} cannot be spread over machines like this", problems, advice=advice)


def numbered(nodes: int) -> tuple[RankPart, ...]:
    """Return one rank a machine, of which the first answers."""
    return tuple(RankPart(node, node, f"rank {node}", serves=node == 0) for node in range(nodes))


def disaggregated(nodes: int) -> tuple[RankPart, ...]:
    """Return the parts that share the steps of an answer: router and prefill on the first machine, decode on others."""
    router = RankPart(0, 0, "router", ROUTER, serves=True)
    prefill = RankPart(1, 0, "prefill", PREFILL, serves=True, port=HTTP)
    name = "decode" if nodes == 2 else "decode {}"
    decode = (RankPart(node + 1, node, name.format(node), DECODE, serves=True, port=HTTP) for node in range(1, nodes))
    return (router, prefill, *decode)


def router_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield what the router before prefill and decode cannot do, as fields with words."""
    if recipe.strategy != "pd":
        return
    if recipe.api_key:
        yield "api_key", "the router would show it in its command line; keep its port on loopback"
    if recipe.runtime == "docker":
        yield "runtime", "the router is not in the engine's image; use runtime native"


def size_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the sizes of a recipe for its strategy, as fields with words."""
    nodes, tp, pp, dp = (
        recipe.node_count,
        recipe.tensor_parallel_size,
        recipe.pipeline_parallel_size,
        recipe.data_parallel_size,
    )
    strategy = recipe.strategy
    if strategy == "tp":
        if tp % nodes:
            yield (
                "tensor_parallel_size",
                f"{tp} cannot be split over {nodes} machines: it counts the GPUs of all of them",
            )
        if pp > 1:
            yield "pipeline_parallel_size", f"is {pp}, and strategy tp has no pipeline; strategy tp_pp has"
    elif strategy == "tp_pp":
        if pp == 1:
            yield (
                "pipeline_parallel_size",
                f"is 1: with strategy tp_pp each machine holds some of the layers; set it to {nodes}, and "
                "tensor_parallel_size to the GPUs of one machine",
            )
        elif pp % nodes:
            yield "pipeline_parallel_size", f"{pp} stages cannot be split over {nodes} machines"
    elif strategy == "dp" and dp % nodes:
        yield (
            "data_parallel_size",
            f"{dp} copies cannot be split over {nodes} machines; set it to {max(nodes, dp // nodes * nodes)}",
        )
    if strategy in ("tp", "tp_pp") and dp > 1:
        yield "data_parallel_size", f"is {dp}, and strategy {strategy} spreads one copy; strategy dp spreads copies"


def own_flags(
    title: str, recipe: Recipe, style: FlagStyle, flags: Collection[str], more: Mapping[str, str] = {}
) -> Iterator[tuple[str, str]]:
    """Yield the flags of `extra_args` that say where a rank stands: each rank is given its own.

    Args:
        more: Further flags, with what to do instead.
    """
    for key in recipe.extra_args:
        name = style.canonical(key).split(".", 1)[0]
        if name in flags:
            yield "extra_args", f"{key} is given to each part of {title} by nodes and strategy: remove it"
        elif name in more:
            yield "extra_args", f"{key}: {more[name]}"


def extra(recipe: Recipe, style: FlagStyle, name: str) -> Any:
    """Return the value that `extra_args` has for a flag, however it is spelled there."""
    for key, value in recipe.extra_args.items():
        if style.canonical(key) == name:
            return value
    return None


def network_variables(recipe: Recipe, place: RankPlace, *, host_variable: str = "") -> dict[str, str]:
    """Return the variables that tell a rank which address and network are its own, where the recipe does not.

    Args:
        host_variable: What the engine calls its own address; empty: it has no such variable.
    """
    found = {}
    if host_variable and is_address(place.address):
        # Engines bind to what stands here, which a name may not allow.
        found[host_variable] = place.address.strip("[]")
    if place.interface:
        found |= dict.fromkeys(INTERFACE_VARIABLES, place.interface)
    return {name: value for name, value in found.items() if name not in recipe.env_vars}


def is_address(text: str) -> bool:
    """Return whether it is an IP address and no name."""
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
