"""Requests to a server: the arguments of a chat, the key, and the list of models."""

from __future__ import annotations

import base64
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import ChatRequest, Target
from vllm_studio_tui.domain.errors import EngineUnreachable
from vllm_studio_tui.inference.parameters import STANDARD, fields_of, tool_fields
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import redact


def body(target: Target, request: ChatRequest) -> dict[str, Any]:
    """Return the arguments of the request: those that its engine takes.

    One that refuses other fields than OpenAI's gets only those.
    """
    if request.raw is not None:
        first = {"model": target.model, "messages": list(request.messages), "stream": True}
        return {**first, "extra_body": {name: value for name, value in request.raw.items() if name not in first}}
    sampling = request.sampling
    arguments: dict[str, Any] = {
        "model": target.model,
        "messages": list(request.messages),
        "stream": True,
    }
    backend = registry.find(target.backend)
    shaped = fields_of(backend, sampling, tools=bool(request.tools)).values
    arguments |= {name: value for name, value in shaped.items() if name in STANDARD}
    arguments |= tool_fields(backend, sampling, request.tools)
    if backend is not None and backend.standard_fields_only:
        return arguments
    arguments["stream_options"] = {"include_usage": True}
    extra = {**{name: value for name, value in shaped.items() if name not in STANDARD}, **sampling.extra}
    if sampling.thinking is not None:
        switches = {"enable_thinking": sampling.thinking, "thinking": sampling.thinking}
        extra["chat_template_kwargs"] = {**switches, **extra.get("chat_template_kwargs", {})}
    if extra:
        arguments["extra_body"] = extra
    return arguments


def loopback(url: str) -> bool:
    """Return whether an address is this machine: no proxy is asked for it."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authorization(api_key: str | None, user: str | None = None) -> dict[str, str]:
    """Return the header by which a request shows its key: a bearer token, or the password of a user (RFC 7617)."""
    if user is not None:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{api_key or str()}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def list_models(base_url: str, api_key: str | None, *, user: str | None = None, timeout: float = 10.0) -> list[str]:
    """Return the names of the models that a server lists, in its order. Blocking.

    Raises:
        EngineUnreachable: It gave no usable answer.
    """
    import httpx2

    headers = authorization(api_key, user)
    try:
        with httpx2.Client(timeout=timeout, trust_env=not loopback(base_url)) as client:
            answer = client.get(f"{base_url}/models", headers=headers)
            answer.raise_for_status()
            data = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise EngineUnreachable(
            f"{mask_text(base_url)} does not list its models",
            cause=redact(mask_text(str(error)), [api_key or ""])[:300],
            advice="Is it running? Name the --model.",
        ) from None
    entries = data.get("data") if isinstance(data, dict) else None
    found = [one.get("id") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [one for one in found if isinstance(one, str)]
