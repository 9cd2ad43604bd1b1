"""Read a Ray cluster over HTTP, from its dashboard, in the caller's thread. No Ray is needed here.

All is asked at once, each with a deadline of its own: what does not answer is missing, and the rest is shown.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.domain.ray_reading import read_ray_view
from vllm_studio_tui.domain.ray_view import RayView
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.safe_json import loads
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes import ray_documents as documents

#: Seconds that one answer may take from the first byte that is sent to the last that comes. The first answer of the
#: state API takes two where nothing else is done.
PATIENCE = 8.0
#: Bytes of one answer; more is none. A node of the summary has 12 KiB.
MOST_BYTES = 16 * 1024**2

VERSION = "/api/version"
_NOT_ALIVE = "filter_keys=state&filter_predicates=%21%3D&filter_values=ALIVE"
#: What is asked, by the name of what is missing without it.
PATHS: Mapping[str, str] = {
    "nodes": "/api/v0/nodes?detail=true&limit=1000",
    "load": "/nodes?view=summary",
    "usage": "/api/cluster_status",
    "actors": "/api/v0/actors/summarize",
    "idle_actors": f"/api/v0/actors?detail=true&limit=200&{_NOT_ALIVE}",
    "groups": "/api/v0/placement_groups?detail=true&limit=1000",
    "serve": "/api/serve/applications/",
}
_NO_RAY = "Give the address of its dashboard, as http://HOST:8265."
_KEY = "This cluster asks for a token: set ray_token to a reference (env:NAME, file:PATH) to it."


@dataclass(slots=True)
class Answer:
    """What came of one question: a document, or why there is none."""

    document: Any = None
    why: str = ""
    advice: str = ""


def read_ray(address: str, token: str | None = None, *, patience: float = PATIENCE) -> RayView:
    """Return what a cluster says of itself; one that does not answer says so in `error`. Never raises.

    Args:
        address: Of its dashboard, as `http://host:8265`.
        token: What it knows us by, where it asks for that.
        patience: Seconds for each answer.
    """
    found: dict[str, Any] = {"address": mask_text(address), "at": time.time()}
    first = _ask_all(address, {"version": VERSION}, token, patience)["version"]
    if not first.why and not isinstance(documents.at(first.document, "ray_version"), str):
        first = Answer(None, "what answers there is no dashboard of Ray", _NO_RAY)
    if first.why:
        return read_ray_view({**found, "error": first.why, "advice": first.advice})
    answers = _ask_all(address, PATHS, token, patience)
    return read_ray_view({**found, "version": first.document["ray_version"], **understand(answers)})


def understand(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Return what the answers say, and of what they say nothing."""
    get = {name: answer.document for name, answer in answers.items()}
    made = {
        "nodes": documents.nodes_of(get["nodes"], get["load"], get["usage"]),
        "demands": documents.demands_of(get["usage"]),
        "actors": documents.actor_counts(get["actors"]),
        "idle_actors": documents.actors_of(get["idle_actors"]),
        "groups": documents.group_counts(get["groups"]),
        "waiting_groups": documents.waiting_groups(get["groups"]),
        "applications": documents.applications_of(get["serve"]),
    }
    missing = {name: answer.why for name, answer in answers.items() if answer.why}
    for name, part in (("nodes", "nodes"), ("usage", "demands"), ("actors", "actors"), ("groups", "groups"),
                       ("idle_actors", "idle_actors"), ("serve", "applications")):  # fmt: skip
        if made[part] is None:
            missing.setdefault(name, "its answer is not understood")
    if documents.at(get["load"], "data", "summary") is None:
        missing.setdefault("load", "its answer is not understood")
    return {**made, "proxies": documents.proxies_of(get["serve"]), "missing": missing}


def _ask_all(address: str, paths: Mapping[str, str], token: str | None, patience: float) -> dict[str, Answer]:
    """Ask all paths at once. As daemons: a look-up of a name cannot be ended, and must not keep a program alive."""
    asked = {name: _Question(address, path, token, patience) for name, path in paths.items()}
    until = time.monotonic() + patience
    for one in asked.values():
        threading.Thread(target=one.run, name="ray", daemon=True).start()
    found = {}
    for name, one in asked.items():
        one.done.wait(max(0.0, until - time.monotonic()))
        found[name] = one.answer or Answer(None, f"no whole answer in {patience:g} s")
        one.give_up()  # what it still says is said of a connection that was cut here
    return found


@dataclass(slots=True)
class _Question:
    """One GET. Redirects are not followed and proxies of the environment not used."""

    address: str
    path: str
    token: str | None
    patience: float
    answer: Answer | None = None
    done: threading.Event = field(default_factory=threading.Event)
    _connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        try:
            self.answer = self._asked()
        except (OSError, http.client.HTTPException) as error:
            self.answer = Answer(None, _words(error), _NO_RAY)
        except Exception as error:  # noqa: BLE001 - an address or a token may be anything; never repeat it
            self.answer = Answer(None, f"it cannot be asked ({type(error).__name__})", _NO_RAY)
        finally:
            self.done.set()
            self._close()

    def give_up(self) -> None:
        """End what is still under way: the thread that reads ends by it."""
        sock = self._connection.sock if self._connection is not None else None
        if not self.done.is_set() and sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _asked(self) -> Answer:
        url = urlsplit(self.address)
        if url.scheme not in ("http", "https") or not url.hostname:
            return Answer(None, "the address is no http address", _NO_RAY)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname, url.port, timeout=self.patience)
        headers = {"Accept": "application/json", "Connection": "close"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self._connection.request("GET", f"{url.path.rstrip('/')}{self.path}", headers=headers)
        response = self._connection.getresponse()
        body = response.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            return Answer(None, f"its answer is larger than {MOST_BYTES // 1024**2} MiB")
        if response.status != 200:
            return _refused(response.status, body)
        try:
            return Answer(loads(body))
        except ValueError:
            return Answer(None, "its answer is no JSON", _NO_RAY)


def _refused(status: int, body: bytes) -> Answer:
    """Return what is said instead of an answer: the beginning of the text, as far as it is one."""
    if status in (401, 403):
        return Answer(None, "it wants a token" if status == 401 else "it refuses the token", _KEY)
    text = "" if body.lstrip()[:1] == b"<" else clean_line(body[:2000].decode("utf-8", "replace"), limit=300).strip()
    return Answer(None, f"it answers {status}{f': {text}' if text else ''}", _NO_RAY)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"it does not speak HTTP ({type(error).__name__})"
