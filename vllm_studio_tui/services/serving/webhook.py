"""A webhook: batches of requests that have ended, as JSON by POST, signed as Standard Webhooks has it.

https://www.standardwebhooks.com: receivers verify with a library that there is in their language.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.json_body import json_bytes

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.services.serving.batches import Batch

#: Seconds that each step of a try may take: to connect, to send, to get the status.
TIMEOUT = 10.0
#: Seconds between two tries; one more try than there are pauses.
PAUSES = (1.0, 2.0, 4.0, 8.0)
#: Answers that another try may change.
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
#: How the signing secrets of Standard Webhooks begin; base64 follows.
PREFIX = "whsec_"
EVENT = "requests.ended"


class NotDelivered(Exception):
    """A batch was not taken; the text says why and names no secret."""


class Webhook:
    """Sends batches to one address. Called from one thread.

    Args:
        closing: Set when the server ends: no pauses from then on.
    """

    def __init__(
        self,
        url: str,
        secret: str | None,
        closing: threading.Event,
        *,
        timeout: float = TIMEOUT,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        import httpx2  # not before there is something to send

        from vllm_studio_tui.inference.request import loopback

        self._url = url
        self._key = signing_key(secret) if secret is not None else None
        self._closing = closing
        self._pauses = pauses
        self._client = httpx2.Client(
            timeout=timeout,
            follow_redirects=False,
            trust_env=not loopback(url),
            headers={"User-Agent": f"vllm-studio/{__version__}"},
        )

    def __call__(self, batch: Batch) -> None:
        """Send a batch.

        Raises:
            NotDelivered: After the last try, or where another one would change nothing.
        """
        self.send(EVENT, {"requests": batch})

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def send(self, event: str, data: Mapping[str, Any]) -> None:
        """Send what happened, by the name of its kind.

        Raises:
            NotDelivered: After the last try, or where another one would change nothing.
        """
        body = json_bytes({"type": event, "timestamp": iso_time(time.time()), "data": data})
        # The same for each try, so that who got it twice can tell.
        message_id = f"msg_{uuid4().hex}"
        for pause in (*self._pauses, None):
            again, why = self._try(message_id, body)
            if not why:
                return
            if not again or pause is None:
                raise NotDelivered(why)
            if self._closing.wait(pause):
                again, why = self._try(message_id, body)
                if why:
                    raise NotDelivered(why)
                return

    def _try(self, message_id: str, body: bytes) -> tuple[bool, str]:
        """Send it once, and return whether another try may help, and what went wrong."""
        import httpx2

        headers = {"Content-Type": "application/json", **signed(self._key, message_id, int(time.time()), body)}
        try:
            # Of the answer only its status is of use: its body is not read.
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                status = answer.status_code
        except (httpx2.InvalidURL, ValueError) as error:
            return False, f"the address cannot be asked: {type(error).__name__}"
        except (httpx2.HTTPError, OSError) as error:
            return True, f"no answer: {_cause(error)}"
        if 200 <= status < 300:
            return False, ""
        return status in AGAIN, f"it answered {status}"


def _cause(error: BaseException) -> str:
    """Return what went wrong in words; the text of an error may hold the address, in which people put secrets."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


def signed(key: bytes | None, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks; without a key there is no signature."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at)}
    if key is not None:
        digest = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def signing_key(secret: str) -> bytes:
    """Return the bytes that sign: what `whsec_` hides in base64, or the text itself.

    Raises:
        ValueError: After `whsec_` comes no base64.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ is not base64") from None


def webhook_address(settings: Settings, name: str = "webhook_url") -> tuple[str, str | None] | None:
    """Return the address and the secret that the settings mean; None where there is no webhook.

    Args:
        name: The setting that has the address.

    Raises:
        StudioError: One of them cannot be used. It repeats neither.
    """
    secret = settings.webhook_secret
    url = settings.alert_webhook if name == "alert_webhook" else settings.webhook_url
    if url is None:
        return None
    address = name
    try:
        url = secrets.resolve(url, os.environ) if secrets.is_reference(url) else url
        check_address(url)
        name = "webhook_secret"
        found = secrets.resolve(secret, os.environ) if secret is not None else None
        if found is not None:
            signing_key(found)
    except ValueError as error:
        advice = f"Correct it, or remove {address} to have no webhook."
        raise StudioError(f"the setting {name} cannot be used", cause=f"{error}.", advice=advice) from None
    return url, found


def check_address(url: str) -> None:
    """Refuse what no webhook can be sent to.

    Raises:
        ValueError: It is no such address; the text does not repeat it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise ValueError("not an http or https address")
    if "@" in parts.netloc:
        raise ValueError("an address with a password; sign with webhook_secret instead")


def short_address(url: str) -> str:
    """Return the host of an address alone: paths of webhooks often are secrets."""
    return urlsplit(url).netloc
