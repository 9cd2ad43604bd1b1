"""Artifacts of a chat: code, pages and drawings in its answers, also those that a model left in its thinking."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.inference.thinking import split_thinking
from vllm_studio_tui.kit.sanitize import clean_line

#: How files of a kind end; any other kind is text.
SUFFIXES = {
    "bash": ".sh", "c": ".c", "c++": ".cpp", "cpp": ".cpp", "c#": ".cs", "csharp": ".cs", "css": ".css", "csv": ".csv",
    "diff": ".diff", "dockerfile": ".dockerfile", "go": ".go", "html": ".html", "ini": ".ini", "java": ".java",
    "javascript": ".js", "js": ".js", "json": ".json", "jsx": ".jsx", "kotlin": ".kt", "latex": ".tex", "lua": ".lua",
    "markdown": ".md", "md": ".md", "mermaid": ".mmd", "patch": ".patch", "perl": ".pl", "php": ".php", "py": ".py",
    "python": ".py", "r": ".r", "react": ".jsx", "ruby": ".rb", "rust": ".rs", "scala": ".scala", "sh": ".sh",
    "shell": ".sh", "sql": ".sql", "svg": ".svg", "swift": ".swift", "toml": ".toml", "ts": ".ts", "tsx": ".tsx",
    "typescript": ".ts", "vue": ".vue", "xml": ".xml", "yaml": ".yaml", "yml": ".yml", "zsh": ".sh",
}  # fmt: skip
#: Bytes of a file's name without its ending.
_LONGEST = 120
_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*)")
_NAMED = re.compile(r"""\b(?:title|file|filename|name|path)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))""", re.I)
_ATTRIBUTE = re.compile(r"""([a-z][a-z-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.I)
_FILE = re.compile(r"[^\s{}=]*[\w-]\.[A-Za-z0-9]{1,10}")
#: What stands in an answer without a fence: how it begins, and its end.
_BARE = {"<artifact": "</artifact>", "<!doctype html": "</html>", "<html": "</html>", "<svg": "</svg>"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something in an answer that can stand alone.

    Attributes:
        number: From 1, in the order of the chat.
        name: A file's name that is safe in any folder, and like no other of the chat.
        kind: Its language in small letters; `text` where none is named.
        message_id: The answer that it stands in.
        thinking: It stands in the model's thinking.
        cut: Its end is missing: the answer was cut.
    """

    number: int
    name: str
    kind: str
    text: str
    message_id: str
    thinking: bool = False
    cut: bool = False

    @property
    def data(self) -> bytes:
        """What is written to a file."""
        return self.text.encode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """Return the artifact as `chats artifacts --json` prints it."""
        return {
            "number": self.number,
            "name": self.name,
            "kind": self.kind,
            "size": len(self.data),
            "message": self.message_id,
            "thinking": self.thinking,
            "cut": self.cut,
            "text": self.text,
        }


def artifacts_of(branch: Iterable[Message]) -> list[Artifact]:
    """Return what stands in the answers of a branch, in its order; of one answer, its thinking first."""
    found: list[Artifact] = []
    names = _Names()
    for message in branch:
        if message.role != "assistant":
            continue
        thought, answer = split_thinking(message.content)
        for thinking, text in ((True, message.reasoning), (True, thought), (False, answer)):
            for block in _blocks(text):
                number = len(found) + 1
                kind = _kind(block.kind)
                name = names.take(block.title, kind, number)
                found.append(Artifact(number, name, kind, block.text, message.id, thinking, block.cut))
    return found


# --- reading ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Block:
    """What was found, as the model named it."""

    kind: str
    title: str
    text: str
    cut: bool = False


def _blocks(text: str) -> Iterator[_Block]:
    """Read a text once, line by line: whatever a model writes, each line is looked at once."""
    lines = text.replace("\r\n", "\n").split("\n")
    ends = _last_ends(lines)
    at = 0
    while at < len(lines):
        line = lines[at]
        if (fence := _FENCE.match(line)) is not None and not (fence[1][0] == "`" and "`" in fence[2]):
            block, at = _fenced(lines, at, fence)
        elif (opener := _opener(line)) and ends.get(_BARE[opener], -1) >= at:
            block, at = _bare(lines, at, opener)
        else:
            at += 1
            continue
        if block.text.strip():
            yield block


def _fenced(lines: Sequence[str], at: int, fence: re.Match[str]) -> tuple[_Block, int]:
    """Return the block of a fence that opens here, and the line behind it."""
    marker, indent = fence[1], fence.start(1)
    kind, title = _info(fence[2].strip())
    body: list[str] = []
    for behind in range(at + 1, len(lines)):
        line = lines[behind]
        bare = line.strip()
        if bare.startswith(marker) and not bare.strip(marker[0]):
            return _Block(kind, title, "".join(f"{one}\n" for one in body)), behind + 1
        blanks = len(line) - len(line.lstrip(" \t"))
        body.append(line[min(indent, blanks) :])
    return _Block(kind, title, "\n".join(body), cut=True), len(lines)


def _bare(lines: Sequence[str], at: int, opener: str) -> tuple[_Block, int]:
    """Return what stands without a fence from here to its end, and the line behind it."""
    end, body = _BARE[opener], []
    while True:
        line = lines[at]
        at += 1
        place = line.lower().find(end)
        if place >= 0:
            body.append(line[: place + len(end)])
            break
        body.append(line)
    whole = "\n".join(body).lstrip()
    if opener != "<artifact":
        return _Block("svg" if opener == "<svg" else "html", "", f"{whole}\n"), at
    head, _, inner = whole[: -len(end)].partition(">")
    said = {one[1].lower(): one[2] or one[3] or "" for one in _ATTRIBUTE.finditer(head[:2000])}
    inner = inner.strip("\n")
    kind = said.get("language") or said.get("type", "")
    title = said.get("title") or said.get("identifier", "")
    within = inner.strip().split("\n")
    fence = _FENCE.match(within[0])
    if fence is not None:  # a model that fences what stands in the tag too
        block, behind = _fenced(within, 0, fence)
        if behind == len(within):
            return _Block(kind or block.kind, title or block.title, block.text), at
    return _Block(kind, title, f"{inner}\n"), at


def _opener(line: str) -> str:
    """Return which of `_BARE` a line begins with."""
    begin = line[:200].lstrip().lower()
    for opener in _BARE:
        if begin.startswith(opener) and not begin[len(opener) : len(opener) + 1].isalnum():
            return opener
    return ""


def _last_ends(lines: Sequence[str]) -> dict[str, int]:
    """Return the last line with each end, so that nothing is begun that never ends."""
    found: dict[str, int] = {}
    for at, line in enumerate(lines):
        if "</" in line:
            small = line.lower()
            found.update({end: at for end in _BARE.values() if end in small})
    return found


def _info(info: str) -> tuple[str, str]:
    """Return kind and name in what stands behind a fence: `python main.py`, `js title="x"`, `ts:src/a.ts`."""
    info = info[:500]
    word, _, rest = info.partition(" ")
    kind, _, path = word.partition(":")
    named = _NAMED.search(info)
    if named is not None:
        return kind, named[1] or named[2] or named[3] or ""
    file = next((one for one in (path, *rest.split()) if _FILE.fullmatch(one)), "")
    return kind, file


# --- naming -------------------------------------------------------------------------------------------------------


def _kind(said: str) -> str:
    """Return the kind that a model's word means: `python`, `artifact-html`, `text/html`, `application/x.react`."""
    word = said.strip().lower().removeprefix("artifact-").strip("{}.")
    word = word.rpartition("/")[2].rpartition(".")[2].removeprefix("x-").partition("+")[0] if "/" in word else word
    word = "".join(letter for letter in word if (letter.isalnum() and letter.isascii()) or letter in "+#-_")[:20]
    return word or "text"


class _Names:
    """Gives out names of files, none twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, title: str, kind: str, number: int) -> str:
        """Return a name of letters, digits and `._-` alone: it leads out of no folder and hides nowhere."""
        last = clean_line(title, limit=300).replace("\\", "/").rstrip("/").rpartition("/")[2]
        safe = "".join(one if one.isalnum() or one in "._-" else "-" for one in last).strip("-.")
        suffix = SUFFIXES.get(kind, ".txt")
        stem, dot, ending = safe.rpartition(".")
        if dot and stem and ending.isascii() and ending.isalnum() and len(ending) <= 10:
            suffix = f".{ending}"
        else:
            stem = safe
        stem = stem.encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore").strip("-.")
        stem = stem or f"{''.join(one for one in kind if one.isalnum()) or 'text'}-{number}"
        name = f"{stem}{suffix}"
        base, count = name.casefold(), self._next.get(name.casefold(), 1)
        while name.casefold() in self._taken:
            count += 1
            name = f"{stem}-{count}{suffix}"
        self._next[base] = count
        self._taken.add(name.casefold())
        return name
