"""Asks an engine what its template makes of a request: the prompt, and where its tokens begin and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.token_calls import VLLM, TokenCalls
from vllm_studio_tui.domain.errors import EngineUnreachable, UsageError
from vllm_studio_tui.domain.request_lab import PromptToken, RenderedPrompt
from vllm_studio_tui.inference.request import authorization, loopback
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import redact

if TYPE_CHECKING:
    import httpx2

    from vllm_studio_tui.domain.chat import Target

PATIENCE = 30.0
#: Bytes of an answer that are read.
MOST = 64 * 1024 * 1024
#: What of a request shapes its prompt.
_SHAPING = ("messages", "tools", "chat_template_kwargs", "chat_template", "add_generation_prompt", "documents")
#: How vocabularies of bytes write those that are no printable characters (GPT-2's table).
_UNPRINTABLE = [one for one in range(256) if not (33 <= one <= 126 or 161 <= one <= 172 or 174 <= one <= 255)]
_BYTES = {chr(256 + at): one for at, one in enumerate(_UNPRINTABLE)}
#: A blank and a new line there, by which such a vocabulary is known.
_BYTEWISE = "\u0120\u010a"


def render_prompt(target: Target, body: Mapping[str, Any]) -> RenderedPrompt:
    """Return the prompt that an engine makes of a request, and its tokens. Blocking.

    Raises:
        UsageError: The engine has no call for that.
        EngineUnreachable: It refuses, or gives no usable answer.
    """
    import httpx2

    backend = registry.find(target.backend)
    calls = VLLM if backend is None or not backend.needs_launch else backend.token_calls
    if calls is None or not calls.encode:
        title = backend.title if backend is not None else "the server"
        raise UsageError(
            f"{title} has no call that shows the prompt it makes", advice="Read the model's chat template."
        )
    given = {name: body[name] for name in _SHAPING if name in body}
    headers = authorization(target.api_key, target.user)
    try:
        with httpx2.Client(timeout=PATIENCE, trust_env=not loopback(target.base_url), headers=headers) as client:
            return (
                _templated(client, target, calls, given) if calls.template else _encoded(client, target, calls, given)
            )
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError) as error:
        raise EngineUnreachable(
            f"{mask_text(target.base_url)} does not show its prompt",
            cause=redact(mask_text(str(error) or type(error).__name__), [target.api_key or ""])[:300],
            advice="Is it running? Does it have this call?",
        ) from None


def _templated(client: httpx2.Client, target: Target, calls: TokenCalls, given: Mapping[str, Any]) -> RenderedPrompt:
    """Ask an engine that makes the prompt with one call, and tokens of a text with another."""
    prompt = _post(client, target, calls.template or "", given).get("prompt")
    if not isinstance(prompt, str):
        raise ValueError("it told no prompt")
    asked = {calls.text: prompt, calls.special: False, "with_pieces": True}
    return RenderedPrompt(prompt, _tokens(_post(client, target, calls.encode, asked).get("tokens"), None))


def _encoded(client: httpx2.Client, target: Target, calls: TokenCalls, given: Mapping[str, Any]) -> RenderedPrompt:
    """Ask an engine that makes tokens of messages, and a text of tokens."""
    asked = {"model": target.model, **given, "return_token_strs": True}
    found = _post(client, target, calls.encode, asked)
    tokens = _tokens(found.get("tokens"), found.get("token_strs"))
    if not calls.decode or not tokens:
        return RenderedPrompt(None, tokens)
    asked = {"model": target.model, "tokens": [one.id for one in tokens]}
    text = _post(client, target, calls.decode, asked).get(calls.decoded)
    return RenderedPrompt(text if isinstance(text, str) else None, tokens)


def _post(client: httpx2.Client, target: Target, path: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    url = f"{target.base_url.removesuffix('/v1')}/{path.lstrip('/')}"
    with client.stream("POST", url, json=dict(sent)) as answer:
        raw = b""
        for piece in answer.iter_bytes():
            raw += piece
            if len(raw) > MOST:
                raise ValueError("it sent more than can be a prompt")
    import json

    try:
        data = json.loads(raw)
    except ValueError:
        data = None
    if answer.status_code >= 400:
        told = data.get("error", data.get("detail", data.get("message"))) if isinstance(data, dict) else None
        words = told.get("message") if isinstance(told, dict) else told
        raise ValueError(f"it answered {answer.status_code}: {words or 'no reason given'}")
    if not isinstance(data, dict):
        raise ValueError("it sent no JSON object")
    return data


def _tokens(given: object, texts: object) -> tuple[PromptToken, ...]:
    """Return tokens as an engine told them: ids, with their texts beside them or in another list."""
    if not isinstance(given, list):
        raise ValueError("it told no tokens")
    beside: Sequence[object] = texts if isinstance(texts, list) and len(texts) == len(given) else ()
    bytewise = any(mark in one for one in beside if isinstance(one, str) for mark in _BYTEWISE)
    found = []
    for at, one in enumerate(given):
        number, piece = (one.get("id"), one.get("piece")) if isinstance(one, dict) else (one, None)
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError("it told a token without a number")
        written = beside[at] if beside else None
        text = _written(written, bytewise=bytewise) if isinstance(written, str) else _piece(piece)
        found.append(PromptToken(number, text))
    return tuple(found)


def _piece(piece: object) -> str | None:
    """Return the text of a piece: a text, or the bytes of a part of one."""
    if isinstance(piece, str):
        return piece
    if isinstance(piece, list) and all(isinstance(one, int) and 0 <= one < 256 for one in piece):
        return bytes(piece).decode("utf-8", "backslashreplace")
    return None


def _written(text: str, *, bytewise: bool) -> str:
    """Return what a token of a vocabulary stands for, which writes bytes and blanks as other characters."""
    if not bytewise:
        return text.replace("\u2581", " ")
    raw = b""
    for one in text:
        code = _BYTES.get(one, ord(one))
        raw += bytes([code]) if code < 256 else one.encode("utf-8", "replace")
    return raw.decode("utf-8", "backslashreplace")
