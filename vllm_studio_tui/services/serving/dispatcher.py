"""Who answers requests. Not the real one: it routes nothing yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm_studio_tui.domain.serving import Arrival, Endpoint, Phase, Refusal, ServedModel, Waiting


class Admission:
    queued_seconds: float = 0.0
    load_seconds: float = 0.0

    async def wait(self) -> Endpoint:
        raise Refusal(503, "model_not_loaded", "no model is loaded")

    def status(self) -> Waiting:
        return Waiting(Phase.QUEUED)

    def leave(self) -> None: ...


class Dispatcher:
    def __init__(self, studio: Any, *, primary: bool = True) -> None:
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    def enter(self, arrival: Arrival) -> Admission:
        raise Refusal(503, "model_not_loaded", "no model is loaded")

    def models(self, patterns: tuple[str, ...] = ()) -> list[ServedModel]:
        return []

    def document(self) -> dict[str, Any]:
        return {"queue": []}
