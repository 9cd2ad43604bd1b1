"""Requests have models launched, wait for them, and take turns: the dispatcher with real keepers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import urllib.request
from dataclasses import replace

import pytest

from tests.ports import free_port
from tests.process.house import House
from tests.process.serving import Serving, recipe, serving
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.serving import Endpoint, Phase, Refusal
from vllm_studio_tui.kit.prometheus import parse, total
from vllm_studio_tui.runs import control, read


async def refusal_of(admission: object) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await asyncio.wait_for(admission.wait(), 60)  # type: ignore[attr-defined]
    return refused.value


async def test_a_request_has_its_model_loaded_and_those_that_come_meanwhile_join(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "sesame")
    a = recipe(
        "a",
        "--load-seconds 0.5 --api-key-env ENGINE_KEY",
        aliases=["small"],
        api_key="env:ENGINE_KEY",
        params={"set": {"top_k": 1}, "default": {"temperature": 0.5}, "strip": ["seed"]},
        stall_timeout=30,
    )
    async with serving(house, a, recipe("b"), peers={"far": {"url": "http://far:8080"}}) as one:
        peer = one.enter("far/any")
        assert (await peer.wait()).base_url == "http://far:8080/v1"
        assert one.dispatcher.document()["in_flight"] == {"far/any": 1}
        peer.leave()
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
        assert endpoints[0].api_key == "sesame"
        assert endpoints[0].set_params == (("top_k", 1),)
        assert endpoints[0].default_params == (("temperature", 0.5),)
        assert (endpoints[0].strip_params, endpoints[0].stall_timeout) == (("seed",), 30)
        assert first.load_seconds > 0.3
        assert first.queued_seconds < first.load_seconds
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
        assert [each.id for each in one.dispatcher.models(["small"])] == ["served-a"]
        stages = [data["stage"] for event, data in one.events if event == "launch_progress"]
        assert stages[0] == "launching"
        assert stages[-1] == "ready"
        assert any(event == "queue" for event, _ in one.events)


async def test_another_model_waits_for_a_busy_one_and_engines_outlive_the_dispatcher(house: House) -> None:
    recipes = [recipe(name, "--answer long:300 --tokens-per-second 200") for name in "ab"]
    async with serving(house, *recipes, max_loaded=1) as one:
        held = one.enter("a")
        endpoint = await held.wait()
        # Somebody asks the engine itself, for a second or so; nobody but its own counter tells that.
        direct = asyncio.create_task(asyncio.to_thread(one.send, endpoint, 300))
        waiting = one.enter("b")
        assert waiting.status().phase is Phase.QUEUED
        gone = one.enter("b")
        gone.leave()
        assert [each["recipe_id"] for each in one.dispatcher.document()["queue"]] == ["b"]
        await one.until(lambda: running(endpoint) == 1 or direct.done(), "the engine has it")
        held.leave()
        answered = asyncio.create_task(waiting.wait())
        await direct
        assert not answered.done(), "what others ask keeps it loaded"
        assert (await answered).recipe_id == "b"
        assert waiting.queued_seconds > 0.3
        assert set(one.live()) == {"b"}
        waiting.leave()
        # A cancelled wait leaves by itself.
        seen = len(one.events)
        task = asyncio.create_task(one.ask("a", 500))
        await one.until(
            lambda: any(event == "launch_progress" and data["recipe_id"] == "a" for event, data in one.events[seen:]),
            "it is launched",
        )
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert one.idle()
        await one.until(lambda: set(one.live()) == {"a"}, "nobody else waits: the load goes on")
        last = one.enter("b")
    assert (await refusal_of(last)).code == "server_stopping"
    run = read.live_runs(house.places)[0]
    assert run.recipe_id == "a"
    assert house.ready(run).state is State.READY


async def test_idle_ones_are_stopped_but_not_those_of_a_person_also_after_a_restart(house: House) -> None:
    async with serving(house, recipe("a"), recipe("b"), recipe("c", ttl=0.4)) as one:
        await asyncio.to_thread(one.studio.launcher.launch, one.studio.recipes.get("b"))
        await asyncio.gather(one.ask("a"), one.ask("b"), one.ask("c"))
        await one.until(lambda: set(one.live()) == {"a", "b"}, "c is idle for as long as its recipe says")
    async with serving(house, idle_ttl=0.5) as one:  # that a was started on request is on record
        busy = one.enter("a")
        await busy.wait()
        await asyncio.sleep(1.2)
        assert set(one.live()) == {"a", "b"}
        busy.leave()
        await one.until(lambda: set(one.live()) == {"b"}, "a is idle")


async def test_a_load_that_nobody_waits_for_any_more_makes_room(house: House) -> None:
    async with serving(house, recipe("a", "--load-seconds 60"), recipe("b"), max_loaded=1) as one:
        first = one.enter("a")
        await one.until(lambda: "a" in one.live(), "it loads")
        first.leave()
        assert (await one.ask("b")).recipe_id == "b"
        assert set(one.live()) == {"b"}


async def test_a_failed_launch_says_why_and_three_are_enough(house: House) -> None:
    a = recipe("a", "--load-seconds 0.3 --simulate-failure oom")
    async with serving(house, a) as one:
        for _ in range(3):
            waiting = [one.enter("a"), one.enter("a")]
            for each in waiting:
                refused = await refusal_of(each)
                assert (refused.status, refused.code) == (503, "model_failed")
                assert refused.cause == "Reason: out_of_memory."
                assert refused.advice
        runs = len(read.all_runs(house.places))
        assert runs == 3
        with pytest.raises(Refusal) as quarantined:
            one.enter("a")
        assert quarantined.value.cause == "Reason: out_of_memory."
        assert "3 times" in quarantined.value.advice
        assert len(read.all_runs(house.places)) == runs
        one.studio.recipes.save(recipe("a"))
        await one.dispatcher.refresh()
        await one.until(lambda: "oom" not in str(one.dispatcher._seen.kinds["a"].recipe.command), "the edit is seen")
        assert (await one.ask("a")).recipe_id == "a"
        # What cannot be started at all is answered at once, too.
        one.studio.recipes.save(recipe("a").model_copy(update={"command": "/no/such/program {port}"}))
        control.stop(one.live()["a"], force=True)
        await one.until(lambda: "such" in str(one.dispatcher._seen.kinds["a"].recipe.command), "the edit is seen")
        await one.until(lambda: not one.dispatcher.models()[0].active, "it is gone")
        refused = await refusal_of(one.enter("a"))
        assert (refused.status, refused.code) == (503, "model_failed")


async def test_a_model_that_cannot_start_stops_nobody(house: House) -> None:
    gone = recipe("gone").model_copy(update={"command": "/no/such/program {port}"})
    lost = Recipe.model_validate(
        {"id": "lost", "name": "lost", "backend": "llamacpp", "model_path": "/nonexistent.gguf", "on_demand": True}
    )
    async with serving(house, recipe("a"), gone, lost, max_loaded=1) as one:
        endpoint = await one.ask("a")
        for name in ("gone", "lost"):
            for _ in range(4):  # in quarantine, too
                with pytest.raises(Refusal) as refused:
                    await one.ask(name)
                assert (refused.value.status, refused.value.code) == (503, "model_failed")
                assert "3 times" in refused.value.advice or name in refused.value.title
        assert len(read.all_runs(house.places)) == 1, "nothing else was started"
        assert one.live()["a"].run_id == endpoint.run_id
        assert one.live()["a"].state is State.READY
        assert (await one.ask("a")).run_id == endpoint.run_id


def running(endpoint: Endpoint) -> float | None:
    """How many requests the engine says it answers."""
    with urllib.request.urlopen(endpoint.base_url.removesuffix("/v1") + "/metrics", timeout=10) as answer:
        return total(parse(answer.read()), ["vllm:num_requests_running"])


async def test_a_second_dispatcher_leads_to_what_runs_and_a_person_may_launch_at_the_same_time(house: House) -> None:
    a, b = recipe("a", "--load-seconds 0.3 --answer long:200 --tokens-per-second 200"), recipe("b")
    async with serving(house, a, b, max_loaded=1) as one, serving(house, primary=False, max_loaded=1) as two:
        with pytest.raises(Refusal) as refused:
            two.enter("a")
        assert refused.value.code == "model_not_loaded"
        assert not any(each.on_demand for each in two.dispatcher.models())
        # A person and a request at once: one run, both are served.
        launch = asyncio.create_task(
            asyncio.to_thread(one.studio.launcher.launch, one.studio.recipes.get("a"), started_by="")
        )
        asked = [asyncio.create_task(one.ask("a")) for _ in range(3)]
        results = await asyncio.gather(launch, *asked, return_exceptions=True)
        assert all(not isinstance(each, BaseException) for each in results[1:]), results
        assert len([each for each in read.live_runs(house.places) if each.recipe_id == "a"]) == 1
        await two.dispatcher.refresh()
        held = two.enter("a")
        endpoint = await held.wait()
        # What the second one sends is busy for the first, by the engine's own counter.
        direct = asyncio.create_task(asyncio.to_thread(two.send, endpoint, 200))
        await one.until(lambda: running(endpoint) == 1 or direct.done(), "the engine has it")
        assert (await one.ask("b")).recipe_id == "b"
        assert direct.done()
        await direct
        held.leave()


async def test_an_engine_or_keeper_that_is_killed_hangs_nobody(house: House) -> None:
    a, b = recipe("a", "--load-seconds 60"), recipe("b", "--load-seconds 0.5")
    async with serving(house, a, b) as one:
        first = one.enter("a")
        await one.until(lambda: "a" in one.live() and one.live()["a"].status.pid is not None, "it loads")
        house.kill_engine(one.live()["a"])
        assert (await refusal_of(first)).code == "model_failed"
        # The keeper dies while it loads: another takes over, and the request is served.
        second = one.enter("b")
        await one.until(lambda: "b" in one.live() and one.live()["b"].status.pid is not None, "it loads")
        house.kill_keeper(one.live()["b"])
        endpoint = await asyncio.wait_for(second.wait(), 60)
        assert endpoint.recipe_id == "b"
        second.leave()
        # Both die: the next request has it launched anew.
        before = one.live()["b"]
        house.kill_keeper(before)
        pid = house.now(before).status.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        await one.until(lambda: house.now(before).status.final, "its end is seen")
        await one.dispatcher.refresh()
        assert (await one.ask("b")).run_id != before.run_id
        assert one.idle()


async def test_claims_of_gpus_decide_what_makes_room_and_preloaded_ones_stop_nobody(house: House, gpus: None) -> None:
    recipes = [
        recipe("a", gpus=["0"], preload=True),
        recipe("b", gpus=["0"], preload=True),
        recipe("c", gpus=["1"]),
        recipe("d", gpus="auto", tensor_parallel_size=2),
        recipe("e", gpus=["0"], port=free_port()),
    ]
    async with serving(house, *recipes) as one:
        await one.until(lambda: "a" in one.live(), "what is to be there from the start is launched")
        spec = one.live()["a"].spec
        assert spec is not None
        assert spec.started_by == "preload"
        await asyncio.gather(one.ask("a"), one.ask("c"))
        assert set(one.live()) == {"a", "c"}, "b would have needed the place of a"
        assert (await one.ask("e")).recipe_id == "e"
        assert set(one.live()) == {"c", "e"}
        # Two that are free: both others go.
        assert (await one.ask("d")).recipe_id == "d"
        assert set(one.live()) == {"d"}
        spec = one.live()["d"].spec
        assert spec is not None
        assert spec.gpus == ("0", "1")


async def test_whatever_happens_each_request_ends(house: House) -> None:
    """Requests, clients that leave, killed engines and keepers, persons, restarts of the dispatcher, at random."""
    dice = random.Random(7)
    recipes = [recipe(name, "--load-seconds 0.1", max_concurrent=3) for name in "abc"]
    ended: list[str] = []
    asked = 0

    async def client(here: Serving, name: str) -> None:
        try:
            await asyncio.wait_for(here.ask(name), dice.choice([0.3, 40.0, 40.0]))
            ended.append("answered")
        except Refusal as refused:
            assert refused.code in ("model_failed", "model_not_loaded", "server_stopping"), refused
            ended.append(refused.code)
        except TimeoutError:
            ended.append("left")
        except OSError:  # its engine was killed
            ended.append("broken")

    for part in range(2):
        async with serving(house, *(recipes if not part else ()), max_loaded=2, max_consecutive=0.3) as here:
            clients = set()
            for _ in range(14):
                what = dice.random()
                live = [run for run in read.live_runs(house.places) if run.status.pid is not None]
                if what < 0.7 or not live:
                    asked += 1
                    clients.add(asyncio.create_task(client(here, dice.choice("abc"))))
                elif what < 0.8:
                    house.kill_engine(dice.choice(live))
                elif what < 0.9:
                    house.kill_keeper(dice.choice(live))
                else:
                    with contextlib.suppress(StudioError):
                        name = dice.choice("abc")
                        await asyncio.to_thread(here.studio.launcher.launch, here.studio.recipes.get(name))
                await asyncio.sleep(dice.choice([0.0, 0.2]))
            if part:
                await asyncio.wait(clients, timeout=60)
                await here.until(here.idle, "nobody waits, nothing is in flight")
        await asyncio.wait_for(asyncio.gather(*clients), 30)
        assert here.dispatcher.document()["in_flight"] == {}
    assert len(ended) == asked
    assert "answered" in ended, ended


async def test_who_waits_is_answered_in_time_though_nothing_can_be_looked_at(house: House) -> None:
    async with serving(house, recipe("a"), recipe("b", "--load-seconds 60")) as one:
        await one.ask("a")
        scheduler = one.dispatcher._scheduler
        first = one.enter("b")
        await one.until(lambda: "b" in one.live(), "it loads")
        scheduler._rules = replace(scheduler._rules, max_wait=0.5)
        held = threading.Event()
        survey = one.dispatcher._survey
        assert survey is not None
        survey.look = lambda **_: held.wait(10) and None  # type: ignore[assignment, method-assign]
        try:
            assert (await refusal_of(first)).code == "model_timeout"
            assert (await one.ask("a")).recipe_id == "a"
        finally:
            held.set()
