"""What the routes share: the studio, who answers, keys, the log of requests, and threads for what blocks."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vllm_studio_tui.http.earlier_answers import EarlierAnswers
from vllm_studio_tui.http.event_hub import EventHub
from vllm_studio_tui.http.live import LiveRequest, LiveRequests
from vllm_studio_tui.http.open_streams import OpenStreams
from vllm_studio_tui.http.upstream import Upstream
from vllm_studio_tui.http.watching import Watching
from vllm_studio_tui.services.serving.exposition import ServeMetrics
from vllm_studio_tui.services.serving.journal import memory_folder
from vllm_studio_tui.services.serving.request_notes import RequestNotes

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.usage import CompletedRequest
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.serving.callbacks import RequestCallbacks
    from vllm_studio_tui.services.serving.dispatcher import Dispatcher
    from vllm_studio_tui.services.serving.key_ring import KeyRing
    from vllm_studio_tui.services.serving.request_log import RequestLog
    from vllm_studio_tui.studio import Studio
    from vllm_studio_tui.tools.mcp_server import McpEndpoint

#: Letters of a key that a person made up, below which it might be found by trying.
GUESSABLE = 20
T = TypeVar("T")


class ServeContext:
    """One server.

    Attributes:
        primary: It holds the lock of its home: it alone launches, stops and settles for requests.
        loopback: It listens on this machine alone.
        insecure: A person insisted to let other machines in without a key.
        draining: It is being stopped, and takes no more requests.
        metrics: What is counted for Prometheus.
        watching: Samples of GPUs and engines, taken while somebody wants them.
        listens: The address and the port that it really has; None: it is on sockets alone.
        began: When it was started, in seconds since the epoch.
        events: Those who listen to what happens.
        observers: Called in a thread with each request that has ended and is kept.
        notes: Writes down what becomes of requests.
        listeners: Called with `start`, `first` or `end` and the request, as it comes, gets its first token, and ends.
        callbacks: Others who are told of requests that have ended; None: nobody.
        answers: The latest answers of `/v1/responses`, for requests that name only the answer.
    """

    def __init__(
        self,
        studio: Studio,
        dispatcher: Dispatcher,
        keys: KeyRing,
        log: RequestLog,
        *,
        owner_secret: str | None,
        loopback: bool,
        insecure: bool,
        primary: bool,
        listens: tuple[str, int] | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.studio = studio
        self.settings: Settings = studio.settings
        self.dispatcher = dispatcher
        self.keys = keys
        self.log = log
        self.live = LiveRequests()
        self.upstream = Upstream()
        self.streams = OpenStreams()
        self.loopback = loopback
        self.insecure = insecure
        self.primary = primary
        self.listens = listens
        self.began = time.time()
        self.draining = False
        self.metrics = ServeMetrics()
        self.watching = Watching(studio)
        self.events = EventHub(self.metrics.published)
        self.observers: list[Callable[[CompletedRequest], None]] = [log.put]
        self.notes = RequestNotes(
            memory_folder(studio.places, make=True), log.begin, log.forget, self.metrics.observe, self.observers
        )
        self.listeners: list[Callable[[str, LiveRequest], None]] = []
        self.callbacks: RequestCallbacks | None = None
        self.answers = EarlierAnswers()
        self._mcp: McpEndpoint | None = None
        self._owner_secret = owner_secret.encode() if owner_secret else None
        self._runs: asyncio.Task[list[RunView]] | None = None
        self._runs_at = 0.0
        self._reads = ThreadPoolExecutor(4, thread_name_prefix="read")
        self._launches = ThreadPoolExecutor(2, thread_name_prefix="launch")
        self._calls = ThreadPoolExecutor(16, thread_name_prefix="call")

    def tell_others(self, callbacks: RequestCallbacks) -> None:
        """Have others told of each request that has ended."""
        self.callbacks = callbacks
        self.observers.append(callbacks.put)

    @property
    def open_locally(self) -> bool:
        """Return whether programs of this machine need no key: there is none, and nobody else can reach the server."""
        return self.loopback and self._owner_secret is None and not len(self.keys)

    @property
    def open_to_all(self) -> bool:
        """Return whether models may be asked by anybody: there is no key, and a person insisted."""
        return self.insecure and self._owner_secret is None and not len(self.keys)

    def is_owner(self, secret: str) -> bool:
        """Return whether this is the key of the settings."""
        return self._owner_secret is not None and hmac.compare_digest(
            secret.encode("utf-8", "surrogateescape"), self._owner_secret
        )

    @property
    def owner_guessable(self) -> bool:
        """Return whether the key of the settings is so short that others must not try as often as they like."""
        return self._owner_secret is not None and len(self._owner_secret) < GUESSABLE

    async def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what reads files or the database in a thread."""
        return await self.loop.run_in_executor(self._reads, work, *arguments)

    async def runs_since(self, moment: float) -> list[RunView]:
        """Return all runs as they were at this moment of the loop's clock or later; those who ask at once share it."""
        if self._runs is None or self._runs_at < moment:
            self._runs_at = self.loop.time()
            self._runs = self.loop.create_task(self.read(self.studio.runs.all))
        return await asyncio.shield(self._runs)

    async def launch(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what starts or stops runs in a thread; it goes on when nobody waits for it any more."""
        return await asyncio.shield(self.loop.run_in_executor(self._launches, work, *arguments))

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what a face elsewhere asks for in a thread; it may take long, and goes on when nobody waits any more."""
        return await asyncio.shield(self.loop.run_in_executor(self._calls, work, *arguments))

    def note(self, request: LiveRequest) -> None:
        """Keep how far a request is, for the case that this process is killed."""
        now = self.loop.time()
        request.noted_at = now
        self.notes.note(request.known("streaming", now))

    def turned_away(self, request: LiveRequest) -> None:
        """Note a request that was refused before it was anybody's. Raises nothing."""
        if not self.notes.hurried:
            self.notes.note(request.known("refused", self.loop.time()))

    def ended(self, request: LiveRequest, finish: str) -> None:
        """Tell all who want to know that a request has ended. Raises nothing."""
        self.answers.made(request.reader, request.model)
        self.notes.note(request.known(finish, self.loop.time()))

    def log_health(self) -> dict[str, object]:
        """Return how the log of requests goes."""
        found = self.log.health()
        if self.notes.lost:
            found.update(lost=cast("int", found["lost"]) + self.notes.lost, degraded=True)
        return found

    def tell(self, what: str, request: LiveRequest) -> None:
        """Tell listeners how far a request is."""
        for listener in self.listeners:
            listener(what, request)

    @property
    def mcp(self) -> McpEndpoint:
        """Return what answers MCP clients; made when the first one asks."""
        if self._mcp is None:
            from vllm_studio_tui.tools.mcp_server import McpEndpoint

            tools = self.studio.tools
            self._mcp = McpEndpoint(lambda: tools.tools(["studio"]), tools.call)
        return self._mcp

    async def close(self) -> None:
        if self._mcp is not None:
            await self._mcp.close()
        await self.watching.close()
        await self.streams.close()
        await self.upstream.close()
        self._reads.shutdown(wait=False, cancel_futures=True)
        self._launches.shutdown(wait=False)
        self._calls.shutdown(wait=False)
