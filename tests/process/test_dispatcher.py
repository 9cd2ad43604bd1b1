"""Requests have models launched, wait for them, and take turns: the dispatcher with real keepers."""

from __future__ import annotations

import asyncio

import pytest

from tests.process.house import House
from tests.process.serving import recipe, serving
from vllm_studio_tui.domain.serving import Phase, Refusal


async def test_a_request_has_its_model_loaded_and_those_that_come_meanwhile_join(house: House) -> None:
    async with serving(house, recipe("a", "--load-seconds 0.5", aliases=["small"]), recipe("b")) as one:
        first = one.enter("served-a")
        assert first.status().phase is Phase.LOADING
        others = [one.enter(name) for name in ("a", "small", "SERVED-A")]
        endpoints = await asyncio.gather(*(each.wait() for each in (first, *others)))
        assert {each.run_id for each in endpoints} == {one.live()["a"].run_id}
        spec = one.live()["a"].spec
        assert spec is not None
        assert spec.started_by == "request"
        # A custom engine knows its one name: others are replaced.
        assert [each.model for each in endpoints] == [None, "served-a", "served-a", "served-a"]
        assert first.load_seconds > 0.3
        assert first.queued_seconds < 0.3
        assert one.dispatcher.document()["in_flight"] == {"a": 4}
        for each in (first, *others):
            each.leave()
            each.leave()
        assert one.idle()
        assert (await one.ask(None)).recipe_id == "a"  # the only one that is ready
        assert set(one.live()) == {"a"}
        with pytest.raises(Refusal) as refused:
            one.enter("served-x")
        assert (refused.value.status, refused.value.code) == (404, "model_not_found")
        assert {each.id: each.state for each in one.dispatcher.models()} == {
            "served-a": "ready",
            "served-b": "stopped",
        }
