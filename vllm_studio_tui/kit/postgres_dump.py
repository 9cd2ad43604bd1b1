"""Read the rows of one table out of a plain SQL dump of Postgres, as `pg_dump` writes it; nothing of it is executed.

Rows stand in `COPY` blocks, or in `INSERT` statements (`--inserts`, `--column-inserts`), whose columns are those of
the `CREATE TABLE` before where they name none. https://www.postgresql.org/docs/current/sql-copy.html (text format).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: What a dump in one of the formats begins with that only `pg_restore` reads.
CUSTOM = b"PGDMP"
_NAME = re.compile(r'"((?:[^"]|"")*)"|([A-Za-z_][A-Za-z0-9_$]*)')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
#: A statement that is longer is no row that anybody reads.
MOST = 64 * 1024 * 1024


def rows_of(text: str, table: str) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a table by the names of its columns; None is NULL. Rows that do not fit are passed over."""
    columns: list[str] = []
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end]
        following = end + 1
        if line.startswith("COPY ") and _names(line, table) and line.rstrip().endswith("FROM stdin;"):
            stop = text.find("\n\\.", following - 1)
            stop = len(text) if stop < 0 else stop
            named = _columns(line[line.find("(") + 1 : line.rfind(")")]) if "(" in line else columns
            for one in text[following:stop].split("\n") if stop >= following else ():
                values = one.split("\t")
                if len(values) == len(named):
                    yield dict(zip(named, (_unescaped(value) for value in values), strict=True))
            following = stop + 3
        elif line.startswith("CREATE TABLE ") and _names(line, table):
            stop = text.find("\n);", end)
            columns = [found for one in text[end:stop].split("\n") if (found := _first_name(one))] if stop > 0 else []
            following = max(following, stop)
        elif line.startswith("INSERT INTO ") and _names(line, table):
            begin = text.find("VALUES", at, min(len(text), at + MOST))
            if begin < 0:
                return
            head = text[at:begin]
            named = _columns(head[head.find("(") + 1 : head.rfind(")")]) if "(" in head else columns
            following = begin + len("VALUES")
            while True:
                values_or_none, following = _tuple(text, following)
                if values_or_none is None:
                    break
                if len(values_or_none) == len(named):
                    yield dict(zip(named, values_or_none, strict=True))
            following = max(following, end + 1) if text[following - 1 : following] != "\n" else following
        at = following


def _names(line: str, table: str) -> bool:
    """Return whether a statement is about a table, in whatever schema."""
    begin = line.split(" ", 1)[1] if line.startswith("COPY") else line.split(" ", 2)[2]
    begin = begin.removeprefix("IF NOT EXISTS ").removeprefix("ONLY ")
    found = _NAME.match(begin)
    if found is not None and begin[found.end() : found.end() + 1] == ".":
        found = _NAME.match(begin, found.end() + 1)
    return found is not None and _name(found) == table


def _name(found: re.Match[str]) -> str:
    return found.group(1).replace('""', '"') if found.group(1) is not None else found.group(2)


def _columns(text: str) -> list[str]:
    return [_name(found) for found in _NAME.finditer(text)]


def _first_name(line: str) -> str | None:
    """Return the column that a line of `CREATE TABLE` defines; None for a constraint."""
    line = line.strip()
    if line.upper().startswith(("CONSTRAINT ", "PRIMARY ", "UNIQUE ", "CHECK ", "FOREIGN ", "LIKE ")):
        return None
    found = _NAME.match(line)
    return None if found is None else _name(found)


def _unescaped(value: str) -> str | None:
    if value == "\\N":
        return None
    if "\\" not in value:
        return value

    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        return chr(int(code, 8) & 0xFF) if code[0] in "01234567" else _ESCAPES.get(code, code)

    return _ESCAPE.sub(one, value)


def _tuple(text: str, at: int) -> tuple[list[str | None] | None, int]:
    """Return the values of the next parenthesis of an `INSERT`, and where it ends; None where there is no further."""
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    if at >= len(text) or text[at] != "(":
        return None, at + 1
    at += 1
    values: list[str | None] = []
    while at < len(text):
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if text[at : at + 1] in ("'", "E") and (text[at] == "'" or text[at + 1 : at + 2] == "'"):
            escaped = text[at] == "E"
            at += 2 if escaped else 1
            pieces = []
            while True:
                end = text.find("'", at)
                if end < 0:
                    return None, len(text)
                pieces.append(text[at:end])
                at = end + 1
                if text[at : at + 1] != "'":
                    break
                pieces.append("'")
                at += 1
            value = "".join(pieces)
            values.append(_unescaped(value) if escaped else value)
        else:
            found = re.compile(r"[^,)]*").match(text, at)
            word = found.group().strip() if found is not None else ""
            at += len(found.group()) if found is not None else 0
            values.append(None if word.upper() == "NULL" else word)
        while at < len(text) and text[at] not in ",)":
            at += 1  # a cast, as `::jsonb`
        if at >= len(text):
            return None, at
        at += 1
        if text[at - 1] == ")":
            return values, at
    return None, at
