"""Ask the `serve` that runs on this home, over the private socket in its state directory. Blocking.

With the standard library: `requests --live` starts in half the time that an HTTP library takes to load.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.unix_socket import address_of

#: Seconds to wait for an answer.
TIMEOUT = 3.0
#: Bytes of an answer; a longer one is none of ours.
LONGEST = 16 * 1024 * 1024


class NotServing(StudioError):
    """No `serve` runs on this home."""

    def __init__(self) -> None:
        super().__init__("nothing serves from this home", advice="Start it: vllm-studio serve")


class ServeClient:
    """A running `serve` of this home, if there is one."""

    def __init__(self, places: Places, *, timeout: float = TIMEOUT) -> None:
        self._folder = places.state / "serve"
        self._timeout = timeout

    def about(self) -> dict[str, Any] | None:
        """Return what `serve` says of itself (`pid`, `url`, `started_at`, `version`); None: it never ran, or ended."""
        try:
            found = safe_json.loads((self._folder / "serve.json").read_bytes()[:LONGEST])
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def get(self, path: str) -> dict[str, Any]:
        """Return the document of a path.

        Raises:
            NotServing: Nobody listens.
            StudioError: It refused, did not answer in time, or answered with something else.
        """
        return self._ask("GET", path)

    def post(self, path: str) -> dict[str, Any]:
        """Return the answer to an order. See `get`."""
        return self._ask("POST", path)

    def live(self) -> dict[str, Any]:
        """Return the requests that are under way. See `get`."""
        return self.get("/requests/live")

    def cancel(self, request_id: str) -> None:
        """End a request that is under way: the engine's slot is free after it. See `get`.

        Raises:
            NotFound: It has ended already.
        """
        self.post(f"/requests/{quote(request_id, safe='')}/cancel")

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        connection = _Connection(self._folder / "serve.sock", self._timeout)
        try:
            connection.request(method, path, headers={"Accept": "application/json", "Connection": "close"})
            answer = connection.getresponse()
            status, body = answer.status, answer.read(LONGEST + 1)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NotServing from None
        except TimeoutError:
            raise StudioError(
                "vllm-studio serve does not answer", cause=f"It gave no answer within {self._timeout:g} s."
            ) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise StudioError("vllm-studio serve cannot be asked", cause=str(error) or type(error).__name__) from None
        finally:
            connection.close()
        try:
            document = safe_json.loads(body) if len(body) <= LONGEST else None
        except ValueError:
            document = None
        if status >= 400:
            raise _refused(status, document, path)
        if not isinstance(document, dict):
            raise StudioError(
                "vllm-studio serve cannot be understood", cause=f"Its answer to {path} is no JSON object."
            )
        return document


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with address_of(self._path) as name:
            self.sock.connect(name)


def _refused(status: int, document: Any, path: str) -> StudioError:
    said = document.get("error") if isinstance(document, dict) else None
    if isinstance(said, dict):
        said = said.get("message") or said.get("title")
    detail = document.get("detail") if isinstance(document, dict) else None
    words = said if isinstance(said, str) and said else f"it answered {path} with {status}"
    cause = detail if isinstance(detail, str) and detail != words else ""
    kind = NotFound if status == 404 else StudioError
    return kind(words[:500], cause=cause[:1000])
