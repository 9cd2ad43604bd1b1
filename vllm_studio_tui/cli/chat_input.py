"""Read the input of `chat`: a prompt, a pipe, images."""

from __future__ import annotations

import base64
import io
import os
import select
import stat
import sys
from pathlib import Path

from vllm_studio_tui.cli.output import note
from vllm_studio_tui.domain.errors import UsageError

MAX_STDIN = 8 * 1024 * 1024
MAX_IMAGE = 20 * 1024 * 1024


def image_url(path: str) -> str:
    """Return an image file as a data URL.

    Raises:
        UsageError: It cannot be read, is too large, or is not PNG, JPEG, GIF or WebP.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            raw = file.read(MAX_IMAGE + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", cause=error.strerror or str(error)) from None
    if len(raw) > MAX_IMAGE:
        raise UsageError(f"{path} is too large", cause=f"an image may have {MAX_IMAGE // 2**20} MiB")
    # By content, not by name: see the signatures of each format.
    kinds = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif"}
    kind = next((name for magic, name in kinds.items() if raw.startswith(magic)), None)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise UsageError(f"{path} is not an image that models take", advice="Use PNG, JPEG, GIF or WebP.")
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"


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
