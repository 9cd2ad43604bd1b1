"""What others are told of a request that has ended: plain values, nothing of its text, no secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.iso_time import iso_time

#: Each field with what it says and where it comes from. What an engine wrote about a failure is left out: engines
#: repeat parts of the prompt there.
FIELDS: Mapping[str, tuple[str, Callable[[CompletedRequest], Any]]] = {
    "id": ("The id that the client got in the header `x-vllm-studio-request`.", lambda one: one.id),
    "at": ("When it ended, ISO 8601 in UTC.", lambda one: iso_time(one.at)),
    "finish": (
        "How it ended: `stop`, `length`, `tool_calls`, `stopped`, `cancelled` (the client left), `refused`, "
        "`interrupted`, or another word for a failure.",
        lambda one: one.finish,
    ),
    "status": ("The HTTP status of the answer.", lambda one: one.status),
    "endpoint": ("The path that was asked, such as `/v1/chat/completions`.", lambda one: one.endpoint),
    "streamed": ("Whether the answer was streamed.", lambda one: one.streamed),
    "requested_model": ("The model as the client wrote it.", lambda one: one.requested_model),
    "model": ("What the engine was asked for.", lambda one: one.model),
    "recipe_id": ("The recipe that answered.", lambda one: one.recipe_id),
    "run_id": ("The run that answered.", lambda one: one.run_id),
    "key_id": ("The id of the key that asked.", lambda one: one.key_id),
    "key_name": ("The name of that key.", lambda one: one.key_name),
    "client": ("The address that asked, or what the client calls itself.", lambda one: one.client),
    "upstream_id": ("The engine's own id of the answer.", lambda one: one.upstream_id),
    "prompt_tokens": ("Tokens of the prompt.", lambda one: one.prompt_tokens),
    "cached_tokens": ("Those of them that came from the engine's cache.", lambda one: one.cached_tokens),
    "completion_tokens": ("Tokens of the answer.", lambda one: one.completion_tokens),
    "reasoning_tokens": ("Those of them that were thinking.", lambda one: one.reasoning_tokens),
    "tokens_estimated": ("Whether they were counted by letters.", lambda one: one.estimated),
    "tokens_per_second": ("The speed of generation.", lambda one: one.tokens_per_second),
    "queued_seconds": ("Waited for others.", lambda one: one.queued_seconds),
    "load_seconds": ("Waited for the model to load.", lambda one: one.load_seconds),
    "overhead_seconds": ("What the server itself took.", lambda one: one.overhead_seconds),
    "ttft": ("Seconds to the first token, waiting included.", lambda one: one.ttft),
    "total_seconds": ("Seconds to its end.", lambda one: one.total_seconds),
    "bytes_in": ("Bytes of the request.", lambda one: one.bytes_in),
    "bytes_out": ("Bytes of the answer.", lambda one: one.bytes_out),
}


def request_record(request: CompletedRequest) -> dict[str, Any]:
    """Return what others are told of a request; unknown is None."""
    return {name: get(request) for name, (_, get) in FIELDS.items()}


def markdown_table() -> str:
    """Return the fields as the documentation shows them."""
    rows = [f"| `{name}` | {words} |" for name, (words, _) in FIELDS.items()]
    return "\n".join(["| field | what |", "|---|---|", *rows]) + "\n"
