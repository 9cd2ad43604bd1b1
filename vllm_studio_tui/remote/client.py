"""The client of a studio elsewhere: calls, streams and samples. Blocking, but for the events of answers."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import httpx2 as httpx

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.remote.any_value import BadShape
from vllm_studio_tui.remote.contract import VERSION_HEADER, CallShape
from vllm_studio_tui.remote.errors import error_of
from vllm_studio_tui.remote.trust import trusted
from vllm_studio_tui.remote.wording import in_words, refusal

#: Seconds until a connection is there.
CONNECT = 10.0
#: Seconds that one call may take: a launch looks at files of models, a stop waits for the engine.
ANSWER = 900.0
#: Seconds without a byte after which a stream is broken: an empty line comes every two.
SILENCE = 12.0
#: The header by which a stream is named; see `http.studio_streams`.
STREAM_HEADER = "x-vllm-studio-stream"
#: Bytes of one line of a stream.
LONGEST = 256 * 1024 * 1024
#: A network that is cut is noticed after half a minute, also where nothing is being sent.
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
]


class Client:
    """Asks one studio elsewhere.

    Args:
        socket_path: The unix socket on this machine that leads there.
    """

    def __init__(self, address: Address, socket_path: str | None = None) -> None:
        self.address = address
        self._socket = socket_path
        headers = {VERSION_HEADER: __version__, "User-Agent": f"vllm-studio/{__version__}"}
        if address.api_key is not None:
            headers["Authorization"] = f"Bearer {address.api_key}"
        self._options: dict[str, Any] = {
            "base_url": address.url,
            "headers": headers,
            "timeout": httpx.Timeout(ANSWER, connect=CONNECT),
            "follow_redirects": False,
        }
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=30.0)
        options = [] if socket_path is not None else _KEEP_ALIVE
        self._transport: dict[str, Any] = {
            "uds": socket_path,
            "socket_options": options,
            "limits": limits,
            "verify": trusted(address),
            "trust_env": False,
        }
        # Proxies of the environment are for the web; a studio is asked directly, as ssh asks it.
        self._http = httpx.Client(transport=httpx.HTTPTransport(**self._transport), trust_env=False, **self._options)

    def close(self) -> None:
        self._http.close()

    def check(self) -> None:
        """Find out whether a studio of the same version answers.

        Raises:
            StudioError: There is none, it has another version, or does not know the key.
        """
        with in_words(self.address):
            answer = self._http.get("/studio", timeout=httpx.Timeout(30.0, connect=CONNECT))
            data = self._read(answer)
        theirs = data.get("version") if isinstance(data, dict) else None
        if not isinstance(theirs, str):
            raise StudioError(
                f"{self.address.name} is no studio",
                cause="What answers there is another server, or an older version of this program.",
                advice="Start `vllm-studio serve` there, and give its address.",
            )
        if theirs != __version__:
            raise StudioError(
                f"{self.address.name} has another version of this program",
                cause=f"Here is {__version__}, there is {theirs[:40]}.",
                advice="Install the same version of vllm-studio-tui on both.",
            )

    def call(self, shape: CallShape, arguments: Mapping[str, Any]) -> Any:
        """Return what a method of the studio there returns.

        Raises:
            StudioError: The method raises it, or the studio does not answer.
            OSError: The method raises it.
        """
        with in_words(self.address):
            body = _body(shape, arguments)
            data = self._read(self._http.post(_path(shape), content=body))
            if not isinstance(data, dict) or "value" not in data:
                raise BadShape("no value")
            return shape.result.decode(data["value"])

    def lines(self, shape: CallShape, arguments: Mapping[str, Any]) -> Iterator[Any]:
        """Yield what a method of the studio there yields, until there is no more or one stops asking."""
        with in_words(self.address), self._stream("POST", _path(shape), _body(shape, arguments)) as answer:
            for line in _whole_lines(answer.iter_bytes()):
                document = _document(line)
                if document is None:
                    return
                yield shape.result.decode(document)

    def samples(self, every: float) -> Iterator[Any]:
        """Yield the documents of samples; None where the studio only lets hear that it is there."""
        with in_words(self.address), self._stream("GET", f"/studio/samples?every={every}", b"") as answer:
            for line in _whole_lines(answer.iter_bytes(), quiet=True):
                document = _document(line) if line else None
                if line and document is None:
                    return
                yield document

    @contextlib.contextmanager
    def _stream(self, method: str, path: str, body: bytes) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(SILENCE, connect=CONNECT)
        with self._http.stream(method, path, content=body, timeout=timeout) as answer:
            if answer.status_code != 200:
                answer.read()
                self._read(answer)
            yield answer

    async def events(self, shape: CallShape, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the events of an answer. Whoever closes this stops it there, and waits until what came is kept."""
        transport = httpx.AsyncHTTPTransport(**self._transport)
        name = uuid.uuid4().hex
        ended = False
        with in_words(self.address):
            async with httpx.AsyncClient(transport=transport, trust_env=False, **self._options) as client:
                try:
                    async with client.stream(
                        "POST",
                        _path(shape),
                        content=_body(shape, arguments),
                        headers={STREAM_HEADER: name},
                        timeout=httpx.Timeout(SILENCE, connect=CONNECT),
                    ) as answer:
                        if answer.status_code != 200:
                            await answer.aread()
                            ended = True
                            self._read(answer)
                        rest = b""
                        async for piece in answer.aiter_bytes():
                            *lines, rest = (rest + piece).split(b"\n")
                            for line in filter(None, lines):
                                try:
                                    document = _document(line)
                                except (StudioError, OSError):
                                    ended = True
                                    raise
                                if document is None:
                                    ended = True
                                    return
                                yield shape.result.decode(document)
                            if len(rest) > LONGEST:
                                raise BadShape("a line without an end")
                        raise BadShape("a stream without an end")
                finally:
                    if not ended:
                        with contextlib.suppress(httpx.HTTPError):
                            await client.post(f"/studio/streams/{name}/stop", timeout=SILENCE)

    # --- answers ----------------------------------------------------------------------------------------

    def _read(self, answer: httpx.Response) -> Any:
        """Return the document of an answer; raise the error that it is."""
        try:
            data = json.loads(answer.content)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and isinstance(data.get("error"), dict):
            raise error_of(data["error"])
        if answer.status_code < 300:
            return data
        raise refusal(self.address, answer.status_code, data)


def _path(shape: CallShape) -> str:
    return f"/studio/{shape.service or 'studio'}/{shape.method}"


def _body(shape: CallShape, arguments: Mapping[str, Any]) -> bytes:
    return json.dumps({name: shape.arguments[name].encode(value) for name, value in arguments.items()}).encode()


def _whole_lines(pieces: Iterator[bytes], *, quiet: bool = False) -> Iterator[bytes]:
    """Yield lines, the empty ones too with `quiet`.

    Raises:
        BadShape: The stream ended without saying so.
    """
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line for line in lines if line or quiet)
        if len(rest) > LONGEST:
            raise BadShape("a line without an end")
    raise BadShape("a stream without an end")


def _document(line: bytes) -> Any:
    """Return the value of a line; None at the end.

    Raises:
        StudioError, OSError: What the line says was raised.
        BadShape: It is no such line.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise BadShape("no JSON") from None
    if isinstance(data, dict):
        if "error" in data:
            raise error_of(data["error"])
        if "value" in data:
            return data["value"]
        if data.get("end") is True:
            return None
    raise BadShape("no value")
