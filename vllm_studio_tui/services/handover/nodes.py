"""The hosts that a recipe names in `nodes`: how each is reached, and what its studio answers to a question."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.followers.ssh import Host, cause_of
from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings

#: The program that is run on a host whose entry of the settings names none.
PROGRAM = "vllm-studio"
#: Hosts that are asked at once.
AT_ONCE = 16
#: Seconds that a connection may take, and an answer.
CONNECT, ANSWER = 15.0, 60.0


@dataclass(frozen=True, slots=True)
class Node:
    """A host of a recipe.

    Attributes:
        host: How its studio is called.
        ssh: User, host and port as ssh is given them; empty: this machine.
    """

    name: str
    host: Host
    ssh: str = ""

    def to_plan(self) -> dict[str, Any]:
        """Return it as the follower reads it back (`Host.from_plan`)."""
        return {"name": self.name, "ssh": list(self.host.ssh), "program": self.host.program}


def is_here(name: str) -> bool:
    """Return whether a node is this machine."""
    return name in ("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn())


def node_of(name: str, settings: Settings) -> Node:
    """Return how a node is reached: as the host of that name in the settings, else as ssh knows it.

    Raises:
        LaunchRefused: The host of the settings is not reached over ssh.
    """
    entry = settings.hosts.get(name)
    if entry is None:
        if is_here(name):
            return Node(name, Host(name, (), ""))
        return _node(name, f"ssh://{name}")
    if entry.problem:
        raise LaunchRefused(f"the host {name} cannot be used", cause=f"{entry.problem}.", advice="Correct `hosts`.")
    if not entry.connect.startswith("ssh://"):
        raise LaunchRefused(
            f"{name} cannot run a part of a model",
            cause=f"The settings reach it by {urlsplit(entry.connect).scheme or 'another way'}, and ranks need ssh.",
            advice="Name it in `nodes` as ssh does, [user@]host[:port], or give its entry an ssh:// address.",
        )
    return _node(name, entry.connect)


def _node(name: str, address: str) -> Node:
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")[2]
    # A name in ~/.ssh/config has capitals, `hostname` none.
    host = place.partition("]")[0][1:] if place.startswith("[") else place.partition(":")[0]
    port = ("-p", str(parts.port)) if parts.port is not None else ()
    user = ("-l", unquote(parts.username)) if parts.username else ()
    path = unquote(parts.path).rstrip("/")
    return Node(name, Host(name, (*port, *user, "--", host), quoted(path or PROGRAM)), host)


def quoted(path: str) -> str:
    """Return the path of a program as any shell there reads it."""
    plain = path.translate(str.maketrans("", "", "/-_.")).isalnum()
    return path if plain else "'" + path.replace("'", "'\\''") + "'"


def ask(
    nodes: Sequence[Node], arguments: Sequence[str], questions: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Run a command of each node's studio, all at once, and return the JSON that it prints. Blocking.

    Args:
        arguments: As `("rank", "facts")`.
        questions: What each reads on stdin, as JSON.

    Raises:
        LaunchRefused: A node did not answer; each that did not is named, with why.
    """
    if any(one.host.ssh for one in nodes) and shutil.which("ssh") is None:
        raise LaunchRefused("there is no ssh on this machine", advice="Install OpenSSH's client.")
    texts = [json.dumps(one).encode() for one in questions]
    with ThreadPoolExecutor(min(AT_ONCE, len(nodes))) as pool:
        found = list(pool.map(lambda one, text: _asked(one.host, arguments, text), nodes, texts))
    failed = [one for one in found if isinstance(one, LaunchRefused)]
    if failed:
        names = [node.name for node, one in zip(nodes, found, strict=True) if isinstance(one, LaunchRefused)]
        if len(failed) == 1:
            raise failed[0]
        raise LaunchRefused(
            f"{len(failed)} of {len(nodes)} nodes cannot be used: {', '.join(names)[:200]}",
            cause="\n".join(one.title + (f": {one.cause}" if one.cause else "") for one in failed),
            advice="\n".join(dict.fromkeys(one.advice for one in failed if one.advice)),
            passing=all(one.passing for one in failed),
        )
    return [one for one in found if isinstance(one, dict)]


def _asked(host: Host, arguments: Sequence[str], text: bytes) -> dict[str, Any] | LaunchRefused:
    try:
        done = subprocess.run(
            host.command(*arguments, connect=CONNECT), input=text, capture_output=True, timeout=ANSWER, check=False
        )
    except subprocess.TimeoutExpired:
        return LaunchRefused(f"{host.name} did not answer within {ANSWER:g} s", passing=True)
    except OSError as error:
        return LaunchRefused(f"{host.name} cannot be asked", cause=str(error))
    for line in reversed(done.stdout.splitlines()):
        with contextlib.suppress(ValueError):
            data = safe_json.loads(line)
            if isinstance(data, dict) and isinstance(data.get("error"), dict):
                said = {key: clean_line(str(data["error"].get(key) or "")) for key in ("title", "cause", "advice")}
                return LaunchRefused(f"{host.name}: {said['title']}", cause=said["cause"], advice=said["advice"])
            if isinstance(data, dict) and done.returncode == 0:
                return data
    words = (done.stdout[-2000:] + b"\n" + done.stderr[-2000:]).decode("utf-8", "replace").splitlines()
    cause, passing = cause_of(host, done.returncode, words)
    return LaunchRefused(cause.title, cause="\n".join(cause.evidence), advice=cause.advice, passing=passing)


def address_of(node: Node, others: Sequence[Node] = ()) -> str:
    """Return the address of a node as the others reach it, as far as this machine knows. Blocking.

    Raises:
        LaunchRefused: Its name is not known here.
    """
    if not node.ssh:
        there = next((address_of(one) for one in others if one.ssh), "")
        return _own_address(there) if there else "127.0.0.1"
    name = node.ssh
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["ssh", "-G", *node.host.ssh],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        name = next((line.split()[1] for line in done.stdout.splitlines() if line.startswith("hostname ")), name)
    with contextlib.suppress(ValueError):
        return str(ip_address(name))
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LaunchRefused(
            f"the address of {node.name} is not known here",
            cause=f"{name}: {error.strerror or error}.",
            advice="The ranks find each other by it: use a name or address in `nodes` that this machine can look up.",
        ) from None
    return str(next((one for one in found if one[0] == socket.AF_INET), found[0])[4][0])


def _own_address(there: str) -> str:
    """Return the address of this machine that one elsewhere sees; nothing is sent."""
    family = socket.AF_INET6 if ":" in there else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect((there, 9))
            return str(trial.getsockname()[0])
        except OSError:
            return "127.0.0.1"
