"""What a person left off with in the chat: the open chat, drafts that were not sent, earlier prompts."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_studio_tui.domain.draft import Draft
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.services.chat.attachments import reading

_log = logging.getLogger(__name__)

#: Prompts and drafts that are kept at most, and the largest file that is read.
HISTORY = 200
DRAFTS = 100
STASHED = 50
MAX_FILE = 32 * 1024 * 1024
#: Letters of pasted texts that are kept with all drafts, the newest first.
PASTED = 2_000_000
#: Chats that are kept open at most.
TABS = 12
FILE = "desk.json"


@dataclass(slots=True)
class LeftOff:
    """What was open and unfinished, kept in `desk.json` of the state directory. Losing it loses no chat.

    Attributes:
        session: The id of the chat that was open.
        recipe: Who answered.
        drafts: What was typed and not sent, by the chat's id; empty for the chat that does not exist yet.
        history: Prompts that were sent, the newest last.
        stash: Drafts that were put aside, the newest last.
        tabs: The ids of the chats that are kept open, in their order.
    """

    session: str | None = None
    recipe: str | None = None
    drafts: dict[str, Draft] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    stash: list[Draft] = field(default_factory=list)
    tabs: list[str] = field(default_factory=list)

    def put_aside(self, draft: Draft) -> None:
        """Keep a draft for later. The oldest ones go where there are too many."""
        self.stash = [*self.stash[-(STASHED - 1) :], draft]

    def take_up(self, index: int) -> Draft:
        """Return a draft that was put aside, which is no longer so then."""
        return self.stash.pop(index)

    def remember(self, prompt: str) -> None:
        """Add a prompt to the history, once."""
        if prompt.strip():
            others = [other for other in self.history if other != prompt]
            self.history = [*others[-(HISTORY - 1) :], prompt]

    def draft(self, session_id: str | None) -> Draft:
        """Return the draft of a chat; None is the chat that does not exist yet."""
        return self.drafts.get(session_id or "", Draft())

    def set_draft(self, session_id: str | None, draft: Draft) -> None:
        """Replace the draft of a chat. The oldest ones go where there are too many."""
        self.drafts.pop(session_id or "", None)
        if draft:
            self.drafts[session_id or ""] = draft
            for old in list(self.drafts)[:-DRAFTS]:
                del self.drafts[old]


def load_left_off(places: Places) -> LeftOff:
    """Read what was left off; empty where it cannot be read."""
    try:
        with (places.state / FILE).open("rb") as stream:
            data: Any = json.loads(stream.read(MAX_FILE))
        drafts = data.get("drafts") or {}
        return LeftOff(
            data.get("session") if isinstance(data.get("session"), str) else None,
            data.get("recipe") if isinstance(data.get("recipe"), str) else None,
            {str(key): _draft(one) for key, one in drafts.items()} if isinstance(drafts, dict) else {},
            [prompt for prompt in data.get("history") or [] if isinstance(prompt, str)][-HISTORY:],
            [_draft(one) for one in data.get("stash") or [] if isinstance(one, str | dict)][-STASHED:],
            list(dict.fromkeys(one for one in data.get("tabs") or [] if isinstance(one, str)))[:TABS],
        )
    except FileNotFoundError:
        return LeftOff()
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        _log.warning("%s cannot be read: %s", FILE, error)
        return LeftOff()


def save_left_off(places: Places, left_off: LeftOff) -> bool:
    """Keep what was left off; return False where that is not possible. Blocking."""
    kept = _bounded([*left_off.stash, *left_off.drafts.values()])
    stash, drafts = kept[: len(left_off.stash)], kept[len(left_off.stash) :]
    data = {
        "session": left_off.session,
        "recipe": left_off.recipe,
        "drafts": dict(zip(left_off.drafts, map(_written, drafts), strict=True)),
        "history": left_off.history,
        "stash": [_written(one) for one in stash],
        "tabs": left_off.tabs,
    }
    try:
        private_dir(places.state)
        write_atomic(places.state / FILE, json.dumps(data, ensure_ascii=True).encode())
    except OSError as error:
        _log.warning("%s cannot be written: %s", FILE, error)
        return False
    return True


def _bounded(drafts: Iterable[Draft]) -> list[Draft]:
    """Return drafts with the pasted texts that are kept: those of the last ones, where all are too many."""
    room, kept = PASTED, []
    for draft in reversed(list(drafts)):
        texts = [one for one in draft.attached if one.file.path is None and one.file.text is not None]
        room -= sum(len(one.file.text or "") for one in texts)
        kept.append(replace(draft, attached=tuple(texts) if room >= 0 else ()))
    return kept[::-1]


def _written(draft: Draft) -> str | dict[str, Any]:
    """Return a draft as JSON: its text alone, where nothing goes with it."""
    if not draft.attached:
        return draft.text
    pasted = [{"name": one.file.name, "text": one.file.text} for one in draft.attached]
    return {"text": draft.text, "pasted": pasted}


def _draft(data: Any) -> Draft:
    """Read a draft."""
    if not isinstance(data, dict):
        return Draft(str(data))
    pasted = data.get("pasted")
    found = [
        reading.pasted(one["text"], str(one.get("name") or "pasted text")[:200])
        for one in (pasted if isinstance(pasted, list) else ())
        if isinstance(one, dict) and isinstance(one.get("text"), str)
    ]
    return Draft(str(data.get("text") or ""), tuple(found))
