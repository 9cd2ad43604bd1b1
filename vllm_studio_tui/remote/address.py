"""Where a studio is: `ssh://[user@]host[:port][/path/of/vllm-studio]`, `http(s)://host[:port]`, `unix:///socket`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit import secrets

#: What a name of a host or user may be: ssh takes it as an argument of its own.
_HOST = re.compile(r"[A-Za-z0-9_:\[\]][A-Za-z0-9._:%\[\]-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A studio elsewhere.

    Attributes:
        scheme: `ssh`, `http`, `https` or `unix`.
        host: Its name; of a unix socket the name of the socket's file.
        path: Over ssh the program there; of a unix socket the socket.
        api_key: The key itself, for HTTP.
        called: The name that it has in the settings; empty: it has none.
    """

    scheme: str
    host: str
    user: str | None = None
    port: int | None = None
    path: str = ""
    api_key: str | None = field(default=None, repr=False)
    called: str = ""

    @property
    def name(self) -> str:
        """Return what the person calls it."""
        return self.called or self.host

    @property
    def url(self) -> str:
        """Return where HTTP goes to."""
        if self.scheme in ("ssh", "unix"):
            return "http://studio"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port is not None else "") + self.path


def read_address(
    text: str, environ: Mapping[str, str], *, api_key: str | None = None, insecure_http: bool = False
) -> Address:
    """Return the address that a person wrote.

    Args:
        api_key: A reference such as `env:NAME`.
        insecure_http: Take HTTP without TLS to another machine too.

    Raises:
        UsageError: It is none, or would send what is secret over a network for all to read.
    """
    forms = "ssh://[user@]host, https://host:port, http://127.0.0.1:port or unix:///path/of/socket"
    advice = f"Write it as {forms}."
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError("this is no address of a studio", cause=f"{error}.", advice=advice) from None
    scheme = parts.scheme.lower()
    if scheme not in ("ssh", "http", "https", "unix"):
        raise UsageError("this is no address of a studio", cause="It has no kind that is known.", advice=advice)
    if parts.query or parts.fragment or parts.password is not None:
        cause = "Keys and passwords do not belong in an address." if parts.password is not None else ""
        raise UsageError("this is no address of a studio", cause=cause, advice=advice)
    if api_key is not None and scheme in ("ssh", "unix"):
        raise UsageError("a key is for http and https", advice="Over ssh, and on a socket, nobody asks for one.")
    path = unquote(parts.path)
    if scheme == "unix":
        if host or not path.startswith("/"):
            raise UsageError("this is no address of a studio", advice=advice)
        return Address("unix", path.rsplit("/", 1)[-1], path=path)
    if not _HOST.fullmatch(host) or (parts.username is not None and not _USER.fullmatch(unquote(parts.username))):
        raise UsageError("this is no address of a studio", cause="It names no host.", advice=advice)
    user = unquote(parts.username) if parts.username is not None else None
    if scheme == "ssh":
        return Address("ssh", _as_written(parts.netloc), user, port, path.rstrip("/"))
    if user is not None:
        raise UsageError(
            "this is no address of a studio", cause="HTTP knows no user.", advice="Use --api-key env:NAME."
        )
    if scheme == "http" and not insecure_http and not is_loopback(host):
        raise UsageError(
            f"http to {host} can be read, and changed, by whoever is in between",
            cause="The key and everything that is asked would cross the network as plain text.",
            advice="Use ssh:// or https://. Or insist: --insecure-http.",
        )
    return Address(scheme, host, None, port, path.rstrip("/"), _secret(api_key, environ))


def _as_written(netloc: str) -> str:
    """Return the host with the letters that a person wrote: a name in `~/.ssh/config` has capitals, `hostname` none."""
    place = netloc.rpartition("@")[2]
    _, bracket, inside = place.partition("[")
    return inside.partition("]")[0] if bracket else place.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Return whether this names the machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _secret(reference: str | None, environ: Mapping[str, str]) -> str | None:
    if reference is None:
        return None
    if not reference.startswith(("env:", "file:")):
        raise UsageError(
            "a key is given by where it is, never itself",
            cause="Other programs of this machine can read the arguments of a command.",
            advice="Use --api-key env:NAME, or --api-key file:PATH.",
        )
    try:
        return secrets.resolve(reference, environ)
    except ValueError as error:
        raise UsageError("the key cannot be read", cause=str(error), advice="Set that variable or file.") from None
