"""Ask external servers whether they answer. Blocking, with a timeout."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit import secrets

#: Seconds that all of them together have.
PATIENCE = 2.0
UNREACHABLE = "unreachable"


def external_states(recipes: Iterable[Recipe], patience: float = PATIENCE) -> dict[str, str]:
    """Return the state of each external recipe: ready, unreachable, or its error; all are asked at the same time."""
    found: dict[str, str] = {}
    threads: list[threading.Thread] = []
    for recipe in recipes:
        if recipe.base_url is None or registry.backend(recipe.backend).needs_launch:
            continue
        found[recipe.id] = UNREACHABLE

        def ask(one: Recipe = recipe) -> None:
            state = _ask(one, patience)
            found[one.id] = state

        # A daemon: a server that sends a byte now and then must not hold up the end of the program.
        threads.append(threading.Thread(target=ask, name=f"ask {recipe.id}", daemon=True))
    if threads:
        import httpx2

        assert httpx2, "loaded before the time runs"
    for one in threads:
        one.start()
    deadline = time.monotonic() + patience
    for one in threads:
        one.join(max(0.0, deadline - time.monotonic()))
    return dict(found)


def _ask(recipe: Recipe, patience: float) -> str:
    import httpx2

    from vllm_studio_tui.inference.request import loopback

    base = recipe.base_url or ""
    headers = {}
    if recipe.api_key:
        with contextlib.suppress(ValueError):  # it is asked without a key, and says so
            headers["Authorization"] = f"Bearer {secrets.resolve(recipe.api_key, os.environ)}"
    try:
        parts = urlsplit(base)
        url = f"{parts.scheme}://{parts.netloc}{registry.backend(recipe.backend).ready(recipe).path}"
        with (
            httpx2.Client(timeout=patience, trust_env=not loopback(base)) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            return "ready" if answer.is_success else f"answers {answer.status_code}"
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError):
        return UNREACHABLE
