"""Ask a hub what it has, by the API that huggingface_hub speaks: bounded answers, and a token that goes nowhere else.

Reading what a repository holds is done here and not by huggingface_hub, because that library takes half a second to
import and believes what it is sent; the download itself ends in it (`models.pulling.worker`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.safe_json import is_shallow, loads
from vllm_studio_tui.models.hub_errors import HubError, offline, refused, unreachable
from vllm_studio_tui.models.local import find_token, hub_cache, is_true
from vllm_studio_tui.models.pulling.file_names import usable

HUB = "https://huggingface.co"
#: Hosts that may have the token besides the endpoint: a mirror may lead to the hub itself.
HUBS = frozenset({("https", "huggingface.co", 443), ("https", "hf.co", 443)})
#: Bytes of one answer of the API, and pages and files of one listing.
PAGE, PAGES, FILES = 32 << 20, 200, 100_000
REDIRECTS = 6
WEB_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError)
_REPO = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")


@dataclass(frozen=True, slots=True)
class HubAccess:
    """How the hub is reached, as the variables of huggingface_hub say.

    Attributes:
        token_from: Where the token came from, for people; empty where there is none.
        offline: The variable that forbids to ask the hub; empty where none does.
        cache: The folder of the models.
    """

    endpoint: str
    token: str | None
    token_from: str
    offline: str
    cache: Path
    timeout: float = 30.0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> HubAccess:
        """Read the environment and the file that a login writes."""
        token, where = find_token(environ)
        forbids = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if is_true(environ.get(name))]
        patience = environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
        return cls(
            (environ.get("HF_ENDPOINT") or HUB).rstrip("/"),
            token,
            where,
            forbids[0] if forbids else "",
            hub_cache(environ),
            float(patience) if patience.isdigit() and 0 < int(patience) < 10_000 else 30.0,
        )


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; `digest` is the sha256 of a large file, git's sha1 of a small one."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository at one commit."""

    repo: str
    revision: str
    commit: str
    gated: bool
    licence: str
    files: tuple[HubFile, ...]
    #: Names that no file of this machine may have.
    unusable: tuple[str, ...] = ()


def check_repo(repo: str) -> str:
    """Return the name of a repository.

    Raises:
        UsageError: No repository can have it.
    """
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise UsageError(
            f"{repo[:80]!r} is no name of a model on the hub",
            advice="Names are OWNER/NAME, as Qwen/Qwen3-0.6B; of a GGUF repository also OWNER/NAME:Q4_K_M.",
        )
    return repo


