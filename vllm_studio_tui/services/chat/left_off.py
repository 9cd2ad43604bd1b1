"""Where a person left off: the open chat, drafts that were not sent, earlier prompts."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic

_log = logging.getLogger(__name__)

HISTORY = 200
DRAFTS = 100
MAX_FILE = 4 * 1024 * 1024


@dataclass(slots=True)
class Desk:
    """What is written to `desk.json`. Losing it loses no chat."""

    session: str | None = None
    recipe: str | None = None
    drafts: dict[str, str] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)

    def remember(self, prompt: str) -> None:
        """Add a prompt to the history, once."""
        if prompt.strip():
            others = [one for one in self.history if one != prompt]
            self.history = [*others[-(HISTORY - 1) :], prompt]

    def draft(self, session: str | None, text: str | None = None) -> str:
        """The draft of a chat; with `text` it is replaced. None is the chat that does not exist yet."""
        key = session or ""
        if text is None:
            return self.drafts.get(key, "")
        self.drafts.pop(key, None)
        if text.strip():
            self.drafts[key] = text
            for old in list(self.drafts)[:-DRAFTS]:
                del self.drafts[old]
        return text


def load_desk(places: Places) -> Desk:
    """The desk as it was left; a fresh one where it cannot be read."""
    path = places.state / "desk.json"
    try:
        with path.open("rb") as stream:
            data: Any = json.loads(stream.read(MAX_FILE))
        drafts = data.get("drafts") or {}
        return Desk(
            data.get("session") if isinstance(data.get("session"), str) else None,
            data.get("recipe") if isinstance(data.get("recipe"), str) else None,
            {str(key): str(text) for key, text in drafts.items()} if isinstance(drafts, dict) else {},
            [str(one) for one in data.get("history") or [] if isinstance(one, str)][-HISTORY:],
        )
    except FileNotFoundError:
        return Desk()
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        _log.warning("the desk is fresh: %s", error)
        return Desk()


def save_desk(places: Places, desk: Desk) -> bool:
    """Keep the desk; False where that was not possible. Blocking."""
    data = {"session": desk.session, "recipe": desk.recipe, "drafts": desk.drafts, "history": desk.history}
    try:
        private_dir(places.state)
        write_atomic(places.state / "desk.json", json.dumps(data, ensure_ascii=True).encode())
    except OSError as error:
        _log.warning("the desk is not kept: %s", error)
        return False
    return True
