"""The body of a request: read as JSON once, and changed in place, so that what is not changed stays byte for byte.

Numbers, order, escapes and doubled names of a body are the client's business: encoding it again could change them, and
takes ten times as long as reading it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.decoder import JSONDecoder
from typing import Any

from pydantic_core import from_json, to_json

_DECODER = JSONDecoder()
_BLANKS = " \t\n\r"


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        ValueError: It is not JSON in UTF-8, or no object. The message names no part of the body.
    """
    try:
        data = from_json(body, cache_strings="keys")
    except ValueError as error:
        try:
            # Halves of surrogates, which JavaScript writes where it cuts an emoji; bytes could be UTF-16, too.
            data = json.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise ValueError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise ValueError("JSON, but not an object")
    return data


def json_bytes(document: Any) -> bytes:
    """Return a document of plain data as JSON; values that JSON has not become null, or their text."""
    try:
        return to_json(document, inf_nan_mode="null", fallback=str)
    except ValueError:  # half of a pair of surrogates, which JSON can only hold escaped
        return json.dumps(document, default=str).encode()


def insert_first(body: bytes, name: str, value: Any) -> bytes:
    """Return the body of an object with a member put before all others. The object must not have it yet."""
    at = body.index(b"{") + 1
    comma = b"" if body[at:].lstrip()[:1] == b"}" else b","
    return b"%b%b:%b%b%b" % (body[:at], json_bytes(name), json_bytes(value), comma, body[at:])


def change_members(body: bytes, changed: Mapping[str, Any], removed: Iterable[str] = ()) -> bytes:
    """Return the body of an object with members changed, added or taken out; everything else stays as it was written.

    Args:
        body: What `read_object` has read.
        changed: Members that the object has or not; of one that is there twice, both are changed.
    """
    text = body.decode("utf-8")
    out: list[str] = []
    gone = frozenset(removed) - changed.keys()
    added = dict(changed)
    first = True
    for name, start, value_start, end in _members(text):
        if name in gone:
            continue
        if not first:
            out.append(",")
        first = False
        if name in changed:
            out.append(text[start:value_start] + json_bytes(changed[name]).decode())
            added.pop(name, None)
        else:
            out.append(text[start:end])
    for name, value in added.items():
        out.append(("" if first else ",") + f"{json_bytes(name).decode()}:{json_bytes(value).decode()}")
        first = False
    return "".join(("{", *out, "}")).encode()


def _members(text: str) -> Iterable[tuple[str, int, int, int]]:
    """Yield the members of an object: the name, where it begins, where its value begins, and where that ends."""
    at = _past_blanks(text, text.index("{") + 1)
    while text[at] != "}":
        start = at
        name, at = _DECODER.raw_decode(text, at)
        at = _past_blanks(text, at) + 1  # the colon
        value_start = _past_blanks(text, at)
        _, end = _DECODER.raw_decode(text, value_start)
        yield name, start, value_start, end
        at = _past_blanks(text, end)
        if text[at] == ",":
            at = _past_blanks(text, at + 1)


def _past_blanks(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at
