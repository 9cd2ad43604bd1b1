"""Find the package indexes that pip and uv are configured with, and read their pages.

The places that pip and uv look at are read (their documentation: "Configuration" of pip, "Configuration files" and
"Package indexes" of uv), because a machine behind a company mirror reaches nothing else. Pages are PEP 691 (JSON) or
PEP 503 (HTML).
"""

from __future__ import annotations

import configparser
import contextlib
import html
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from vllm_studio_tui.kit.masking import split_login
from vllm_studio_tui.models.demo.default_index import installer_default

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
#: A configuration file larger than this is not one.
CONFIG_LIMIT = 1 << 20
#: Files of one package that are looked at.
LINK_LIMIT = 20_000

_HREF = re.compile(
    r"""<a\s[^<>]{0,2000}?\bhref\s{0,20}=\s{0,20}(?:"([^"]{0,4000})"|'([^']{0,4000})'|([^\s"'<>]{1,4000}))""", re.I
)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Index:
    """One package index: an http(s) URL without credentials, and those credentials.

    Attributes:
        origin: Where it was configured, for messages.
    """

    url: str
    origin: str
    login: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """Return the URL without credentials, for printing."""
        return public_url(self.url)


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """The configured indexes, in the order in which they are asked.

    Attributes:
        skipped: What was configured but cannot be used, a sentence each.
        certificate: A file or directory of certificate authorities; None for the usual ones.
    """

    indexes: tuple[Index, ...]
    skipped: tuple[str, ...] = ()
    certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One file of a package. `sha256` (lower-case hex) and `size` (bytes) are None where the index does not say."""

    filename: str
    url: str
    sha256: str | None = None
    size: int | None = None


def public_url(url: str) -> str:
    """Return the URL without user, password, query and fragment: these may be secrets."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "(not a URL)"


# --- configuration ---------------------------------------------------------------------------------------


def find_indexes(
    environ: Mapping[str, str],
    *,
    home: Path | None = None,
    root: Path = Path("/"),
    prefix: Path | None = None,
    default: Callable[[Mapping[str, str]], tuple[str, str] | None] = installer_default,
) -> IndexConfig:
    """Return the indexes that uv and pip would ask, uv's before pip's and the environment before files.

    The default of the installer that is here is added only where no other replaces it. Unreadable files are skipped
    and named.

    Args:
        default: Where that default is learned.
    """
    home = home or Path(environ.get("HOME") or "~").expanduser()
    skipped: list[str] = []
    pip = _pip_files(environ, home, root, prefix or Path(sys.prefix), skipped)
    wanted = [*_uv_environment(environ), *_uv_files(environ, home, root, skipped)]
    wanted += [(url, "PIP_INDEX_URL", True) for url in environ.get("PIP_INDEX_URL", "").split()]
    if not environ.get("PIP_INDEX_URL", "").split():
        wanted += [(url, "pip.conf", True) for url in pip.get("index-url", "").split()]
    extra = environ.get("PIP_EXTRA_INDEX_URL")
    source = "pip.conf" if extra is None else "PIP_EXTRA_INDEX_URL"
    wanted += [(url, source, False) for url in (pip.get("extra-index-url", "") if extra is None else extra).split()]
    if any(environ.get(name, "").lower() in _TRUE for name in ("UV_OFFLINE", "UV_NO_INDEX")):
        return IndexConfig((), (*skipped, "package indexes: turned off by UV_OFFLINE or UV_NO_INDEX"))
    if environ.get("PIP_NO_INDEX", pip.get("no-index", "")).lower() in _TRUE:
        return IndexConfig((), (*skipped, "package indexes: turned off by pip's no-index"))
    if not any(replaces for _, _, replaces in wanted):
        found = default(environ)
        if found is None:
            skipped.append("package indexes: none is configured, and neither pip nor uv is here to name its default")
        else:
            wanted.append((found[0], found[1], True))
    indexes: dict[str, Index] = {}
    for url, origin, _ in wanted:
        index = _index(url, origin, environ, skipped)
        if index is not None:
            indexes.setdefault(index.url, index)
    return IndexConfig(tuple(indexes.values()), tuple(skipped), _certificate(environ, pip))


def _index(url: str, origin: str, environ: Mapping[str, str], skipped: list[str]) -> Index | None:
    """Read one configured index: an http(s) URL, or uv's `name=URL`."""
    name, equals, rest = url.partition("=")
    named = name if equals and re.fullmatch(r"[A-Za-z0-9._-]+", name) else ""
    try:
        plain, login = split_login(rest if named else url)
        parts = urlsplit(plain)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        skipped.append(f"the index of {origin}: not a URL")
        return None
    if not usable:
        skipped.append(f"{public_url(plain)} ({origin}): only http and https indexes can be asked")
        return None
    if named and login is None:
        key = re.sub(r"[^A-Z0-9]", "_", named.upper())
        user, password = (environ.get(f"UV_INDEX_{key}_{part}", "") for part in ("USERNAME", "PASSWORD"))
        login = (user, password) if user or password else None
    return Index(plain.rstrip("/"), origin, login)


def _uv_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    for name, replaces in (
        ("UV_INDEX", False),
        ("UV_EXTRA_INDEX_URL", False),
        ("UV_DEFAULT_INDEX", True),
        ("UV_INDEX_URL", True),
    ):
        for url in environ.get(name, "").split():
            yield url, name, replaces


