"""Keeps answers of the terminal out of what is typed, and gives early keys to the app."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import TypeVar

from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver
from textual.message import Message

from vllm_studio_tui.probes import graphics
from vllm_studio_tui.probes.clipboard import REPLY, REPLY_BEGINNING, read_reply
from vllm_studio_tui.probes.terminal import ANSWER, BEGINNING, Answers

#: Seconds after the start for which a late answer is looked for.
EXPECTED = 10.0
#: Seconds that the beginning of an answer waits for its end, before it counts as typed.
PATIENCE = 0.3
#: Seconds after the question for which what the clipboard holds is looked for. It never counts as typed: it could be
#: anything.
CLIPBOARD_EXPECTED = 10.0
CLIPBOARD_NEAR = 1.0
#: What an answer about the clipboard begins with.
CLIPBOARD_START = "\x1b]52;"


T = TypeVar("T")


class ClipboardAnswers:
    """What the terminal says of its clipboard, from the thread that reads the input to whoever asked."""

    def __init__(self) -> None:
        self._until = 0.0
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[bytes]] | None = None

    @property
    def near(self) -> bool:
        """Whether it was asked a moment ago and has not answered."""
        return self._waiting is not None and time.monotonic() < self._until - CLIPBOARD_EXPECTED + CLIPBOARD_NEAR

    @property
    def expected(self) -> bool:
        return time.monotonic() < self._until

    def expect(self) -> asyncio.Future[bytes]:
        """Return what the next answer will be the result of."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting = (loop, future)
        self._until = time.monotonic() + CLIPBOARD_EXPECTED
        return future

    def take(self, text: str) -> str:
        """Return what came from the terminal without the answers, which go to whoever asked."""
        for found in REPLY.finditer(text):
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                loop, future = waiting
                with contextlib.suppress(RuntimeError):  # the app has ended meanwhile
                    loop.call_soon_threadsafe(_settle, future, read_reply(found[1]))
        return REPLY.sub("", text)


def _settle(future: asyncio.Future[T], data: T) -> None:
    if not future.done():
        future.set_result(data)


class GraphicsAnswers:
    """What the terminal says of pictures, from the thread that reads the input to whoever asked."""

    def __init__(self) -> None:
        self._until = 0.0
        self._came = ""
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[str]] | None = None

    @property
    def near(self) -> bool:
        """Whether it was asked a moment ago and has not answered."""
        return self._waiting is not None and time.monotonic() < self._until - EXPECTED + CLIPBOARD_NEAR

    @property
    def expected(self) -> bool:
        return time.monotonic() < self._until

    def expect(self) -> asyncio.Future[str]:
        """Return what all answers will be the result of."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self._came, self._waiting = "", (loop, future)
        self._until = time.monotonic() + EXPECTED
        return future

    def take(self, text: str) -> str:
        """Return what came from the terminal without the answers, which go to whoever asked when the last is there."""
        found = graphics.REPLY.findall(text)
        self._came += "".join(found)
        if graphics.END in found:
            self._until = 0.0
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                loop, future = waiting
                with contextlib.suppress(RuntimeError):  # the app has ended meanwhile
                    loop.call_soon_threadsafe(_settle, future, self._came)
        return graphics.REPLY.sub("", text)


#: Of this process, which has one terminal.
CLIPBOARD = ClipboardAnswers()
GRAPHICS = GraphicsAnswers()


def install(answers: Answers | None) -> None:
    """Let Textual's input begin with the keys that came with the answers, and keep later answers out of the keys.

    Without it, an answer would be taken for keys: alt+], then the text of a colour or of the clipboard.
    """
    typed = answers.typed.decode("utf-8", "replace") if answers is not None else ""
    until = 0.0 if answers is None or answers.complete else time.monotonic() + EXPECTED

    class Parser(XTermParser):
        """Textual's parser, with the answers taken out."""

        def __init__(self, debug: bool = False) -> None:
            super().__init__(debug)
            self._early, self._held = typed, ""
            self._held_since = 0.0

        def feed(self, data: str) -> Iterable[Message]:
            early, self._early = self._early, ""
            held, self._held = self._held, ""
            whole, looked_for = early + held + data, []
            if data and GRAPHICS.expected:
                whole = GRAPHICS.take(whole)
                looked_for.append(graphics.REPLY_BEGINNING)
            if data and time.monotonic() < until:
                whole = ANSWER.sub("", whole)
                looked_for.append(BEGINNING)
            if data and (CLIPBOARD.expected or held.startswith(CLIPBOARD_START)):
                whole = CLIPBOARD.take(whole)
                looked_for.append(REPLY_BEGINNING)
            for beginning in looked_for:
                # ESC alone is the key, unless something was asked a moment ago.
                near = CLIPBOARD.near or GRAPHICS.near
                if (found := beginning.search(whole)) and (len(found[0]) > 1 or near):
                    self._held, whole = found[0], whole[: found.start()]
                    self._held_since = time.monotonic()
                    break
            if whole or not data:  # an empty text would be the end of the input
                yield from super().feed(whole)

        def tick(self) -> Iterable[Message]:
            waited = time.monotonic() - self._held_since > PATIENCE
            if self._held.startswith(CLIPBOARD_START):
                if time.monotonic() - self._held_since > CLIPBOARD_EXPECTED:
                    self._held = ""
            elif self._early or (self._held and waited):
                text, self._early, self._held = self._early + self._held, "", ""
                yield from super().feed(text)
            yield from super().tick()

    vars(linux_driver)["XTermParser"] = Parser
