"""Make text from outside safe to show. Store raw; clean at display.

Introducers are dropped, not sequences: without its ESC, CSI or OSC byte the rest is harmless text. That needs no
state, so a sequence split over two chunks is as harmless as a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

MARK = "\ufffd"

# C0 but newline and tab, DEL, C1; bidi embeddings, overrides and isolates; line and paragraph separators; the byte
# order mark; interlinear annotation; the tag block; lone surrogates (they cannot be encoded); the sign in whose place a
# terminal of kitty's protocol draws a piece of a picture.
_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\U0010eeee\ud800-\udfff]"
)
# What has no width and joins nothing: two names that differ in it alone look the same.
_UNSEEN = re.compile("[\u180e\u200b\u2060-\u2064]")
_SURROGATES = "[\ud800-\udfff]"
# Patterns that a short command does without are compiled when they are first used.
_ANSI = (
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]?"
)
_SECRETS = (
    r"\b(?:sk-|hf_|ghp_|xoxb-)[A-Za-z0-9_\-]{8,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/\-]{8,}=*"
    r"|(?<=api_key=')[^']{4,}|(?<=api_key=\")[^\"]{4,}|(?<='api_key': ')[^']{4,}"
)
SHORTEST_SECRET = 6


def clean(text: str, *, limit: int | None = None) -> str:
    """Replace every character that a terminal would obey. Newline, tab and emoji joiners stay."""
    text = text.replace("\r\n", "\n")
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    return _DANGEROUS.sub(MARK, text)


def clean_line(text: str, *, limit: int | None = None) -> str:
    """Clean as `clean`, on one line. Names are shown so: what nobody would see in one is marked too."""
    if text.isascii() and text.isprintable() and (limit is None or len(text) <= limit):
        return text  # as nearly all are: a screen of numbers has hundreds
    return _UNSEEN.sub(MARK, clean(" ".join(text.split("\n")).replace("\t", " "), limit=limit))


def json_safe(text: str, *, terminal: bool) -> str:
    """Make JSON text writable: a lone surrogate, which no encoding has, becomes a question mark.

    Args:
        terminal: It goes to a terminal: what that would obey is written as `\\u` escapes, and the document is the same.
    """
    text = re.sub(_SURROGATES, "?", text)
    return _DANGEROUS.sub(_escaped, text) if terminal else text


def _escaped(match: re.Match[str]) -> str:
    data = match[0].encode("utf-16-be")
    return "".join(f"\\u{data[place]:02x}{data[place + 1]:02x}" for place in range(0, len(data), 2))


def strip_ansi(text: str) -> str:
    """Remove colours and other escape sequences from a log; a carriage return ends a line."""
    return _compiled(_ANSI).sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace known secrets, and anything that looks like a key, by ***."""
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return _compiled(_SECRETS).sub("***", text)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
