"""Open the studio of a command: the only place that chooses which studio it is."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from vllm_studio_tui.cli import connecting
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.studio import Studio

if TYPE_CHECKING:
    from vllm_studio_tui.remote.address import Address
    from vllm_studio_tui.services.protocols import StudioApi


@contextlib.contextmanager
def open_studio() -> Iterator[StudioApi]:
    """Open the studio of a command, this machine's or the one that its command line names; it is closed at the end.

    Raises:
        StudioError: The studio that is named cannot be reached.
    """
    if connecting.chosen is None:
        with Studio.open_sync() as studio:
            yield studio
        return
    from vllm_studio_tui.remote.studio import connect

    with connect(address_of(connecting.chosen)) as elsewhere:
        yield elsewhere


def address_of(one: connecting.Connection) -> Address:
    """Return the address that a command line, or the variable, names: itself, or as a host of the settings. Blocking.

    Raises:
        UsageError: It is none; where the variable says so, it is named.
        SettingsError: The settings cannot be read.
    """
    from vllm_studio_tui.remote.address import read_address

    try:
        if ":" not in one.url:
            return _named(one)
        return read_address(one.url, os.environ, api_key=one.api_key, insecure_http=one.insecure_http)
    except UsageError as error:
        if one.by == connecting.VARIABLE:
            error.title = f"{connecting.VARIABLE}: {error.title}"
        raise


def _named(one: connecting.Connection) -> Address:
    from vllm_studio_tui.config.hosts import read_hosts
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.remote.host_link import address_of_host

    hosts = read_hosts(Places.of())
    host = hosts.get(one.url)
    if host is None:
        near = difflib.get_close_matches(one.url, list(hosts), 1)
        raise UsageError(
            f"there is no host called {one.url[:64]}, and it is no address",
            cause=f"Did you mean {near[0]}?" if near else "",
            advice="Hosts: vllm-studio hosts. An address: ssh://[user@]host, https://host:port, unix:///path/of/socket.",
        )
    more = {"api_key": one.api_key or host.api_key, "insecure_http": one.insecure_http or host.insecure_http}
    return address_of_host(one.url, host.model_copy(update=more))


@contextlib.asynccontextmanager
async def open_studio_async() -> AsyncIterator[StudioApi]:
    """Open it for a command with an event loop."""
    with open_studio() as studio:
        yield studio
