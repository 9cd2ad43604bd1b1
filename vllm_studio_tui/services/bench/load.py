"""One repeat of one step: users who ask again as soon as they are answered, or requests that come by themselves."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.inference.load.client import CANCELLED, LoadClient
from vllm_studio_tui.inference.load.reading import Outcome
from vllm_studio_tui.services.bench.asking import Asking
from vllm_studio_tui.services.bench.figures import Measured, Sent
from vllm_studio_tui.services.bench.prompts import Maker

#: Seconds for which requests that were sent in time are waited for, at least; else as long as the step took.
GRACE = 30.0
#: Requests that may be under way where they come by themselves: more means that the engine fell far behind.
MOST_OPEN = 4096
#: Errors in a row, without any answer, after which there is nothing to measure.
HOPELESS = 50


class Step:
    """Sends the requests of one repeat of a step.

    Args:
        first: The number of the first prompt: no two requests of a benchmark have one prompt.
        ended: Told each request as it ends.
    """

    def __init__(
        self,
        plan: BenchPlan,
        measured: Measured,
        client: LoadClient,
        asking: Asking,
        maker: Maker,
        first: int,
        ended: Callable[[Measured, Sent], None],
    ) -> None:
        self._plan, self.measured, self._client = plan, measured, client
        self._asking, self._maker, self._ended = asking, maker, ended
        self.number = first
        self._counted = 0
        self._open = 0
        self._failed_in_row = 0
        self._loop = asyncio.get_running_loop()
        self._until = None if plan.duration is None else measured.begin + plan.duration
        self.hopeless: str | None = None

    @property
    def running(self) -> int:
        return self._open

    def share(self, now: float) -> float:
        """Return how much of the step is done, 0-1."""
        whole = self._plan.warmup + (self._plan.duration or 0.0)
        if self._until is not None:
            return min(1.0, max(0.0, (now - self.measured.began) / whole))
        over = sum(one.over and one.counted for one in self.measured.sent[-5000:])
        return min(1.0, over / max(1, self._plan.requests or 1))

    async def run(self) -> None:
        """Measure; cancelled, all requests are ended on the engine, and what came is kept."""
        try:
            if self._plan.arrivals == "closed":
                users = round(self.measured.load)
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(users):
                        tasks.create_task(self._user())
            else:
                await self._arrivals()
        finally:
            self._close()

    def _close(self) -> None:
        """Close the window: at the end of the time, or with the last of what was counted."""
        measured = self.measured
        if measured.end is not None:
            return
        now = self._loop.time()
        if not any(one.counted for one in measured.sent):
            # All that was sent in the warm-up lasted beyond the end: it was answered under this load.
            for one in measured.sent:
                one.counted = one.outcome.ended is None or one.outcome.ended >= measured.begin
        if self._until is not None:
            measured.end = min(now, self._until)
        else:
            ends = [one.outcome.ended for one in measured.sent if one.counted and one.outcome.ended is not None]
            measured.end = max(ends, default=now)
            first = next((one.outcome.sent for one in measured.sent if one.counted), None)
            if first is not None:
                measured.begin = first

    def _over(self, now: float) -> bool:
        if self.hopeless is not None:
            return True
        if self._until is not None:
            return now >= self._until
        return self._plan.requests is not None and self._counted >= self._plan.requests

    def _next(self, now: float) -> Sent:
        counted = now >= self.measured.begin
        self._counted += counted
        sent = Sent(self.number, Outcome(now), counted)
        self.number += 1
        self.measured.sent.append(sent)
        return sent

    async def _user(self) -> None:
        while not self._over(now := self._loop.time()):
            await self._ask(self._next(now))

    async def _ask(self, sent: Sent) -> None:
        _, tokens = self._maker.lengths(sent.number)
        body = json.dumps(self._asking.body(self._maker.prompt(sent.number), tokens)).encode()
        sent.outcome.sent = self._loop.time()  # what it takes to write the request is not the engine's
        self._open += 1
        self.measured.most = max(self.measured.most, self._open)
        try:
            async with asyncio.timeout_at(self._deadline()):
                await self._client.ask(self._asking.path, body, sent.outcome)
        except TimeoutError:
            sent.outcome.error = "it did not end in time"
            self.measured.saturated = True
        finally:
            self._open -= 1
            sent.over = True
            if sent.outcome.error != CANCELLED:
                self._note(sent)
            self._ended(self.measured, sent)

    def _note(self, sent: Sent) -> None:
        if sent.outcome.error is None:
            self._failed_in_row = 0
            return
        self._failed_in_row += 1
        if self._failed_in_row >= HOPELESS:
            self.hopeless = sent.outcome.error

    def _deadline(self) -> float | None:
        if self._until is None:
            return None
        return self._until + max(GRACE, self._plan.duration or 0.0)

    async def _arrivals(self) -> None:
        """Send requests at even intervals, or as people do who know nothing of each other."""
        drawn = random.Random(f"{self._plan.seed} {self.measured.step} {self.measured.repeat} arrivals")  # noqa: RUF100, S311
        rate = self.measured.load
        due = self._loop.time()
        async with asyncio.TaskGroup() as tasks:
            while not self._over(self._loop.time()):
                now = self._loop.time()
                if due > now:
                    await asyncio.sleep(due - now)
                    continue
                if self._open >= MOST_OPEN:
                    self.measured.saturated = True
                    await asyncio.sleep(0.01)
                    continue
                tasks.create_task(self._ask(self._next(now)))
                due += 1 / rate if self._plan.arrivals == "constant" else drawn.expovariate(rate)
