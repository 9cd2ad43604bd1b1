"""Requests to an engine's HTTP server, bounded in time and size: everything that answers is hostile.

Standard library only: the keeper imports this.
"""

from __future__ import annotations

import math
import os
import socket
import time
from typing import Any

from vllm_studio_tui.domain.spec import CounterNames, ReadyProbe
from vllm_studio_tui.kit import prometheus, safe_json, secrets
from vllm_studio_tui.kit.ports import resolve

MAX_BODY = 4 * 1024 * 1024
FIELDS = (
    *("prompt_tokens", "generation_tokens", "cached_tokens", "requests", "running", "progress"),
    *("token_gaps", "token_seconds"),
)


class _Timed(socket.socket):
    """A socket whose whole use has one end: somebody who sends a byte now and then does not move it."""

    deadline = 0.0

    def _renew(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)

    def recv_into(self, *args: Any) -> int:
        self._renew()
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self._renew()
        super().sendall(*args)


def get(host: str, port: int, path: str, *, timeout: float, key: str | None = None) -> tuple[int, bytes]:
    """GET with an end: `timeout` seconds for all of it, and `MAX_BODY` bytes.

    Raises:
        OSError, http.client.HTTPException: No usable answer.
    """
    import http.client

    deadline = time.monotonic() + timeout
    family, address = resolve(host, port, timeout)
    connection = http.client.HTTPConnection(host, port)
    with _Timed(family, socket.SOCK_STREAM) as link:
        link.deadline = deadline
        link.settimeout(timeout)
        link.connect(address)
        connection.sock = link
        headers = {"Connection": "close", "User-Agent": "vllm-studio"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            body = bytearray()
            while len(body) < MAX_BODY and (piece := response.read1(64 * 1024)):
                body += piece
                if time.monotonic() > deadline:
                    raise TimeoutError
            return response.status, bytes(body[:MAX_BODY])


def ready(probe: ReadyProbe, host: str, port: int, key: str | None) -> tuple[bool, str]:
    """Return whether the engine serves, and why not."""
    status, words = _ask(probe.path, probe.timeout, host, port, key)
    if status is None:
        return False, words
    if status != 200:
        return False, f"{probe.path} answers {status}"
    if probe.models_path is None:
        return True, ""
    names, words = listed(probe.models_path, probe.timeout, host, port, key)
    if names is None:
        return False, words
    if probe.model is None or probe.model in names:
        return True, ""
    return False, f"{probe.models_path} does not list {probe.model}"


def asks_for_key(probe: ReadyProbe, host: str, port: int, key: str | None) -> tuple[bool, str]:
    """Return whether a server whose process cannot be identified demands the run's key, and so is ours.

    True where the run has no key.
    """
    if probe.guarded is None or key is None:
        return True, ""
    status, words = _ask(probe.guarded, probe.timeout, host, port, None)
    if status is None:
        return False, words
    if status in (401, 403):
        return True, ""
    return False, f"{probe.guarded} answers {status} without the run's key: it may be another server"


def listed(path: str, timeout: float, host: str, port: int, key: str | None) -> tuple[list[str] | None, str]:
    """Return the names in a list of models; None and why not where there is no such list."""
    status, answer = _ask(path, timeout, host, port, key)
    if status is None:
        return None, str(answer)
    if status != 200:
        return None, f"{path} answers {status}"
    try:
        data = safe_json.loads(answer)
    except ValueError:
        return None, f"{path} answers something that is no JSON"
    entries = data.get("data") if isinstance(data, dict) else None
    names = [one.get("id") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [name for name in names if isinstance(name, str)], ""


def _ask(path: str, timeout: float, host: str, port: int, key: str | None) -> tuple[int | None, str]:
    """Return status and body of an answer; None and words where none came."""
    import http.client

    try:
        status, body = get(host, port, path, timeout=timeout, key=key)
    except TimeoutError:
        return None, f"{path} does not answer within {timeout:g} s"
    except ConnectionRefusedError:
        return None, f"nothing listens on :{port}"
    except ConnectionError:
        return None, f"{path}: the connection is closed without an answer"
    except socket.gaierror as error:
        return None, f"the host name {host} does not resolve: {error.strerror}"
    except OSError as error:
        return None, f"{path}: {(error.strerror or str(error) or type(error).__name__).lower()}"[:200]
    except (http.client.HTTPException, ValueError):
        return None, f"{path} does not answer in HTTP"
    return status, body.decode(errors="replace")


def counters(names: CounterNames, host: str, port: int, key: str | None, timeout: float) -> dict[str, float] | None:
    """Return what the engine has counted since it started; None if it did not answer."""
    import http.client

    try:
        status, body = get(host, port, names.path, timeout=timeout, key=key)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    if status != 200:
        return None
    wanted = frozenset(name for one in FIELDS for name in getattr(names, one))
    samples = prometheus.parse(body, wanted=wanted)
    values = {one: prometheus.total(samples, getattr(names, one)) for one in FIELDS if getattr(names, one)}
    found = {one: value for one, value in values.items() if value is not None}
    if names.cached_apart and "prompt_tokens" in found:
        found["prompt_tokens"] += found.get("cached_tokens", 0.0)
    return {one: value for one, value in found.items() if math.isfinite(value)}


def key(reference: str | None) -> str | None:
    """Return the key that probes send; None where there is none, or where it cannot be read any more."""
    if reference is None:
        return None
    try:
        return secrets.resolve(reference, os.environ)
    except ValueError:
        return None
