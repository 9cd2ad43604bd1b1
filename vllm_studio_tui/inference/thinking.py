"""Separate thinking from the answer by tags in the text, where the engine did not; tags may be split anywhere.

Families and their tags: the reasoning parsers of vLLM 0.33 and SGLang 0.5.23. An opening tag counts only where
nothing but thinking came before it; a closing tag without an opening one makes all before it thinking, because
some templates put the opening tag into the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from vllm_studio_tui.domain.chat import Delta, Relabel

PAIRS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<analysis>": "</analysis>",
    "<think:opensource>": "</think:opensource>",
    "<mm:think>": "</mm:think>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel|>analysis<|message|>": "<|end|>",
    "<|channel>thought": "<channel|>",
}
#: Closing tags that tell, without an opening one, that all before was thinking.
ORPHANS = ("</think>", "</thinking>", "</mm:think>", "</seed:think>", "[/THINK]", "◁/think▷", "<|END_THINKING|>")
#: Between thinking and answer, or around the answer: not text.
SKIPPED = (
    "<|start|>assistant",
    "<|channel|>final<|message|>",
    "<|START_RESPONSE|>",
    "<|begin_of_solution|>",
)
#: Dropped anywhere in the answer; the text between them stays.
MARKERS = ("<|begin_of_box|>", "<|end_of_box|>", "<|return|>", "<|END_RESPONSE|>", "<|end_of_solution|>")

_BEGINNINGS = (*PAIRS, *SKIPPED)
_ORPHAN_OR_MARKER = re.compile("|".join(map(re.escape, (*ORPHANS, *MARKERS))))
_MARKER = re.compile("|".join(map(re.escape, MARKERS)))

_OPENER = re.compile(r"[<\[◁]")
_LONGEST = max(map(len, (*PAIRS, *PAIRS.values(), *ORPHANS, *SKIPPED, *MARKERS)))

#: As much of a line is looked at to tell whether it opens or closes a block of code.
_FENCE_LINE = 200

START, THINKING, ANSWER = "start", "thinking", "answer"


class ThinkingSplitter:
    """Splits content, fed piece by piece, into thinking and answer.

    Joined, the pieces are the same however the text was cut.

    Args:
        opened: The template opened a thinking block in the prompt.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._state = THINKING if opened else START
        self._closers: tuple[str, ...] = ORPHANS
        self._buffer = ""
        self._blanks: list[str] = []
        self._thought = False
        self._any_thinking = opened
        self._fence = FenceWatch()
        self._last = False

    def feed(self, text: str) -> list[Delta | Relabel]:
        """Return the events that this piece makes certain."""
        if text.isspace() and self._state != ANSWER and (not self._buffer or self._buffer.isspace()):
            # Nothing can follow from blanks; models that go astray write them without an end.
            self._blanks.append(text)
            return []
        self._join(text)
        return self._work()

    def close(self) -> list[Delta | Relabel]:
        """Return what was held back; thinking that was never closed stays thinking."""
        self._last = True
        self._join("")
        return self._work()

    def _join(self, text: str) -> None:
        self._buffer += "".join((*self._blanks, text))
        self._blanks.clear()

    def _work(self) -> list[Delta | Relabel]:
        out: list[Delta | Relabel] = []
        while True:
            step = {START: self._start, THINKING: self._thinking, ANSWER: self._answer}[self._state]
            if not step(out):
                return out

    def _start(self, out: list[Delta | Relabel]) -> bool:
        """Look for an opening tag: so far there were only blanks and whole blocks of thinking."""
        text = self._buffer.lstrip()
        for tag in _BEGINNINGS:
            if text.startswith(tag):
                self._buffer = text[len(tag) :]
                if tag in PAIRS:
                    closer = PAIRS[tag]
                    self._closers = (closer,)
                    self._state, self._thought, self._any_thinking = THINKING, False, True
                else:
                    self._any_thinking = True
                return True
        if not self._last and (not text or any(tag.startswith(text) for tag in _BEGINNINGS)):
            return False
        if self._any_thinking:
            self._buffer = text  # the blanks between thinking and answer belong to neither
        self._state = ANSWER
        return True

    def _thinking(self, out: list[Delta | Relabel]) -> bool:
        text = self._buffer if self._thought else self._buffer.lstrip()
        where, tag = min(((text.find(one), one) for one in self._closers if one in text), default=(-1, ""))
        if where >= 0:
            self._emit_thought(text[:where].rstrip(), out)
            self._buffer = text[where + len(tag) :]
            self._state = START
            return True
        keep = 0 if self._last else _held(text, self._closers)
        whole = text[: len(text) - keep]
        shown = whole.rstrip()  # blanks wait: before the closing tag they are nothing
        self._emit_thought(shown, out)
        self._buffer = "" if self._last else text[len(shown) :]
        return False

    def _emit_thought(self, text: str, out: list[Delta | Relabel]) -> None:
        if text:
            self._thought = True
            out.append(Delta(reasoning=text))

    def _answer(self, out: list[Delta | Relabel]) -> bool:
        pattern = _MARKER if self._any_thinking else _ORPHAN_OR_MARKER
        tags = MARKERS if self._any_thinking else (*ORPHANS, *MARKERS)
        text = self._buffer
        found = pattern.search(text)
        if found is None:
            keep = 0 if self._last else _held(text, tags)
            self._emit_answer(text[: len(text) - keep], out)
            self._buffer = text[len(text) - keep :]
            return False
        before = text[: found.start()]
        self._emit_answer(before, out)
        self._buffer = text[found.end() :]
        if found[0] in MARKERS:
            if self._fence.open:
                self._emit_answer(found[0], out)
        elif self._fence.open:
            self._emit_answer(found[0], out)  # code that speaks of tags
        else:
            out.append(Relabel())
            self._any_thinking = True
            self._state = START
        return True

    def _emit_answer(self, text: str, out: list[Delta | Relabel]) -> None:
        if text:
            out.append(Delta(content=text))
            self._fence.note(text)


