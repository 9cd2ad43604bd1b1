"""A server that somebody else runs: it is talked to, never started or stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vllm_studio_tui.backends.base import Backend, Command, LaunchContext, Problem
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.spec import ReadyProbe
from vllm_studio_tui.kit.masking import mask_text

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe


class External(Backend):
    """An OpenAI-compatible server at `base_url`."""

    name = "external"
    title = "external server"
    label = "external"
    needs_launch = False
    failures = ()
    uses = frozenset({"served_model_name"})
    program_fields = frozenset()

    def model_name(self, recipe: Recipe) -> str:
        return recipe.served_model_name or recipe.model_path

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        raise LaunchRefused(
            f"{recipe.id} needs no launch",
            cause=f"It is an external server at {mask_text(recipe.base_url or '')}.",
            advice=f"Chat with it: vllm-studio chat --recipe {recipe.id}",
        )

    def ready(self, recipe: Recipe) -> ReadyProbe:
        try:
            prefix = urlsplit(recipe.base_url or "").path.rstrip("/")
        except ValueError:
            prefix = "/v1"
        return ReadyProbe(recipe.health_path or f"{prefix or '/v1'}/models")

    def problems(self, recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
        try:
            url = urlsplit(recipe.base_url or "")
            valid = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
        except ValueError:
            valid = False
        if not valid:
            yield Problem("base_url", "error", "is no address of a server", "Write it as http://host:8000/v1.")
            return
        if url.password:
            advice = "Write https://USER@host/v1, and its password as api_key: env:NAME or file:PATH."
            yield Problem("base_url", "error", "holds a password", advice)
            return
        if url.username and not recipe.api_key:
            advice = "Set api_key to env:NAME or file:PATH."
            yield Problem("base_url", "warning", "names a user without a password", advice)
        if not url.path.rstrip("/").endswith("/v1"):
            yield Problem("base_url", "warning", "does not end in /v1", "Most servers answer below /v1.")
        if url.scheme == "http" and recipe.api_key and url.hostname not in ("localhost", "127.0.0.1", "::1"):
            yield Problem("base_url", "warning", "sends the key unencrypted", "Use https or an SSH tunnel.")
