"""SGLang on several machines: the same server on each with its place, or prefill and decode apart. Flags of 0.5.23."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Command, LaunchContext
from vllm_studio_tui.backends.common.flags import FlagStyle
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
from vllm_studio_tui.domain.ranks import BOOTSTRAP, DECODE, HTTP, MEET, PREFILL, RankPart, RankPlace, http_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.recipe import Recipe

TITLE = "SGLang"
PLACE_FLAGS = frozenset({
    "nnodes", "node-rank", "dist-init-addr", "disaggregation-mode", "disaggregation-bootstrap-port",
})  # fmt: skip
ROUTER_MODULE = "sglang_router.launch_router"


def parts(recipe: Recipe, style: FlagStyle) -> tuple[RankPart, ...]:
    """Return the parts of a recipe.

    Raises:
        InvalidRecipe: Its sizes, flags and strategy contradict each other.
    """
    nodes = recipe.node_count
    if nodes == 1:
        return numbered(1)
    ray = {"use-ray": "SGLang's own ranks are started here; remove it, or start it on your Ray by hand"}
    problems = [*size_problems(recipe), *router_problems(recipe), *own_flags(TITLE, recipe, style, PLACE_FLAGS, ray)]
    if recipe.strategy == "tp_pp" and recipe.speculative:
        problems.append(("speculative", "a pipeline of SGLang takes no speculative decoding; use strategy tp"))
    if problems:
        raise refused(TITLE, problems)
    return disaggregated(nodes) if recipe.strategy == "pd" else numbered(nodes)


def spread(recipe: Recipe) -> Recipe:
    """Return the recipe in SGLang's sizes: copies over machines are parts of one tensor-parallel group (DP attention).

    It refuses other copies there ("multi-node data parallel is not supported unless dp attention").
    """
    if recipe.strategy != "dp" or recipe.node_count == 1:
        return recipe
    return recipe.model_copy(update={"tensor_parallel_size": recipe.tensor_parallel_size * recipe.data_parallel_size})


def arguments(recipe: Recipe, place: RankPlace, style: FlagStyle) -> Iterator[str]:
    """Yield what a part's place adds to the recipe's own arguments."""
    if place.role in (PREFILL, DECODE):
        yield from ("--disaggregation-mode", place.role)
        if place.role == PREFILL:
            yield from ("--disaggregation-bootstrap-port", str(place.port(BOOTSTRAP)))
        return
    if place.nodes == 1:
        return
    yield from ("--nnodes", str(place.nodes), "--node-rank", place.word)
    yield from ("--dist-init-addr", f"{_bracketed(place.head)}:{place.port(MEET)}")
    if recipe.strategy == "dp" and not extra(recipe, style, "enable-dp-attention"):
        yield "--enable-dp-attention"


def variables(recipe: Recipe, place: RankPlace) -> dict[str, str]:
    """Return the variables of a part, without those that the recipe sets."""
    return network_variables(recipe, place, host_variable="SGLANG_HOST_IP")


def router(place: RankPlace, context: LaunchContext, python: str, env: dict[str, str]) -> Command:
    """Return the command of the router before prefill and decode, of the same interpreter (`sglang-router`)."""
    argv = [python, "-m", ROUTER_MODULE, "--pd-disaggregation", "--host", context.host, "--port", str(context.port)]
    argv += ["--prefill", http_address(place.head, place.port(HTTP)), str(place.port(BOOTSTRAP))]
    for address in place.addresses[1:]:
        argv += ["--decode", http_address(address, place.port(HTTP))]
    # Two of them on a machine would have the same default.
    argv += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.port(MEET)), *ROUTER_PATIENCE]
    return Command(tuple(argv), env)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address
