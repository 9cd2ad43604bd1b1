"""Send a request to an engine, and pass its answer on as it comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from vllm_studio_tui.domain.serving import Endpoint, Phase, Refusal
from vllm_studio_tui.http.engine_endings import ended, stalled, stalled_answer, without_a_word
from vllm_studio_tui.http.errors import error_event, error_response, family, in_short
from vllm_studio_tui.http.form_body import Form
from vllm_studio_tui.http.upstream import answer_headers
from vllm_studio_tui.kit.sse_tap import SseTap

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from vllm_studio_tui.http.live import LiveRequest
    from vllm_studio_tui.http.route import Call

#: Bytes of an answer that is no stream, up to which it is looked into.
MAX_READ = 16 * 1024 * 1024
#: Seconds after which it is noted how far a stream is: what is kept of it if this process is killed.
NOTE_EVERY = 5.0


class NotSent(Exception):
    """No connection to the engine: it has seen nothing of the request."""


async def ask(
    call: Call, endpoint: Endpoint, path: str, body: Any, live: LiveRequest, method: str = "POST"
) -> aiohttp.ClientResponse:
    """Send a request, and return the answer when its head is there; the caller closes it.

    Raises:
        NotSent: There is no connection.
        Refusal: The engine ended, or said nothing for too long, before an answer began; or a form broke off.
    """
    headers = call.request.headers
    live.sent_at = call.context.loop.time()
    live.phase = Phase.SENT
    live.form = body if isinstance(body, Form) else None
    call.context.note(live)  # before: an engine sees nothing of which nothing is known if this process is killed
    try:
        answer = await call.context.upstream.send(endpoint, method, path, headers, body, streamed=live.streamed)
    except aiohttp.ClientConnectorError as error:
        raise NotSent(str(error.os_error.strerror or error.os_error)) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise NotSent("no connection within time") from error
    except aiohttp.SocketTimeoutError:
        raise stalled(endpoint) from None
    except aiohttp.ClientError as error:
        if live.form is not None and live.form.broken is not None:
            raise live.form.broken from None  # ours, or the client's: not the engine's
        raise await ended(call.context, endpoint, error, begun=False) from error
    call.context.upstream.note(endpoint, answer.status)
    if live.form is not None:
        live.form.on_broken = answer.close
        if live.form.broken is not None:
            answer.close()
    return answer


async def pass_on(
    call: Call,
    answer: aiohttp.ClientResponse,
    live: LiveRequest,
    begun: web.StreamResponse | None,
    headers: dict[str, str],
    *,
    hide_usage: bool,
) -> web.StreamResponse:
    """Send an engine's answer to the client.

    Args:
        begun: The response, if its head has been sent, with status 200, while the model loaded.
        headers: Ours, in addition to the engine's.
        hide_usage: The client did not ask for the usage of its stream.
    """
    if begun is not None:
        if answer.status >= 400 or not _is_stream(answer):
            return await _error_in_stream(call, answer, live, begun)
        return await _stream(call, answer, live, begun, hide_usage=hide_usage)
    passed = answer_headers(answer.headers)
    passed.update(headers)
    live.status = answer.status
    if _is_stream(answer):
        response = web.StreamResponse(status=answer.status, headers=passed)
        await response.prepare(call.request)
        live.response = response
        return await _stream(call, answer, live, response, hide_usage=hide_usage)
    length = answer.content_length
    if length is not None and length <= MAX_READ and "multipart" not in answer.content_type:
        try:
            body = await answer.read()
        except aiohttp.SocketTimeoutError:
            raise stalled_answer() from None
        except aiohttp.ClientError:
            raise await _cut(call, live) from None
        if answer.status >= 400 and not body.strip():
            _look_into(answer, live, body)
            return _own_words(call, answer, live, passed)
        live.bytes_out = len(body)
        whole = web.Response(status=answer.status, body=body, headers=passed)
        try:
            # Now, as a stream is: who waits for the answer does not wait until it is read and its row written.
            await whole.prepare(call.request)
            live.response = whole
            await whole.write_eof()
        finally:
            _look_into(answer, live, body)
        return whole
    first = b""
    if answer.status >= 400 and length is None:
        try:
            first = await answer.content.readany()
        except aiohttp.ClientError:
            raise await _cut(call, live) from None
        if not first:
            _look_into(answer, live, b"")
            return _own_words(call, answer, live, passed)
    return await _whole(call, answer, live, web.StreamResponse(status=answer.status, headers=passed), first)


def _own_words(
    call: Call, answer: aiohttp.ClientResponse, live: LiveRequest, headers: CIMultiDict[str]
) -> web.Response:
    """Return what an engine refused without a word, in the words of the client's protocol."""
    told = error_response(call.route.path, without_a_word(answer.status), live.id)
    for name in ("Content-Type", "Content-Encoding"):
        headers.popall(name, None)
    for name in {*headers} - {*told.headers}:
        told.headers[name] = headers[name]
    live.bytes_out = len(told.body) if isinstance(told.body, bytes) else 0
    return told


