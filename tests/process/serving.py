"""Recipes of simulated engines in a house, and a dispatcher over them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import House
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.serving import Arrival, Endpoint
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import read
from vllm_studio_tui.services import demo
from vllm_studio_tui.services.serving.admission import Admission
from vllm_studio_tui.services.serving.dispatcher import Dispatcher
from vllm_studio_tui.studio import Studio

NUMBERS = itertools.count(1)


def recipe(name: str, *flags: str, **fields: Any) -> Recipe:
    """A simulated engine that a request may start."""
    engine = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"
    return Recipe.model_validate(
        {
            "id": name,
            "name": name,
            "backend": "custom",
            "metrics_style": "vllm",
            "command": " ".join((engine, *flags)),
            "served_model_name": f"served-{name}",
            "on_demand": True,
            **fields,
        }
    )


def small_model() -> Path:
    """SmolLM2, which is fetched once for all tests; without it a test is skipped."""
    pytest.importorskip("xllamacpp")
    named = os.environ.get("VLLM_STUDIO_TEST_MODEL")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vllm-studio-tests"
    try:
        return demo.fetch(Places.under(cache), Path(named) if named else None, lambda progress: None)
    except StudioError as error:
        pytest.skip(f"the small model cannot be had here: {error}")


class Serving:
    """A dispatcher in a house. What is asked is asked for real."""

    def __init__(self, house: House, studio: Studio, dispatcher: Dispatcher) -> None:
        self.house = house
        self.studio = studio
        self.dispatcher = dispatcher
        self.events: list[tuple[str, dict[str, Any]]] = []
        dispatcher.listeners.append(lambda event, data: self.events.append((event, data)))

    def enter(self, model: str | None, **fields: Any) -> Admission:
        fields.setdefault("may_launch", True)
        return self.dispatcher.enter(Arrival(f"r{next(NUMBERS)}", model, **fields))

    async def ask(self, model: str | None, tokens: int = 5, **fields: Any) -> Endpoint:
        """Ask and be answered."""
        admission = self.enter(model, **fields)
        try:
            endpoint = await admission.wait()
            await asyncio.to_thread(self.send, endpoint, tokens)
            return endpoint
        finally:
            admission.leave()

    def send(self, endpoint: Endpoint, tokens: int) -> str:
        body = {"model": endpoint.model, "messages": [{"role": "user", "content": "count"}], "max_tokens": tokens}
        headers = {"Content-Type": "application/json"}
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        request = urllib.request.Request(f"{endpoint.base_url}/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.load(answer)["model"])

    def live(self) -> dict[str, read.RunView]:
        return {one.recipe_id: one for one in read.live_runs(self.house.places)}

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; {self.dispatcher.document()}"
            await asyncio.sleep(0.02)

    def idle(self) -> bool:
        """Nobody waits, nothing is in flight."""
        now = self.dispatcher.document()
        return not now["queue"] and not now["in_flight"] and not now["waiting"]


@contextlib.asynccontextmanager
async def serving(
    house: House, *recipes: Recipe, primary: bool = True, start: bool = True, **settings: Any
) -> AsyncIterator[Serving]:
    """A dispatcher over a house with these recipes and settings."""
    flags = {"inference_port": free_port(), "min_warm": 0, "abandon_after": 0.2, **settings}
    with Studio.open_sync(house.places, flags) as studio:
        for one in recipes:
            studio.recipes.create(one)
        dispatcher = Dispatcher(studio, primary=primary)
        await dispatcher.start()
        try:
            yield Serving(house, studio, dispatcher)
        finally:
            await dispatcher.close()
