"""A form (`multipart/form-data`, RFC 7578) as it passes: where one of its fields is, and every other byte as it came.

Programs that read forms differ where one is not written as the RFC says: which of two names of a part counts, whether a
line may end without CR, what stands after the end. What could be read in two ways is refused, so that nobody behind us
finds a value of the field that was not found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

#: Bytes that the head of a part may have.
MAX_HEAD = 8192
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
#: One parameter of a header. Nothing in it is tried twice: a hostile one costs no more than a good one.
_PARAMETER = re.compile(rb'[ \t]*+;[ \t]*+(?:(%b)=(?:"((?:[^"\\]|\\.)*+)"|(%b))|\Z)' % (_TOKEN, _TOKEN), re.DOTALL)
_HEADER = re.compile(rb"(%b):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)\Z" % _TOKEN)
_FORM = re.compile(rb"multipart/form-data(?=[ \t;]|\Z)", re.IGNORECASE)
_FORM_DATA = re.compile(rb"form-data(?=[ \t;]|\Z)", re.IGNORECASE)
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
#: Where somebody who does not know quotes takes the name of a part to be.
_NAIVE_NAME = re.compile(rb"(?<![!#$%&'*+.^_`|~0-9A-Za-z-])name[ \t\"]*+=", re.IGNORECASE)
#: In these the letters of a name are what they are in ASCII.
_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"windows-1252"})
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})
_ODD_NAME = re.compile(rb"[\"\\;]")
_BLANKS = b" \t\r\n"
_LINE_ENDS = b"\r\n"


class LongValue(ValueError):
    """A value of the field is longer than it may be."""


@dataclass(frozen=True, slots=True)
class Value:
    """What stands in the field that is looked for."""

    raw: bytes


def boundary_of(content_type: str) -> bytes:
    """Return what stands between the parts of a form, as its Content-Type says.

    Raises:
        ValueError: It says none, or not clearly. The words follow `the form`.
    """
    header = content_type.encode("utf-8", "surrogateescape").strip(_BLANKS)
    kind = _FORM.match(header)
    if kind is None:
        raise ValueError("is not multipart/form-data")
    found: dict[bytes, bytes] = {}
    for name, value, _ in _parameters(header, kind.end(), "Content-Type"):
        if name in found or name not in (b"boundary", b"charset"):
            raise ValueError("has a Content-Type that says more than a boundary")
        found[name] = value
    if found.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise ValueError("has a charset other than UTF-8")
    boundary = found.get(b"boundary", b"")
    if not boundary:
        raise ValueError("has no boundary in its Content-Type")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise ValueError("has a boundary of letters that none may have, or of more than 70")
    return boundary


class FormScanner:
    """Finds the values of one field in a form that comes in pieces, however it is cut.

    It keeps back no more than the head of a part, a value, or as much as a boundary is long. No byte is searched again
    because another piece came.
    """

    def __init__(self, boundary: bytes, field: str, longest: int) -> None:
        """Look for a field, of which a value has at most so many bytes."""
        self._line = b"--" + boundary
        self._field = field.encode()
        self._longest = longest
        self._buffer = bytearray()
        self._step: Callable[[list[bytes | Value]], bool] = self._begin
        #: Up to where the buffer has been searched.
        self._searched = 0
        #: Nothing of the content of a part has passed: the buffer begins with the end of the empty line before it.
        self._fresh = False
        #: The part is the field that is looked for.
        self._wanted = False

    def feed(self, piece: bytes) -> list[bytes | Value]:
        """Take a piece; return what has passed, in order. Put together it is what came.

        Raises:
            LongValue: A value of the field is too long.
            ValueError: It is no form, or could be read in two ways. The words follow `the form`.
        """
        self._buffer += piece
        passed: list[bytes | Value] = []
        while self._step(passed):
            pass
        return passed

    def close(self) -> None:
        """Take the end of the body.

        Raises:
            ValueError: It came before the end of the form.
        """
        if self._step != self._after:
            raise ValueError("ends in the middle")

    # Each step returns whether the next one can go on with what is there.

    def _begin(self, passed: list[bytes | Value]) -> bool:
        for before in (b"", b"\r\n"):  # some end a line also before the first
            line = before + self._line
            here = self._buffer[: len(line)]
            if line.startswith(here):
                if len(here) < len(line):
                    return False
                self._pass(len(before), passed)
                self._step = self._boundary
                return True
        raise ValueError("does not begin with its boundary")

    def _boundary(self, passed: list[bytes | Value]) -> bool:
        end = len(self._line) + 2
        if len(self._buffer) < end:
            return False
        last = bytes(self._buffer[end - 2 : end])
        if last not in (b"\r\n", b"--"):
            raise ValueError("has a line that begins with its boundary and goes on with something else")
        self._pass(end, passed)
        self._step = self._head if last == b"\r\n" else self._after
        return True

    def _head(self, passed: list[bytes | Value]) -> bool:
        if self._buffer.startswith(b"\r\n"):
            raise ValueError("has a part without a head")
        end = self._buffer.find(b"\r\n\r\n", self._searched)
        if end > MAX_HEAD or (end < 0 and len(self._buffer) > MAX_HEAD + 3):
            raise ValueError(f"has a part whose head is longer than {MAX_HEAD} bytes")
        if end < 0:
            self._searched = max(0, len(self._buffer) - 3)
            return False
        self._wanted = _is_of_field(bytes(self._buffer[:end]), self._field)
        self._pass(end + 2, passed)
        self._fresh = True
        self._step = self._content
        return True

    def _content(self, passed: list[bytes | Value]) -> bool:
        end = self._find_line()
        if self._wanted:
            if (end if end >= 0 else len(self._buffer) - len(self._line) - 2) - 2 > self._longest:
                raise LongValue
            if end < 0:
                return False
            value = bytes(self._buffer[2:end])
            self._pass(2, passed)
            del self._buffer[: len(value)]
            passed.append(Value(value))
            end = 0
        elif end < 0:
            # What stays: a boundary that lacks its last letter, and the end of the line before it.
            over = len(self._buffer) - len(self._line) - 1
            if over > 0:
                self._pass(over, passed)
                self._searched = 2
                self._fresh = False
            return False
        self._pass(end + 2, passed)
        self._step = self._boundary
        return True

    def _find_line(self) -> int:
        """Return where the line ends after which the next boundary stands; -1: it has not come yet."""
        buffer, line = self._buffer, self._line
        place = max(2, self._searched)
        while (place := buffer.find(line, place)) >= 0:
            if buffer[place - 1] in _LINE_ENDS:
                if buffer[place - 2 : place] != b"\r\n" or (self._fresh and place < 4):
                    raise ValueError("has a boundary that does not follow CR and LF")
                return place - 2
            place += 1
        self._searched = len(buffer) - len(line) + 1
        return -1

    def _after(self, passed: list[bytes | Value]) -> bool:
        if self._buffer.strip(_BLANKS):
            raise ValueError("goes on after its end")
        self._pass(len(self._buffer), passed)
        return False

    def _pass(self, size: int, passed: list[bytes | Value]) -> None:
        if size:
            passed.append(bytes(self._buffer[:size]))
            del self._buffer[:size]
        self._searched = 0


def _parameters(header: bytes, place: int, of: str) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield name (in small letters), value and place of each parameter of a header.

    Raises:
        ValueError: They are not written as parameters are.
    """
    while place < len(header):
        found = _PARAMETER.match(header, place)
        if found is None:
            raise ValueError(f"has a {of} that is not written as one")
        if found[1] is not None:
            yield found[1].lower(), found[2] if found[3] is None else found[3], found.start(1)
        place = found.end()


