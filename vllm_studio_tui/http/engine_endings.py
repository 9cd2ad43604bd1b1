"""What is said of an engine that does not answer, or not to the end: in words, never by the name of an exception."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from vllm_studio_tui.domain.serving import Endpoint, Refusal

if TYPE_CHECKING:
    from vllm_studio_tui.http.context import ServeContext

#: Seconds that it may take to find out why an engine ended: a disk may not answer.
LOOK = 2.0


def not_reached(endpoint: Endpoint, why: str) -> Refusal:
    """Return the refusal of a request to whose engine there is no connection."""
    name = endpoint.recipe_id or endpoint.peer or "the server"
    return Refusal(
        502,
        "engine_unreachable",
        f"{name} cannot be reached",
        cause=f"{why}." if why else "",
        advice="See `vllm-studio status`.",
    )


def stalled(endpoint: Endpoint) -> Refusal:
    """Return the refusal of a request to which an engine said nothing for longer than its recipe allows."""
    words = f"{endpoint.recipe_id or 'the engine'} said nothing for {endpoint.stall_timeout:g} s"
    return Refusal(504, "engine_stalled", words, advice="Its recipe's stall_timeout allows no more.")


def stalled_answer() -> Refusal:
    """Return the same of one that had begun to answer."""
    return Refusal(504, "engine_stalled", "the engine stopped in the middle of its answer")


async def ended(context: ServeContext, endpoint: Endpoint, error: Exception | None, *, begun: bool) -> Refusal:
    """Return the refusal of a request whose engine ended, or closed its connection.

    Args:
        error: What was heard of that; None: nothing that says more.
        begun: It had begun to answer.
    """
    name = endpoint.recipe_id or "the engine"
    when = "in the middle of its answer" if begun else "before it answered"
    stopped = False
    try:
        async with asyncio.timeout(LOOK):
            stopped = await context.dispatcher.was_stopped(endpoint.run_id)
    except TimeoutError:
        pass
    if stopped:
        advice = f"Start it again: vllm-studio launch {endpoint.recipe_id} --wait" if endpoint.recipe_id else ""
        return Refusal(503, "model_stopped", f"{name} was stopped {when}", advice=advice)
    return Refusal(
        502,
        "engine_ended",
        f"{name} ended {when}",
        cause=heard(error) if error is not None else "",
        advice="See `vllm-studio status` and `vllm-studio logs`.",
    )


def heard(error: Exception) -> str:
    """Return what was heard of a connection to an engine that failed, as a sentence."""
    if isinstance(error, TimeoutError):
        return "It did not answer within time."
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "It closed the connection."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.partition(' [')[0].rstrip('.')}."
    if isinstance(error, aiohttp.ClientResponseError):
        return "What it sent is no HTTP."
    return "The connection broke."


def without_a_word(status: int) -> Refusal:
    """Return what a client is told whose request an engine refused with an empty body."""
    try:
        phrase = f" ({HTTPStatus(status).phrase})"
    except ValueError:
        phrase = ""
    advice = "Send less, or raise the engine's own limit." if status == 413 else "Its log may say more."
    return Refusal(status, "engine_refused", f"the engine answered {status}{phrase} and nothing else", advice=advice)
