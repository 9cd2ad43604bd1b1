"""Dataclasses as JSON holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.plain_data import plain


@dataclass(frozen=True, slots=True)
class Leaf:
    text: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    leaves: tuple[Leaf, ...] = ()
    first: Leaf | None = None
    table: dict[str, int] = field(default_factory=dict)


LEAVES = st.builds(Leaf, st.text(), st.none() | st.integers())
TREES = st.builds(
    Tree, st.lists(LEAVES).map(tuple), st.none() | LEAVES, st.dictionaries(st.text(), st.integers(), max_size=3)
)


@given(TREES)
def test_it_is_what_asdict_makes_of_it_as_json(tree: Tree) -> None:
    assert json.dumps(plain(tree)) == json.dumps(asdict(tree))


def test_what_is_no_dataclass_stays_as_it_is() -> None:
    assert plain({"a": Leaf("x")}) == {"a": Leaf("x")}  # within a dictionary nothing is looked for
    assert plain([1, Leaf("x"), (Leaf("y"),)]) == [1, {"text": "x", "number": None}, [{"text": "y", "number": None}]]
    assert plain(None) is None
    assert plain(Leaf) is Leaf