def _is_of_field(head: bytes, field: bytes) -> bool:
    """Return whether a head is that of a part with this name.

    Raises:
        ValueError: It is no head, or could be read in two ways.
    """
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        found = _HEADER.match(line)
        if found is None:
            raise ValueError("has a part with a line in its head that is no header")
        name = found[1].lower()
        if name in headers:
            raise ValueError("has a part with two headers of one name")
        headers[name] = found[2].rstrip(_BLANKS)
    name = _name(headers.get(b"content-disposition", b""))
    if name != field:
        # Some compare without case, some take away what another took for an escape.
        if unquote_to_bytes(name).strip(_BLANKS).lower() == field.lower():
            raise ValueError(f"has a field that is almost called {field.decode()}")
        return False
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
        raise ValueError(f"has a field {field.decode()} that is encoded")
    kind = headers.get(b"content-type", b"")
    for parameter, value, _ in _parameters(kind, kind.find(b";") if b";" in kind else len(kind), "Content-Type"):
        if parameter.startswith(b"charset") and (parameter != b"charset" or value.lower() not in _CHARSETS):
            raise ValueError(f"has a field {field.decode()} in a charset other than UTF-8")
    return True


def _name(disposition: bytes) -> bytes:
    """Return the name of a part."""
    kind = _FORM_DATA.match(disposition)
    if kind is None:
        raise ValueError("has a part without Content-Disposition: form-data")
    names: list[tuple[bytes, int]] = []
    for parameter, value, place in _parameters(disposition, kind.end(), "Content-Disposition"):
        if parameter == b"name":
            names.append((value, place))
        elif parameter.startswith(b"name*"):
            raise ValueError("has a part whose name is encoded")
    naive = _NAIVE_NAME.search(disposition)
    if len(names) != 1 or naive is None or naive.start() != names[0][1]:
        raise ValueError("has a part with no name, or with more than one")
    name = names[0][0]
    if _ODD_NAME.search(name):
        raise ValueError("has a part with a name that is not one")
    return name
