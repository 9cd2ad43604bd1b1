"""Keeps answers of the terminal that come late out of what is typed, and gives early keys to the app."""

from __future__ import annotations

import time
from collections.abc import Iterable

from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver
from textual.message import Message

from vllm_studio_tui.probes.terminal import ANSWER, BEGINNING, Answers

#: Seconds after the start for which a late answer is looked for.
EXPECTED = 10.0
#: Seconds that the beginning of an answer waits for its end, before it counts as typed.
PATIENCE = 0.3


def install(answers: Answers | None) -> None:
    """Let Textual's input begin with the keys that came with the answers, and drop the answers that are still to come.

    Without it, an answer would be taken for keys: alt+], then the text of a colour.
    """
    if answers is None or (answers.complete and not answers.typed):
        return
    typed = answers.typed.decode("utf-8", "replace")
    until = 0.0 if answers.complete else time.monotonic() + EXPECTED

    class Parser(XTermParser):
        """Textual's parser, with the answers taken out."""

        def __init__(self, debug: bool = False) -> None:
            super().__init__(debug)
            self._early, self._held = typed, ""
            self._held_since = 0.0

        def feed(self, data: str) -> Iterable[Message]:
            early, self._early = self._early, ""
            held, self._held = self._held, ""
            whole = early + held + data
            if data and time.monotonic() < until:
                whole = ANSWER.sub("", whole)
                if (found := BEGINNING.search(whole)) and len(found[0]) > 1:  # ESC alone is the key
                    self._held, whole = found[0], whole[: found.start()]
                    self._held_since = time.monotonic()
            if whole or not data:  # an empty text would be the end of the input
                yield from super().feed(whole)

        def tick(self) -> Iterable[Message]:
            waited = time.monotonic() - self._held_since > PATIENCE
            if self._early or (self._held and waited):
                text, self._early, self._held = self._early + self._held, "", ""
                yield from super().feed(text)
            yield from super().tick()

    vars(linux_driver)["XTermParser"] = Parser
