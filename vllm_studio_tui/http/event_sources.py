"""What becomes an event: samples, requests, and what the dispatcher does. Nothing is looked at while nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.usage import UsageQuery, UsageReport, UsageRow
from vllm_studio_tui.http.controller.gpus import gpus_document
from vllm_studio_tui.http.controller.metrics import lifetime_fields, original_metrics
from vllm_studio_tui.http.controller.status import summary

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext
    from vllm_studio_tui.http.live import LiveRequest
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: States of a run of which a person should know.
ALARMING = ("failed", "unhealthy")
#: Seconds between two counts of everything that was ever used.
COUNT_EVERY = 30.0
#: What a stage of a launch is called for people, and how far the launch is then.
STAGES = {
    "preempting": ("Cancelling what is in the way", 0.0),
    "evicting": ("Clearing VRAM", 0.0),
    "launching": ("Starting", 0.25),
    "waiting": ("Loading model", 0.5),
    "ready": ("Model is ready", 1.0),
    "cancelled": ("Cancelled", 0.0),
    "error": ("Failed", 0.0),
    "stopping": ("Stopping", 0.0),
    "stopped": ("Stopped", 0.0),
}


class EventSources:
    """Feeds the hub of a server."""

    def __init__(self, context: ServeContext) -> None:
        self._context = context
        self._hub = context.events
        self._watching = ExitStack()
        self._last_status: dict[str, Any] | None = None
        self._place: int | None = None
        self._totals: dict[str, Any] = lifetime_fields(UsageReport(UsageQuery(), 0.0, None, None, UsageRow("")))
        self._counted_at = -COUNT_EVERY
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        self._alerts: set[asyncio.Task[None]] = set()
        context.listeners.append(self._request)
        context.dispatcher.listeners.append(self._dispatched)
        context.watching.listeners.append(self._sampled)
        self._hub.begin = self._begin
        self._hub.end = self._watching.close
        self._hub.look = self._look

    async def _begin(self) -> None:
        self._last_status = None
        self._place = None
        await self._look_at_recipes()
        self._watching.enter_context(self._context.watching.held())

    def _look(self) -> None:
        """Find out in a thread what was changed, unless that is under way."""
        if self._hub.awake and (self._looking is None or self._looking.done()):
            self._looking = self._context.loop.create_task(self._find_out())
        else:
            self._again = True

    async def _find_out(self) -> None:
        while True:
            self._again = False
            await self._look_at_recipes()
            if self._context.loop.time() - self._counted_at >= COUNT_EVERY:
                self._counted_at = self._context.loop.time()
                with contextlib.suppress(StudioError):
                    usage = self._context.studio.usage
                    self._totals = lifetime_fields(await self._context.read(usage.report, UsageQuery()))
            if not self._again:
                return

    async def _look_at_recipes(self) -> None:
        with contextlib.suppress(StudioError):
            self._place, told = await self._context.read(self._context.studio.recipes.changed_since, self._place)
            for one in told:
                self._hub.publish("recipe", one)

    def _sampled(self, snapshot: Snapshot) -> None:
        if not self._hub.awake:
            return
        self._look()
        self._hub.publish("gpu", gpus_document(snapshot.tick.gpus))
        self._hub.publish("metrics", original_metrics(snapshot, None, self._totals))
        status = summary(snapshot.runs, self._context.settings.inference_port)
        if status != self._last_status:
            self._last_status = status
            self._hub.publish("status", status)

    def _request(self, what: str, request: LiveRequest) -> None:
        if self._hub.awake:
            now = self._context.loop.time()
            self._hub.publish("request", {"what": what, **request.document(now), "status": request.status})

    def _dispatched(self, kind: str, data: dict[str, Any]) -> None:
        if self._hub.awake:
            self._hub.publish(kind, launch_progress(data) if kind == "launch_progress" else data)
            if kind == "run" and data.get("state") in ALARMING:
                task = self._context.loop.create_task(self._alert(data))
                self._alerts.add(task)
                task.add_done_callback(self._alerts.discard)

    async def _alert(self, data: dict[str, Any]) -> None:
        """Tell what is wrong with a run, as far as is known."""
        with contextlib.suppress(StudioError):
            run = await self._context.read(self._context.studio.runs.find, str(data["run_id"]))
            told = {name: getattr(run.status, name) for name in ("reason", "title", "advice")}
            self._hub.publish("alert", {**data, "name": run.name, **told})


def launch_progress(data: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a launch as the original told it, and what is known beyond that in `detail`."""
    stage = str(data.get("stage"))
    words, progress = STAGES.get(stage, (stage, 0.0))
    part, detail = data.get("progress"), data.get("detail")
    if stage == "waiting" and isinstance(part, int | float):
        progress = 0.5 + 0.5 * min(1.0, max(0.0, part))
    return {**data, "message": f"{words}: {detail}" if detail else words, "progress": round(progress, 3)}
