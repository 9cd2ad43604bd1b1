"""The same commands on the studio of another machine: a server of the test's home, in a thread, asked on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_studio_tui.cli import connecting
from vllm_studio_tui.http import server
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote import studio as remote
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.services.protocols import StudioApi
from vllm_studio_tui.services.serving.here import private_socket
from vllm_studio_tui.studio import Studio


@contextlib.contextmanager
def served(places: Places, options: server.Options | None = None) -> Iterator[Address]:
    """Serve a home, in a thread, until the block ends; the address of its private socket.

    Args:
        options: Where it listens beside that; None: nowhere.
    """
    given = options or server.Options("127.0.0.1", 0, only_socket=True)
    begun: list[BaseException | None] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve(studio: Studio) -> None:
        async with server.running(studio, given):
            begun.append(None)
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            with Studio.open_sync(places) as studio:
                loop.run_until_complete(serve(studio))
        except BaseException as error:
            begun.append(error)
            ready.set()
            raise
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=work, name="served")
    thread.start()
    try:
        assert ready.wait(30.0), "no server in time"
        if begun[0] is not None:
            raise begun[0]
        yield Address("unix", "elsewhere", path=str(private_socket(places)))
    finally:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join(30.0)


@contextlib.contextmanager
def short(home: Path) -> Iterator[Places]:
    """Name a home so that the path of a socket in it is short enough."""
    with tempfile.TemporaryDirectory(prefix="vst-") as folder:
        link = Path(folder, "h")
        link.symlink_to(home, target_is_directory=True)
        yield Places.under(link)


@pytest.fixture(params=["here", "elsewhere"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have the commands of a test ask the studio here, then again the same studio as if it were elsewhere."""
    if request.param == "here":
        yield "here"
        return
    connect = remote.connect
    with contextlib.ExitStack() as stack:
        addresses: dict[Path, Address] = {}

        @contextlib.contextmanager
        def served_home(_: Address) -> Iterator[StudioApi]:
            places = Places.of()
            home = places.data.parent
            if home not in addresses:
                home.mkdir(parents=True, exist_ok=True)
                addresses[home] = stack.enter_context(served(stack.enter_context(short(home))))
            with connect(addresses[home], places) as studio:
                yield studio

        monkeypatch.setattr(connecting, "chosen", connecting.Connection("unix:///its/own"))
        monkeypatch.setattr(remote, "connect", served_home)
        yield "elsewhere"
