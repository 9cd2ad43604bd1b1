"""Lines of a log that are shown as one: progress, tracebacks, requests, what repeats, and what goes on below a line.

Only lines that follow one another in the file are joined, and each line is looked at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vllm_studio_tui.runs.log_lines import LONGEST, LineParts, Prefix, parse, prefix_of
from vllm_studio_tui.runs.log_text import LONGEST as PIECE
from vllm_studio_tui.runs.log_text import RANK, LogLine, in_traceback

#: So many lines of a kind are shown as one; fewer are shown as they are.
LEAST = {"progress": 2, "requests": 3, "same": 2, "workers": 2, "place": 4, "below": 2, "traceback": 2}
#: A bar of tqdm, one of vLLM's shards, or dots.
_BAR = re.compile(
    r"(?P<label>[^\d|%][^|%]{0,160}?)?:?\s*(?P<percent>\d{1,3})(?:\.\d+)?%(?:\|| Completed \|)(?P<rest>[^\n]{0,200})"
)
_COUNT = re.compile(r"\b(\d{1,12}(?:\.\d+)?[kMGTB]?)/(\d{1,12}(?:\.\d+)?[kMGTB]?)\b")
_TIMES = re.compile(r"\[(\d{1,3}(?::\d\d){1,3})<")
_DOTS = re.compile(r"[.\s]{4,}")
_REQUEST = re.compile(
    r'"?(?P<method>GET|POST|PUT|DELETE|PATCH|HEAD|OPTIONS) (?P<path>/[^\s"?]{0,200})[^"]{0,400}?"?'
    r"(?: HTTP/[\d.]{1,3}\"?)? (?:[\d.:a-f]{3,45} )?(?P<status>[1-5]\d\d)\b"
)
_DIGITS = re.compile(r"\d+(?:\.\d+)?")
_SECONDS = re.compile(r"\d+(?:\.\d+)? ?(?:s\b|sec\b|secs\b|seconds\b|ms\b)")
_DRAWING = re.compile(r"[\s█▀▄▌▐░▒▓▁-▇│─═║╔╗╚╝╠╣]+")
_CLOSERS = ("}", "]", ")")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is shown as one.

    Attributes:
        kind: `line`, or why its lines were joined: a key of LEAST.
        level: The highest of its lines.
        text: What it says while it is folded; of a single line what the line says.
        note: How many lines were folded, in words; empty for a single line.
        sources: Who wrote them, each once.
    """

    lines: tuple[LogLine, ...]
    kind: str
    level: str
    prefix: Prefix
    text: str
    note: str = ""
    sources: tuple[str, ...] = ()

    @property
    def folds(self) -> bool:
        """Whether it stands for several lines."""
        return self.kind != "line"


def entries(lines: Sequence[LogLine], alone: Collection[int] = ()) -> Iterator[Entry]:
    """Yield the lines as entries.

    Args:
        alone: Offsets of lines that are never joined to others, such as that of the cause.
    """
    group: list[_Read] = []
    kind = ""
    for line in lines:
        read = _Read(line, parse(line.text))
        if group and group[-1].line.end == line.offset and not line.hole and line.offset not in alone:
            first = group[0].line
            wanted = "" if first.hole or first.offset in alone else _kind(read, group, kind)
            if wanted:
                group.append(read)
                kind = wanted
                continue
        if group:
            yield from _made(group, kind)
        group = [read]
        kind = "traceback" if line.offset not in alone and in_traceback(line.text, False) else ""
    if group:
        yield from _made(group, kind)


class _Read(NamedTuple):
    line: LogLine
    parts: LineParts


def _kind(read: _Read, group: Sequence[_Read], kind: str) -> str:
    """Return the kind of the group with this line added; empty where it does not belong to it."""
    text, ours, first, last = read.line.text, read.parts, group[0].parts, group[-1].line
    if kind in ("", "below") and last.end - last.offset > PIECE - 4:
        return "below"  # a piece of a line that is too long to be shown whole
    if kind == "traceback":
        # One of another process begins anew.
        return kind if in_traceback(text, True) and (not in_traceback(text, False) or _begins(last.text)) else ""
    if in_traceback(text, False):
        return ""
    if not ours.text.strip():
        return kind or "blank"
    if kind == "blank":
        # What was blank is the head of a drawing, or nothing.
        return "below" if not first.text.strip() and _below(ours, first) else ""
    for one, test in _TESTS:
        if kind in ("", one) and test(ours, first):
            return one
    return ""


def _begins(text: str) -> bool:
    return (
        "The above exception" in text or "During handling" in text or not text[prefix_of(text[:LONGEST]).size :].strip()
    )


def _progress(ours: LineParts, first: LineParts) -> bool:
    label = progress_label(ours.text)
    return label is not None and label == progress_label(first.text)


def _requests(ours: LineParts, first: LineParts) -> bool:
    return request(ours.text) is not None and request(first.text) is not None


def _workers(ours: LineParts, first: LineParts) -> bool:
    mine, yours = ours.prefix.source, first.prefix.source
    if mine == yours or not _worker(mine) or not _worker(yours):
        return False
    return ours.text == first.text or _SECONDS.sub("", ours.text[:400]) == _SECONDS.sub("", first.text[:400])


