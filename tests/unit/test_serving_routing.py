"""Which model a name means."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.services.serving.routing import Offer, Routes

OFFERS = (
    Offer("small", "org/Small-Model", ("tiny", "shared"), ready=True),
    Offer("large", "org/Large-Model", ("LARGE-alias", "shared")),
    Offer("tiny2", "tiny"),
    Offer("box/llama", "box/llama", ready=True, peer="box"),
)


def routes(*offers: Offer, default: str | None = None, open_peers: tuple[str, ...] = ()) -> Routes:
    return Routes(offers or OFFERS, default, open_peers)


def refusal(table: Routes, model: str | None, *patterns: str) -> Refusal:
    with pytest.raises(Refusal) as refused:
        table.find(model, patterns)
    return refused.value


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("org/Small-Model", "small"),
        ("small", "small"),
        ("tiny", "tiny2"),  # an exact served name comes before an alias
        ("LARGE-alias", "large"),
        ("ORG/small-model", "small"),
        ("large-ALIAS", "large"),
        ("Tiny", "tiny2"),
        ("box/llama", "box/llama"),
        ("shared", "small"),  # of two, the one that is ready
    ],
)
def test_a_name_is_an_exact_one_an_id_an_alias_and_then_the_same_in_other_letters(model: str, key: str) -> None:
    assert routes().find(model).key == key


def test_of_several_with_one_name_the_ready_one_is_meant_else_the_pinned_one_else_nobody() -> None:
    one, two = Offer("one", "m"), Offer("two", "m")
    found = refusal(routes(one, two), "m")
    assert (found.status, found.code) == (409, "model_ambiguous")
    assert "one, two" in found.cause
    assert routes(one, Offer("two", "m", pinned=True)).find("m").key == "two"
    assert routes(Offer("one", "m", ready=True), Offer("two", "m", pinned=True)).find("m").key == "one"
    both = routes(Offer("one", "m", ready=True), Offer("two", "m", ready=True))
    assert refusal(both, "m").status == 409
    assert both.find("one").key == "one"


def test_a_name_is_listed_once_by_the_one_that_answers_and_the_others_by_their_ids() -> None:
    one, two = Offer("one", "m", ("old",)), Offer("two", "m", ready=True)
    table = routes(one, two)
    assert (table.names_of(one), table.names_of(two)) == (("one", "old"), ("m", "two"))
    both = routes(one, stopped := Offer("two", "m"))
    assert [both.names_of(each) for each in (one, stopped)] == [("one", "old"), ("two",)], "nobody answers to m"
    taken = Offer("m2", "x")
    assert routes(taken, Offer("x", "m2")).names_of(taken) == ("x",), "a served name comes before another's id"
    alone = Offer("one", "m", ("old",))
    assert routes(alone).names_of(alone) == ("m", "one", "old")


def test_a_request_without_a_model_goes_to_the_only_ready_one_that_its_key_may_use() -> None:
    a, b = Offer("a", "A", ready=True), Offer("b", "B", ready=True)
    assert routes(a, Offer("b", "B")).find(None).key == "a"
    assert routes(a, b).find(None, ["B"]).key == "b"
    found = refusal(routes(a, b), None)
    assert (found.status, found.param) == (400, "model")
    assert "A, B" in found.cause
    assert "B" not in refusal(routes(a, b, Offer("a2", "A2", ready=True)), None, "A*").cause
    assert routes(a, b, default="b").find(None).key == "b"


def test_the_default_answers_what_nobody_has() -> None:
    assert routes(default="large").find("gpt-9").key == "large"
    assert refusal(routes(default="nobody"), "gpt-9").code == "model_not_found"


def test_a_server_elsewhere_takes_any_name_or_those_that_it_lists() -> None:
    found = routes(open_peers=("far",)).find("far/any/name")
    assert (found.peer, found.key) == ("far", "far/any/name")
    assert refusal(routes(open_peers=("far",)), "far/").status == 404
    assert refusal(routes(), "box/other").status == 404
    assert refusal(routes(open_peers=("far",)), "far/x", "org/*").status == 403


def test_an_unknown_name_gets_three_near_ones_that_the_key_may_see() -> None:
    found = refusal(routes(), "org/smal-model")
    assert (found.status, found.code, found.param) == (404, "model_not_found", "model")
    assert "org/Small-Model" in found.advice
    assert "org/Small-Model" not in refusal(routes(), "org/smal-model", "org/Large*").advice
    many = [Offer(f"m{number}", f"model-{number}") for number in range(20)]
    assert len(routes(*many).nearest("model")) == 3


def test_a_key_may_use_a_model_by_whichever_of_its_names_its_patterns_have() -> None:
    assert routes().find("org/Small-Model", ["tiny"]).key == "small"
    assert routes().find("small", ["org/*"]).key == "small"
    found = refusal(routes(), "org/Large-Model", "tiny", "box/*")
    assert (found.status, found.code) == (403, "model_not_allowed")


TEXT = st.text(string.printable + "é☃\0", max_size=30)


@given(st.one_of(st.none(), TEXT, st.sampled_from(["shared", "tiny", "SMALL"])), st.lists(TEXT, max_size=3))
def test_any_name_leads_to_one_that_is_allowed_or_to_a_refusal(model: str | None, patterns: list[str]) -> None:
    table = routes(default="large", open_peers=("far",))
    try:
        found = table.find(model, patterns)
    except Refusal as refused:
        assert refused.status in (400, 403, 404, 409)
    else:
        assert found.seen_by(patterns)