async def _cut(call: Call, live: LiveRequest) -> Refusal:
    """Return why an answer ended that had begun.

    Raises:
        ConnectionError: The client left in the middle of the form that it was sending.
    """
    broken = live.form.broken if live.form is not None else None  # an engine may begin to answer before it has all
    if isinstance(broken, Refusal):
        return broken
    if broken is not None:
        raise broken
    return await ended(call.context, live.target or Endpoint(""), None, begun=True)


async def _stream(
    call: Call, answer: aiohttp.ClientResponse, live: LiveRequest, response: web.StreamResponse, *, hide_usage: bool
) -> web.StreamResponse:
    reader = live.reader
    assert reader is not None
    live.phase = Phase.STREAMING
    tap = SseTap(reader.event, selective=hide_usage)
    clock = call.context.loop.time
    try:
        async for piece in answer.content.iter_any():
            out = tap.feed(piece)
            live.last_at = clock()
            if live.first_at is None and reader.started:
                live.first_at = live.last_at
                call.context.tell("first", live)
            if live.last_at - live.noted_at > NOTE_EVERY:
                call.context.note(live)
            if out:
                live.bytes_out += len(out)
                await _write(response, out)
        rest = tap.close()
        if rest:
            live.bytes_out += len(rest)
            await _write(response, rest)
        live.error = reader.error
    except aiohttp.SocketTimeoutError:
        await break_off(call, live, response, stalled_answer())
    except aiohttp.ClientError:
        await break_off(call, live, response, await _cut(call, live))
    await response.write_eof()
    return response


async def _whole(
    call: Call, answer: aiohttp.ClientResponse, live: LiveRequest, response: web.StreamResponse, first: bytes
) -> web.StreamResponse:
    """Pass an answer of unknown or great length on; what is small enough is looked into.

    Args:
        first: What was read of it already.
    """
    if answer.content_length is not None:
        response.content_length = answer.content_length
    await response.prepare(call.request)
    live.response = response
    kept: bytearray | None = bytearray(first)
    try:
        if first:
            live.bytes_out += len(first)
            await _write(response, first)
        async for piece in answer.content.iter_any():
            live.bytes_out += len(piece)
            if kept is not None:
                kept += piece
                if len(kept) > MAX_READ:
                    kept = None
            await _write(response, piece)
    except aiohttp.ClientError:
        live.error = in_short(await _cut(call, live))
        if call.request.transport is not None:
            call.request.transport.abort()  # the client must not take a part for the whole
        return response
    if kept:
        _look_into(answer, live, bytes(kept))
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Send a part of an answer.

    Raises:
        ConnectionResetError: The client has gone. What aiohttp raises there is a `ClientError`, as for an engine.
    """
    try:
        await response.write(data)
    except aiohttp.ClientError as error:
        raise ConnectionResetError(str(error)) from error


async def break_off(call: Call, live: LiveRequest, response: web.StreamResponse, error: Refusal) -> None:
    """End a stream that has begun with an error, in the words of its protocol and without its usual end."""
    live.error = in_short(error)
    live.status = error.status
    if call.request.transport is None or call.request.transport.is_closing():
        return
    await response.write(error_event(family(call.route.path), error, live.id))


async def _error_in_stream(
    call: Call, answer: aiohttp.ClientResponse, live: LiveRequest, response: web.StreamResponse
) -> web.StreamResponse:
    """Tell an error of the engine in a stream whose head was sent while the model loaded."""
    try:
        body = await asyncio.wait_for(answer.content.read(64 * 1024), 30)
    except (aiohttp.ClientError, TimeoutError):
        body = b""
    _look_into(answer, live, body)
    words = live.error or f"the engine answered {answer.status} without a stream"
    status = answer.status if answer.status >= 400 else 502
    await break_off(call, live, response, Refusal(status, "engine_refused", words))
    await response.write_eof()
    return response


def _look_into(answer: aiohttp.ClientResponse, live: LiveRequest, body: bytes) -> None:
    reader = live.reader
    if reader is None or "json" not in answer.content_type:
        if answer.status >= 400:
            live.error = f"the engine answered {answer.status}"
        return
    reader.body(body)
    if answer.status >= 400:
        live.error = reader.error or f"the engine answered {answer.status}"


def _is_stream(answer: aiohttp.ClientResponse) -> bool:
    return answer.content_type == "text/event-stream"
