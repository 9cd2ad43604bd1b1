"""The branches of a chat as an outline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.services.chat.branches import leaf_through, newest_leaf, outline


def chat(**parents: str | None) -> list[Message]:
    """Return messages of these names, each below the one that is named."""
    return [
        Message(name, "s", "user" if index % 2 == 0 else "assistant", name, parent_id=parent)
        for index, (name, parent) in enumerate(parents.items())
    ]


FORKED = chat(q1=None, a1="q1", q2="a1", a2="q2", b2="q2", q3="a2", c2="q2")


def drawn(tree: list[Message], *folded: str) -> list[str]:
    lines = []
    for line in outline(tree, folded):
        pairs = ["│ "[not more] for more in line.guides]
        if line.begins:
            pairs[-1] = "├└"[not line.guides[-1]]
        lines.append("".join(pairs) + line.message.id + (f"+{line.below}" if line.hidden else ""))
    return lines


def test_replies_stand_below_and_forks_are_branches() -> None:
    assert drawn(FORKED) == ["q1", "a1", "q2", "├a2", "│q3", "├b2", "└c2"]
    assert drawn(FORKED, "a2") == ["q1", "a1", "q2", "├a2+1", "├b2", "└c2"]
    assert drawn(FORKED, "q1", "b2") == ["q1+6"]
    assert drawn([]) == []


def test_first_questions_may_be_branches_too() -> None:
    assert drawn(chat(a=None, b="a", c=None, d="c", e="c")) == ["├a", "│b", "└c", " ├d", " └e"]


def test_a_message_is_shown_on_the_branch_that_is_open_where_that_leads_through_it() -> None:
    assert leaf_through(FORKED, "q2", "b2") == "b2"
    assert leaf_through(FORKED, "a2", "b2") == "q3"
    assert leaf_through(FORKED, "q2", None) == newest_leaf(FORKED, "q2") == "c2"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-2, 40)), max_size=30))
def test_every_message_stands_there_once_whatever_its_parent_is_said_to_be(pairs: list[tuple[int, int]]) -> None:
    names = list(dict.fromkeys(f"m{name}" for name, _ in pairs))
    order = {name: index for index, name in enumerate(names)}
    tree = []
    for name, parent in dict(pairs).items():
        above = f"m{parent}"
        known = above in order and order[above] < order.get(f"m{name}", 0)
        tree.append(Message(f"m{name}", "s", "user", "", parent_id=above if known or above not in order else None))
    assert sorted(line.message.id for line in outline(tree)) == sorted(names)


def test_a_chat_of_thousands_of_messages_is_no_matter() -> None:
    tree = [Message(f"m{at}", "s", "user", "", parent_id=f"m{at - 1}" if at else None) for at in range(20_000)]
    lines = outline(tree)
    assert len(lines) == 20_000
    assert lines[0].below == 19_999
    assert newest_leaf(tree, "m0") == "m19999"
