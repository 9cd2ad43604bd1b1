"""Lines of a log that only repeat a cause which stands elsewhere in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.kit.regex import regex
from vllm_studio_tui.runs.log_lines import parse

#: What engines print when something of theirs has failed, beside the reason.
_FOLLOWS = re.compile(
    r"(?i)see (?:root cause|stack trace|the root cause|error above|logs? above)|root cause above"
    r"|^engine ?core (?:failed to start|initialization failed|encountered (?:a fatal error|an issue)|hit an exception)"
    r"|failed core proc|engine core (?:proc|process)"
    r"|^workerproc (?:failed to start|initialization failed|hit an exception)"
    r"|worker ?proc initialization failed|background process|EngineDeadError|asyncllm output_handler failed"
    r"|^scheduler hit an exception|received sigquit from a child|rank \d{1,5} scheduler (?:is dead|died)"
    r"|exiting due to|^failed to load model|failed to load model, |^cleaning up before exit"
    r"|application startup failed|process \d{1,10} exited with code|child ?process|^killed by signal"
)
_NAME = re.compile(r"^(?:[\w.]{1,120}\.)?([A-Z]\w{0,60}(?:Error|Exception|Exit|Interrupt)): ?")
_SPACE = re.compile(r"\s+")
#: A shorter text says too little to be called the same.
_SHORTEST = 20


class Echoes:
    """Tells what repeats a cause.

    Args:
        cause: The line that tells the cause.
        failures: What is known of the engine's failures: those that only point at an earlier line are echoes.
    """

    def __init__(self, cause: str, failures: Sequence[Failure] = ()) -> None:
        self._cause, self._words = _plain(cause), parse(cause).text.strip()
        self._pointers = [row.pattern for row in failures if row.pointer]

    def kind(self, line: str) -> str:
        """Return `same` for the words of the cause, `echo` for what follows from it, else nothing."""
        parts = parse(line)
        said = _plain(parts.text)
        if parts.text.strip() == self._words:
            return "same"
        if len(self._cause) >= _SHORTEST and len(said) >= _SHORTEST and (said in self._cause or self._cause in said):
            return "same"
        if parts.level != "error":
            return ""
        if _FOLLOWS.search(parts.text[:300]):
            return "echo"
        return "echo" if any(regex(one, re.IGNORECASE).search(line[:400]) for one in self._pointers) else ""


def _plain(text: str) -> str:
    """Return a message without the name of its exception, for comparing."""
    said = parse(text).text
    return _SPACE.sub(" ", _NAME.sub("", said.strip())[:600]).strip(" .").casefold()
