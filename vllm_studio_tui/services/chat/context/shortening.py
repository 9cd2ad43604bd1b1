"""What is sent of a branch: all of it, or what a summary or a window leaves.

A message of role `system` with `details.summary` stands where the chat was made shorter. It says up to which message it
stands for what was said; nothing is deleted, so that it can be read, and undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.chat import Message

#: Turns (a question with all that answers it) that stay as they are, unless another number is asked for.
KEPT_TURNS = 4
_SUMMARY = "Summary of the conversation before this point, written by an assistant:\n\n"


@dataclass(frozen=True, slots=True)
class Shortened:
    """What is sent of a branch.

    Attributes:
        branch: The messages that are sent.
        system: The system prompt, with the summary below it.
        left_out: How many messages are not sent.
        how: `summary` or `window`; None: all is sent.
    """

    branch: Sequence[Message]
    system: str | None
    left_out: int = 0
    how: str | None = None


def shortening_of(message: Message) -> dict[str, Any] | None:
    """Return what a message says of the chat being made shorter there; None: it says nothing of that."""
    found = message.details.get("summary")
    return dict(found) if isinstance(found, dict) and isinstance(found.get("until"), str) else None


def shortened(branch: Sequence[Message], system: str | None = None) -> Shortened:
    """Return what is sent of a branch, by the last place where it was made shorter."""
    plain = [one for one in branch if shortening_of(one) is None]
    ids = [one.id for one in plain]
    for one in reversed(branch):
        said = shortening_of(one)
        if said is None or said.get("undone") or said["until"] not in ids:
            continue
        at = ids.index(said["until"]) + 1
        summary = one.content.strip()
        whole = "\n\n".join(filter(None, (system, f"{_SUMMARY}{summary}" if summary else ""))) or None
        return Shortened(plain[at:], whole, at, "summary" if summary else "window")
    return Shortened(plain, system)


def place_to_cut(branch: Sequence[Message], keep: int = KEPT_TURNS) -> int:
    """Return how many messages of a branch (without earlier summaries) may go so that `keep` turns stay whole.

    It is cut before a question, so that no answer, call or result stays without what it belongs to.
    """
    questions = [at for at, one in enumerate(branch) if one.role == "user"]
    if keep <= 0:
        return len(branch) if branch and branch[-1].role == "assistant" else (questions[-1] if questions else 0)
    return questions[-keep] if len(questions) > keep else 0
