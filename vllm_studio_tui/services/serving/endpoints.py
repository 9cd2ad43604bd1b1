"""How a request reaches who answers it: address, the server's own key, and what is changed in the request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vllm_studio_tui.backends import registry
from vllm_studio_tui.config.setting_types import Peer
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_parts import RequestParams
from vllm_studio_tui.domain.serving import Endpoint, Refusal
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.targets import refuse_stranger, target_of_external, target_of_run


def endpoint_of_run(run: RunView, recipe: Recipe | None) -> Endpoint:
    """Return how a run is asked.

    Args:
        recipe: Its recipe as it is now; None: nobody has it any more.

    Raises:
        StudioError: It cannot be: its key or its spec cannot be read, or somebody else's server has its port.
    """
    refuse_stranger(run)
    target = target_of_run(run)
    found = Endpoint(
        target.base_url,
        target.model,
        target.api_key,
        target.backend,
        run.run_id,
        run.status.attempt,
        run.recipe_id,
        user=target.user,
    )
    backend = registry.find(target.backend) if target.backend is not None else None
    if backend is not None:
        unasked = (("stream", False),) if backend.streams_unasked else ()
        found = replace(found, default_params=unasked, keeps_connections=backend.keeps_connections)
    return _with_params(found, recipe)


def endpoint_of_external(recipe: Recipe) -> Endpoint:
    """Return how a server is asked that the studio does not start.

    Raises:
        StudioError: Its key cannot be read.
    """
    target = target_of_external(recipe)
    found = Endpoint(target.base_url, target.model, target.api_key, "external", recipe_id=recipe.id, user=target.user)
    # It may be any server.
    return _with_params(replace(found, keeps_connections=False), recipe)


def endpoint_of_peer(name: str, peer: Peer, model: str | None = None) -> Endpoint:
    """Return how a server on another host is asked.

    Raises:
        StudioError: Its key cannot be read.
    """
    key = None
    if peer.api_key is not None:
        try:
            key = secrets.resolve(peer.api_key, os.environ)
        except ValueError as error:
            raise StudioError(f"the API key of {name} cannot be read", cause=str(error)) from None
    return Endpoint(peer.url, model, key, peer=name)


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server is asked, found out before anybody asks: keys in files are read by whoever looks, off the loop.

    Attributes:
        endpoint: For any request.
        own: The same for a request whose `model` the server understands: it is left alone.
        names: The names that it understands.
    """

    endpoint: Endpoint
    own: Endpoint
    names: frozenset[str]

    def for_request(self, asked: str | None) -> Endpoint:
        """Return the endpoint for one request.

        Args:
            asked: What it says in `model`.
        """
        return self.own if asked in self.names else self.endpoint


def reach_of(endpoint: Endpoint, run: RunView | None = None) -> Reach:
    """Return how a server is asked in both ways.

    Args:
        run: The run that answers, which knows the names that it was started with.
    """
    names = frozenset(one for one in (endpoint.model, *_names(run)) if one is not None)
    return Reach(endpoint, replace(endpoint, model=None), names)


def as_refusal(key: str, error: StudioError) -> Refusal:
    """Return what is said where a server cannot be asked."""
    if isinstance(error, Refusal):
        return error
    return Refusal(503, "model_unreachable", f"{key}: {error.title}", cause=error.cause, advice=error.advice)


def _names(run: RunView | None) -> tuple[str, ...]:
    if run is None or run.spec is None:
        return ()
    backend = registry.find(run.spec.backend)
    given = run.spec.recipe.get("aliases")
    if backend is None or not backend.takes_aliases or not isinstance(given, list | tuple):
        return ()
    return tuple(str(one) for one in given)


def _with_params(endpoint: Endpoint, recipe: Recipe | None) -> Endpoint:
    if recipe is None:
        return endpoint
    params: RequestParams = recipe.params
    return replace(
        endpoint,
        set_params=_pairs(params.set),
        default_params=(*endpoint.default_params, *_pairs(params.default)),
        strip_params=params.strip,
        stall_timeout=recipe.stall_timeout,
    )


def _pairs(params: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(params.items())
