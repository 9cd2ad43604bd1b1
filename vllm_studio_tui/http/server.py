"""The server itself: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http.context import ServeContext
from vllm_studio_tui.http.errors import error_response
from vllm_studio_tui.http.event_sources import EventSources
from vllm_studio_tui.http.guard import CONTEXT, guarded, origin_allowed, unknown
from vllm_studio_tui.http.routes import all_routes
from vllm_studio_tui.kit import gc_freeze, secrets, unix_socket
from vllm_studio_tui.kit.listeners import all_pids, holders, listeners
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.kit.process import start_ticks
from vllm_studio_tui.services.serving.api_keys import ApiKeys
from vllm_studio_tui.services.serving.callbacks import RequestCallbacks
from vllm_studio_tui.services.serving.dispatcher import Dispatcher
from vllm_studio_tui.services.serving.here import private_socket
from vllm_studio_tui.services.serving.key_ring import KeyRing
from vllm_studio_tui.services.serving.request_log import RequestLog
from vllm_studio_tui.services.serving.webhook import webhook_address

if TYPE_CHECKING:
    from vllm_studio_tui.studio import Studio

log = logging.getLogger(__name__)
#: Seconds that an idle connection is kept, and that the head of a request may take.
KEEP = 75.0
#: Letters of a header, and how many a request may have.
MAX_HEADER = 32 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen.

    Attributes:
        insecure: Listen for other machines without a key; they may ask models, and nothing of the studio itself.
        only_socket: Do not listen on a port at all.
    """

    host: str
    port: int
    socket: Path | None = None
    insecure: bool = False
    only_socket: bool = False


