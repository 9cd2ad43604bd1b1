"""Requests for those who look: which are under way, whoever makes them, and which have ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.requests import LiveRequest, LiveRequests, RequestQuery
from vllm_studio_tui.domain.serving import Phase
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving.client import NotServing, ServeClient
from vllm_studio_tui.services.serving.request_log import settle_journals
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows

#: Live requests that are taken of an answer.
MOST_LIVE = 5000


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of this home. Every call is blocking."""

    _places: Places
    _db: Callable[[], Database]
    _clock: Callable[[], float] = field(default=time.time)

    def ended(self, query: RequestQuery) -> list[CompletedRequest]:
        """Return requests that have ended, the latest first."""
        return RequestRows(self._db()).ended(query)

    def tally(self, since: float) -> dict[str, int]:
        """Return how many requests ended since a moment, by how they did."""
        return RequestRows(self._db()).tally(since)

    def live(self) -> LiveRequests:
        """Return the requests that are under way; does not raise where `serve` cannot be asked."""
        now = self._clock()
        client = ServeClient(self._places)
        served: list[LiveRequest] = []
        queue: tuple[dict[str, Any], ...] = ()
        url, error, serving = None, None, False
        try:
            document = client.live()
        except NotServing:
            # Whoever served may have been killed a moment ago: what it had under way has ended.
            with contextlib.suppress(StudioError):
                settle_journals(self._places, self._db(), patience=0.2)
        except StudioError as one:
            serving, error = True, one
        else:
            serving = True
            given = document.get("requests")
            for data in given[:MOST_LIVE] if isinstance(given, list) else ():
                found = LiveRequest.of_json(data, now=now)
                if found is not None:
                    served.append(found)
            waits = document.get("queue")
            queue = tuple(one for one in waits if isinstance(one, dict)) if isinstance(waits, list) else ()
        if serving:
            about = client.about()
            url = about.get("url") if about is not None and isinstance(about.get("url"), str) else None
        known = {one.id for one in served}
        own = [one for one in self._own(now) if one.id not in known]
        return LiveRequests(
            tuple(sorted((*served, *own), key=lambda one: (one.at, one.id))), url, serving, error, queue
        )

    def cancel(self, request_id: str) -> None:
        """End a request that `serve` has under way.

        Raises:
            NotServing: Nothing serves.
            NotFound: It has ended already.
            StudioError: `serve` does not answer.
        """
        ServeClient(self._places).cancel(request_id)

    def _own(self, now: float) -> list[LiveRequest]:
        """Return what programs of this home ask engines themselves, as chats do."""
        return [
            LiveRequest(
                one.id,
                one.at,
                Phase.STREAMING if one.completion_tokens else Phase.SENT,
                one.source,
                model=one.model,
                recipe=one.recipe_id,
                run_id=one.run_id,
                endpoint=one.endpoint,
                age=max(0.0, now - one.at),
                completion_tokens=one.completion_tokens,
                served=False,
            )
            for one in RequestRows(self._db()).under_way(now)
        ]
