"""Web addresses in text from outside: finds them, makes them safe to hand on, sees through texts that name another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

#: Characters of an address, at most: longer ones are no links.
LONGEST = 16_000
#: What follows a scheme as far as an address can go: no blank, quote or bracket of markup, nothing that terminals obey,
#: and no full stop, comma or bracket of Chinese and Japanese, between which addresses stand without blanks.
_REST = (
    '[^\\s"<>`{}|\\\\^\x00-\x20\x7f-\xa0\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3000-\u301f\ufeff\ufff9-\ufffd'
    "\uff01-\uff0f\uff1a-\uff1f\uff3b-\uff3d\U000e0000-\U000e007f\ud800-\udfff]"
)
_BARE = re.compile(rf"(?<![A-Za-z0-9+.-])(?:https?://|mailto:){_REST}{{1,{LONGEST}}}", re.IGNORECASE)
_SCHEME = re.compile(r"(https?)://|(mailto):", re.IGNORECASE)
#: What ends a sentence, or marks it, rather than an address.
_ENDS = ".,:;!?'*_~"
_PAIRS = {")": "(", "]": "["}
_HOST = re.compile(r"[a-z0-9._~-]+|\[[0-9a-f:.]+\]")
#: Stays as it is; everything else becomes `%XX`.
_KEPT = "!#$%&'()*+,/:;=?@[]~"
#: A text that names a host: with a scheme, with `www.`, or as a name that ends as those of hosts do and files do not.
_CLAIM = re.compile(
    r"(?:https?://|\bwww\.)([^\s/?#<>\"]{1,300})"
    r"|(?<![\w@.-])((?:[\w-]{1,63}\.){1,8}(?:com|org|net|edu|gov|mil|int|info|biz|io|ai|dev|app|cloud|uk|de|fr|eu|ch|nl|"
    r"ru|cn|jp|kr|in|br|it|es|se|no|fi|dk|at|be|ca|au|us))(?![\w.-]*\w)",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """An address that stands in a text: from where to where, and the address itself."""

    start: int
    end: int
    address: str


def safe_address(text: str) -> str | None:
    """Return an address for a browser or a terminal, in printable ASCII without blanks; None where it is no such one.

    http, https and mailto count alone. A host's name in other letters becomes what a browser asks for (`xn--`).
    """
    if not text or len(text) > LONGEST or (found := _SCHEME.match(text)) is None:
        return None
    if any(not one.isprintable() or one.isspace() for one in text):
        return None
    if found[2]:
        address = f"mailto:{_quoted(text[len('mailto:') :])}"
        name, _, domain = address[len("mailto:") :].partition("?")[0].partition("@")
        return address if name and domain else None
    rest = text[found.end() :]
    at = min((place for place in (rest.find(one) for one in "/?#\\") if place >= 0), default=len(rest))
    user, parted, place = rest[:at].rpartition("@")
    address = (
        f"{found[1].lower()}://{_quoted(user)}{parted}{_ascii_host(place)}{_quoted(rest[at:].replace(chr(92), '/'))}"
    )
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not _HOST.fullmatch(f"[{host}]" if ":" in host else host):
        return None
    return address if len(address) <= LONGEST else None


def find_addresses(text: str) -> Iterator[Found]:
    """Yield the addresses that stand bare in a text, without the stop, bracket or quote after them."""
    if "://" not in text and "mailto:" not in text.lower():
        return
    for match in _BARE.finditer(text):
        bare = _ended(match[0])
        address = safe_address(bare)
        if address is not None:
            yield Found(match.start(), match.start() + len(bare), address)


def host_of(address: str) -> str:
    """Return where an address leads, in short: the host, with its port where it has one; of mail, the mailbox."""
    if address.startswith("mailto:"):
        return unquote(address[len("mailto:") :].partition("?")[0])
    return urlsplit(address).netloc.rpartition("@")[2]


def leads_elsewhere(text: str, address: str) -> bool:
    """Return whether an address leads to another host than the text of its link names, or hides it behind an `@`."""
    if address.startswith("mailto:"):
        return "://" in text
    parts = urlsplit(address)
    if "@" in parts.netloc:
        return True
    host = (parts.hostname or "").lower()
    for match in _CLAIM.finditer(text[:2000]):
        named = _ascii_host((match[1] or match[2]).rpartition("@")[2]).partition(":")[0].lower().strip(".,;!?)")
        named = named.removeprefix("www.")
        if named and host != named and not host.endswith(f".{named}"):
            return True
    return False


def _ended(text: str) -> str:
    """Return an address without what belongs to the sentence around it."""
    end = len(text)
    counts = {mark: text.count(mark) for pair in _PAIRS.items() for mark in pair}
    while end:
        last = text[end - 1]
        if last in _PAIRS and counts[last] > counts[_PAIRS[last]]:
            counts[last] -= 1
        elif last not in _ENDS:
            break
        end -= 1
    return text[:end]


def _quoted(text: str) -> str:
    return quote(text, safe=_KEPT, errors="replace")


def _ascii_host(text: str) -> str:
    """Return a host as a resolver is asked for it; as it stands where it is none."""
    if text.isascii():
        return text
    host, parted, port = text.rpartition(":")
    if not parted or not port.isdigit():
        host, parted, port = text, "", ""
    try:
        return f"{host.encode('idna').decode('ascii')}{parted}{port}"
    except UnicodeError:
        return text
