"""An application of Ray Serve whose replicas each run one engine and pass requests on to it.

`vllm-studio render ray-serve` writes it, as `vllm_studio_engine.py`, beside the file that says which engine; it runs on
the nodes of a Ray cluster, where the standard library, Ray and what `ray[serve]` brings are all that it has.

Where a replica runs, how many there are and when one is replaced is Ray's. A replica is ready once its engine is, and
unhealthy when its engine has ended or answers no more: Ray then starts another. An engine never outlives its replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from typing import Any

#: What stands for the port in the words of the engine's command.
PORT = "{port}"
#: Headers that belong to one connection and are not passed on.
HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "content-length",
})  # fmt: skip
#: Seconds an engine is given to end in order, and between two looks at one that starts.
GRACE, LOOK = 10.0, 0.5


def build(told: Mapping[str, Any]) -> Any:
    """Return the application; its deployment is called `engine`."""
    serve: Any = import_module("ray.serve")
    return serve.deployment(name="engine")(Engine).bind(dict(told))


class Engine:
    """A replica.

    What it is told: `argv` with `{port}` where the port stands, `env`, `secrets` (variables with `env:NAME` or
    `file:PATH` of its own node), `cwd`, `health_path`, `ready_timeout` in seconds (none: as long as it lives),
    `own_paths`: what would tell of one replica only, and is not answered.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._health = str(told.get("health_path") or "/health")
        self._own_paths = frozenset(told.get("own_paths") or ())
        self._port = _free_port()
        words = [str(word).replace(PORT, str(self._port)) for word in told["argv"]]
        environ = {**os.environ, **_texts(told.get("env")), **_secrets(_texts(told.get("secrets")))}
        # A pipe that nobody writes to: it ends with this process, however that ends, and the guard ends the engine.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", os.path.abspath(__file__), *words],  # noqa: PTH100 - a file as the worker has it
            stdin=subprocess.PIPE, env=environ, cwd=told.get("cwd") or None, start_new_session=True,
        )  # fmt: skip
        _say(f"engine on port {self._port}, guard {self._guard.pid}")
        limit = told.get("ready_timeout")
        until = time.monotonic() + float(limit) if limit else None
        while not self._answers():
            if until is not None and time.monotonic() > until:
                self._end()
                raise RuntimeError(f"the engine was not ready within {limit} s")
            time.sleep(LOOK)
        _say("engine is ready")
        self._session: Any = None

    def _answers(self) -> bool:
        """Return whether it serves.

        Raises:
            RuntimeError: It has ended.
        """
        code = self._guard.poll()
        if code is not None:
            raise RuntimeError(f"the engine ended with {code}; its last words are in the log of this replica")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{self._health}", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500  # it asks for a key: it serves
        except (OSError, ValueError):
            return False

    async def check_health(self) -> None:
        """Raise where it does not serve: Ray asks every few seconds, and replaces a replica that fails three times."""
        if not await asyncio.get_running_loop().run_in_executor(None, self._answers):
            raise RuntimeError("the engine does not answer")

    async def __call__(self, request: Any) -> Any:
        """Pass a request on, and its answer back as it comes."""
        aiohttp: Any = import_module("aiohttp")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=10), auto_decompress=False,
                connector=aiohttp.TCPConnector(limit=0),
            )  # fmt: skip
        path = request.url.path.removeprefix(request.scope.get("root_path", "").rstrip("/")) or "/"
        query = f"?{request.url.query}" if request.url.query else ""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        body = await request.body()
        responses: Any = import_module("starlette.responses")
        if path in self._own_paths:
            return responses.PlainTextResponse("each replica of it counts for itself", 404)
        try:
            answer = await self._session.request(
                request.method, f"http://127.0.0.1:{self._port}{path}{query}", data=body or None, headers=headers,
                allow_redirects=False,
            )  # fmt: skip
        except aiohttp.ClientError as error:
            return responses.JSONResponse({"error": {"message": f"the engine does not answer: {error}"}}, 502)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
        return responses.StreamingResponse(_passed_on(answer), answer.status, kept)

    def _end(self) -> None:
        if self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(GRACE + 5)

    def __del__(self) -> None:
        if hasattr(self, "_guard"):
            self._end()


async def _passed_on(answer: Any) -> AsyncIterator[bytes]:
    """Yield an answer as it comes; one that nobody reads on is given up, so that the engine stops making it."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _texts(told: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, Mapping) else {}


def _secrets(references: Mapping[str, str]) -> dict[str, str]:
    """Return the values of secrets, as this node has them.

    Raises:
        RuntimeError: It does not have one.
    """
    found = {}
    for name, reference in references.items():
        kind, _, rest = reference.partition(":")
        try:
            if kind == "file":
                with open(os.path.expanduser(rest), encoding="utf-8") as stream:  # noqa: PTH123, PTH111
                    found[name] = stream.readline().strip()
            else:
                found[name] = os.environ[rest]
        except (OSError, KeyError):
            where = f"file {rest}" if kind == "file" else f"variable {rest}"
            raise RuntimeError(f"{name} cannot be had on {socket.gethostname()}: there is no {where}") from None
    return found


def _say(words: str) -> None:
    os.write(1, f"[vllm-studio] {words}\n".encode())


def guard(words: list[str]) -> int:
    """Run an engine until it ends, or until the pipe at our input does; then end all that it started."""
    libc = ctypes.CDLL(None)
    ended = False

    def told(_number: int, _frame: Any) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG: nor does it outlive this one
    )  # fmt: skip
    while engine.poll() is None and not ended:
        ended = bool(select.select([0], [], [], 0.2)[0]) or ended
    code = engine.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(engine.pid, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while engine.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(engine.pid, signal.SIGKILL)
    return 0 if code is None else code % 256


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
