"""One streamed answer from an OpenAI-compatible server.

The openai client makes the request; its bytes are read raw, in a thread and in large pieces, and parsed by our own
tolerant reader: a fifth of the work of its parsed events, and nothing that a server sends ends it with an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Relabel, StreamEvent, Target, Timings
from vllm_studio_tui.inference.deltas import DeltaReader
from vllm_studio_tui.inference.request import body, loopback
from vllm_studio_tui.inference.sse import EventSplitter
from vllm_studio_tui.inference.thinking import ThinkingSplitter

if TYPE_CHECKING:
    import httpx2
    import openai

#: A read smaller than this is followed by a pause, so that a slow stream comes in fewer, larger pieces.
SMALL_READ = 8 * 1024
PAUSE = 0.016
#: More text than any model writes: a server that goes on for ever is cut off.
MAX_TEXT = 64 * 1024 * 1024


def load() -> None:
    """Import the client now, so that the first answer does not wait for it."""
    with contextlib.suppress(ImportError):  # the answer will say so
        import openai.resources.chat  # noqa: F401


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
            try:
                events = await asyncio.wait_for(queue.get(), reading.patience())
            except TimeoutError:
                reading.give_up_if_idle()
                continue
            for event in events:
                yield event
                if isinstance(event, Ended):
                    return
    finally:
        reading.cancel()


class _Whole:
    """Splits nothing: content as the server sent it."""

    def feed(self, text: str) -> list[StreamEvent]:
        return [Delta(content=text)]

    def close(self) -> list[StreamEvent]:
        return []


class _Reading:
    """The thread's side: asks, reads, splits, and hands over one list of events a read."""

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
        self._splitter: ThinkingSplitter | _Whole = ThinkingSplitter(opened=target.thinking_opened)
        self._cancelled = threading.Event()
        self._socket: socket.socket | None = None
        self._begin = time.monotonic()
        self._first_at: float | None = None
        self._answer_at: float | None = None
        self._last_at: float | None = None
        self._thought = False
        self._size = 0
        self._bad_json = 0
        self._done = False
        self._active_at: float | None = None
        self._gave_up = False

    def cancel(self) -> None:
        """End the thread at once: a shut socket wakes it from any wait."""
        self._cancelled.set()
        self._shut()

    def leave_tags(self) -> None:
        self._splitter = _Whole()

    def patience(self) -> float:
        """Seconds until silence has lasted too long; the wait for headers has the client's own limit."""
        if self._active_at is None:
            return 1.0
        return max(0.01, self._active_at + self._idle - time.monotonic())

    def give_up_if_idle(self) -> None:
        """Shut the connection when no byte, not even a comment, came for too long within a stream."""
        if self._active_at is not None and time.monotonic() - self._active_at >= self._idle:
            self._gave_up = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        import httpx2
        import openai

        self._begin = time.monotonic()  # the first answer must not be charged with our own imports
        try:
            ended = self._read()
        except openai.APIStatusError as error:
            ended = self._refused(error)
        except openai.APITimeoutError:
            ended = self._failed(f"no answer within {self._first:g} s", "The engine may be busy: look at its queue.")
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            ended = self._failed(f"{self._target.base_url} cannot be reached: {cause}", "Is it running?")
        except httpx2.TimeoutException:
            ended = self._cut(f"nothing came for {self._idle:g} s")
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            ended = self._cut(f"the connection was cut: {str(error) or type(error).__name__}")
        except (openai.OpenAIError, httpx2.InvalidURL, ValueError) as error:
            ended = self._failed(str(error)[:500], "Check the address and the request.")
        self._hand_over([*self._rest(), ended])

    # --- asking -----------------------------------------------------------------------------------------

    def _client(self) -> openai.OpenAI:
        import httpx2
        import openai

        timeout = httpx2.Timeout(self._first, connect=10.0)
        transport = httpx2.Client(
            timeout=timeout, trust_env=not loopback(self._target.base_url), event_hooks={"request": [self._trace]}
        )
        client = openai.OpenAI(
            base_url=self._target.base_url,
            api_key=self._target.api_key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=transport,
        )
        # Of the user's own OpenAI account nothing may reach this server.
        client.organization = client.project = None
        return client

    def _trace(self, request: httpx2.Request) -> None:
        """Learn the connection's socket when it is made, to be able to shut it from outside."""

        def trace(name: str, info: Mapping[str, Any]) -> None:
            if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
                stream = info.get("return_value")
                with contextlib.suppress(AttributeError):
                    self._socket = stream.get_extra_info("socket")  # type: ignore[union-attr]
                if self._cancelled.is_set():
                    self.cancel()

        request.extensions = {**request.extensions, "trace": trace}

    def _read(self) -> Ended:
        with self._client() as client:
            call = client.chat.completions.with_streaming_response.create
            with call(**body(self._target, self._request)) as response:
                raw = response.http_response
                stream = raw.extensions.get("network_stream")
                if stream is not None and self._socket is None:
                    self._socket = stream.get_extra_info("socket")
                kind = raw.headers.get("content-type", "")
                if "json" in kind and "event-stream" not in kind:
                    return self._not_a_stream(raw.read())
                splitter = EventSplitter()
                for piece in raw.iter_bytes():
                    self._active_at = time.monotonic()
                    if self._cancelled.is_set():
                        break
                    self._take(splitter.feed(piece))
                    if self._done or self._reader.error is not None:
                        break
                    if self._size > MAX_TEXT:
                        return self._cut("the answer grew beyond every bound")
                    if len(piece) < SMALL_READ:
                        self._cancelled.wait(PAUSE)
                if not self._done:
                    self._take(splitter.close())
        return self._over()

    def _take(self, payloads: Any) -> None:
        """Read the events of one piece and hand over what they add up to."""
        events: list[StreamEvent] = []
        contents: list[str] = []
        now = time.monotonic()

        def split() -> None:
            # Joined first: the splitter's work is by piece, and a burst brings thousands in one read.
            if contents:
                for event in self._splitter.feed("".join(contents)):
                    _add(events, event)
                contents.clear()

        for payload in payloads:
            if payload == "[DONE]":
                self._done = True
                continue
            try:
                chunk = json.loads(payload)
            except (ValueError, RecursionError):
                self._bad_json += 1
                continue
            reasoning, content = self._reader.read(chunk)
            if reasoning:
                split()
                self._thought = True
                _add(events, Delta(reasoning=reasoning))
            if content:
                contents.append(content)
        split()
        if events:
            self._note(events, now)
            self._hand_over(events)

    def _note(self, events: list[StreamEvent], now: float) -> None:
        if self._first_at is None:
            self._first_at = now
        self._last_at = now
        for event in events:
            if isinstance(event, Delta):
                self._size += len(event.content) + len(event.reasoning)
                self._thought = self._thought or bool(event.reasoning)
                if event.content and self._answer_at is None:
                    self._answer_at = now
            elif isinstance(event, Relabel):
                self._thought, self._answer_at = True, None

    # --- ending -----------------------------------------------------------------------------------------

    def _rest(self) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for event in self._splitter.close():
            _add(events, event)
        if events:
            self._note(events, time.monotonic())
        return events

    def _over(self) -> Ended:
        reader = self._reader
        if reader.error is not None:
            return self._failed(reader.error, "The engine's log may say more.")
        if self._cancelled.is_set():
            return self._ended("stopped")
        if reader.calls and reader.finish in ("stop", "tool_calls", None):
            return self._ended("tool_calls")
        if reader.finish is not None:
            return self._ended(reader.finish)
        if self._done and reader.pieces:
            return self._ended("stop")  # some servers never say why, but they did say that it is done
        if self._bad_json and not reader.pieces:
            return self._failed("the server sent no readable JSON", "Is this an OpenAI-compatible server?")
        return self._cut("the stream ended before the answer did")

    def _not_a_stream(self, raw: bytes) -> Ended:
        """A server that answers a streaming request with one document."""
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
        return self._ended("stopped") if self._cancelled.is_set() else self._ended("failed", error, advice)

    def _cut(self, error: str) -> Ended:
        if self._cancelled.is_set():
            return self._ended("stopped")
        if self._gave_up:
            error = f"nothing came for {self._idle:g} s"
        if not self._reader.pieces and self._first_at is None:
            return self._ended("failed", error, "Nothing had come yet: the engine's log may say more.")
        return self._ended("interrupted", error, "What came until then is kept.")

    def _ended(self, finish: str, error: str | None = None, advice: str | None = None) -> Ended:
        now = time.monotonic()
        reader = self._reader
        thinking = None
        if self._thought and self._first_at is not None:
            thinking = (self._answer_at or self._last_at or now) - self._first_at
        speed = reader.tokens_per_second
        tokens = reader.usage.completion_tokens
        if speed is None and tokens and self._first_at is not None and self._last_at is not None:
            span = self._last_at - self._first_at
            speed = (tokens - 1) / span if tokens > 1 and span > 0 else None
        ttft = None if self._first_at is None else self._first_at - self._begin
        timings = Timings(ttft=ttft, thinking=thinking, total=now - self._begin, tokens_per_second=speed)
        return Ended(finish, reader.usage, timings, reader.calls, reader.model, error, advice)


def _add(events: list[StreamEvent], event: StreamEvent) -> None:
    """Append, joined to the last one where both are of one kind."""
    last = events[-1] if events else None
    if isinstance(event, Delta) and isinstance(last, Delta):
        if event.content and not last.reasoning and not event.reasoning:
            events[-1] = Delta(content=last.content + event.content)
            return
        if event.reasoning and not last.content and not event.content:
            events[-1] = Delta(reasoning=last.reasoning + event.reasoning)
            return
    events.append(event)
