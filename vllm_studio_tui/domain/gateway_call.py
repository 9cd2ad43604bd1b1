"""A request as the gateway saw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """A request that the gateway's LiteLLM answered or failed.

    Attributes:
        at: Its end in seconds since the epoch.
        status: `success` or `failure`.
        upstream_id: The engine's id of the answer, by which the row of `requests` is found.
        model: As the client wrote it.
        key_name: The name of LiteLLM's key.
        cache_hit: It was answered from the cache: no engine had to do with it, and its tokens are in no total.
        cost: In the currency of LiteLLM's prices.
        error: What kind of failure, no words of it.
        request_id: The row of `requests` that counts it; None where there is none (yet).
    """

    id: str
    at: float
    status: str
    upstream_id: str | None = None
    kind: str | None = None
    model: str | None = None
    recipe_id: str | None = None
    key_name: str | None = None
    cache_hit: bool = False
    cost: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    streamed: bool | None = None
    error: str | None = None
    http_status: str | None = None
    request_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `gateway calls --json` prints it."""
        return {
            "id": self.id,
            "at": iso_time(self.at),
            "status": self.status,
            "model": self.model,
            "recipe": self.recipe_id,
            "key": self.key_name,
            "cache_hit": self.cache_hit,
            "cost": self.cost,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": self.seconds,
            "streamed": self.streamed,
            "error": self.error,
            "http_status": self.http_status,
            "upstream_id": self.upstream_id,
            "request": self.request_id,
        }
