"""Branches of a chat's tree of messages: each question or answer may have siblings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
    return newest_leaf(tree, group[index])


@dataclass(frozen=True, slots=True)
class OutlineLine:
    """A message as a line of the outline of a chat.

    Attributes:
        guides: For each fork above it, whether more branches of that fork follow below; the last of a line that begins
            a branch is its own.
        begins: It is the first of several branches, a middle or the last one: the first message of a branch.
        below: How many messages are below it.
        hidden: Those are not shown, because the branch is folded.
    """

    message: Message
    guides: tuple[bool, ...] = ()
    begins: bool = False
    below: int = 0
    hidden: bool = False


def outline(tree: Sequence[Message], folded: Collection[str] = ()) -> list[OutlineLine]:
    """Return the messages of a chat in the order of its branches: what follows a message stands below it.

    A message with one reply is followed by it at the same depth; several replies are branches, one level deeper.

    Args:
        tree: All messages of a chat, each after its parent.
        folded: Ids of messages below which nothing is shown.
    """
    known = {message.id for message in tree}
    children: dict[str | None, list[Message]] = {}
    for message in tree:
        parent = message.parent_id if message.parent_id in known and message.parent_id != message.id else None
        children.setdefault(parent, []).append(message)
    below = dict.fromkeys(known, 0)
    for message in reversed(tree):
        if message.parent_id in below and message.parent_id != message.id:
            below[message.parent_id] += below[message.id] + 1
    lines: list[OutlineLine] = []
    waiting: list[tuple[Message, tuple[bool, ...], bool]] = []

    def push(replies: Sequence[Message], guides: tuple[bool, ...]) -> None:
        several = len(replies) > 1
        for index in reversed(range(len(replies))):
            own = (*guides, index < len(replies) - 1) if several else guides
            waiting.append((replies[index], own, several))

    push(children.get(None, ()), ())
    while waiting:
        message, guides, begins = waiting.pop()
        hidden = message.id in folded and below[message.id] > 0
        lines.append(OutlineLine(message, guides, begins, below[message.id], hidden))
        if not hidden:
            push(children.get(message.id, ()), guides)
    return lines


def newest_leaf(tree: Sequence[Message], message_id: str) -> str:
    """Return the newest message below one, or that one where nothing is below it."""
    below, newest = {message_id}, message_id
    for message in tree:  # in order: a child comes after its parent, so that the last one below it is a leaf
        if message.parent_id in below:
            below.add(message.id)
            newest = message.id
    return newest


def leaf_through(tree: Sequence[Message], message_id: str, leaf_id: str | None) -> str:
    """Return the leaf to show a message in: the one that is shown where it leads through it, else the newest below."""
    shown = {message.id for message, _ in branch_of(tree, leaf_id)}
    return leaf_id if leaf_id is not None and message_id in shown else newest_leaf(tree, message_id)
