"""The text of a PDF, read in a process of its own: a hostile one costs a bounded time and memory, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.sanitize import clean_line

#: Seconds that it may take, and bytes of what is read back.
SECONDS, MOST_ANSWER = 30.0, 8 * 1024 * 1024
_ADVICE = "Copy its text into a file, or send pictures of its pages."


@dataclass(frozen=True, slots=True)
class PdfText:
    """What was read.

    Attributes:
        pages, read: How many pages there are, and how many of them were read.
        cut: Not all of it is here.
    """

    text: str
    pages: int
    read: int
    cut: bool


def text_of(path: str, shown: str, *, seconds: float = SECONDS) -> PdfText:
    """Return the text of a PDF. Blocking.

    Raises:
        UsageError: It has none, is locked or broken, or takes too long.
    """
    command = [sys.executable, "-m", "vllm_studio_tui.services.chat.attachments.pdf_reader", path, str(seconds * 0.8)]
    try:
        done = subprocess.run(  # noqa: S603, RUF100 - our own module, its argument is a path
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False
        )
        answer = json.loads(done.stdout[:MOST_ANSWER])
        if not isinstance(answer, dict):
            raise TypeError
    except subprocess.TimeoutExpired:
        cause = f"It took more than {seconds:g} s."
        raise UsageError(f"the text of {shown} cannot be read", cause=cause, advice=_ADVICE) from None
    except (OSError, ValueError, TypeError):
        cause = "Its reader ended early: the file is broken, or wants too much memory."
        raise UsageError(f"the text of {shown} cannot be read", cause=cause, advice=_ADVICE) from None
    if (error := answer.get("error")) is not None:
        cause = clean_line(str(error), limit=300)
        raise UsageError(f"the text of {shown} cannot be read", cause=cause, advice=_ADVICE)
    text = str(answer["text"])
    if not text.strip():
        cause = "Its pages are pictures." if answer["pages"] else "It has no pages."
        raise UsageError(f"{shown} holds no text", cause=cause, advice=_ADVICE)
    return PdfText(text, int(answer["pages"]), int(answer["read"]), bool(answer["cut"]))
