"""One GET of an engine's /metrics, by the standard library, in the caller's thread."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from vllm_studio_tui.domain.errors import EngineRefused, EngineUnreachable, StudioError
from vllm_studio_tui.kit.masking import mask_text

#: Bytes of a body; more is an error.
MAX_BODY = 4 * 1024 * 1024

HINTS = {
    401: "The engine wants its API key: give the recipe a reference to it.",
    403: "The engine refused this key.",
    404: "This engine has no /metrics. SGLang needs --enable-metrics, llama.cpp --metrics.",
    501: "This engine has no /metrics. llama.cpp needs --metrics.",
}


def fetch(base_url: str, api_key: str | None = None, *, timeout: float = 3.0, path: str = "/metrics") -> bytes:
    """Return the body of `path` at the root of the server whose OpenAI API is at `base_url` (`http://host:port/v1`).

    Redirects are not followed and proxies of the environment not used.

    Args:
        timeout: Seconds for the whole exchange.

    Raises:
        EngineUnreachable: No connection, no or not a whole answer in time.
        EngineRefused: Another status than 200, or a body over 4 MiB.
        StudioError: The URL is none that can be asked.
    """
    import http.client

    deadline = time.monotonic() + timeout
    try:
        url = urlsplit(base_url)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise StudioError("The engine's address is not a URL", cause=mask_text(base_url)[:200]) from error
    if url.scheme not in ("http", "https") or not host:
        raise StudioError("The engine's address is not an http URL", cause=mask_text(base_url)[:200])
    prefix = url.path.rstrip("/").removesuffix("/v1")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    headers = {"Accept": "text/plain", "Connection": "close"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    connection = kind(host, port, timeout=timeout)
    try:
        connection.request("GET", f"{prefix}{path}", headers=headers)
        response = connection.getresponse()
        status = response.status
        body = bytearray()
        while len(body) <= MAX_BODY and (piece := response.read1(65536)):
            body += piece
            if time.monotonic() > deadline:
                raise TimeoutError(f"not complete after {timeout:g} s")
    except ValueError as error:  # also a key that cannot be a header; never repeat it
        raise StudioError("The request cannot be sent", cause=type(error).__name__) from None
    except (OSError, http.client.HTTPException) as error:
        cause = str(error) or type(error).__name__
        raise EngineUnreachable(f"No metrics from {host}", cause=cause[:300]) from error
    finally:
        connection.close()
    if status != 200:
        hint = HINTS.get(status, "")
        raise EngineRefused(f"{path} answered {status}", advice=hint, status=status)
    if len(body) > MAX_BODY:
        raise EngineRefused(f"{path} is larger than {MAX_BODY // 1024 // 1024} MiB", status=status)
    return bytes(body)
