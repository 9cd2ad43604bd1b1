"""Pictures of messages: the bytes of each are kept once, by their hash, however many messages and chats show it.

A message names its pictures in order: `kept:image/png;sha256,HASH`, or as it was given where it is no data URL of ours.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vllm_studio_tui.store.conversion import from_json, storable, to_json

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils.db import Database as Tables

_URL = re.compile(r"data:(image/[A-Za-z0-9.+-]{1,60});base64,")
_NAME = re.compile(r"kept:(image/[A-Za-z0-9.+-]{1,60});sha256,([0-9a-f]{64})")
#: Hashes that are asked for at once: SQLite takes no more parameters than some thousand.
_AT_ONCE = 500

#: Pictures that no message names, of messages that are deleted for good.
_UNNAMED = """DELETE FROM chat_pictures WHERE hash NOT IN (
    SELECT substr(one.value, -64) FROM chat_messages m,
        json_each(CASE WHEN json_valid(m.images) THEN m.images ELSE '[]' END) one
    WHERE m.images IS NOT NULL AND one.type = 'text')"""


class Rows(Protocol):
    """What answers a query; see `store.database.Reader`, which migrates with this."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]: ...


def keep(tables: Tables, images: Iterable[str]) -> str | None:
    """Keep the pictures of a message; return by what it names them, as JSON, or None where there are none.

    Args:
        images: Data URLs. What is none is kept as it stands, but for a name of ours: it is nobody's to give.
    """
    names = []
    for image in images:
        if _NAME.fullmatch(image):
            continue
        raw = _bytes_of(image)
        if raw is None:
            names.append(storable(image))
            continue
        digest = hashlib.sha256(raw).hexdigest()
        tables.execute("INSERT OR IGNORE INTO chat_pictures (hash, data) VALUES (?, ?)", (digest, raw))
        names.append(f"kept:{image[5 : image.index(';')]};sha256,{digest}")
    return to_json(names) if names else None


def read(db: Rows, named: Iterable[str | None]) -> Mapping[str, str]:
    """Return the data URLs of the pictures that messages name, by those names.

    Args:
        named: The JSON of messages, as `keep` gave it.
    """
    names: dict[str, tuple[str, str]] = {}
    for one in named:
        for name in from_json(one, list) if one else ():
            if isinstance(name, str) and (found := _NAME.fullmatch(name)):
                names[name] = (found[1], found[2])
    if not names:
        return {}
    hashes = list({digest for _, digest in names.values()})
    data: dict[str, bytes] = {}
    for at in range(0, len(hashes), _AT_ONCE):
        some = hashes[at : at + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        for row in db.rows(f"SELECT hash, data FROM chat_pictures WHERE hash IN ({marks})", some):  # noqa: RUF100, S608
            data[row["hash"]] = row["data"]
    # One whose bytes are gone, which nothing of ours does, stays in its place, and is told to be no picture.
    return {
        name: f"data:{kind};base64,{base64.b64encode(data.get(digest, b'')).decode()}"
        for name, (kind, digest) in names.items()
    }


def shown(named: str | None, urls: Mapping[str, str]) -> Sequence[str]:
    """Return the pictures of a message, from the names that it has and what `read` found for them."""
    return [urls.get(str(name), str(name)) for name in from_json(named, list)] if named else ()


def prune(tables: Tables) -> int:
    """Delete the pictures that no message names; return how many they were."""
    return int(tables.execute(_UNNAMED).rowcount)


def _bytes_of(url: str) -> bytes | None:
    """Return the bytes of a picture that the same data URL can be made of again; None where it is another text."""
    head = _URL.match(url)
    if head is None:
        return None
    text = url[head.end() :]
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if raw and base64.b64encode(raw).decode() == text else None
