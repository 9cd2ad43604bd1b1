"""From the bytes that a host sends to whole answers. What comes may be cut, huge, or hold a banner: nothing raises but
for its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vllm_studio_tui.remote.agentless.script import MARK

#: Bytes of one answer.
LONGEST = 8 * 1024 * 1024
#: Sections of one answer, and letters of the line that begins one.
MOST_SECTIONS, LONGEST_MARK = 512, 4096
#: Bytes that are kept of what comes before the first answer: it may say why there is none.
NOISE = 2000


@dataclass(frozen=True, slots=True)
class Section:
    """A part of an answer.

    Attributes:
        name: What it is of.
        words: What else its first line says.
    """

    name: str
    words: tuple[str, ...]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(slots=True)
class Frame:
    """An answer: its number, and its sections in the order they came."""

    serial: int
    sections: list[Section] = field(default_factory=list)

    def named(self, name: str) -> Iterator[Section]:
        return (one for one in self.sections if one.name == name)


class TooMuch(ValueError):
    """An answer does not end where it should."""


class Frames:
    """Takes bytes as they come, and gives answers.

    Args:
        nonce: What the host was told to begin sections with.
    """

    def __init__(self, nonce: str) -> None:
        self._mark = f"{MARK} {nonce} ".encode()
        self._left = bytearray()
        self._frame: Frame | None = None
        self._name = ""
        self._words: tuple[str, ...] = ()
        self._body: list[bytes] = []
        self._size = 0
        self._noise = b""

    @property
    def noise(self) -> str:
        """Return the last of what came before the first answer, which is no part of any."""
        return self._noise.decode("utf-8", "replace")

    @property
    def at(self) -> str:
        """Return the section that is on its way; empty: none is."""
        return " ".join((self._name, *self._words[:1]))

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what came; give the answers that it completes.

        Raises:
            TooMuch: An answer is longer than any can be.
        """
        *lines, last = data.split(b"\n")
        for line in lines:
            yield from self._take(bytes(self._left) + line)
            self._left.clear()
        self._left += last
        self._count(len(self._left), keep=False)

    def _take(self, line: bytes) -> Iterator[Frame]:
        stripped = line.rstrip(b"\r")
        if not stripped.startswith(self._mark) or len(stripped) > LONGEST_MARK:
            if self._frame is None:
                self._noise = (self._noise + line + b"\n")[-NOISE:]
            else:
                self._body.append(line)
                self._count(len(line) + 1)
            return
        name, *words = stripped[len(self._mark) :].decode("utf-8", "replace").split() or [""]
        if name == "begin":
            self._frame, self._name, self._words, self._body = Frame(_serial(words)), "", (), []
            self._size = 0
            return
        if self._frame is None:
            return
        self._keep()
        if name != "end":
            self._name, self._words = name, tuple(words)
            return
        frame, self._frame = self._frame, None
        self._size = 0
        if frame.serial >= 0 and frame.serial == _serial(words):
            yield frame

    def _keep(self) -> None:
        if self._frame is not None and self._name and len(self._frame.sections) < MOST_SECTIONS:
            body = b"\n".join(self._body)
            # A blank line was put before the mark, as what came before may not have ended with a line end.
            self._frame.sections.append(Section(self._name, self._words, body.removesuffix(b"\n")))
        self._name, self._words, self._body = "", (), []

    def _count(self, size: int, *, keep: bool = True) -> None:
        whole = self._size + size
        if whole > LONGEST:
            raise TooMuch(f"It is longer than {LONGEST // 1024**2} MiB.")
        if keep:
            self._size = whole


def _serial(words: list[str]) -> int:
    """Return the number of an answer; -1: it has none."""
    text = words[0] if words else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
