"""Read the input of `chat`: a prompt, a pipe, images."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.cli.output import note
from vllm_studio_tui.domain.errors import UsageError

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Attached

MAX_STDIN = 8 * 1024 * 1024


def picture(path: str) -> Attached:
    """Return a picture as it is sent.

    Raises:
        UsageError: It cannot be read, is too large, or is no picture that can be sent.
    """
    from vllm_studio_tui.services.chat.attachments import reading

    found = reading.read(str(Path(path).expanduser()))
    if found.image is None:
        raise UsageError(
            f"{path} is not an image that models take", advice="Use PNG, JPEG, GIF, WebP or BMP; --file sends text."
        )
    return found


def attached_files(text: str, images: Sequence[str], files: Sequence[str]) -> list[Attached]:
    """Return what goes with a question: pictures, files, and those that it names as `@path`; say so on stderr.

    Raises:
        UsageError: One of them cannot be sent.
    """
    if not images and not files and "@" not in text:
        return []  # Nothing of it is imported where nothing is sent.
    from vllm_studio_tui.services.chat.attachments import reading, words

    given = [picture(one) for one in images] + reading.attach(files)
    found = reading.resolve(text, already=given)
    for note_ in found.notes:
        note(note_)
    for one in found.attached:
        note(f"[with {words.name_of(one.file)}: {', '.join(words.facts_of(one.file))}]")
    return list(found.attached)


def piped_text() -> str:
    """Return what was piped or redirected to standard input; empty for a terminal or another device."""
    stream = sys.stdin
    if stream is None or stream.closed or stream.isatty():
        return ""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, io.UnsupportedOperation):
        mode = stat.S_IFREG  # not a file at all: a program that calls us gives text
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        # The other end may be slow, or never write nor close at all.
        if not select.select([stream], [], [], 2.0)[0]:
            note("waiting for the end of standard input; without one: vllm-studio chat PROMPT < /dev/null")
    elif not stat.S_ISREG(mode):
        return ""
    raw = stream.buffer.read(MAX_STDIN + 1)
    if len(raw) > MAX_STDIN:
        raise UsageError("standard input is too long", cause=f"at most {MAX_STDIN // 2**20} MiB can be asked")
    return raw.decode("utf-8", "replace").strip("\n")


def question_of(prompt: str | None, piped: str) -> str:
    """Return the prompt, the piped text, or both, one after the other.

    Raises:
        UsageError: There is neither.
    """
    text = "\n\n".join(part for part in (prompt or "", piped) if part.strip())
    if not text:
        raise UsageError("nothing to ask", advice="Give a prompt: vllm-studio chat 'Hello', or pipe one in.")
    return text
