"""Branches of a chat's tree of messages: each question or answer may have siblings."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.domain.chat import Message


def branch_of(tree: Sequence[Message], leaf_id: str | None) -> list[tuple[Message, tuple[int, int]]]:
    """Return the messages from the first to a leaf, each with its number among its siblings and how many these are.

    Siblings are messages of one role below the same parent. Without such a leaf it is the latest message.
    """
    by_id = {message.id: message for message in tree}
    leaf = by_id.get(leaf_id or "") or (tree[-1] if tree else None)
    path: list[Message] = []
    seen: set[str] = set()
    while leaf is not None and leaf.id not in seen:
        seen.add(leaf.id)
        path.append(leaf)
        leaf = by_id.get(leaf.parent_id or "")
    siblings: dict[tuple[str | None, str], list[str]] = {}
    for message in tree:
        siblings.setdefault((message.parent_id, message.role), []).append(message.id)
    out = []
    for message in reversed(path):
        group = siblings[message.parent_id, message.role]
        out.append((message, (group.index(message.id) + 1, len(group))))
    return out


def sibling_leaf(tree: Sequence[Message], message_id: str, step: int) -> str | None:
    """Return the newest leaf below the sibling that is `step` places away; None where there is none."""
    by_id = {message.id: message for message in tree}
    one = by_id.get(message_id)
    if one is None:
        return None
    group = [message.id for message in tree if message.parent_id == one.parent_id and message.role == one.role]
    index = group.index(message_id) + step
    if not 0 <= index < len(group):
        return None
    newest = group[index]
    for message in tree:  # in order: a child comes after its parent, and the latest child wins
        if message.parent_id == newest:
            newest = message.id
    return newest
