"""The place of a rank is told to another host as JSON, and comes back as it was; anything else is refused in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.ranks import FOLLOWER_REASONS, PORTS, ROLES, RankPlace, blame, http_address

PLACES = st.integers(1, 40).flatmap(
    lambda count: st.builds(
        RankPlace,
        index=st.integers(0, count - 1),
        count=st.just(count),
        node=st.just(0),
        addresses=st.lists(st.from_regex(r"[a-z][a-z0-9.-]{0,30}", fullmatch=True), min_size=1, max_size=5).map(tuple),
        master_port=st.integers(1, 65536 - PORTS),
        interface=st.sampled_from(("", "eth0", "enp1s0f0", "bond0.12")),
        role=st.sampled_from(ROLES),
    )
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(PLACES)
def test_a_place_comes_back_from_json_as_it_was(place: RankPlace) -> None:
    assert RankPlace.from_json(json.loads(json.dumps(place.to_json()))) == place


@given(PLACES, st.sampled_from(("index", "count", "node", "addresses", "master_port", "interface", "role")), ANYTHING)
def test_a_place_with_a_value_of_any_kind_is_read_or_refused_in_words(
    place: RankPlace, name: str, value: object
) -> None:
    data = {**place.to_json(), name: value, "of a later version": 1}
    try:
        found = RankPlace.from_json(data)
    except ValueError as error:
        assert str(error)
    else:
        assert found.index < found.count
        assert found.node < found.nodes


@pytest.mark.parametrize("address", ["", "-e", "a b", "a;b", "a\nb", "$(id)x;", "a'b"])
def test_an_address_is_one_word_that_is_no_option(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        RankPlace(0, 2, 0, (address, "b"), 29501)


def test_addresses_of_servers_have_ipv6_in_brackets() -> None:
    assert http_address("fd00::1", 8000) == "http://[fd00::1]:8000"
    assert http_address("[fd00::1]", 8000) == "http://[fd00::1]:8000"
    assert http_address("10.0.0.1", 8000) == "http://10.0.0.1:8000"


@pytest.mark.parametrize(("reason", "figure"), [
    ("out_of_memory", 0), ("killed", 0), ("engine_died", 1), ("", 1), ("peer_lost", 2), ("rendezvous", 2),
])  # fmt: skip
def test_who_is_to_blame_is_told_from_the_reason(reason: str, figure: int) -> None:
    assert blame(reason) == figure


def test_every_reason_of_a_follower_is_one_that_something_ends_for() -> None:
    reasons = {one.reason for one in FAILURES}
    # The keeper's own: a rank whose unit was not heard of.
    assert FOLLOWER_REASONS - {"unit_lost"} <= reasons
