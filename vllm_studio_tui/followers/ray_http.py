"""The HTTP interface of a Ray cluster's dashboard. Standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.kit import safe_json

#: Bytes of an answer; more is of no cluster that a person looks at.
MOST = 32 * 1024 * 1024
#: Seconds that an answer may take.
PATIENCE = 10.0
#: Ray hides variables from browsers, by this header.
AGENT = "vllm-studio"


class RayTrouble(Exception):
    """A dashboard does not answer, or refuses.

    Attributes:
        words: Why, in words.
        status: The HTTP status; None: there was no answer.
    """

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.words, self.status = words, status


class Dashboard:
    """The dashboard of one cluster.

    Args:
        address: As `http://HOST:8265`, as people write it.
        token: The bearer token; empty: it asks for none.

    Raises:
        ValueError: That is no such address.
    """

    def __init__(self, address: str, token: str = "", *, patience: float = PATIENCE) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address} is no dashboard of Ray: it begins with http:// or https://")
        self.host, self.secure = parts.hostname, parts.scheme == "https"
        self.port = parts.port or (443 if self.secure else 80)
        self.address = address.rstrip("/")
        self._base, self._token, self._patience = parts.path.rstrip("/"), token, patience

    def get(self, path: str) -> Any:
        """Return the JSON of a path.

        Raises:
            RayTrouble: There is none.
        """
        body = self.ask("GET", path)
        try:
            return safe_json.loads(body)
        except ValueError:
            raise RayTrouble(f"{self.address} does not answer as Ray does") from None

    def put(self, path: str, data: Any) -> None:
        """Send JSON to a path.

        Raises:
            RayTrouble: It is refused.
        """
        self.ask("PUT", path, json.dumps(data).encode(), "application/json", patience=60.0)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", *, patience: float = 0.0) -> bytes:
        """Return the body of an answer.

        Raises:
            RayTrouble: It is no answer with status 200, or too long.
        """
        headers = {"User-Agent": AGENT, "Accept": "application/json", "Connection": "close"}
        if kind:
            headers["Content-Type"] = kind
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        link = self._link(patience or self._patience)
        try:
            link.request(method, f"{self._base}{path}", body, headers)
            answer = link.getresponse()
            data = answer.read(MOST + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise RayTrouble(f"Ray does not answer at {self.address}: {words}") from None
        finally:
            link.close()
        if answer.status in (401, 403):
            words = f"Ray at {self.address} asks for a token" if not self._token else "Ray does not take the token"
            raise RayTrouble(f"{words} (RAY_AUTH_TOKEN)", answer.status)
        if answer.status >= 300:
            said = data[:4000].decode(errors="replace").strip()
            raise RayTrouble(said or f"{answer.status} {answer.reason}", answer.status)
        if len(data) > MOST:
            raise RayTrouble(f"an answer of Ray has more than {MOST} bytes", answer.status)
        return data

    def _link(self, patience: float) -> http.client.HTTPConnection:
        if self.secure:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=patience, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=patience)