def _config_dirs(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Return the system's configuration directories, the weakest last."""
    given = [Path(one) for one in environ.get("XDG_CONFIG_DIRS", "").split(":") if one]
    return given or [root / "etc/xdg"]


def _user_config(environ: Mapping[str, str], home: Path) -> Path:
    given = environ.get("XDG_CONFIG_HOME")
    return Path(given) if given else home / ".config"


def _read(path: Path, skipped: list[str]) -> str | None:
    """Return the text of a configuration file; None if there is none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return stream.read(CONFIG_LIMIT).decode("utf-8", errors="replace")
    except (OSError, ValueError) as error:
        skipped.append(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})")
        return None


def _uv_files(
    environ: Mapping[str, str], home: Path, root: Path, skipped: list[str]
) -> Iterator[tuple[str, str, bool]]:
    """Yield the indexes of uv.toml: of UV_CONFIG_FILE alone, else the user's and the system's."""
    if environ.get("UV_NO_CONFIG", "").lower() in _TRUE:
        return
    given = environ.get("UV_CONFIG_FILE")
    files = [_user_config(environ, home) / "uv/uv.toml"]
    files += [folder / "uv/uv.toml" for folder in _config_dirs(environ, root)] + [root / "etc/uv/uv.toml"]
    for path in [Path(given)] if given else files:
        text = _read(path, skipped)
        if text is None:
            continue
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            skipped.append(f"{path}: not TOML")
            continue
        yield from _uv_document(document, str(path))


def _uv_document(document: dict[str, Any], origin: str) -> Iterator[tuple[str, str, bool]]:
    tables = document.get("index")
    for one in tables if isinstance(tables, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("url"), str) or one.get("explicit") is True:
            continue
        name = one.get("name")
        url = one["url"]
        yield (f"{name}={url}" if isinstance(name, str) else url), origin, one.get("default") is True
    for section in (document, document.get("pip")):
        if not isinstance(section, dict):
            continue
        extra = section.get("extra-index-url")
        for url in extra if isinstance(extra, list) else []:
            if isinstance(url, str):
                yield url, origin, False
        if isinstance(section.get("index-url"), str):
            yield section["index-url"], origin, True


def _pip_files(environ: Mapping[str, str], home: Path, root: Path, prefix: Path, skipped: list[str]) -> dict[str, str]:
    """Read pip.conf files, later options over earlier, in pip's order: PIP_CONFIG_FILE, global, user, environment."""
    given = environ.get("PIP_CONFIG_FILE")
    if given == "/dev/null":  # pip: no file at all
        return {}
    files = [Path(given)] if given else []
    files += [folder / "pip/pip.conf" for folder in reversed(_config_dirs(environ, root))] + [root / "etc/pip.conf"]
    if not given or not Path(given).exists():
        files += [home / ".pip/pip.conf", _user_config(environ, home) / "pip/pip.conf"]
    files.append(prefix / "pip.conf")
    options: dict[str, str] = {}
    for path in files:
        text = _read(path, skipped)
        if text is None:
            continue
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            skipped.append(f"{path}: not a pip configuration")
            continue
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                options.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    return options


def _certificate(environ: Mapping[str, str], pip: Mapping[str, str]) -> Path | None:
    for value in (
        environ.get("PIP_CERT"),
        pip.get("cert"),
        *(environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")),
    ):
        if value:
            return Path(value).expanduser()
    return None


# --- what an index says -----------------------------------------------------------------------------------------


def page_url(index: Index, package: str) -> str:
    """Return the address of a package's page; the name is normalised as in PEP 503."""
    return f"{index.url}/{re.sub(r'[-_.]+', '-', package).lower()}/"


def parse_page(text: str, content_type: str, base: str) -> list[Link]:
    """Return the files of a package's page; `base` is the page's address, for relative links.

    Whatever is not an http(s) link is left out; a page that makes no sense has no links.
    """
    is_json = "json" in content_type.lower() or text.lstrip()[:1] == "{"
    links = []
    for href, digest, size in _json_files(text) if is_json else _html_files(text):
        with contextlib.suppress(ValueError):
            url, fragment = urldefrag(urljoin(base, href))
            parts = urlsplit(url)
            name = unquote(parts.path.rpartition("/")[2])
            if parts.scheme not in ("http", "https") or not parts.hostname or not name:
                continue
            if digest is None and fragment.startswith("sha256="):
                digest = fragment.removeprefix("sha256=")
            digest = digest.lower() if digest else None
            links.append(Link(name, url, digest if digest and _SHA256.match(digest) else None, size))
    return links


def _html_files(text: str) -> Iterator[tuple[str, None, None]]:
    for count, found in enumerate(_HREF.finditer(text)):
        if count >= LINK_LIMIT:
            return
        yield html.unescape(found[1] or found[2] or found[3] or "").strip(), None, None


def _json_files(text: str) -> Iterator[tuple[str, str | None, int | None]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    files = document.get("files") if isinstance(document, dict) else None
    for one in files[:LINK_LIMIT] if isinstance(files, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("url"), str):
            continue
        hashes = one.get("hashes")
        digest = hashes.get("sha256") if isinstance(hashes, dict) else None
        size = one.get("size")
        sized = isinstance(size, int) and not isinstance(size, bool) and size >= 0
        yield one["url"], digest if isinstance(digest, str) else None, size if sized else None


def pick_wheel(links: Iterable[Link], package: str, version: str) -> Link | None:
    """Return the wheel of exactly this version (file names of PEP 427, names compared as in PEP 503); else None."""
    for link in links:
        name, _, rest = link.filename.partition("-")
        same = re.sub(r"[-_.]+", "-", name).lower() == re.sub(r"[-_.]+", "-", package).lower()
        if same and rest.startswith(f"{version}-") and rest.endswith(".whl"):
            return link
    return None
