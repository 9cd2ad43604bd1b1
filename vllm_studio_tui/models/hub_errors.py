"""What goes wrong with a hub, in words: what, why, what to do."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.sanitize import clean

#: What to do where no hub can be reached at all.
ELSEWHERE = "A mirror is named by HF_ENDPOINT; a model that was copied here is used by its folder."


class HubError(StudioError):
    """A hub that did not give what was asked.

    Attributes:
        kind: `offline`, `dns`, `connect`, `proxy`, `tls`, `timeout`, `cut`, `token`, `gated`, `forbidden`, `no_repo`,
            `no_revision`, `no_file`, `busy`, `server`, `wrong`.
        passing: The same may work a moment later.
        after: Seconds that the hub wants us to wait; None: it did not say.
    """

    def __init__(
        self,
        kind: str,
        title: str,
        *,
        cause: str = "",
        advice: str = "",
        passing: bool = False,
        after: float | None = None,
    ) -> None:
        super().__init__(title, cause=cause, advice=advice)
        self.kind = kind
        self.passing = passing
        self.after = after


def offline(variable: str) -> HubError:
    """Return the error for a hub that a person forbade to ask."""
    return HubError(
        "offline",
        "the hub is not asked",
        cause=f"{variable} is set: nothing is fetched.",
        advice=f"Unset {variable} to download; what is in the cache already works without.",
    )


def unreachable(error: BaseException, host: str, proxy: str = "") -> HubError:
    """Return in words why no answer came; `error` is one of httpx2's, with what raised it behind it.

    Args:
        proxy: The proxy that is asked for this host; empty where none is.
    """
    chain = _chain(error)
    name = type(error).__name__
    if proxy and name in ("ConnectError", "ConnectTimeout") and not any(isinstance(one, ssl.SSLError) for one in chain):
        return HubError(
            "proxy",
            f"the proxy {proxy} cannot be reached",
            cause=clean(str(error))[:200] or "No connection came about in time.",
            advice=f"It is named by HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; NO_PROXY={host} goes without it.",
            passing=True,
        )
    if any(isinstance(one, socket.gaierror) for one in chain) or _mentions(chain, "name resolution", "Name or service"):
        return HubError(
            "dns",
            f"{host} cannot be found",
            cause="Its name cannot be resolved: there is no network, or the DNS server does not know it.",
            advice=f"See whether this machine is online. {ELSEWHERE}",
            passing=True,
        )
    if name == "ProxyError":
        return HubError(
            "proxy",
            "the proxy did not let the request through",
            cause=clean(str(error))[:200],
            advice="Look at HTTPS_PROXY and HTTP_PROXY; NO_PROXY names hosts that are reached without.",
            passing=True,
        )
    if any(isinstance(one, ssl.SSLError) for one in chain) or _mentions(chain, "CERTIFICATE_VERIFY_FAILED"):
        why = next((str(one) for one in chain if isinstance(one, ssl.SSLError)), str(error))
        return HubError(
            "tls",
            f"{host} cannot be trusted",
            cause=f"Its certificate was not accepted: {clean(why)[:200]}",
            advice="Where a company's proxy opens TLS, name its certificate in SSL_CERT_FILE. Look at the clock, too.",
        )
    if name in ("ConnectTimeout", "PoolTimeout"):
        return HubError(
            "timeout",
            f"{host} does not answer",
            cause="No connection came about in time: a firewall, or no way to the internet.",
            advice=f"A proxy is named by HTTPS_PROXY. {ELSEWHERE}",
            passing=True,
        )
    if name.endswith("Timeout"):
        return HubError(
            "timeout",
            f"{host} stopped answering",
            cause="Nothing came for a while.",
            advice="Try again later.",
            passing=True,
        )
    if name in ("UnsupportedProtocol", "InvalidURL") or isinstance(error, UnicodeError):
        return HubError(
            "wrong", "the address of the hub is none", cause=clean(str(error))[:200], advice="Look at HF_ENDPOINT."
        )
    if name == "ConnectError":
        return HubError(
            "connect",
            f"{host} cannot be reached",
            cause=clean(str(error))[:200],
            advice=f"See whether this machine is online. {ELSEWHERE}",
            passing=True,
        )
    return HubError(
        "cut",
        f"the connection to {host} broke",
        cause=clean(str(error) or name)[:200],
        advice="Try again.",
        passing=True,
    )


def refused(status: int, headers: Any, *, repo: str, page: str, file: str = "", token_from: str = "") -> HubError:
    """Return in words why a hub answered with an error.

    Args:
        page: The address of the repository's page.
        token_from: Where the token came from that was sent; empty where none was.
    """
    code = headers.get("x-error-code", "")
    said = clean(headers.get("x-error-message", ""))[:300]
    if code == "RevisionNotFound":
        return HubError(
            "no_revision", f"{repo} has no such revision", cause=said, advice=f"Its branches and tags: {page}/tree/main"
        )
    if code == "EntryNotFound":
        return HubError(
            "no_file", f"{repo} has no {file or 'such file'}", cause=said, advice=f"Its files: {page}/tree/main"
        )
    if code == "GatedRepo":
        return _gated(status, said, repo, page, token_from)
    if status == 401 and "invalid" in said.lower() and token_from:
        return HubError(
            "token",
            "the hub does not take the token",
            cause=f"{said or 'Invalid credentials'}: the token of {token_from} is mistyped, expired or revoked.",
            advice="Make a new one (Settings, Access Tokens, type read) and put it there.",
        )
    if code == "RepoNotFound" or (status in (401, 404) and not file):
        hidden = (
            "or it is private and the token has no access" if token_from else "or it is private, and no token is set"
        )
        return HubError(
            "no_repo",
            f"there is no model {repo} on the hub",
            cause=f"There is no repository of that name, {hidden}.",
            advice="Names are OWNER/NAME, as the page has them. A token is taken from HF_TOKEN or `hf auth login`.",
        )
    if status in (401, 403):
        return HubError(
            "forbidden",
            f"the hub does not give {repo} to this account",
            cause=said or f"HTTP {status}.",
            advice=f"A fine-grained token needs read access to this repository; see {page}.",
        )
    if status == 404:
        return HubError("no_file", f"{repo} has no {file}", advice=f"Its files: {page}/tree/main")
    if status == 429:
        after = retry_after(headers)
        return HubError(
            "busy",
            "the hub asks to wait",
            cause=f"There were too many requests{'' if after is None else f'; it wants {after:.0f} s without any'}.",
            advice="With a token (HF_TOKEN) more are allowed.",
            passing=True,
            after=after,
        )
    if status in (408, 500, 502, 503, 504) or status >= 520:
        return HubError(
            "server", "the hub has trouble of its own", cause=f"It answered HTTP {status}. {said}".strip(),
            advice="Try again later.", passing=True, after=retry_after(headers),
        )  # fmt: skip
    return HubError(
        "wrong", f"the hub refused {file or repo}", cause=f"HTTP {status}. {said}".strip(), advice=f"See {page}."
    )


def _gated(status: int, said: str, repo: str, page: str, token_from: str) -> HubError:
    title = f"{repo} is gated: the hub gives it only to those who accepted its terms"
    if not token_from:
        return HubError(
            "gated",
            title,
            cause=f"No token is set, so the hub does not know who asks (HTTP {status}).",
            advice=f"Accept the terms at {page}, make a token of type read (Settings, Access Tokens), "
            "and set HF_TOKEN or run `hf auth login`.",
        )
    if status == 401:
        return HubError(
            "gated", title, cause=f"The token of {token_from} was not taken (HTTP 401). {said}".strip(),
            advice=f"Make a new one (type read) as the account that accepted the terms: {page}",
        )  # fmt: skip
    return HubError(
        "gated",
        title,
        cause=f"The account of the token ({token_from}) has no access yet (HTTP {status}). {said}".strip(),
        advice=f"Accept the terms at {page}. Where access is granted by hand, wait for the author; a fine-grained "
        "token also needs the permission to read gated repositories.",
    )


def retry_after(headers: Any) -> float | None:
    """Return for how many seconds a server wants no request: `Retry-After`, else `RateLimit` with nothing left."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit() and len(value) < 7:
        return float(value)
    import re

    found = re.search(r"\br=0\s*;\s*t=(\d{1,6})\b", headers.get("ratelimit", ""))
    return float(found[1]) if found else None


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and len(chain) < 12:
        chain.append(one)
        one = one.__cause__ or one.__context__
    return chain


def _mentions(chain: list[BaseException], *words: str) -> bool:
    text = " ".join(str(one) for one in chain)
    return any(word in text for word in words)
