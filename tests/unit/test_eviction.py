"""What fits beside what, and which runs are stopped for another model."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.services.serving.eviction import GroupRule, Holder, Need, Room, fits, plan


def holder(name: str, **fields: Any) -> Holder:
    return Holder(name, name, **{"now": True, **fields})


def chosen(need: Need, *holders: Holder, later: bool = False, **room: Any) -> list[str] | None:
    found = plan(need, holders, Room(**room), later=later)
    return None if found is None else sorted(one.id for one in found)


def test_what_fits_beside_all_stops_nobody() -> None:
    need = Need("new", 8001, frozenset("1"), memory=5)
    others = (holder("a", port=8000, gpus=frozenset("0"), memory=5),)
    assert chosen(need, *others, memory=10, max_loaded=2) == []
    assert chosen(need) == []


def test_whoever_has_its_port_or_a_gpu_is_stopped() -> None:
    a, b, c = holder("a", port=8000), holder("b", gpus=frozenset("01")), holder("c", gpus=frozenset("2"))
    assert chosen(Need("new", 8000, frozenset("1")), a, b, c) == ["a", "b"]
    assert chosen(Need("new", 8000), holder("a", port=8000, now=False)) is None
    assert chosen(Need("new", 8000), holder("a", port=8000, now=False), later=True) == ["a"]
    assert chosen(Need("new", 8000), holder("a", port=8000, now=False, later=False), later=True) is None


def test_the_cheapest_to_load_again_goes_and_of_equals_the_one_that_was_used_least_lately() -> None:
    need = Need("new")
    assert chosen(need, holder("a", cost=60), holder("b", cost=20), max_loaded=2) == ["b"]
    assert chosen(need, holder("a", cost=61, used=1), holder("b", cost=60, used=9), max_loaded=2) == ["a"]
    assert chosen(need, holder("a", cost=0, now=False), holder("b", cost=90), max_loaded=2) == ["b"]
    # Two cheap ones rather than a dear one.
    two = (holder("a", memory=3, cost=10), holder("b", memory=3, cost=10), holder("c", memory=4, cost=300))
    assert chosen(Need("new", memory=6), *two, memory=10) == ["a", "b"]
    assert chosen(Need("new", memory=2), *two, memory=10) in (["a"], ["b"])


def test_with_many_runs_it_is_still_few_that_go() -> None:
    many = [holder(f"r{number:02}", memory=1, cost=number * 10) for number in range(30)]
    assert chosen(Need("new", memory=3), *many, memory=30) == ["r00", "r01", "r02"]


def test_gpus_that_are_free_are_counted_without_those_of_others() -> None:
    need = Need("new", any_gpus=2)
    a = holder("a", gpus=frozenset("0"))
    assert chosen(need, a, gpus=frozenset("012")) == []
    assert chosen(need, a, gpus=frozenset("01")) == ["a"]
    assert chosen(need, a, gpus=None) == []
    assert chosen(need, a, gpus=frozenset("0")) == [], "there are not so many: the launcher says so"


def test_memory_that_nobody_could_free_is_not_waited_for() -> None:
    assert chosen(Need("new", memory=50), holder("a", memory=5, now=False), memory=10) == []
    assert chosen(Need("new", memory=8), holder("a", memory=5, now=False), memory=10) is None
    assert chosen(Need("new"), holder("a", memory=5), memory=1) == []


def test_a_group_is_loaded_one_at_a_time_or_kept() -> None:
    turns = GroupRule(frozenset({"a", "new"}))
    assert chosen(Need("new"), holder("a"), holder("b"), groups=(turns,)) == ["a"]
    together = GroupRule(frozenset({"a", "new"}), together=True)
    assert chosen(Need("new"), holder("a"), groups=(together,)) == []
    kept = GroupRule(frozenset({"a"}), persistent=True)
    assert chosen(Need("new"), holder("a"), max_loaded=1, groups=(kept,)) is None
    assert chosen(Need("new"), holder("a"), holder("b"), max_loaded=2, groups=(kept,)) == ["b"]
    inside = GroupRule(frozenset({"a", "new"}), persistent=True)
    assert chosen(Need("new"), holder("a"), groups=(inside,)) == ["a"], "a member makes room for a member"


HOLDERS = st.lists(
    st.builds(
        Holder,
        st.uuids().map(str),
        st.sampled_from("abcde"),
        st.sampled_from([None, 1, 2]),
        st.frozensets(st.sampled_from("012")),
        st.sampled_from([None, 1, 5]),
        st.booleans(),
        st.booleans(),
        st.floats(0, 100),
        st.floats(0, 100),
    ),
    max_size=13,
)
NEEDS = st.builds(
    Need,
    st.sampled_from("abcdef"),
    st.sampled_from([None, 1]),
    st.frozensets(st.sampled_from("012"), max_size=2),
    st.integers(0, 2),
    st.sampled_from([None, 2, 9]),
)
GROUPS = st.builds(GroupRule, st.frozensets(st.sampled_from("abcdef")), st.booleans(), st.booleans())
ROOMS = st.builds(
    Room,
    st.sampled_from([None, 1, 3]),
    st.lists(
        st.builds(GroupRule, st.frozensets(st.sampled_from("abcdef")), st.booleans(), st.booleans()), max_size=2
    ).map(tuple),
    st.sampled_from([None, frozenset("012")]),
    st.sampled_from([None, 10]),
)


@given(NEEDS, HOLDERS, ROOMS, st.booleans())
def test_a_plan_stops_only_what_it_may_and_makes_room(
    need: Need, holders: list[Holder], room: Room, later: bool
) -> None:
    found = plan(need, holders, room, later=later)
    if found is None:
        return
    assert all(one.later if later else one.now for one in found)
    assert not any(
        group.persistent and one.key in group.members and need.key not in group.members
        for one in found
        for group in room.groups
    )
    rest = [one for one in holders if one not in found]
    # Without what cannot be had at all, it fits.
    assert fits(need, rest, Room(room.max_loaded, room.groups))
    # Each of them is needed, where all are of one kind of reason.
    if not need.memory and not need.any_gpus and room.max_loaded is None:
        for one in found:
            assert not fits(need, [*rest, one], room)
