"""What a person left off with in the chat: the open chat, drafts that were not sent, earlier prompts."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic

_log = logging.getLogger(__name__)

#: Prompts and drafts that are kept at most, and the largest file that is read.
HISTORY = 200
DRAFTS = 100
STASHED = 50
MAX_FILE = 4 * 1024 * 1024
FILE = "desk.json"


@dataclass(slots=True)
class LeftOff:
    """What was open and unfinished, kept in `desk.json` of the state directory. Losing it loses no chat.

    Attributes:
        session: The id of the chat that was open.
        recipe: Who answered.
        drafts: Text that was typed and not sent, by the chat's id; empty for the chat that does not exist yet.
        history: Prompts that were sent, the newest last.
        stash: Drafts that were put aside, the newest last.
    """

    session: str | None = None
    recipe: str | None = None
    drafts: dict[str, str] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    stash: list[str] = field(default_factory=list)

    def put_aside(self, draft: str) -> None:
        """Keep a draft for later. The oldest ones go where there are too many."""
        self.stash = [*self.stash[-(STASHED - 1) :], draft]

    def take_up(self, index: int) -> str:
        """Return a draft that was put aside, which is no longer so then."""
        return self.stash.pop(index)

    def remember(self, prompt: str) -> None:
        """Add a prompt to the history, once."""
        if prompt.strip():
            others = [other for other in self.history if other != prompt]
            self.history = [*others[-(HISTORY - 1) :], prompt]

    def draft(self, session_id: str | None) -> str:
        """Return the draft of a chat; None is the chat that does not exist yet."""
        return self.drafts.get(session_id or "", "")

    def set_draft(self, session_id: str | None, text: str) -> None:
        """Replace the draft of a chat. The oldest ones go where there are too many."""
        self.drafts.pop(session_id or "", None)
        if text.strip():
            self.drafts[session_id or ""] = text
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
            {str(key): str(text) for key, text in drafts.items()} if isinstance(drafts, dict) else {},
            [prompt for prompt in data.get("history") or [] if isinstance(prompt, str)][-HISTORY:],
            [draft for draft in data.get("stash") or [] if isinstance(draft, str)][-STASHED:],
        )
    except FileNotFoundError:
        return LeftOff()
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        _log.warning("%s cannot be read: %s", FILE, error)
        return LeftOff()


def save_left_off(places: Places, left_off: LeftOff) -> bool:
    """Keep what was left off; return False where that is not possible. Blocking."""
    data = {
        "session": left_off.session,
        "recipe": left_off.recipe,
        "drafts": left_off.drafts,
        "history": left_off.history,
        "stash": left_off.stash,
    }
    try:
        private_dir(places.state)
        write_atomic(places.state / FILE, json.dumps(data, ensure_ascii=True).encode())
    except OSError as error:
        _log.warning("%s cannot be written: %s", FILE, error)
        return False
    return True