def _worker(source: str) -> bool:
    """Return whether a worker wrote it, or a rank of a run on several machines: they do and say the same."""
    return source.startswith(("w", "r")) and (source[1:2].isdigit() or source == "w")


def _same(ours: LineParts, first: LineParts) -> bool:
    return ours.text == first.text and ours.prefix.source == first.prefix.source


def _place(ours: LineParts, first: LineParts) -> bool:
    """Return whether the same statement wrote both in the same second, beginning with the same word."""
    mine, yours = ours.prefix, first.prefix
    if not mine.where or ":" not in mine.where or mine.where != yours.where or mine.source != yours.source:
        return False
    return mine.time == yours.time and ours.text.split(" ", 1)[0] == first.text.split(" ", 1)[0] and ours.text[:1] > " "


def _below(ours: LineParts, first: LineParts) -> bool:
    """Return whether a line goes on with what the first one began, as the rest of a table or of a warning does."""
    if first.level == "error" or ours.level == "error" or progress_label(ours.text) is not None:
        return False
    if ours.prefix.size and ours.prefix.where != first.prefix.where:
        return False
    if ours.prefix.size and not (ours.prefix.where and ours.prefix.time):
        return False
    return ours.text[:1] in (" ", "\t") or ours.text.rstrip(",") in _CLOSERS


_TESTS = (
    ("progress", _progress),
    ("requests", _requests),
    ("workers", _workers),
    ("same", _same),
    ("place", _place),
    ("below", _below),
)


def progress_label(text: str) -> str | None:
    """Return what a progress bar is about, its numbers left out; None for a line that is no bar."""
    if "%" in text:
        found = _BAR.search(text[:400])
        if found is not None:
            return _DIGITS.sub("", found["label"] or "").strip(" :([").lower()
    return "" if len(text) < 400 and "...." in text and _DOTS.fullmatch(text) is not None else None


def progress_text(text: str) -> str:
    """Return the state of a progress bar in words: `Loading shards 7/30, 23%, 00:08`."""
    found = _BAR.search(text[:400])
    if found is None:
        return text.strip()[:8]
    label = (found["label"] or "progress").strip(" :")
    count, times = _COUNT.search(found["rest"]), _TIMES.search(found["rest"])
    parts = [f"{label} {count[1]}/{count[2]}" if count is not None else label, f"{found['percent']}%"]
    return ", ".join([*parts, *([times[1]] if times is not None else [])])


def request(text: str) -> tuple[str, int] | None:
    """Return method and path, and the status, of a line of an access log; None for another line."""
    if " /" not in text:
        return None
    found = _REQUEST.search(text[:600])
    return (f"{found['method']} {found['path']}", int(found["status"])) if found is not None else None


def _made(group: Sequence[_Read], kind: str) -> Iterator[Entry]:
    """Yield a group as one entry, or line by line where it is too small to be folded."""
    said = [read.parts for read in group if read.parts.text.strip()]
    if len(said) >= LEAST.get(kind, len(group) + 1):
        yield _folded([read.line for read in group], said, kind)
        return
    start = 0
    for at in range(1, len(group) + 1):
        # Blank lines stand with the line above them, and are not shown.
        if at == len(group) or group[at].parts.text.strip():
            yield _single(group[start:at])
            start = at


def _single(group: Sequence[_Read]) -> Entry:
    parts = next((read.parts for read in group if read.parts.text.strip()), group[0].parts)
    source = parts.prefix.source
    lines = tuple(read.line for read in group)
    return Entry(lines, "line", parts.level, parts.prefix, parts.text, sources=(source,) if source else ())


def _folded(group: Sequence[LogLine], parts: Sequence[LineParts], kind: str) -> Entry:
    first, last = parts[0], parts[-1]
    level = max((one.level for one in parts), key=RANK.__getitem__) if kind != "traceback" else "error"
    sources = tuple(dict.fromkeys(one.prefix.source for one in parts if one.prefix.source))
    note = f"{len(parts)} lines"
    text = first.text
    if kind == "traceback":
        words = text.rpartition("Traceback (most recent call last)")[0].strip()
        text, note = f"{words} traceback, {len(parts)} lines".strip(), ""
    elif kind == "progress":
        text = progress_text(last.text)
    elif kind == "requests":
        counted = Counter(f"{found[0]} {found[1]}" for one in parts if (found := request(one.text)) is not None)
        most = counted.most_common(3)
        text = ", ".join(words for words, _ in most) + (", and others" if len(counted) > 3 else "")
        note = f"{len(parts)} alike" if len(counted) == 1 else f"{len(parts)} requests"
    elif kind in ("same", "workers"):
        note = f"{len(parts)} alike"
    elif kind == "below":
        text = next((words for one in parts if _letters(words := _DRAWING.sub(" ", one.text).strip())), text)
    return Entry(tuple(group), kind, level, first.prefix, text, note, sources)


def _letters(text: str) -> bool:
    return sum(character.isalpha() for character in text[:80]) >= 3
