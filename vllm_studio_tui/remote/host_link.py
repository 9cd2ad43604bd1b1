"""The way to one host of several: asks its studio for an overview, with a limit to all that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.host_overview import HostOverview, read_overview
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.unix_socket import address_of
from vllm_studio_tui.remote.address import Address, read_address
from vllm_studio_tui.remote.host_state import Answered
from vllm_studio_tui.remote.trust import trusted
from vllm_studio_tui.remote.tunnel import PATIENCE, Tunnel
from vllm_studio_tui.remote.wording import in_words, refusal

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host

#: Bytes of an answer: a host of a hundred GPUs and five hundred runs has a tenth of it.
LONGEST = 4 * 1024 * 1024
#: Seconds for one answer, once there is a connection; a first one has its studio take a first sample.
ANSWER = 12.0
#: Seconds from one question to the next, over ssh and otherwise.
OVER_SSH, EVERY = 2.0, 1.0


def address_of_host(name: str, host: Host, environ: Mapping[str, str] = os.environ) -> Address:
    """Return the address of a host of the settings; its key is read. Blocking.

    Raises:
        UsageError: The entry cannot be used; it is named.
    """
    if host.agentless and not host.problem:
        raise UsageError(
            f"there is no studio on {name} to go to",
            cause="It is only looked at over ssh (agentless: true).",
            advice=f"Install vllm-studio there and take it off: vllm-studio hosts remove {name}, then hosts add. "
            "What runs there is in vllm-studio hosts.",
        )
    if host.problem:
        advice = "Correct it: hosts in the settings (f8), or config.yaml."
        raise UsageError(f"the host {name} cannot be used", cause=f"{host.problem}.", advice=advice)
    try:
        found = read_address(host.connect, environ, api_key=host.api_key, insecure_http=host.insecure_http)
    except UsageError as error:
        insist = "--insecure-http" in error.advice
        advice = (
            "Use ssh:// or https://. Or insist: insecure_http: true (hosts add --plain)." if insist else error.advice
        )
        cause = ". ".join(part.rstrip(".") for part in (error.title, error.cause) if part)
        raise UsageError(f"the host {name} cannot be used", cause=f"{cause}.", advice=advice) from None
    return Address(found.scheme, found.host, found.user, found.port, found.path, found.api_key, name)


def check_entry(name: str, entry: Mapping[str, Any]) -> None:
    """Find out whether a host could be kept like this; its key need not be there yet.

    Raises:
        UsageError: It could not.
    """
    from vllm_studio_tui.config.hosts import made_of

    host = made_of(name, {key: value for key, value in entry.items() if value not in (None, "", False)})
    if host.agentless:
        host = host.model_copy(update={"agentless": False})
    if host.api_key is not None and host.connect.startswith(("http://", "https://")):
        host = host.model_copy(update={"api_key": None})
    address_of_host(name, host, {})


def inside_line(host: Host) -> str:
    """Return the command by which one gets to the studio inside of a host; empty where ssh does not lead there.

    Of a host without one it leads to a shell.
    """
    try:
        one = read_address(host.connect, {})
    except UsageError:
        return ""
    if one.scheme != "ssh":
        return ""
    port = f"-p {one.port} " if one.port is not None else ""
    user = f"{one.user}@" if one.user is not None else ""
    place = f"{port}{user}{one.host}"
    return f"ssh {place}" if host.agentless else f"ssh -t {place} {one.path or 'vllm-studio'}"


class HostLink:
    """A connection to the studio of a host. On one event loop."""

    def __init__(self, name: str, host: Host, environ: Mapping[str, str] = os.environ) -> None:
        self.name = name
        self._host = host
        self._environ = environ
        self._address: Address | None = None
        self._tunnel: Tunnel | None = None
        self._client: httpx.AsyncClient | None = None
        self._stack = contextlib.ExitStack()

    @property
    def patience(self) -> float:
        """Return the seconds that the next answer may take, the way there included."""
        return ANSWER + (PATIENCE if self._host.connect.startswith("ssh:") and self._tunnel is None else 0.0)

    @property
    def every(self) -> float:
        """Return the seconds from one question to the next."""
        return OVER_SSH if self._host.connect.startswith("ssh:") else EVERY

    @property
    def last_words(self) -> str:
        """Return what ssh said last."""
        return self._tunnel.last_words if self._tunnel is not None else ""

    async def ask(self) -> Answered:
        """Return what the host says of itself; the connection is made where there is none.

        Raises:
            StudioError: It cannot be reached, refuses, or answers with something else.
        """
        try:
            address, client = await self._connected()
            started = time.monotonic()
            with in_words(address):
                async with client.stream("GET", "/overview") as answer:
                    body = await _body(answer, address)
            overview = await self._read(address, answer.status_code, body)
        except StudioError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            words = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise StudioError(f"{self.name} cannot be asked", cause=f"{words}.") from None
        return Answered(overview, time.monotonic() - started)

    async def close(self) -> None:
        """End the connection, and ssh with it."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.aclose()
        if self._tunnel is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._tunnel.close)
            self._tunnel = None
        self._stack.close()

    async def _connected(self) -> tuple[Address, httpx.AsyncClient]:
        loop = asyncio.get_running_loop()
        address = self._address
        if address is None:
            make = partial(address_of_host, self.name, self._host, self._environ)
            address = self._address = await loop.run_in_executor(None, make)
        if address.scheme == "ssh":
            if self._tunnel is None:
                self._tunnel = Tunnel(address)
            await loop.run_in_executor(None, self._tunnel.open_again)
        if self._client is None:
            socket = str(self._tunnel.socket) if self._tunnel is not None else None
            if address.scheme == "unix":
                socket = self._stack.enter_context(address_of(Path(address.path)))
            headers = {"User-Agent": f"vllm-studio/{__version__}", "Accept-Encoding": "identity"}
            if address.api_key is not None:
                headers["Authorization"] = f"Bearer {address.api_key}"
            make_client = partial(
                httpx.AsyncClient,
                base_url=address.url,
                headers=headers,
                timeout=httpx.Timeout(ANSWER, connect=min(ANSWER, 10.0)),
                follow_redirects=False,
                trust_env=False,
            )
            verify = await loop.run_in_executor(None, trusted, address)  # it reads the certificates of the system
            transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, uds=socket)
            self._client = make_client(transport=transport)
        return address, self._client

    async def _read(self, address: Address, status: int, body: bytes) -> HostOverview:
        loop = asyncio.get_running_loop()
        try:
            data = await loop.run_in_executor(None, safe_json.loads, body)
        except ValueError:
            data = None
        if status == 404:
            raise StudioError(
                f"{self.name} is no studio that tells of itself",
                cause="What answers there is another server, or an older version of this program.",
                advice="Start `vllm-studio serve` there, and give its address.",
            )
        if status >= 300:
            raise refusal(address, status, data, scope="read")
        try:
            return read_overview(data)
        except ValueError:
            raise StudioError(
                f"the answer of {self.name} cannot be understood",
                cause="It is no overview of a host.",
                advice="Start `vllm-studio serve` there, and give its address.",
            ) from None


async def _body(answer: httpx.Response, address: Address) -> bytes:
    """Return the body of an answer as it came.

    Raises:
        StudioError: It does not end where it should.
    """
    pieces, size = [], 0
    async for piece in answer.aiter_raw():
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST:
            words = f"the answer of {address.name} cannot be understood"
            raise StudioError(words, cause=f"It is longer than {LONGEST // 1024**2} MiB.")
    return b"".join(pieces)
