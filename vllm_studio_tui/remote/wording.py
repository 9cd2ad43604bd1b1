"""What is said where a studio elsewhere refuses, or cannot be asked."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.remote.any_value import BadShape
from vllm_studio_tui.remote.errors import KeyWanted, NoConnection


def refusal(address: Address, status: int, data: Any, *, scope: str = "admin") -> StudioError:
    """Return what an answer that is none means.

    Args:
        data: Its document; None: it has none.
        scope: What the key needs for what was asked.
    """
    name = address.name
    said = data if isinstance(data, dict) else {}
    title, detail = (one if isinstance(one, str) else "" for one in (said.get("error"), said.get("detail")))
    if status == 401:
        made = f"Keys are made there: vllm-studio keys add NAME --scope {scope}."
        give = f"Give {name} an api_key in the settings, env:NAME or file:PATH." if address.called else ""
        give = give or "Give it: --api-key env:NAME."
        return KeyWanted(f"{name} wants a key", cause=title[:300], advice=f"{give} {made}")
    if status == 403:
        advice = f"{'Faces elsewhere need' if scope == 'admin' else 'It needs'} a key of scope {scope}."
        return StudioError(f"{name}: {(title or 'refused')[:300]}", cause=detail[:300], advice=advice)
    if status == 404 or not title:
        return StudioError(
            f"{name} is no studio that can be asked from elsewhere",
            cause=f"It answers {status}." + (f" {title[:300]}" if title else ""),
            advice="Start `vllm-studio serve` of the same version there, and give its address.",
        )
    return StudioError(f"{name}: {title[:300]}", cause=detail[:300])


@contextlib.contextmanager
def in_words(address: Address) -> Iterator[None]:
    """Say in words what goes wrong on the way.

    Raises:
        StudioError: What it was.
    """
    name = address.name
    try:
        yield
    except httpx.ConnectError as error:
        if (untrusted := _certificate_error(error)) is not None:
            raise StudioError(
                f"the certificate of {name} is not trusted",
                cause=f"{untrusted.verify_message or untrusted.strerror}."[:500],
                advice="Name the certificate of who signed it: SSL_CERT_FILE=/path/to/ca.pem. Or use ssh://.",
            ) from None
        raise NoConnection(f"{name} does not answer", cause=_cause(error), advice=_advice(address)) from None
    except httpx.TimeoutException:
        raise NoConnection(f"{name} does not answer in time", advice=_advice(address)) from None
    except httpx.TransportError as error:
        raise NoConnection(f"the connection to {name} is lost", cause=_cause(error), advice=_advice(address)) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StudioError(f"{name} cannot be asked", cause=_cause(error)) from None
    except BadShape as error:
        words = f"the answer of {name} cannot be understood"
        raise StudioError(words, cause=f"{error}.", advice="Install the same version on both.") from None


def _advice(address: Address) -> str:
    if address.scheme == "ssh":
        return f"See whether `ssh {address.host}` works."
    return "See whether `vllm-studio serve` runs there."


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _cause(error: Exception) -> str:
    """Return the words of the system, which lie below those of the libraries: these only say that all was in vain."""
    words = str(error) or type(error).__name__
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
        if isinstance(inner, OSError) and inner.strerror:
            # asyncio writes the address into the error's text.
            words = os.strerror(inner.errno) if isinstance(inner, ConnectionError) and inner.errno else inner.strerror
            break
        inner = inner.__cause__ or inner.__context__
    return f"{words.strip().rstrip('.')[:500]}."
