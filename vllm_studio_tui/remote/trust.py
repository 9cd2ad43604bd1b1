"""Whose certificates are believed when a studio is asked over https."""

from __future__ import annotations

import os
import ssl

import httpx2 as httpx

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.remote.address import Address


def trusted(address: Address) -> ssl.SSLContext | bool:
    """Return who is trusted: those of this machine, or of `SSL_CERT_FILE` or `SSL_CERT_DIR`. Reads files.

    Raises:
        StudioError: They cannot be read.
    """
    if address.scheme != "https":
        return False  # there is no certificate to look at, so none are read
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # also of ssl
        named = next(
            (f"{name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ), ""
        )
        cause = f"{named}: {error.strerror or error}." if named else f"{error.strerror or error}."
        advice = "Correct that variable, or take it away."
        raise StudioError("the certificates to trust cannot be read", cause=cause, advice=advice) from None
