"""The hub of events: in order, to whom wants them, and never lost unsaid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.http import event_hub
from vllm_studio_tui.http.event_hub import EventHub, Listener


def read(text: bytes) -> list[tuple[str, str, Any]]:
    """Id, kind and data of each event."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])["data"]))
    return found


async def taken(listener: Listener) -> list[tuple[str, str, Any]]:
    return read(await listener.take(0.01))


async def test_each_gets_what_it_asked_for_in_order() -> None:
    hub = EventHub()
    every, runs = hub.listen(None, None), hub.listen(frozenset({"run"}), None)
    hub.publish("run", {"n": 1})
    hub.publish("queue", {"n": 2})
    hub.publish("run", {"n": 3})
    assert [(kind, data["n"]) for _, kind, data in await taken(every)] == [("run", 1), ("queue", 2), ("run", 3)]
    assert [data["n"] for _, _, data in await taken(runs)] == [1, 3]
    assert await every.take(0.001) == b""
    assert hub.stats() == {
        "total_events_published": 3,
        "events": {"run": 2, "queue": 1},
        "channels": {"all": 1, "run": 1},
        "total_subscribers": 2,
    }


async def test_a_slow_listener_gets_the_latest_measurement_and_every_other_event() -> None:
    hub = EventHub()
    listener = hub.listen(None, None)
    for number in range(5000):
        hub.publish("gpu", number)
        hub.publish("metrics", number)
        if number % 10 == 0:
            hub.publish("run", number)
    found = await taken(listener)
    assert [data for _, kind, data in found if kind == "run"] == list(range(0, 5000, 10))
    assert [(kind, data) for _, kind, data in found if kind in ("gpu", "metrics")] == [
        ("gpu", 4999),
        ("metrics", 4999),
    ]
    assert [one[0] for one in found] == sorted((one[0] for one in found), key=lambda one: int(one.split("-")[1]))


async def test_who_is_too_slow_is_told_that_it_missed_something() -> None:
    hub = EventHub()
    listener = hub.listen(None, None)
    for number in range(event_hub.BEHIND + 5):
        hub.publish("run", number)
    found = await taken(listener)
    assert (found[0][1], len(found)) == ("resync", 5)
    hub.publish("run", "after")
    assert [(kind, data) for _, kind, data in await taken(listener)] == [("run", "after")]


async def test_what_waits_for_a_listener_is_bounded_in_bytes() -> None:
    hub = EventHub()
    listener = hub.listen(None, None)
    for _ in range(50):
        hub.publish("run", "x" * 1_000_000)
    text = await listener.take(0.01)
    assert read(text)[0][1] == "resync"
    assert len(text) < 2 * event_hub.BEHIND_BYTES


@given(st.lists(st.sampled_from(["run", "queue", "gpu"]), max_size=60), st.data())
async def test_who_comes_back_is_told_what_followed(kinds: list[str], data: st.DataObject) -> None:
    hub = EventHub()
    listener = hub.listen(None, None)
    seen: list[tuple[str, str, Any]] = []
    for number, kind in enumerate(kinds):
        hub.publish(kind, number)
        seen += await taken(listener)
    hub.leave(listener)
    if not seen:
        return
    last = data.draw(st.integers(0, len(seen) - 1))
    again = hub.listen(None, seen[last][0])
    assert await taken(again) == [one for one in seen[last + 1 :] if one[1] != "gpu"]


@pytest.mark.parametrize(
    "last", ["", "nothing", "0-0", "other-5", "-3", "{boot}-99999", "{boot}-x", "{boot}-" + "9" * 50]
)
async def test_an_id_that_is_not_known_any_more_means_resync(last: str) -> None:
    hub = EventHub()
    first = hub.listen(None, None)
    for number in range(3):
        hub.publish("run", number)
    boot = (await taken(first))[0][0].rpartition("-")[0]
    assert [kind for _, kind, _ in await taken(hub.listen(None, last.replace("{boot}", boot)))] == ["resync"]


async def test_an_id_that_is_older_than_what_is_kept_means_resync() -> None:
    hub = EventHub()
    listener = hub.listen(None, None)
    hub.publish("run", 0)
    old = (await taken(listener))[0][0]
    for number in range(event_hub.KEPT):
        hub.publish("run", number)
        await listener.take(0.001)
    assert [kind for _, kind, _ in await taken(hub.listen(None, old))][:1] == ["run"], "all that followed is kept"
    hub.publish("run", "one more")
    assert [kind for _, kind, _ in await taken(hub.listen(None, old))] == ["resync"]


async def test_while_nobody_listens_nothing_is_kept_and_who_comes_back_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "LINGER", 0.01)
    hub = EventHub()
    changes: list[str] = []

    async def begin() -> None:
        changes.append("begin")

    hub.begin, hub.end = begin, lambda: changes.append("end")
    listener = hub.listen(None, None)
    await hub.begun()
    hub.publish("run", 1)
    last = (await taken(listener))[0][0]
    hub.leave(listener)
    again = hub.listen(None, last)
    assert await taken(again) == []
    hub.leave(again)
    await again.take(0.2)
    assert changes == ["begin", "end"]
    hub.publish("run", 2)
    assert hub.stats()["total_events_published"] == 1
    assert [kind for _, kind, _ in await taken(hub.listen(None, last))] == ["resync"]
