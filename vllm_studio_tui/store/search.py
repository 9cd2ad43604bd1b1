"""Full-text search in the messages of all chats (SQLite FTS5)."""

from __future__ import annotations

import re

from vllm_studio_tui.domain.chat import Hit
from vllm_studio_tui.store.conversion import storable
from vllm_studio_tui.store.database import Reader

#: Scripts without blanks between words, which the index cannot cut: these are searched for as they stand.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def match_query(text: str) -> str:
    """Return an FTS5 query for messages with all these words; the last may be a beginning of two letters or more.

    Every word is quoted, so that nothing in it is an operator (https://www.sqlite.org/fts5.html, section 3).
    """
    words = [word for word in storable(text).replace("\0", " ").split()[:16] if any(c.isalnum() for c in word)]
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    # One letter begins a tenth of all words: looking through those would take longer than a person waits.
    if quoted and len(words[-1]) > 1 and not text[-1:].isspace():
        quoted[-1] += "*"
    return " ".join(quoted)


def search(db: Reader, text: str, *, limit: int = 50, offset: int = 0) -> list[Hit]:
    """Return messages with all the words of `text`, the newest first.

    Chats in the trash, and messages that were taken away, are left out.
    """
    if _UNSPACED.search(text):
        return _scan(db, text, limit, offset)
    query = match_query(text)
    if not query:
        return []
    # U+0001 and U+0002 mark words in the snippet; where a text holds them itself a mark is lost, nothing more.
    # The index walks its own row ids backwards, and a row is looked at only as far as the limit needs.
    found = db.rows(
        """SELECT s.id AS session_id, s.title, m.id, m.role, m.created_at,
                snippet(chat_search, 0, char(1), char(2), '…', 24) AS snippet
            FROM chat_search CROSS JOIN chat_messages m ON m.seq = chat_search.rowid
                CROSS JOIN chat_sessions s ON s.id = m.session_id
            WHERE chat_search MATCH ? AND s.deleted_at IS NULL AND m.deleted_at IS NULL
            ORDER BY chat_search.rowid DESC LIMIT ? OFFSET ?""",
        (query, max(0, limit), max(0, offset)),
    )
    hits = []
    for row in found:
        snippet, marks = _unmark(row["snippet"] or "")
        hits.append(
            Hit(row["session_id"], row["title"], row["id"], row["role"], row["created_at"], snippet, tuple(marks))
        )
    return hits


def _unmark(marked: str) -> tuple[str, list[tuple[int, int]]]:
    text, marks, start = "", [], None
    for piece in re.split("([\x01\x02])", marked):
        if piece == "\x01":
            start = len(text)
        elif piece == "\x02":
            if start is not None:
                marks.append((start, len(text)))
            start = None
        else:
            text += piece
    return text, marks


def _scan(db: Reader, text: str, limit: int, offset: int) -> list[Hit]:
    words = storable(text).split()[:8]
    found = db.rows(
        f"""SELECT s.id AS session_id, s.title, m.id, m.role, m.created_at, m.content
            FROM chat_messages m JOIN chat_sessions s ON s.id = m.session_id
            WHERE s.deleted_at IS NULL AND m.deleted_at IS NULL AND {" AND ".join(["instr(m.content, ?)"] * len(words))}
            ORDER BY m.seq DESC LIMIT ? OFFSET ?""",  # noqa: RUF100, S608
        (*words, max(0, limit), max(0, offset)),
    )
    hits = []
    for row in found:
        content: str = row["content"]
        at = content.find(words[0])
        start = max(0, at - 40)
        snippet = ("…" if start else "") + content[start : at + 120] + ("…" if at + 120 < len(content) else "")
        marks = [(one.start(), one.end()) for one in re.finditer("|".join(map(re.escape, words)), snippet)]
        hits.append(
            Hit(row["session_id"], row["title"], row["id"], row["role"], row["created_at"], snippet, tuple(marks))
        )
    return hits
