"""Download files over HTTP: resumed after a cut, verified before they appear, bounded in size.

This file is about httpx2 and imports it; importers do so when they are about to fetch something.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import netrc
import os
import re
import ssl
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.models.demo.package_index import public_url
from vllm_studio_tui.models.progress import Progress, ProgressCallback

Login = tuple[str, str]

PAGE_LIMIT = 16 << 20
CHUNK = 1 << 18
#: How often a transfer is taken up again, as long as each try brought something.
TRIES = 6
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
WEB_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError)


class DownloadFailed(StudioError):
    """A page or file that a source did not deliver."""


class _Cut(Exception):
    """The transfer ended early; what has come is kept."""


@dataclass(frozen=True, slots=True)
class Page:
    """A text and the address it came from after redirects."""

    url: str
    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """One file to download: the target, and what is known before (sizes in bytes, sha256 in lower-case hex)."""

    url: str
    target: Path
    what: str
    limit: int
    size: int | None = None
    sha256: str | None = None
    headers: Mapping[str, str] | None = None


class HostLogin(httpx2.Auth):
    """HTTP basic authentication from the URL, else from the index of that host, else from netrc.

    It never overrides a header that is already there, and httpx2 drops the header when another host takes over.
    """

    def __init__(self, logins: Mapping[tuple[str, str, int | None], Login], netrc_hosts: Mapping[str, Login]) -> None:
        self._logins = logins
        self._netrc = netrc_hosts

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        url = request.url
        login: Login | None = (url.username, url.password) if url.username or url.password else None
        login = login or self._logins.get((url.scheme, url.host, url.port)) or self._netrc.get(url.host)
        if login and "Authorization" not in request.headers:
            yield from httpx2.BasicAuth(*login).auth_flow(request)
        else:
            yield request


def netrc_logins(environ: Mapping[str, str]) -> dict[str, Login]:
    """Return host to login from NETRC or ~/.netrc; empty if the file cannot be read."""
    path = environ.get("NETRC") or str(Path(environ.get("HOME") or "~").expanduser() / ".netrc")
    try:
        entries = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError, ValueError):
        return {}
    return {host: (login or account, password) for host, (login, account, password) in entries.items() if password}


@contextlib.contextmanager
def http_client(
    environ: Mapping[str, str], *, certificate: Path | None = None, logins: Mapping[str, Login] | None = None
) -> Iterator[httpx2.Client]:
    """Yield an HTTP client; `logins` maps URLs of indexes to user and password.

    Raises:
        DownloadFailed: The configured certificate file cannot be used.
    """
    verify: ssl.SSLContext | bool = True
    if certificate is not None:
        try:
            folder = certificate.is_dir()
            verify = ssl.create_default_context(
                cafile=None if folder else str(certificate), capath=str(certificate) if folder else None
            )
        except (OSError, ssl.SSLError) as error:
            raise DownloadFailed(
                f"the certificate file {certificate} cannot be used",
                cause=str(error),
                advice="Correct PIP_CERT, SSL_CERT_FILE or `cert` in pip.conf.",
            ) from error
    known: dict[tuple[str, str, int | None], Login] = {}
    for address, login in (logins or {}).items():
        with contextlib.suppress(httpx2.InvalidURL, UnicodeError):
            url = httpx2.URL(address)
            known[url.scheme, url.host, url.port] = login
    auth = HostLogin(known, netrc_logins(environ))
    with httpx2.Client(verify=verify, auth=auth, timeout=TIMEOUT, follow_redirects=True, max_redirects=8) as client:
        yield client


def reason(error: BaseException) -> str:
    """Return why a request failed, without addresses, which may hold passwords."""
    if isinstance(error, httpx2.ConnectTimeout):
        return "no connection within 10 s"
    if isinstance(error, httpx2.TimeoutException):
        return "it stopped answering"
    if isinstance(error, httpx2.ConnectError):
        return f"cannot connect ({error})"
    if isinstance(error, httpx2.ProxyError):
        return "the proxy refused"
    if isinstance(error, httpx2.TooManyRedirects):
        return "too many redirects"
    if isinstance(error, (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError)):
        return "not a usable address"
    return f"the answer was broken ({type(error).__name__})"


def refused(status: int) -> str:
    """Return an HTTP status in words."""
    words = {401: "a login is needed", 403: "access is refused", 404: "it is not there", 407: "the proxy wants a login"}
    return f"HTTP {status}" + (f", {words[status]}" if status in words else "")


def get_page(client: httpx2.Client, url: str, *, accept: str, headers: Mapping[str, str] | None = None) -> Page:
    """Return a text of at most `PAGE_LIMIT` bytes.

    Raises:
        DownloadFailed: No answer, an error status, or too long.
    """
    body = bytearray()
    try:
        with client.stream("GET", url, headers={"Accept": accept, **(headers or {})}) as response:
            if response.status_code != 200:
                raise DownloadFailed(refused(response.status_code))
            for piece in response.iter_bytes(CHUNK):
                body += piece
                if len(body) > PAGE_LIMIT:
                    raise DownloadFailed("the page is too long")
            charset = response.charset_encoding or "utf-8"
            kind = response.headers.get("content-type", "")
            final = str(response.url)
    except WEB_ERRORS as error:
        raise DownloadFailed(reason(error)) from error
    try:
        text = body.decode(charset, errors="replace")
    except (LookupError, UnicodeError):
        text = body.decode("utf-8", errors="replace")
    return Page(final, kind, text)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(client: httpx2.Client, wanted: DownloadRequest, progress: ProgressCallback | None = None) -> Path:
    """Download a file, from where an earlier try ended; the target appears only when it is whole and verified.

    Next to the target, `NAME.part` holds what has come and `NAME.part.json` what it is a part of.

    Raises:
        DownloadFailed: The source did not give it, or gave another file. What has come of the right one is kept.
        OSError: The disk is full, or the directory cannot be written.
    """
    part = wanted.target.with_name(wanted.target.name + ".part")
    notes = part.with_name(part.name + ".json")
    if wanted.sha256 is not None and wanted.target.is_file() and sha256_of(wanted.target) == wanted.sha256:
        return wanted.target  # an earlier try got so far
    mismatched = False
    for attempt in range(1, TRIES + 1):
        before = _size(part)
        try:
            resumed, expected = _transfer(client, wanted, part, notes, progress)
        except _Cut as cut:
            if attempt == TRIES or _size(part) <= before:
                raise DownloadFailed(f"the transfer was cut after {_size(part)} bytes: {cut}") from cut
            continue
        except WEB_ERRORS as error:
            raise DownloadFailed(reason(error)) from error
        found = sha256_of(part)
        if expected is None or found == expected:
            part.replace(wanted.target)
            notes.unlink(missing_ok=True)
            return wanted.target
        _forget(part, notes)
        if mismatched or not resumed:
            raise DownloadFailed(f"it is not the promised file: sha256 {found}, not {expected}")
        mismatched = True  # the file may have changed between the two halves: once more, from the start
    raise DownloadFailed("the transfer was cut again and again")


def _transfer(
    client: httpx2.Client, wanted: DownloadRequest, part: Path, notes: Path, progress: ProgressCallback | None
) -> tuple[bool, str | None]:
    """Request what is missing. Returns whether an earlier transfer went on, and the sha256 to expect."""
    known = _notes_of(notes, wanted)
    have = _size(part) if known else 0
    headers = {"Accept-Encoding": "identity", **(wanted.headers or {})}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known.get("validator"):
            headers["If-Range"] = known["validator"]
    with client.stream("GET", wanted.url, headers=headers) as response:
        status = response.status_code
        start, total = _extent(response)
        if have and status == 416 and total == have:
            return True, wanted.sha256 or known.get("sha256")
        if have and (status == 416 or (status == 206 and start != have)):
            _forget(part, notes)
            return _transfer(client, wanted, part, notes, progress)
        if status not in (200, 206) or (status == 206 and start != have):
            raise DownloadFailed(refused(status))
        have = have if status == 206 else 0
        if total is not None and total > wanted.limit:
            raise DownloadFailed(f"the file is too large: {total} bytes")
        if total is not None and wanted.size is not None and total != wanted.size:
            raise DownloadFailed(f"the file has another size: {total} bytes, not {wanted.size}")
        expected = wanted.sha256 or _linked_digest(response)
        note = {"url": public_url(wanted.url), "sha256": expected, "validator": _validator(response)}
        notes.write_text(json.dumps(note), encoding="utf-8")
        _receive(response, wanted, part, have, total, progress)
        return have > 0, expected


def _receive(
    response: httpx2.Response,
    wanted: DownloadRequest,
    part: Path,
    have: int,
    total: int | None,
    progress: ProgressCallback | None,
) -> None:
    """Append the body to the part. After a cut, what has come is kept: the next try starts there."""
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    done = have
    with part.open("r+b" if have else "wb", buffering=0) as stream:
        stream.seek(have)
        try:
            # As the pieces come: gathered into larger ones, the last would be lost with the connection.
            for piece in response.iter_bytes() if encoded else response.iter_raw():
                done += len(piece)
                if done > wanted.limit or (total is not None and done > total):
                    raise DownloadFailed("more came than was announced")
                _write(stream, piece)
                if progress is not None:
                    progress(Progress(done, total, wanted.what))
        except httpx2.HTTPError as error:
            raise _Cut(reason(error)) from error
    if total is not None and done != total:
        raise _Cut("the connection was closed early")


def _write(stream: Any, piece: bytes) -> None:
    """Write all of it: an unbuffered write may take a part only."""
    rest = memoryview(piece)
    while rest:
        rest = rest[stream.write(rest) :]


def _extent(response: httpx2.Response) -> tuple[int, int | None]:
    """Return where the body starts in the file, and the file's size; None if unknown (or the body is encoded)."""
    ranged = re.fullmatch(
        r"bytes (?:(\d{1,15})-\d{1,15}|\*)/(\d{1,15}|\*)", response.headers.get("content-range", "").strip()
    )
    if response.status_code in (206, 416):
        if ranged is None:
            return -1, None
        return int(ranged[1] or 0), int(ranged[2]) if ranged[2] != "*" else None
    length = response.headers.get("content-length", "")
    plain = response.headers.get("content-encoding", "identity") == "identity"
    return 0, int(length) if plain and re.fullmatch(r"\d{1,15}", length) else None


def _validator(response: httpx2.Response) -> str | None:
    """Return a value for If-Range: a strong entity tag, else a date (RFC 9110, section 13.1.5)."""
    tag = response.headers.get("etag", "")
    validator: str | None = tag if tag.startswith('"') else response.headers.get("last-modified")
    return validator


def _linked_digest(response: httpx2.Response) -> str | None:
    """Return the sha256 that the Hugging Face hub sends in X-Linked-ETag, on its redirect to the storage."""
    for one in (*response.history, response):
        tag = one.headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", tag):
            return str(tag)
    return None


def _notes_of(notes: Path, wanted: DownloadRequest) -> dict[str, Any]:
    """Return what is recorded of the part; empty if it belongs to another file or cannot be read."""
    try:
        document = json.loads(notes.read_text(encoding="utf-8")[:10_000])
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or not all(isinstance(one, str | None) for one in document.values()):
        return {}
    digest, validator = document.get("sha256"), document.get("validator")
    if wanted.sha256 is not None and digest == wanted.sha256:
        return document
    if wanted.sha256 is None and validator and document.get("url") == public_url(wanted.url):
        return document
    return {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _forget(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108, RUF100