class HubClient:
    """A connection to one hub. Blocking; may be used by several threads."""

    def __init__(self, access: HubAccess) -> None:
        self.access = access
        if access.offline:
            raise offline(access.offline)
        try:
            scheme, self._host, _ = _origin(access.endpoint)
        except ValueError:
            scheme = ""
        if scheme not in ("http", "https"):
            raise HubError(
                "wrong", "the address of the hub is none", cause=access.endpoint[:100], advice="Correct HF_ENDPOINT."
            )
        self._trusted = HUBS | {_origin(access.endpoint)}
        timeout = httpx2.Timeout(access.timeout, connect=10.0)
        try:
            self._client = httpx2.Client(timeout=timeout, follow_redirects=False)
        except ImportError as error:
            raise HubError(
                "proxy", "a SOCKS proxy needs one more package", cause=f"The proxy is {_proxy_of(access.endpoint)}.",
                advice="Install socksio beside vllm-studio-tui, or name an HTTP proxy in HTTPS_PROXY and ALL_PROXY.",
            ) from error  # fmt: skip
        except (OSError, ValueError, *WEB_ERRORS) as error:  # a certificate file or a proxy that is none
            raise HubError(
                "wrong", "no connection can be made", cause=str(error)[:200],
                advice="Look at SSL_CERT_FILE, HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.",
            ) from error  # fmt: skip

    def __enter__(self) -> HubClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def page(self, repo: str) -> str:
        """Return the address of a repository's page."""
        return f"{re.sub(r'//[^/@]*@', '//', self.access.endpoint)}/{repo}"  # without a password that is in it

    def repository(self, repo: str, revision: str | None = None) -> HubRepo:
        """Return what a repository holds.

        Raises:
            HubError: It is not there, is not given to us, or the hub cannot be reached.
        """
        check_repo(repo)
        revision = revision or "main"
        about = self._api(repo, f"/api/models/{repo}/revision/{quote(revision, safe='')}")[0]
        commit = about.get("sha") if isinstance(about, dict) else None
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise _no_hub(self._host)
        files, unusable = self._files(repo, commit)
        card = about.get("cardData")
        licence = card.get("license") if isinstance(card, dict) else None
        if isinstance(licence, list):
            licence = ", ".join(str(one) for one in licence[:3])
        named = card.get("license_name") if isinstance(card, dict) else None
        if licence == "other" and isinstance(named, str):
            licence = named
        return HubRepo(
            repo,
            revision,
            commit,
            bool(about.get("gated")),
            licence[:100] if isinstance(licence, str) else "",
            tuple(files),
            tuple(unusable),
        )

    def check_access(self, repo: str) -> None:
        """Ask whether we are given the files of a gated repository.

        Raises:
            HubError: We are not; it says what is missing.
        """
        self._api(repo, f"/api/models/{repo}/auth-check", json=False)

    def read(self, repo: str, commit: str, name: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes of a file from `start` on, by an HTTP range.

        Raises:
            HubError: They did not come.
        """
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        with self.stream("GET", self.file_url(repo, commit, name), headers=headers, repo=repo, file=name) as response:
            if response.status_code == 416:
                return b""
            skip = 0 if response.status_code == 206 else start
            body = bytearray()
            try:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) >= skip + length:
                        break
            except WEB_ERRORS as error:
                raise unreachable(error, self._host) from error
            return bytes(body[skip : skip + length])

    def file_url(self, repo: str, commit: str, name: str) -> str:
        """Return where a file is fetched from."""
        return f"{self.access.endpoint}/{repo}/resolve/{commit}/{quote(name)}"

    @contextlib.contextmanager
    def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, repo: str, file: str = ""
    ) -> Iterator[httpx2.Response]:
        """Yield the answer, where redirects lead; the token goes to the hub alone.

        The headers of the first answer that names the file (`X-Linked-Etag`, ..) are in `response.extensions["hub"]`.

        Raises:
            HubError: There is none, or it is an error; 416 is yielded.
        """
        hub: dict[str, str] = {}
        for _ in range(REDIRECTS):
            sent = dict(headers or {})
            if self.access.token and _origin(url) in self._trusted:
                sent["Authorization"] = f"Bearer {self.access.token}"
            host = urlsplit(url).hostname or self._host
            try:
                request = self._client.build_request(method, url, headers=sent)
                response = self._client.send(request, stream=True)
            except WEB_ERRORS as error:
                raise unreachable(error, host, _proxy_of(url)) from error
            try:
                for name in ("x-linked-etag", "x-linked-size", "x-repo-commit"):
                    if name in response.headers:
                        hub.setdefault(name, response.headers[name])
                if response.status_code in (301, 302, 303, 307, 308) and "location" in response.headers:
                    url = self._next(str(response.url), response.headers["location"])
                    continue
                if response.status_code >= 400 and response.status_code != 416:
                    raise refused(
                        response.status_code, response.headers, repo=repo, page=self.page(repo), file=file,
                        token_from=self.access.token_from,
                    )  # fmt: skip
                response.extensions["hub"] = hub
                yield response
                return
            finally:
                with contextlib.suppress(*WEB_ERRORS):
                    response.close()
        raise HubError(
            "wrong",
            "the hub leads in circles",
            cause=f"More than {REDIRECTS} redirects.",
            advice="Look at HF_ENDPOINT.",
        )

    def _next(self, url: str, location: str) -> str:
        try:
            target = str(httpx2.URL(url).join(location))
            origin = _origin(target)
        except (*WEB_ERRORS, ValueError) as error:
            raise unreachable(error, self._host) from error
        if origin[0] not in ("http", "https") or (origin[0] == "http" and _origin(url)[0] == "https"):
            raise HubError(
                "wrong", "the hub leads to an address that is not followed", cause=f"From https to {origin[0]}://{origin[1]}.",
                advice="Somebody between may have changed the answer. Try another network.",
            )  # fmt: skip
        return target

    def _files(self, repo: str, commit: str) -> tuple[list[HubFile], list[str]]:
        files: list[HubFile] = []
        unusable: list[str] = []
        path = f"/api/models/{repo}/tree/{commit}?recursive=true"
        for _ in range(PAGES):
            listed, following = self._api(repo, path)
            if not isinstance(listed, list):
                raise _no_hub(self._host)
            for entry in listed:
                one = _file(entry)
                if one is not None:
                    (files.append(one) if usable(one.name) else unusable.append(one.name[:100]))
            if following is None or len(files) > FILES:
                break
            path = following
        return files, unusable

    def _api(self, repo: str, path: str, *, json: bool = True) -> tuple[Any, str | None]:
        """Return an answer of the API, and the path of the next page."""
        url = path if "://" in path else self.access.endpoint + path
        with self.stream("GET", url, headers={"Accept": "application/json"}, repo=repo) as response:
            following = response.links.get("next", {}).get("url")
            body = bytearray()
            try:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > PAGE:
                        raise HubError(
                            "wrong", f"{self._host} sent more than a hub sends", advice="Look at HF_ENDPOINT."
                        )
            except WEB_ERRORS as error:
                raise unreachable(error, self._host) from error
        if not json:
            return None, None
        try:
            document = loads(bytes(body))
        except ValueError:
            raise _no_hub(self._host) from None
        if not is_shallow(document, most=64):
            raise _no_hub(self._host)
        return document, self._next(url, following) if isinstance(following, str) else None


def _file(entry: Any) -> HubFile | None:
    if not isinstance(entry, dict) or entry.get("type") != "file":
        return None
    lfs = entry.get("lfs")
    name, size, digest = entry.get("path"), entry.get("size"), entry.get("oid")
    if isinstance(lfs, dict):
        size, digest = lfs.get("size"), lfs.get("oid")
    if not isinstance(name, str) or type(size) is not int or not 0 <= size < 1 << 50 or not isinstance(digest, str):
        return None
    digest = digest.lower()
    return HubFile(name, size, digest) if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest) else None


def _no_hub(host: str) -> HubError:
    return HubError(
        "wrong",
        f"{host} does not answer as a hub",
        cause="What came is not what the API of Hugging Face gives: a mirror that knows less, or a login page between.",
        advice="Look at HF_ENDPOINT, and whether this network wants a login first.",
    )


def _proxy_of(url: str) -> str:
    """Return the proxy that the environment names for an address, without a password; empty where there is none."""
    scheme, host, _ = _origin(url)
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    return "" if not proxy or proxy_bypass(host) else re.sub(r"//[^/@]*@", "//", proxy)[:200]


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
