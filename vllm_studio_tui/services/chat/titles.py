"""Titles of chats, written by the model that answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.chat import ChatRequest, Sampling
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.chat.asking_once import Record, ask_once, recorded
from vllm_studio_tui.services.chat.request import TITLE_LENGTH, title_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Stream, Target

#: Letters of question and answer that a title is made from.
READ = 800
MOST_TOKENS = 24
#: Seconds that a title is waited for: without one the chat is called by its first words.
PATIENCE = 20.0
_ASK = (
    "Write a title for this conversation: three to six words, specific, in its language."
    " Answer with the title alone, without quotes."
)
_AROUND = " \t\"'`*#.:“”„«»「」"
_LABEL = re.compile(r"^(?:title|titel|titre)\s*:\s*", re.I)


def write_title(
    target: Target, question: str, answer: str, stream: Stream | None = None, *, record: Record | None = None
) -> str:
    """Return a title for a chat that begins so; its first words where the model writes none, or no end. Blocking."""
    if stream is None:
        from vllm_studio_tui.inference.client import stream_chat

        stream = partial(stream_chat, first_token_timeout=PATIENCE, idle_timeout=PATIENCE)
    if record is not None:
        stream = recorded(stream, "chat", record)
    said = f"User: {question[:READ]}\n\nAssistant: {answer[:READ]}" if answer else f"User: {question[:READ]}"
    messages = ({"role": "system", "content": _ASK}, {"role": "user", "content": said})
    sampling = Sampling(temperature=0.2, max_tokens=MOST_TOKENS, thinking=False)
    content, _, ended = asyncio.run(ask_once(target, stream, ChatRequest(messages, sampling)))
    return (clean_title(content) if ended.finish == "stop" else "") or title_of(question)


def title_for(find: Callable[[], Target], question: str, answer: str, record: Record | None = None) -> str:
    """Return a title that whoever is found writes; the first words of the question where nobody can. Blocking."""
    try:
        return write_title(find(), question, answer, record=record)
    except StudioError:
        return title_of(question)


def clean_title(text: str) -> str:
    """Return the title in a model's answer: its first line with words, without what stands around it."""
    for line in text.splitlines():
        words = _LABEL.sub("", line.strip(_AROUND)).strip(_AROUND)
        if words:
            return title_of(words)[:TITLE_LENGTH]
    return ""
