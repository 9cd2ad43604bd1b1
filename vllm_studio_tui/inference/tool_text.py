"""Read calls of tools that a model wrote as text, from an answer that comes piece by piece.

What cannot be a call is passed on at once; what may become one is held back until that is certain. Joined, text and
calls are the same however the answer was cut. Calls in blocks of code are not calls: somebody speaks of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_studio_tui.backends.common.parsers import parser_of_form
from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, ToolCall
from vllm_studio_tui.inference.thinking import FenceWatch, ThinkingSplitter
from vllm_studio_tui.inference.tool_forms import FORMS, MOST_CALLS, Form

#: Letters that are held back at most: what is longer is text.
MOST_HELD = 1024 * 1024
#: Openers that turn out to be text, until nothing is taken for a call any more.
MOST_WRONG = 200
#: As much of what stands alone is looked at to tell whether it may be a call.
_LOOKED_AT = 400

_ALONE = tuple(dict.fromkeys(form.opener for form in FORMS if form.alone))
_OPENERS = tuple(dict.fromkeys(form.opener for form in FORMS if not form.alone))
_OPENER = re.compile("|".join(re.escape(one) for one in sorted(_OPENERS, key=len, reverse=True)))
_BEGINNINGS = frozenset(one[:size] for one in _OPENERS for size in range(1, len(one)))
_LONGEST = max(len(mark) for form in FORMS for mark in (form.opener, *form.closers))
_KEYS = ('"name"', '"function"', '"type"', '"parameters"', '"arguments"', '"id"', '"tool"', '"tool_name"')
_NAMED = re.compile(r'"name"\s*:\s*"([^"\\]*)')
_WORD = re.compile(r"[A-Za-z_][\w.\-]*")

START, TEXT, HELD = "start", "text", "held"


@dataclass(slots=True)
class _Block:
    """Text that calls were read from."""

    text: str
    calls: list[ToolCall]
    family: str


class ToolTextReader:
    """Takes calls out of content.

    Args:
        tools: What was offered, as in the request.

    Attributes:
        blocks: What was taken out so far.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]]) -> None:
        self._schemas = _schemas(tools)
        self.blocks: list[_Block] = []
        self._state = START
        self._buffer = ""
        self._pieces: list[str] = []  # what came while a block is held, after the buffer
        self._size = 0
        self._tail = ""
        self._blanks: list[str] = []
        self._fence = FenceWatch()
        self._given = ""  # the last letter that was no call
        self._forms: Sequence[Form] = ()
        self._wrong = 0
        self._last = False

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls so far, in their order."""
        return tuple(call for block in self.blocks for call in block.calls)[:MOST_CALLS]

    @property
    def family(self) -> str | None:
        """Return in whose form the first call stood."""
        return self.blocks[0].family if self.blocks else None

    def feed(self, text: str) -> str:
        """Return the text that this piece makes certain to be none of a call."""
        if self._state == HELD and not self._may_end(text):
            self._pieces.append(text)
            return ""
        self._buffer = "".join((self._buffer, *self._pieces, text))
        self._pieces.clear()
        return self._work()

    def close(self) -> str:
        """Return what was held back and is no call."""
        self._last = True
        self._buffer = "".join((self._buffer, *self._pieces))
        self._pieces.clear()
        rest = self._work()
        if not self.blocks:  # blanks around calls belong to these
            rest += "".join(self._blanks)
        self._blanks.clear()
        return rest

    def give_up(self) -> str:
        """Return the text of all blocks: their calls are not made."""
        text = "".join(block.text for block in self.blocks)
        self.blocks.clear()
        return text

    def _may_end(self, text: str) -> bool:
        """Return whether a held block may be over with this piece."""
        window = self._tail + text
        self._tail = window[-_LONGEST:]
        self._size += len(text)
        if self._size > MOST_HELD + _LONGEST:
            return True
        form = self._forms[0]
        if form.alone and not form.closers and len(self._buffer) < _LOOKED_AT:
            return True
        return any(closer in window for closer in form.closers)

    # --- steps ------------------------------------------------------------------------------------------

    def _work(self) -> str:
        out: list[str] = []
        steps = {START: self._start, TEXT: self._text, HELD: self._held}
        while steps[self._state](out):
            pass
        return "".join(out)

    def _start(self, out: list[str]) -> bool:
        """Look whether the answer begins with what is a call only when it stands alone."""
        text = self._buffer.lstrip()
        if not text and not self._last:
            return False
        for opener in _ALONE:
            if text.startswith(opener):
                self._blanks.append(self._buffer[: len(self._buffer) - len(text)])
                self._hold([form for form in FORMS if form.alone and form.opener == opener], text)
                return True
        if not self._last and any(opener.startswith(text) for opener in _ALONE):
            return False
        self._state = TEXT
        return True

    def _text(self, out: list[str]) -> bool:
        found = _OPENER.search(self._buffer) if self._wrong < MOST_WRONG else None
        if found is None:
            keep = 0 if self._last else _kept(self._buffer)
            cut = len(self._buffer) - keep
            self._give(self._buffer[:cut], out)
            self._buffer = self._buffer[cut:]
            return False
        self._give(self._buffer[: found.start()], out)
        rest = self._buffer[found.start() :]
        if self._fence.open or self._given == "`":  # somebody speaks of it
            self._give(found[0], out)
            self._buffer = rest[len(found[0]) :]
            return True
        self._hold([form for form in FORMS if not form.alone and form.opener == found[0]], rest)
        return True

    def _hold(self, forms: Sequence[Form], text: str) -> None:
        self._state, self._forms, self._buffer = HELD, forms, text
        self._size, self._tail = len(text), text[-_LONGEST:]

    def _held(self, out: list[str]) -> bool:
        """Read the block that the buffer begins with, once it is whole."""
        form = self._forms[0]
        begin = len(form.opener)
        if form.alone and not form.closers and not _may_be_call(self._buffer[:_LOOKED_AT], self._schemas):
            return self._no_call(out)
        ends = [
            (at, closer)
            for closer in form.closers
            if (at := self._buffer.find(closer, begin, MOST_HELD + len(closer))) >= 0
        ]
        if ends:
            end, closer = min(ends)
        elif len(self._buffer) > MOST_HELD + _LONGEST:
            return self._no_call(out)
        elif not self._last:
            return False
        else:  # some models leave the end away
            end, closer = len(self._buffer), ""
        for one in self._forms:
            calls = one.read(self._buffer[begin:end], self._schemas)
            if calls:
                end += len(closer)
                self._take(self._buffer[:end], one.family, calls)
                self._buffer, self._state = self._buffer[end:], TEXT
                return True
        return self._no_call(out)

    def _take(self, text: str, family: str, calls: Iterable[tuple[str, Mapping[str, Any] | str]]) -> None:
        made = [
            ToolCall("", name, given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))
            for name, given in calls
        ]
        number = len(self.calls)
        named = [ToolCall(f"call_{number + at}", one.name, one.arguments) for at, one in enumerate(made)]
        self.blocks.append(_Block("".join(self._blanks) + text, named, family))
        self._blanks.clear()

    def _no_call(self, out: list[str]) -> bool:
        """Pass an opener on as text, and go on behind it."""
        form, self._state = self._forms[0], TEXT
        if form.alone:  # what stands alone may still hold another form
            return True
        self._wrong += 1
        self._give(form.opener, out)
        self._buffer = self._buffer[len(form.opener) :]
        return True

    def _give(self, text: str, out: list[str]) -> None:
        """Pass text on; blanks at its end wait, as they may stand before a call."""
        if not text:
            return
        self._fence.note(text)
        self._given = text[-1]
        shown = text.rstrip()
        if shown:
            out.extend((*self._blanks, shown))
            self._blanks.clear()
        if len(shown) < len(text):
            self._blanks.append(text[len(shown) :])


def _kept(text: str) -> int:
    """Return how many letters at the end may be the beginning of an opener."""
    for size in range(min(_LONGEST - 1, len(text)), 0, -1):
        if text[-size:] in _BEGINNINGS:
            return size
    return 0


def _may_be_call(text: str, names: Mapping[str, Any]) -> bool:
    """Return whether an answer that begins so may be nothing but calls; no answer that goes on from a no is a yes."""
    if text.startswith("["):
        text = text[1:].lstrip()
        if text and not text.startswith("{"):
            word = _WORD.match(text)
            if word is None:
                return False
            if word.end() == len(text):
                return any(name.startswith(word[0]) for name in names)
            return word[0] in names and text[word.end() :].lstrip()[:1] in ("", "(")
    text = text[1:].lstrip()
    if not text:
        return True
    if not any(text.startswith(key) or key.startswith(text) for key in _KEYS):
        return False
    named = _NAMED.match(text)
    if named is None:
        return True
    if named.end() == len(text):
        return any(name.startswith(named[1]) for name in names)
    return named[1] in names


def _schemas(tools: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the schemas of the arguments of tools, by their names."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found[function["name"]] = schema if isinstance(schema, Mapping) else {}
    return found


class CallSplitter:
    """Splits content into thinking, answer and calls; see `ThinkingSplitter` for the first two."""

    def __init__(self, splitter: ThinkingSplitter, tools: Iterable[Mapping[str, Any]]) -> None:
        self._splitter = splitter
        self._tools = tuple(tools)
        self.reader = ToolTextReader(self._tools)

    def feed(self, text: str) -> list[Delta | Relabel]:
        """Return the events that this piece makes certain."""
        return self._read(self._splitter.feed(text))

    def close(self) -> list[Delta | Relabel]:
        """Return what was held back."""
        events = self._read(self._splitter.close())
        rest = self.reader.close()
        return [*events, Delta(content=rest)] if rest else events

    def _read(self, events: Iterable[Delta | Relabel]) -> list[Delta | Relabel]:
        out: list[Delta | Relabel] = []
        for event in events:
            if isinstance(event, Delta) and event.content:
                text = self.reader.feed(event.content)
                if text or event.reasoning:
                    out.append(Delta(content=text, reasoning=event.reasoning))
                continue
            if isinstance(event, Relabel):  # what was held was thinking too
                rest = self.reader.close() + self.reader.give_up()
                if rest:
                    out.append(Delta(content=rest))
                self.reader = ToolTextReader(self._tools)
            out.append(event)
        return out


def recovered(ended: Ended, calls: tuple[ToolCall, ...], family: str | None, backend: str) -> Ended:
    """Return the end of an answer with the calls that stood in its text, and what has its engine read them."""
    if not calls or family is None:
        return ended
    name = parser_of_form(family, backend)
    setting = (
        f"set tool_call_parser {name} in its recipe, and launch it again" if name else f"its form is called {family}"
    )
    advice = f"The engine parsed no tool call, this was read from the text: {setting}."
    details = {**ended.details, "recovered": family}
    return replace(ended, finish="tool_calls", tool_calls=calls, details=details, advice=ended.advice or advice)
