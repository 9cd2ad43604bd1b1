"""One route, and one request that may take it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui.domain.api_key import ApiKey, Scope

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose sender is known and may send it.

    Attributes:
        key: Who asks.
        id: Of the request, unique; clients read it in `x-vllm-studio-request`.
        started: When it came, by the clock of the event loop.
    """

    context: ServeContext
    request: web.Request
    route: Route
    key: ApiKey
    id: str
    started: float


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        scope: What a key needs; None: nobody is asked for a key.
        summary: One line for people.
        tag: The heading under which it stands in the OpenAPI document.
        query: Names of query parameters with what they are.
        body: What the body is, as JSON Schema; None: there is none.
        answer: What the answer is, as JSON Schema, where that is more than an object.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[web.StreamResponse]]
    scope: Scope | None
    summary: str
    tag: str = "Studio"
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
