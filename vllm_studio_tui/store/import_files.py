"""Finds the chats in a file, whoever wrote it: in our own form, with what could not be read of it."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.chat import MAX_FILE
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store.import_chatgpt import is_chatgpt, read_chatgpt
from vllm_studio_tui.store.import_lmstudio import is_lmstudio, read_lmstudio
from vllm_studio_tui.store.import_sqlite import MAGIC, read_sqlite
from vllm_studio_tui.store.import_values import LeftOut
from vllm_studio_tui.store.markdown import parse_markdown

#: Bytes of all files of an archive together, unpacked, and how many are looked at.
MAX_UNPACKED = 4 * MAX_FILE
MAX_MEMBERS = 20_000
#: What reading an archive raises that is broken, encrypted, or packed in a way that is not known.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
    *(LookupError, OverflowError, MemoryError),
)


def chats_in(raw: bytes, source: str, left: LeftOut) -> list[Mapping[str, Any]]:
    """Return the chats of a file in our own form, or as the original wrote them.

    Raises:
        StoreError: It cannot be understood.
    """
    if len(raw) > MAX_FILE:
        advice = "Take the file with the chats out of it." if raw.startswith(b"PK") else ""
        raise StoreError(f"{source} is too large", cause=f"{len(raw)} bytes, at most {MAX_FILE}", advice=advice)
    if raw.startswith(MAGIC):
        return list(read_sqlite(raw, source, left))
    if raw.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _unpacked(raw, source, left)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{source} is not text", cause=str(error)) from None
    if not text.lstrip().startswith(("{", "[")):
        return [parse_markdown(text, source)]
    return _from_json(text, source, left)


def form_of(raw: bytes, chat: Mapping[str, Any]) -> str:
    """Return who wrote a file, or what it is, in a word or two, by one of its chats."""
    if isinstance(chat.get("from"), str):
        return str(chat["from"])
    if chat.get("format") == "vllm-studio-chat":
        return "vllm-studio"
    if raw.startswith(MAGIC):
        return "the original's database"
    text = raw[:200].decode("utf-8-sig", "ignore").lstrip()
    return "messages as JSON" if text.startswith(("{", "[")) or raw.startswith(b"PK") else "Markdown"


def mark_of(chat: Mapping[str, Any]) -> str:
    """Return what a chat of a file is known by: the same chat has the same mark."""
    text = json.dumps(chat, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _from_json(text: str, source: str, left: LeftOut) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{source} is not JSON", cause=str(error)[:300]) from None
    for name in ("chats", "sessions", "conversations"):
        if isinstance(document, Mapping) and isinstance(document.get(name), list):
            document = document[name]
    found: list[Mapping[str, Any]]
    if isinstance(document, Mapping):
        found = [document]
    elif document and isinstance(document, list) and all(_is_chat(one) for one in document):
        found = list(document)
    else:
        found = [{"messages": document}]
    return [_ours(one, left) for one in found]


def _is_chat(one: Any) -> bool:
    return isinstance(one, Mapping) and (isinstance(one.get("messages"), list) or is_chatgpt(one))


def _ours(chat: Mapping[str, Any], left: LeftOut) -> Mapping[str, Any]:
    if is_chatgpt(chat):
        return read_chatgpt(chat, left)
    return read_lmstudio(chat, left) if is_lmstudio(chat) else chat


def _unpacked(raw: bytes, source: str, left: LeftOut) -> list[Mapping[str, Any]]:
    """Return the chats of the JSON files in an archive; those named `conversations` alone, where there are any."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = [one for one in archive.namelist()[:MAX_MEMBERS] if one.lower().endswith(".json")]
            chosen = [one for one in names if one.rsplit("/", 1)[-1].startswith("conversations")] or names
            room = MAX_UNPACKED
            found: list[Mapping[str, Any]] = []
            for name in chosen:
                with archive.open(name) as member:
                    data = member.read(room + 1)
                room -= len(data)
                if room < 0:
                    raise StoreError(f"{source} is too large", cause=f"unpacked, over {MAX_UNPACKED} bytes")
                try:
                    found += _from_json(data.decode("utf-8-sig"), name, left)
                except (StoreError, UnicodeDecodeError):
                    left.add("file of the archive that is no chat")
    except _BROKEN as error:
        raise StoreError(f"{source} cannot be unpacked", cause=str(error)[:300]) from None
    if not found:
        advice = "ChatGPT's export has a conversations.json, LM Studio files that end in .conversation.json."
        raise StoreError(f"there are no chats in {source}", advice=advice)
    return found
