"""Stream one answer from an OpenAI-compatible server.

The openai client makes the request; the answer's bytes are read from its socket, in a thread and all that have
arrived at a time, and parsed by our own tolerant reader: a fifth of the work of its parsed events. Whatever a server
sends, and whatever goes wrong here, the answer ends with exactly one `Ended` and keeps what came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Relabel, StreamEvent, Target, Timings
from vllm_studio_tui.domain.tool_choice import NONE, choice_of
from vllm_studio_tui.inference.answer_details import details_of
from vllm_studio_tui.inference.connection import Connection
from vllm_studio_tui.inference.deltas import DeltaReader
from vllm_studio_tui.inference.engine_figures import MOST_SPEED
from vllm_studio_tui.inference.request import authorization, body, loopback
from vllm_studio_tui.inference.sse import MAX_EVENT, EventSplitter
from vllm_studio_tui.inference.thinking import ThinkingSplitter
from vllm_studio_tui.inference.tool_text import CallSplitter, recovered
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import redact

if TYPE_CHECKING:
    import httpx2
    import openai

_log = logging.getLogger(__name__)

#: More text than any model writes: a server that goes on for ever is cut off.
MAX_TEXT = 64 * 1024 * 1024


def load() -> None:
    """Import the client now, so that the first answer does not wait for it."""
    with contextlib.suppress(ImportError):  # the answer will say so
        import openai.resources.chat  # noqa: F401, RUF100


async def stream_chat(
    target: Target,
    request: ChatRequest,
    *,
    first_token_timeout: float = 600.0,
    idle_timeout: float = 120.0,
    split_tags: bool = True,
) -> AsyncGenerator[StreamEvent, None]:
    """Yield an answer as it comes, and exactly one `Ended` at its end, whatever happens.

    Closing the generator closes the connection, by which every engine stops working on the answer.

    Args:
        first_token_timeout: Seconds until the first byte; the prefill of a long prompt takes minutes.
        idle_timeout: Seconds between two pieces after that.
        split_tags: Take thinking between tags out of the content; without, only what the server split is apart.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[StreamEvent]] = asyncio.Queue()

    def hand_over(events: list[StreamEvent]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed over us
            loop.call_soon_threadsafe(queue.put_nowait, events)

    reading = _Reading(target, request, hand_over, first_token_timeout, idle_timeout)
    if not split_tags:
        reading.leave_tags()
    threading.Thread(target=reading.run, name="chat-stream", daemon=True).start()
    try:
        while True:
            for event in await queue.get():
                yield event
                if isinstance(event, Ended):
                    return
    finally:
        reading.cancel()


class _Whole:
    """A splitter that splits nothing: content stays as the server sent it."""

    def feed(self, text: str) -> list[StreamEvent]:
        return [Delta(content=text)]

    def close(self) -> list[StreamEvent]:
        return []


class _Reading:
    """The thread that sends the request, reads and splits the answer, and hands over one list of events per read."""

    def __init__(
        self,
        target: Target,
        request: ChatRequest,
        hand_over: Callable[[list[StreamEvent]], None],
        first_token_timeout: float,
        idle_timeout: float,
    ) -> None:
        self._target, self._request, self._hand_over = target, request, hand_over
        self._first, self._idle = first_token_timeout, idle_timeout
        self._reader = DeltaReader()
        self._splitter: ThinkingSplitter | CallSplitter | _Whole = ThinkingSplitter(opened=target.thinking_opened)
        if request.tools and choice_of(request.sampling) != NONE:
            self._splitter = CallSplitter(self._splitter, request.tools)
        self._connection = Connection(first_token_timeout)
        self._cancelled = False
        self._begin = time.monotonic()
        self._first_at: float | None = None
        self._answer_at: float | None = None
        self._last_at: float | None = None
        self._thought = False
        self._content: list[str] = []  # kept where its form will be looked at
        self._size = 0
        self._told = self._steps = self._steps_at_first = 0
        self._bad_json = 0
        self._done = False

    def cancel(self) -> None:
        """End the thread at once: shutting the socket wakes it from any wait."""
        self._cancelled = True
        self._connection.shut()

    def leave_tags(self) -> None:
        self._splitter = _Whole()

    def run(self) -> None:
        rest: list[StreamEvent] = []
        try:
            ended = self._answer()
        except Exception as error:  # noqa: BLE001, RUF100
            _log.debug("reading an answer failed", exc_info=True)
            finish = "stopped" if self._cancelled else "interrupted" if self._reader.pieces else "failed"
            ended = Ended(finish, error=f"an internal error: {type(error).__name__}: {str(error)[:300]}")
        with contextlib.suppress(Exception):  # the text that was held back is all that can be missed
            rest, ended = self._rest(ended)
        with contextlib.suppress(Exception):
            text, likely = "".join(self._content), self._reader.likelihoods
            details = details_of(self._target, self._request, ended, text, likely)
            if engine := self._reader.figures.told(ended.usage.prompt_tokens, ended.usage.cached_tokens):
                details["engine"] = engine
            backend = registry.find(self._target.backend)
            if ended.tool_calls and self._reader.thinking_field and (backend is None or not backend.thinking_field):
                details["thinking_field"] = self._reader.thinking_field
            ended = replace(ended, details={**ended.details, **details})
        self._hand_over([*rest, ended])

    def _answer(self) -> Ended:
        import httpx2
        import openai

        self._begin = time.monotonic()  # the first answer must not be charged with our own imports
        try:
            return self._read()
        except openai.APIStatusError as error:
            return self._refused(error)
        except openai.APITimeoutError:
            return self._failed(f"no answer within {self._first:g} s", "The engine may be busy: look at its queue.")
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            return self._failed(f"{self._target.base_url} cannot be reached: {cause}", "Is it running?")
        except (TimeoutError, httpx2.TimeoutException):
            return self._cut(f"nothing came for {self._connection.timeout:g} s")
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            return self._cut(f"the connection was cut: {str(error) or type(error).__name__}")
        except (openai.OpenAIError, httpx2.InvalidURL, ValueError) as error:
            return self._failed(str(error)[:500], "Check the address and the request.")

    # --- asking -----------------------------------------------------------------------------------------

    def _client(self) -> openai.OpenAI:
        import httpx2
        import openai

        timeout = httpx2.Timeout(self._first, connect=10.0)
        here = loopback(self._target.base_url)
        transport = httpx2.Client(
            timeout=timeout,
            trust_env=not here,
            # Certificates take 30 ms to load: not where none is looked at.
            verify=not (here and urlsplit(self._target.base_url).scheme == "http"),
            event_hooks={"request": [self._trace]},
        )
        client = openai.OpenAI(
            base_url=self._target.base_url,
            api_key=self._target.api_key or "none",
            default_headers=authorization(self._target.api_key, self._target.user) if self._target.user else None,
            max_retries=0,
            timeout=timeout,
            http_client=transport,
        )
        # Of the user's own OpenAI account nothing may reach this server.
        client.organization = client.project = None
        return client

    def _trace(self, request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, "trace": self._connection.trace}

    def _read(self) -> Ended:
        with self._client() as client:
            call = client.chat.completions.with_streaming_response.create
            with call(**body(self._target, self._request)) as response:
                raw = response.http_response
                kind = raw.headers.get("content-type", "")
                if "json" in kind and "event-stream" not in kind:
                    return self._not_a_stream(self._connection.document(raw))
                return self._stream(raw)

    def _stream(self, raw: httpx2.Response) -> Ended:
        splitter = EventSplitter()
        for piece in self._connection.body(raw):
            self._connection.timeout = self._idle
            self._take(splitter.feed(piece))
            if splitter.dropped:
                return self._cut(f"the server sent an event of more than {MAX_EVENT >> 20} MB")
            if self._done or self._cancelled or self._reader.error is not None:
                return self._over()
            if self._size + self._reader.size > MAX_TEXT:
                return self._cut("the answer grew beyond every bound")
            if self._first_at is not None and self._reader.finish is None:  # its end is not waited for
                self._connection.pause(self._first_at)
        self._take(splitter.close())
        return self._over()

    def _take(self, payloads: Iterable[str]) -> None:
        """Read the events of one piece of the body and hand over the result."""
        events: list[StreamEvent] = []
        contents: list[str] = []

        def split() -> None:
            # Joined first: the splitter's work is by piece, and a burst brings thousands in one read.
            if contents:
                for event in self._splitter.feed("".join(contents)):
                    _add(events, event)
                contents.clear()

        try:
            for payload in payloads:
                if payload == "[DONE]":
                    self._done = True
                    continue
                try:
                    reasoning, content = self._reader.read(json.loads(payload))
                except (ValueError, RecursionError):
                    self._bad_json += 1
                    continue
                self._size += len(reasoning) + len(content)
                if reasoning:
                    split()
                    self._thought = True
                    _add(events, Delta(reasoning=reasoning))
                if content:
                    contents.append(content)
        finally:  # a fault in one event takes nothing from those before it
            split()
            if self._reader.steps > self._steps:
                self._steps, self._last_at = self._reader.steps, self._connection.arrived_at
                if self._first_at is None:
                    self._first_at, self._steps_at_first = self._last_at, self._steps
            if events:
                self._note(events)
                self._hand_over(events)

    def _note(self, events: list[StreamEvent]) -> None:
        now = self._connection.arrived_at
        if isinstance(events[0], Delta):
            events[0] = replace(events[0], tokens=self._reader.tokens - self._told)
            self._told = self._reader.tokens
        for event in events:
            if isinstance(event, Delta):
                self._thought = self._thought or bool(event.reasoning)
                if event.content and self._request.sampling.form is not None:
                    self._content.append(event.content)
                if event.content and self._answer_at is None:
                    self._answer_at = now
            elif isinstance(event, Relabel):
                self._thought, self._answer_at = True, None
                self._content.clear()

    # --- ending -----------------------------------------------------------------------------------------

    def _rest(self, ended: Ended) -> tuple[list[StreamEvent], Ended]:
        """Return what was held back, and the end with the calls that stood in the text, where the engine has none."""
        events: list[StreamEvent] = []
        for event in self._splitter.close():
            _add(events, event)
        if isinstance(self._splitter, CallSplitter):
            reader = self._splitter.reader
            if ended.finish in ("stop", "tool_calls") and not ended.tool_calls:
                ended = recovered(ended, reader.calls, reader.family, self._target.backend)
            elif text := reader.give_up():
                _add(events, Delta(content=text))
        if events:
            self._note(events)
        return events, ended

    def _over(self) -> Ended:
        reader = self._reader
        if reader.error is not None:
            return self._failed(reader.error, "The engine's log may say more.")
        if self._cancelled:
            return self._ended("stopped")
        if reader.calls and (reader.finish in ("stop", "tool_calls") or (self._done and reader.finish is None)):
            return self._ended("tool_calls")
        if reader.finish is not None:
            return self._ended(reader.finish)
        if self._done and reader.pieces:
            return self._ended("stop")  # some servers never say why, but they did say that it is done
        if self._bad_json and not reader.pieces:
            return self._failed("the server sent no readable JSON", "Is this an OpenAI-compatible server?")
        return self._cut("the stream ended before the answer did")

    def _not_a_stream(self, raw: bytes) -> Ended:
        """Read the answer of a server that returns one document for a streaming request."""
        try:
            chunk = json.loads(raw)
        except (ValueError, RecursionError):
            return self._failed("the server sent no readable JSON", "Is this an OpenAI-compatible server?")
        self._take([json.dumps(chunk)])
        self._done = True
        return self._over()

    def _refused(self, error: openai.APIStatusError) -> Ended:
        message = ""
        with contextlib.suppress(ValueError, RecursionError):
            reader = DeltaReader()
            body = json.loads(error.response.text[:100_000])
            reader.read(body if isinstance(body, dict) and body.get("error") else {"error": body})
            message = reader.error or ""
        advice = {
            401: "Set the key: `api_key` of the recipe.",
            403: "The key may not use this model.",
            404: "The server does not know this model or path: see its /v1/models.",
            422: "The server does not accept one of the options.",
            429: "Too many requests at once: try again later.",
            503: "It is still loading, or overloaded.",
        }.get(error.status_code, "The engine's log may say more.")
        words = message or error.response.text[:300].strip() or "no reason given"
        return self._failed(f"the server answered {error.status_code}: {words}", advice)

    def _failed(self, error: str, advice: str) -> Ended:
        return self._ended("stopped") if self._cancelled else self._ended("failed", error, advice)

    def _cut(self, error: str) -> Ended:
        if self._cancelled:
            return self._ended("stopped")
        if not self._reader.pieces and self._first_at is None:
            return self._ended("failed", error, "Nothing had come yet: the engine's log may say more.")
        return self._ended("interrupted", error, "What came until then is kept.")

    def _ended(self, finish: str, error: str | None = None, advice: str | None = None) -> Ended:
        if error:  # a server may repeat the key that it refuses, a library the address or the header that it cannot use
            error = redact(mask_text(error), [self._target.api_key or ""])
        now = time.monotonic()
        reader = self._reader
        thinking = None
        if self._thought and self._first_at is not None:
            thinking = (self._answer_at or self._last_at or now) - self._first_at
        begin = self._connection.asked_at or self._begin
        ttft = None if self._first_at is None else max(0.0, self._first_at - begin)
        speed = reader.tokens_per_second or self._speed()
        timings = Timings(ttft=ttft, thinking=thinking, total=now - begin, tokens_per_second=speed)
        return Ended(finish, reader.usage, timings, reader.calls, reader.model, error, advice)

    def _speed(self) -> float | None:
        """Return tokens per second after the first, by arrival times; for engines that do not report their speed."""
        tokens, later = self._reader.usage.completion_tokens, self._steps - self._steps_at_first
        if not tokens or self._first_at is None or self._last_at is None or self._last_at <= self._first_at:
            return None
        # An event may carry several tokens.
        speed = tokens * later / self._steps / (self._last_at - self._first_at)
        return speed if 0 < speed < MOST_SPEED else None


def _add(events: list[StreamEvent], event: StreamEvent) -> None:
    """Append an event, joined to the last one if both are of the same kind."""
    last = events[-1] if events else None
    if isinstance(event, Delta) and isinstance(last, Delta):
        if event.content and not last.reasoning and not event.reasoning:
            events[-1] = Delta(content=last.content + event.content)
            return
        if event.reasoning and not last.content and not event.content:
            events[-1] = Delta(reasoning=last.reasoning + event.reasoning)
            return
    events.append(event)