def serve(studio: Studio, options: Options, said: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; engines go on.

    Args:
        said: Called with each line for the person in front.

    Raises:
        StudioError: It cannot listen there.
    """
    # Threads that write rows or look at runs give the interpreter back sooner: a request does not wait 5 ms for them.
    sys.setswitchinterval(0.0005)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(studio, options, said))


async def _serve(studio: Studio, options: Options, said: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(studio, options, said):
        gc_freeze.settled()
        await stop.wait()
        said("stopping: no new requests; engines go on")


@contextlib.asynccontextmanager
async def running(
    studio: Studio, options: Options, said: Callable[[str], None] = lambda _: None
) -> AsyncIterator[ServeContext]:
    """Run a server in this event loop.

    Raises:
        StudioError: It cannot listen there.
    """
    settings = studio.settings
    folder = private_dir(studio.places.state / "serve")
    owner_secret = _owner_secret(settings.api_key)
    webhook = webhook_address(settings)
    tls = _tls(settings.tls_cert, settings.tls_key)
    loopback = options.only_socket or _is_loopback(options.host)
    has_keys = owner_secret is not None or bool(await asyncio.to_thread(lambda: ApiKeys(studio.db).list()))
    if not loopback and not options.insecure and not has_keys:
        raise UsageError(
            f"{options.host} can be reached by other machines, and there is no key",
            cause="Whoever reaches this server could use your GPUs and stop your models.",
            advice="Make a key: vllm-studio keys add NAME. Or listen on 127.0.0.1, or insist with --insecure.",
        )
    with _only_one(folder) as primary:
        bound = None if options.only_socket else _bind(options.host, options.port)
        try:
            request_log = await asyncio.to_thread(lambda: RequestLog(studio.places, studio.db))
            keys = await asyncio.to_thread(lambda: KeyRing(studio.db, request_log.owner))
            if primary:
                await asyncio.to_thread(request_log.settle)
            callbacks = await asyncio.to_thread(RequestCallbacks.open, webhook)
            dispatcher = Dispatcher(studio, primary=primary)
            await dispatcher.start()
            context = ServeContext(
                studio,
                dispatcher,
                keys,
                request_log,
                owner_secret=owner_secret,
                loopback=loopback,
                insecure=options.insecure,
                primary=primary,
                listens=None if bound is None else (options.host, bound.getsockname()[1]),
            )
            context.tell_others(callbacks)
            runner = web.AppRunner(
                application(context),
                access_log=None,
                handle_signals=False,
                handler_cancellation=True,
                keepalive_timeout=KEEP,
                shutdown_timeout=settings.shutdown_grace,
                max_field_size=MAX_HEADER,
                max_line_size=MAX_HEADER,
            )
            await runner.setup()
            private = private_socket(studio.places)
            sockets: list[Path] = []
            try:
                for one in [one for one in ((private if primary else None), options.socket) if one is not None]:
                    made = _bind_socket(one, taken=one == private)
                    sockets.append(one)
                    await web.SockSite(runner, made).start()
                url = None
                if bound is not None:
                    await web.SockSite(runner, bound, ssl_context=tls).start()
                    scheme = "https" if tls is not None else "http"
                    url = _url(scheme, options.host, bound.getsockname()[1])
                if primary:
                    _write_facts(folder, url, private)
                _say(said, url, options, primary)
                yield context
            finally:
                context.draining = True
                await runner.cleanup()
                await dispatcher.close()
                await context.close()
                await asyncio.to_thread(context.notes.close)
                await asyncio.to_thread(callbacks.close)
                await asyncio.to_thread(request_log.close)
                await asyncio.to_thread(keys.close)
                for one in sockets:
                    one.unlink(missing_ok=True)
                if primary:
                    (folder / "serve.json").unlink(missing_ok=True)
        finally:
            if bound is not None:
                bound.close()


def application(context: ServeContext) -> web.Application:
    """Return the server's routes, put together."""
    app = web.Application(client_max_size=context.settings.max_body)
    app[CONTEXT] = context
    for route in all_routes():
        app.router.add_route(route.method, route.path, guarded(context, route), expect_handler=_expected)
    app.router.add_route("*", "/{path:.*}", unknown, expect_handler=_expected)

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "vllm-studio"
        origin = request.headers.get("Origin")
        if origin is not None and origin_allowed(context, origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
            response.headers["Access-Control-Expose-Headers"] = "x-vllm-studio-request, x-vllm-studio-run"

    app.on_response_prepare.append(prepared)
    EventSources(context)
    if context.settings.alert_command or context.settings.alert_webhook is not None:
        context.watching.keep()

    async def end_streams(_: web.Application) -> None:
        context.events.close()

    app.on_shutdown.append(end_streams)
    return app


async def _expected(request: web.Request) -> web.StreamResponse | None:
    """Let a client go on that asks before it sends its body. The library's own answer to others repeats what it got."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return error_response(request.path, Refusal(417, "expectation_failed", "only 100-continue can be expected"))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return None


def _say(said: Callable[[str], None], url: str | None, options: Options, primary: bool) -> None:
    where = " and ".join(str(one) for one in (url and f"{url}/v1", options.socket) if one)
    said(f"vllm-studio serves on {where or 'its private socket'}")
    if not primary:
        said("another `serve` of this home launches and stops models; this one only passes requests to what runs")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[bool]:
    """Yield whether this is the first server of its home; only that one launches and stops for requests."""
    fd = os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
    finally:
        os.close(fd)


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound.

    Raises:
        StudioError: The port is taken, or the host is none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = next((one for one in found if one[0] == socket.AF_INET), found[0])
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        advice = "Use an address of this machine, such as 127.0.0.1."
        raise StudioError(f"cannot listen on {host}", cause=error.strerror or str(error), advice=advice) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            who = _holders(port) or "another program"
            raise StudioError(
                f"port {port} of {host} is taken", cause=f"{who} listens on it.", advice="Choose another: --port N."
            ) from None
        title = f"cannot listen on port {port} of {host}"
        raise StudioError(title, cause=error.strerror or str(error), advice="Choose another: --host, --port.") from None
    return bound


def _holders(port: int) -> str:
    """Return the processes that listen on a port, in words; empty where they are not told."""
    pids = {pid for one in listeners(port, None) or () for pid in holders(one.inode, all_pids())}
    return ", ".join(f"process {pid}" for pid in sorted(pids))


def _bind_socket(path: Path, *, taken: bool) -> socket.socket:
    """Return a unix socket that is bound; one that a dead server left is replaced.

    Args:
        taken: We hold the lock of this socket, so whoever left it is dead.

    Raises:
        StudioError: Something else is there, a server that lives, or nothing can be made there.
    """
    if path.is_socket():
        if not taken and unix_socket.answers(path):
            title = f"another server listens on {path}"
            raise StudioError(title, advice="Stop it, or choose another path: --socket.")
        path.unlink(missing_ok=True)
    elif path.exists():
        raise StudioError(f"{path} is there, and no socket", advice="Choose another path: --socket.")
    try:
        private_dir(path.parent)
        return unix_socket.bind(path)
    except OSError as error:
        title = f"cannot listen on {path}"
        raise StudioError(title, cause=error.strerror or str(error), advice="Choose another: --socket.") from None


def _owner_secret(reference: str | None) -> str | None:
    if reference is None:
        return None
    try:
        return secrets.resolve(reference, os.environ)
    except ValueError as error:
        title = "the setting api_key cannot be read"
        raise StudioError(title, cause=str(error), advice="Set that variable or file.") from None


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        if key is not None:
            raise UsageError("tls_key is set without tls_cert", advice="Set both, or neither.")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        cause = f"{certificate}: {error.strerror or error}."
        raise StudioError("the certificate cannot be used", cause=cause, advice="See tls_cert and tls_key.") from None
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _url(scheme: str, host: str, port: int) -> str:
    name = host.strip("[]")
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"


def _write_facts(folder: Path, url: str | None, private: Path) -> None:
    """Write down where other programs of this home find the server."""
    facts: dict[str, Any] = {
        "pid": os.getpid(),
        "start": start_ticks(os.getpid()),
        "url": url,
        "socket": str(private),
        "started_at": time.time(),
        "version": __version__,
    }
    write_atomic(folder / "serve.json", json.dumps(facts).encode())


def log_to_stderr() -> None:
    """Write what goes wrong to the standard error output; what is sent to us that is no HTTP goes wrong elsewhere."""
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