class FenceWatch:
    """Knows whether a text that comes piece by piece is inside of a block of code."""

    def __init__(self) -> None:
        self._fence = ""
        self._line = ""

    @property
    def open(self) -> bool:
        return bool(self._fence)

    def note(self, text: str) -> None:
        """Take the next piece."""
        lines = (self._line + text).split("\n")
        for line in lines[:-1]:
            self._note_line(line)
        self._line = lines[-1][:_FENCE_LINE]

    def _note_line(self, line: str) -> None:
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~"):
            if not self._fence:
                self._fence = mark
            elif mark == self._fence and not line.strip().strip(mark[0]):
                self._fence = ""


def _held(text: str, tags: tuple[str, ...]) -> int:
    """Return how many characters at the end may be the beginning of a tag."""
    if not _OPENER.search(text, max(0, len(text) - _LONGEST)):
        return 0
    longest = 0
    for tag in tags:
        for size in range(min(len(tag) - 1, len(text)), longest, -1):
            if text.endswith(tag[:size]):
                longest = size
                break
    return longest


_BLOCK = re.compile(
    r"<(think|thinking|seed:think|mm:think|thought|reasoning|analysis)\b[^>]*>(.*?)(?:</\1>|\Z)"
    r"|\[THINK\](.*?)(?:\[/THINK\]|\Z)|◁think▷(.*?)(?:◁/think▷|\Z)",
    re.DOTALL,
)
_KEPT = re.compile(
    r"^```(?:html|svg|javascript|js|react|jsx|tsx|artifact-[\w-]*)[^\n]*\n.*?^```[^\n]*$", re.DOTALL | re.MULTILINE
)
_STRAY = re.compile(r"</?(?:think|thinking|seed:think|mm:think)>|\[/?THINK\]|◁/?think▷|<\|(?:begin|end)_of_box\|>")


def strip_thinking(text: str) -> str:
    """Return an answer as it is sent back to a model: without thinking, but with displayable code inside it."""
    if not any(mark in text for mark in ("think", "THINK", "<thought", "<reasoning", "<analysis", "_of_box")):
        return text

    def kept(found: re.Match[str]) -> str:
        return "\n".join(_KEPT.findall(next((part for part in found.groups()[1:] if part), "")))

    return _STRAY.sub("", _BLOCK.sub(kept, text)).strip()


def split_thinking(text: str) -> tuple[str, str]:
    """Return thinking and answer of a whole text, also where thinking begins again within it.

    Code stays code, and an opening tag within the answer counts only where it is closed.
    """
    thoughts, rest = _leading(text)
    parts: list[str] = []
    for part, fenced in _fences(rest):
        found, left = ([], part) if fenced else _closed(part)
        thoughts += found
        parts.append(left)
    splitter = ThinkingSplitter()  # the rest: a closing tag alone, and marks around the answer
    answer: list[str] = []
    whole = "".join(parts)
    pieces = (splitter.feed(whole[at : at + _PIECE]) for at in range(0, len(whole), _PIECE))
    for event in chain(chain.from_iterable(pieces), splitter.close()):
        if isinstance(event, Relabel):
            thoughts.append("".join(answer))
            answer.clear()
        elif event.reasoning:
            thoughts.append(event.reasoning)
        else:
            answer.append(event.content)
    thinking = "\n\n".join(filter(None, (one.strip() for one in thoughts)))
    return thinking, "".join(answer).strip() if thinking else text


def _leading(text: str) -> tuple[list[str], str]:
    """Return the thinking at the beginning, and the rest; an unclosed block reaches to the end."""
    thoughts: list[str] = []
    at = 0
    while found := _LEAD.match(text, at):
        closer = PAIRS[found[1]]
        end = text.find(closer, found.end())
        if end < 0:
            return [*thoughts, text[found.end() :]], ""
        thoughts.append(text[found.end() : end])
        at = end + len(closer)
    return thoughts, text[at:]


_TAG = re.compile("|".join(map(re.escape, PAIRS)))
_LEAD = re.compile(rf"\s*({_TAG.pattern})")
#: What the splitter is fed at once: it looks at all that it holds again and again.
_PIECE = 4096


def _closed(text: str) -> tuple[list[str], str]:
    """Return the thinking between tags, and the text without it."""
    thoughts: list[str] = []
    kept: list[str] = []
    never: set[str] = set()  # tags that are not closed from here on: not searched for again
    at = 0
    while found := _TAG.search(text, at):
        closer = PAIRS[found[0]]
        end = -1 if closer in never else text.find(closer, found.end())
        if end < 0:
            never.add(closer)
            kept.append(text[at : found.end()])
            at = found.end()
            continue
        thoughts.append(text[found.end() : end])
        kept.append(text[at : found.start()])
        at = end + len(closer)
    return thoughts, "".join((*kept, text[at:]))


def _fences(text: str) -> Iterator[tuple[str, bool]]:
    """Yield pieces of text, alternately outside and inside of code fences."""
    part: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = line.lstrip()[:3]
        closes = bool(fence) and mark == fence and not line.strip().strip(fence[0])
        opens = not fence and mark in ("```", "~~~")
        if opens:
            yield "".join(part), False
            part, fence = [], mark
        part.append(line)
        if closes:
            yield "".join(part), True
            part, fence = [], ""
    yield "".join(part), bool(fence)
