"""The studio of another machine as faces see it: every method of the protocols asks there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.unix_socket import address_of
from vllm_studio_tui.remote.client import Client
from vllm_studio_tui.remote.contract import REFUSED, CallShape, Kind, calls
from vllm_studio_tui.remote.sampler import RemoteSampler

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.remote.address import Address
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.watching.timeline import Timeline


class RemoteService:
    """One service of a studio elsewhere, such as `recipes` or `chat.sessions`; it has what its protocol has."""

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._path = path

    def __getattr__(self, name: str) -> Any:
        shape = calls().get(f"{self._path or 'studio'}.{name}")
        if shape is not None:
            return self._client.call(shape, {}) if shape.kind is Kind.PROPERTY else _method(self._client, shape)
        inner = f"{self._path}.{name}".lstrip(".")
        if any(one.service == inner or one.service.startswith(f"{inner}.") for one in calls().values()):
            return RemoteService(self._client, inner)
        if inner in REFUSED:
            cause = f"{inner} works on its own machine alone: {REFUSED[inner]}."
            raise UsageError("this cannot be done on a studio elsewhere", cause=cause, advice="Do it there, over ssh.")
        raise AttributeError(name)


def _method(client: Client, shape: CallShape) -> Callable[..., Any]:
    ask = {Kind.VALUE: client.call, Kind.LINES: client.lines, Kind.EVENTS: client.events}[shape.kind]

    def method(*given: Any, **named: Any) -> Any:
        arguments = shape.signature.bind(None, *given, **named).arguments
        arguments.pop("self", None)
        return ask(shape, arguments)

    return method


class RemoteStudio(RemoteService):
    """A studio elsewhere.

    Attributes:
        places: The directories of the person here: settings, themes, keys.
        host: How the person calls the machine.
        recovered, unsaved: Answers are kept where they come from; here is nothing to bring in.
    """

    def __init__(self, client: Client, places: Places, reconnect: Callable[[], None] = lambda: None) -> None:
        super().__init__(client, "")
        self.places = places
        self.bus = Bus()
        self.host: str | None = client.address.name
        self.recovered = 0
        self.unsaved: tuple[Path, ...] = ()
        self._reconnect = reconnect

    @once_property
    def settings(self) -> Settings:
        """The person's settings, as this machine has them."""
        from vllm_studio_tui.config.settings import load_settings

        return load_settings(self.places, os.environ, {})

    @once_property
    def sampler(self) -> RemoteSampler:
        return RemoteSampler(self._client, self.bus, self._reconnect)

    @once_property
    def timeline(self) -> Timeline:
        """Samples that came here, and before these what the studio there keeps."""
        from vllm_studio_tui.services.watching.sample_keeper import recipes_of
        from vllm_studio_tui.services.watching.timeline import Timeline

        def runs() -> Iterable[RunView]:
            latest = self.sampler.latest if "sampler" in self.__dict__ else None
            return latest.every if latest is not None else ()

        there = RemoteService(self._client, "timeline")
        return Timeline(
            lambda: self.sampler.history if "sampler" in self.__dict__ else None,
            there,
            record=there,
            recipes=lambda: recipes_of(runs()),
        )

    def interrupt_answers(self, signal_name: str) -> None:
        """Do nothing: the streams of this program end with it, and what came is kept there."""

    def close_chat(self) -> None:
        """Do nothing: the studio there keeps its answers itself."""

    def close(self) -> None:
        if "sampler" in self.__dict__:
            self.sampler.close()
        self._client.close()


@contextlib.contextmanager
def connect(address: Address, places: Places | None = None) -> Iterator[StudioApi]:
    """Open the studio at an address; the connection ends with the block.

    Raises:
        StudioError: It cannot be reached, has another version, or does not know the key.
    """
    with contextlib.ExitStack() as stack:
        socket_path, reconnect = None, _nothing
        if address.scheme == "unix":
            socket_path = stack.enter_context(address_of(Path(address.path)))
        if address.scheme == "ssh":
            from vllm_studio_tui.remote.tunnel import Tunnel

            tunnel = stack.enter_context(contextlib.closing(Tunnel(address)))
            tunnel.open()
            socket_path, reconnect = str(tunnel.socket), tunnel.mend
        client = Client(address, socket_path)
        studio = stack.enter_context(contextlib.closing(RemoteStudio(client, places or Places.of(), reconnect)))
        client.check()
        yield cast("StudioApi", studio)


def _nothing() -> None:
    pass
