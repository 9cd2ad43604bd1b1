"""The built-in tool that reads a page of the web: no address of this machine's networks, unless that is allowed.

A name is looked up once, and the connection goes to the address that was looked at: one that says something else the
next time gains nothing. Redirects are followed here, each looked at anew.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tools.addresses import is_public
from vllm_studio_tui.tools.functions import Function, schema, text_of, whole_of
from vllm_studio_tui.tools.html_text import text_of_html
from vllm_studio_tui.tools.results import ToolFault

if TYPE_CHECKING:
    import httpx2 as httpx

#: Bytes that are read of an answer, redirects that are followed, seconds for all of it.
MAX_BYTES = 2 * 1024 * 1024
REDIRECTS = 5
SECONDS = 30.0
#: Letters that a model is given if it does not say how many.
USUAL = 20_000
MOST = 60_000
_TEXT = (
    "text/",
    "application/json",
    "application/xml",
    "application/yaml",
    "application/javascript",
    "application/toml",
)
_AGENT = "vllm-studio (a person's model asks)"


def fetch(*, private: bool = False) -> Function:
    """Return the tool.

    Args:
        private: Addresses of this machine and its networks may be asked too.
    """
    properties = {
        "url": {"type": "string", "description": "An http or https address."},
        "max_letters": {
            "type": "integer",
            "description": f"How much of the text: 1 to {MOST}, {USUAL} without it.",
        },
        "raw": {"type": "boolean", "description": "HTML as it is, not only its text."},
    }
    where = "" if private else " Addresses of private networks are refused."
    tool = Tool(
        "builtin__fetch",
        "builtin",
        "fetch",
        f"Read a page or file of the web as text.{where}",
        schema(properties, required=["url"]),
    )

    async def work(arguments: Mapping[str, Any]) -> str:
        url = text_of(arguments, "url", most=4096)
        most = whole_of(arguments, "max_letters", USUAL, 1, MOST)
        return await _fetch(url, most, raw=arguments.get("raw") is True, private=private)

    return Function(tool, work, SECONDS)


async def _fetch(url: str, most: int, *, raw: bool, private: bool) -> str:
    import httpx2 as httpx

    # A proxy would look up names by itself, where we cannot see what they lead to.
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=SECONDS) as client:
        for _ in range(REDIRECTS + 1):
            request = await _request(client, url, private=private)
            try:
                answer = await client.send(request, stream=True)
            except httpx.HTTPError as error:
                raise ToolFault(f"{url} cannot be reached: {str(error) or type(error).__name__}") from None
            try:
                follow = answer.headers.get("location") if answer.status_code in (301, 302, 303, 307, 308) else None
                if follow is None:
                    return await _text(answer, url, most, raw=raw)
                url = urljoin(url, follow)
            finally:
                await answer.aclose()
    raise ToolFault(f"it was sent on more than {REDIRECTS} times, last to {url[:300]}")


async def _request(client: httpx.AsyncClient, url: str, *, private: bool) -> httpx.Request:
    """Return the request for an address, to the machine that was looked at.

    Raises:
        ToolFault: It is no address of the web, there is no such machine, or it is a private one.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ToolFault(f"{url[:300]} is no address of the web") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ToolFault(f"{url[:300]} is no http or https address")
    if parts.username or parts.password:
        raise ToolFault("an address with a name or password in it is not asked")
    port = port or (443 if parts.scheme == "https" else 80)
    address = await _look_up(host, port, private=private)
    shown = f"[{address}]" if ":" in address else address
    name = host if not _is_address(host) else shown
    usual = port == (443 if parts.scheme == "https" else 80)
    try:
        return client.build_request(
            "GET",
            urlunsplit((parts.scheme, f"{shown}:{port}", parts.path or "/", parts.query, "")),
            headers={
                "Host": name if usual else f"{name}:{port}",
                "User-Agent": _AGENT,
                "Accept": "text/html, text/*, application/json, */*;q=0.1",
                "Accept-Encoding": "identity",
            },
            extensions={} if _is_address(host) else {"sni_hostname": host},
        )
    except (ValueError, UnicodeError, TypeError) as error:
        raise ToolFault(f"{url[:300]} is no address of the web") from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host.split("%", 1)[0])
    except ValueError:
        return False
    return True


async def _look_up(host: str, port: int, *, private: bool) -> str:
    """Return the address of a machine.

    Raises:
        ToolFault: There is none, or not all of its addresses may be asked.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        raise ToolFault(f"there is no machine called {host[:200]}") from None
    addresses = [str(one[4][0]) for one in found]
    hidden = [one for one in addresses if not is_public(one)]
    if hidden and not private:
        raise ToolFault(
            f"{host[:200]} is {hidden[0]}, an address of a private network: it is not asked."
            " The person may allow it with the setting tools_fetch_private"
        )
    return min(addresses, key=lambda one: ":" in one)  # IPv4 first: not every host that has IPv6 can use it


async def _text(answer: httpx.Response, url: str, most: int, *, raw: bool) -> str:
    import httpx2 as httpx

    kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    told = f"{url}\nstatus {answer.status_code}, {kind or 'of an unknown kind'}"
    if answer.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise ToolFault(f"{told}\nit is packed, although it was asked not to be: it is not read")
    if kind and not (kind.startswith(_TEXT) or kind.endswith(("+json", "+xml"))):
        size = answer.headers.get("content-length", "")
        words = f", {numbers.size(int(size))}" if size.isdigit() and len(size) < 16 else ""
        raise ToolFault(f"{told}{words}\nit is no text: it is not read")
    body, cut = bytearray(), False
    try:
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_BYTES:
                del body[MAX_BYTES:]
                cut = True
                break
    except httpx.HTTPError as error:
        if not body:
            raise ToolFault(f"{told}\nit broke off: {type(error).__name__}") from None
        cut = True
    text = bytes(body).decode(_encoding(answer), "replace")
    if not raw and (kind in ("text/html", "application/xhtml+xml") or (not kind and "<html" in text[:1000].lower())):
        text = text_of_html(text)
    if answer.status_code >= 400:
        raise ToolFault(f"{told}\n{text[:2000]}")
    if len(text) > most:
        text, cut = text[:most], True
    return f"{told}\n\n{text}" + ("\n[cut: there is more]" if cut else "")


def _encoding(answer: httpx.Response) -> str:
    import codecs

    try:
        return codecs.lookup(answer.charset_encoding or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
