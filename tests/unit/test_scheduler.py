"""What the scheduler decides, one situation each. Seconds are made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.serving import Phase, Refusal
from vllm_studio_tui.services.serving import refusals
from vllm_studio_tui.services.serving.eviction import Need, Room
from vllm_studio_tui.services.serving.scheduler import Scheduler
from vllm_studio_tui.services.serving.world import Launch, Model, Refuse, Rules, Run, RunPhase, Send, Stop, World


class Stage:
    """A scheduler, and the world that it is shown. `said` is all that it decided since it was last looked at."""

    def __init__(self, *models: Model, room: Room | None = None, **rules: Any) -> None:
        self.scheduler = Scheduler(Rules(**{"min_warm": 0.0, "abandon_after": 5.0, **rules}))
        self.models = {one.key: one for one in models}
        self.runs: dict[str, Run] = {}
        self.room = room or Room(max_loaded=1)
        self.now = 0.0
        self.said: list[Any] = []
        self.see()

    def see(self) -> None:
        world = World(dict(self.models), tuple(self.runs.values()), self.room)
        self.said += self.scheduler.see(self.now, world)

    def take(self) -> list[Any]:
        said, self.said = self.said, []
        return said

    def run(self, key: str, phase: RunPhase = RunPhase.READY, **fields: Any) -> None:
        """What a run of a model is like from now on."""
        run = self.runs.get(key) or Run(key, key, phase)
        age = {"ready_for": 1000.0} if phase is RunPhase.READY else {}
        self.runs[key] = replace(run, phase=phase, **{**age, **fields})
        self.see()

    def arrive(self, job: str, key: str, **fields: Any) -> list[Any]:
        self.said += self.scheduler.arrive(self.now, job, key, **{"may_launch": True, **fields})
        return self.take()

    def leave(self, job: str) -> None:
        self.said += self.scheduler.leave(self.now, job)

    def launched(self, key: str, phase: RunPhase = RunPhase.LOADING) -> None:
        """The launch that it decided has made a run."""
        self.scheduler.launched(self.now, key, key)
        self.run(key, phase, started_by="request")

    def at(self, now: float) -> list[Any]:
        self.now = now
        self.said += self.scheduler.tick(now)
        return self.take()


def model(key: str, **fields: Any) -> Model:
    return Model(key, **{"launchable": True, "on_demand": True, "need": Need(key), "revision": "1", **fields})


def refused(said: list[Any]) -> list[tuple[str, int, str]]:
    return [(one.job, one.refusal.status, one.refusal.code) for one in said if isinstance(one, Refuse)]


def test_a_model_that_never_rests_gives_way_after_max_consecutive() -> None:
    stage = Stage(model("a"), model("b"), max_consecutive=20.0)
    stage.run("a")
    assert stage.arrive("a0", "a") == [Send("a0", "a", "a")]
    stage.now = 1.0
    assert stage.arrive("b1", "b") == []
    for second in range(2, 21):  # another request for a always comes before the last one ends
        stage.now = float(second)
        assert stage.arrive(f"a{second - 1}", "a") == [Send(f"a{second - 1}", "a", "a")]
        stage.leave(f"a{second - 2}")
        assert stage.take() == []
    assert stage.at(21.0) == []
    assert stage.arrive("a20", "a") == [], "it takes no more"
    stage.leave("a19")
    assert stage.take() == [Launch("b", ("a",))]
    stage.run("a", RunPhase.ENDED)
    stage.launched("b", RunPhase.READY)
    assert stage.take() == [Send("b1", "b", "b")]
    stage.leave("b1")
    assert stage.take() == [Launch("a", ("b",))], "and then it is its turn again"


def test_requests_of_one_model_are_answered_together() -> None:
    stage = Stage(model("a"), model("b"), model("c"), max_consecutive=120.0)
    said = [one for job in ("a1", "b1", "c1", "a2", "b2", "c2") for one in stage.arrive(job, job[0])]
    assert said == [Launch("a")]
    order = []
    for key, after in (("a", "b"), ("b", "c"), ("c", None)):
        stage.launched(key, RunPhase.READY)
        sent = stage.take()
        assert [one.job for one in sent] == [f"{key}1", f"{key}2"]
        for one in sent:
            order.append(one.job)
            stage.leave(one.job)
        assert stage.take() == ([Launch(after, (key,))] if after else [])
        stage.run(key, RunPhase.ENDED)
    assert order == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_priority_goes_first_among_models_and_among_requests_of_one() -> None:
    stage = Stage(model("a"), model("b"), model("c", priority=3))
    stage.run("a")
    stage.arrive("x", "a")
    stage.arrive("b1", "b")
    stage.arrive("b2", "b", priority=1)
    stage.arrive("c1", "c")
    stage.leave("x")
    assert stage.take() == [Launch("c", ("a",))]
    stage.run("a", RunPhase.ENDED)
    stage.launched("c", RunPhase.READY)
    stage.leave("c1")
    stage.take()
    stage.run("c", RunPhase.ENDED)
    stage.launched("b", RunPhase.READY)
    assert [one.job for one in stage.take()] == ["b2", "b1"]


def test_what_others_ask_an_engine_keeps_it_and_so_does_the_time_it_is_to_be_warm() -> None:
    stage = Stage(model("a"), model("b"), min_warm=30.0)
    stage.run("a", ready_for=10.0)
    stage.arrive("b1", "b")
    assert stage.take() == []
    stage.run("a", ready_for=31.0, busy=2)
    assert stage.take() == []
    stage.run("a", ready_for=32.0, busy=0)
    assert stage.take() == [Launch("b", ("a",))]


def test_what_is_never_stopped_is_not_waited_for() -> None:
    stage = Stage(model("a", persistent=True), model("b"))
    stage.run("a")
    assert refused(stage.arrive("b1", "b")) == [("b1", 503, "model_blocked")]


def test_who_may_not_launch_joins_and_does_not_start() -> None:
    stage = Stage(model("a"), model("b", on_demand=None), model("c", on_demand=False))
    assert refused(stage.arrive("1", "a", may_launch=False)) == [("1", 403, "launch_not_allowed")]
    assert refused(stage.arrive("2", "b")) == [("2", 503, "model_not_loaded")]
    assert stage.arrive("3", "a") == [Launch("a")]
    assert stage.arrive("4", "a", may_launch=False) == []
    stage.launched("a", RunPhase.READY)
    assert [one.job for one in stage.take()] == ["3", "4"]
    every = Stage(model("b", on_demand=None), model("c", on_demand=False), on_demand="all")
    assert every.arrive("1", "b") == [Launch("b")]
    assert refused(every.arrive("2", "c")) == [("2", 503, "model_not_loaded")]
    assert refused(Stage(model("a"), on_demand="off").arrive("1", "a")) == [("1", 503, "model_not_loaded")]
    second = Stage(model("a"), primary=False)
    assert refused(second.arrive("1", "a")) == [("1", 503, "model_not_loaded")]
    second.run("a")
    assert second.arrive("2", "a") == [Send("2", "a", "a")]


def test_a_launch_of_a_person_is_joined() -> None:
    stage = Stage(model("a", on_demand=False))
    stage.run("a", RunPhase.LOADING, stage="weights", progress=0.4, eta=12.0)
    assert stage.arrive("1", "a", may_launch=False) == []
    now = stage.scheduler.status("1")
    assert (now.phase, now.stage, now.progress, now.eta) == (Phase.LOADING, "weights", 0.4, 12.0)
    stage.run("a")
    assert stage.take() == [Send("1", "a", "a")]


def test_a_queue_that_is_full_takes_no_more_but_what_can_be_sent() -> None:
    stage = Stage(model("a", load_seconds=40.0), model("b"), max_queue=2, min_warm=9999.0)
    stage.run("b", RunPhase.LOADING)
    for job in ("1", "2"):
        stage.arrive(job, "a")
    said = stage.arrive("3", "a")
    assert refused(said) == [("3", 429, "queue_full")]
    assert said[0].refusal.retry_after == 40.0
    stage.run("b")
    assert stage.arrive("4", "b") == [Send("4", "b", "b")]


def test_who_waited_too_long_is_told_when_to_come_again() -> None:
    stage = Stage(model("a", load_seconds=90.0), max_wait=60.0)
    stage.arrive("1", "a")
    stage.launched("a")
    assert stage.at(59.9) == []
    said = stage.at(60.0)
    assert refused(said) == [("1", 503, "model_timeout")]
    assert said[0].refusal.retry_after == 90.0


def test_a_recipes_limit_makes_wait_and_then_refuses() -> None:
    stage = Stage(model("a", max_concurrent=2), max_wait=60.0)
    stage.run("a")
    assert [type(one) for job in "123" for one in stage.arrive(job, "a")] == [Send, Send]
    assert refused(stage.at(60.0)) == [("3", 429, "model_busy")]
    stage.arrive("4", "a")
    stage.leave("1")
    assert stage.take() == [Send("4", "a", "a")]


def test_a_load_that_nobody_waits_for_makes_room_but_never_one_of_a_person() -> None:
    for started_by, gives_way in (("request", True), ("preload", False), ("", False)):
        stage = Stage(model("a"), model("b"), abandon_after=5.0)
        stage.run("a", RunPhase.LOADING, started_by=started_by)
        stage.arrive("1", "a")
        stage.leave("1")
        stage.arrive("2", "b")
        assert stage.at(4.9) == []
        assert stage.at(5.0) == ([Launch("b", ("a",))] if gives_way else [])
        if gives_way:  # who comes meanwhile is not told that somebody stopped it
            assert stage.arrive("3", "a") == []
            stage.run("a", RunPhase.ENDED)
            stage.launched("b", RunPhase.READY)
            assert refused(stage.take()) == []


def test_without_anybody_else_a_load_goes_on_though_nobody_waits() -> None:
    stage = Stage(model("a"), model("b"))
    stage.arrive("1", "a")
    stage.launched("a")
    stage.leave("1")
    stage.take()
    assert stage.at(1000.0) == []


def test_a_failed_launch_answers_all_at_once_and_three_put_it_into_quarantine() -> None:
    stage = Stage(model("a"))
    for number in range(3):
        assert stage.arrive(f"x{number}", "a") == [Launch("a")]
        stage.arrive(f"y{number}", "a")
        stage.scheduler.launched(stage.now, "a", f"a-{number}")
        why = refusals.failed("a", "cuda_oom", "no memory", "Shorten the context.")
        stage.runs[f"a-{number}"] = Run(f"a-{number}", "a", RunPhase.FAILED, "request", why=why)
        stage.see()
        said = stage.take()
        assert refused(said) == [(f"{who}{number}", 503, "model_failed") for who in "xy"]
        assert said[0].refusal.cause == "Reason: cuda_oom."
        stage.now += 100.0
    said = stage.arrive("4", "a")
    assert refused(said) == [("4", 503, "model_failed")]
    assert said[0].refusal.cause == "Reason: cuda_oom."
    assert "vllm-studio launch a" in said[0].refusal.advice
    stage.models["a"] = replace(stage.models["a"], revision="2")  # it was edited
    stage.see()
    assert stage.arrive("5", "a") == [Launch("a")]


def test_an_engine_that_ends_after_it_served_is_started_again_for_who_comes_before_that_is_on_record() -> None:
    stage = Stage(model("a"))
    stage.run("a", started_by="request")
    stage.run("a", RunPhase.LOADING)  # it has no process any more, and its keeper ends what is left of it
    assert stage.arrive("1", "a") == []
    stage.run("a", RunPhase.FAILED, why=refusals.failed("a", "killed", "killed by SIGKILL"))
    assert stage.take() == [Launch("a")]


def test_a_person_or_a_success_ends_a_quarantine_and_failures_long_apart_make_none() -> None:
    bad = Refusal(503, "model_failed", "no")
    for lifted_by in ("person", "success", "time"):
        stage = Stage(model("a"))
        for number in range(3):
            stage.arrive(f"x{number}", "a")
            stage.said += stage.scheduler.not_launched(stage.now, "a", bad)
            stage.now += 301.0 if lifted_by == "time" else 1.0
        stage.take()
        if lifted_by == "person":
            stage.run("a", RunPhase.LOADING)
            stage.run("a", RunPhase.ENDED)
        elif lifted_by == "success":
            stage.run("a", started_by="request")
            stage.run("a", RunPhase.ENDED)
        assert stage.arrive("y", "a") == [Launch("a")]


def test_a_launch_that_came_too_late_is_tried_again_a_moment_later() -> None:
    stage = Stage(model("a"))
    stage.arrive("1", "a")
    stage.said += stage.scheduler.not_launched(0.0, "a", None)
    assert stage.take() == []
    assert stage.at(1.0) == [Launch("a")]


def test_a_load_that_somebody_stops_is_not_begun_again() -> None:
    stage = Stage(model("a"))
    stage.arrive("1", "a")
    stage.launched("a")
    stage.take()
    stage.run("a", RunPhase.ENDED)
    said = stage.take()
    assert refused(said) == [("1", 503, "model_not_loaded")]
    assert "stopped while it loaded" in said[0].refusal.cause


def test_what_is_idle_is_stopped_by_its_recipe_or_the_settings() -> None:
    def idle(started_by: str, **fields: Any) -> list[Any]:
        stage = Stage(model("a", **fields), idle_ttl=50.0)
        stage.run("a", started_by=started_by)
        stage.arrive("1", "a")
        stage.now = 30.0
        stage.leave("1")  # the last byte
        assert not [one for one in stage.at(79.0) if isinstance(one, Stop)]
        return [one for one in stage.at(81.0) if isinstance(one, Stop)]

    assert idle("request") == [Stop("a")]
    assert idle("") == []
    assert idle("", ttl=50.0) == [Stop("a")]
    assert idle("request", ttl=0.0) == []
    assert idle("request", ttl=500.0) == []
    assert idle("request", persistent=True) == []


def test_what_others_ask_counts_as_use() -> None:
    stage = Stage(model("a", ttl=50.0))
    stage.run("a", activity=(1, 10))
    stage.now = 40.0
    stage.run("a", activity=(2, 20))
    assert stage.at(89.0) == []
    stage.run("a", busy=1)
    assert stage.at(500.0) == []
    stage.run("a", busy=0)
    assert stage.at(549.0) == []
    assert stage.at(551.0) == [Stop("a")]


def test_preloaded_models_stop_nobody() -> None:
    stage = Stage(model("a", preload=True, on_demand=False), model("b", preload=True), room=Room(max_loaded=1))
    assert stage.scheduler.preload(0.0) == [Launch("a", (), "preload")]
    stage.launched("a", RunPhase.READY)
    assert stage.take() == []
    assert stage.at(1000.0) == []
    stage.run("a", RunPhase.ENDED)
    assert stage.at(2000.0) == [], "what somebody has stopped stays stopped, and b had its chance"
    there = Stage(model("a", preload=True))
    there.run("a")
    assert there.scheduler.preload(0.0) == []
    there.run("a", RunPhase.ENDED)
    assert there.take() == []


def test_of_two_runs_of_a_recipe_the_one_with_less_to_do_is_asked() -> None:
    stage = Stage(model("a"))
    stage.runs = {name: Run(name, "a", RunPhase.READY, ready_for=99.0) for name in ("one", "two")}
    stage.see()
    assert sorted(one.run for job in "1234" for one in stage.arrive(job, "a")) == ["one", "one", "two", "two"]


def test_one_that_waits_for_a_busy_model_does_not_lose_its_place_to_later_ones() -> None:
    gpu = {"need": Need("b", gpus=frozenset({"0", "1"}))}
    stage = Stage(
        model("a", need=Need("a", gpus=frozenset("0"))),
        model("b", **gpu),
        model("c", need=Need("c", gpus=frozenset("1"))),
        model("d", need=Need("d", gpus=frozenset("2"))),
        room=Room(),
    )
    stage.run("a", gpus=frozenset("0"))
    stage.arrive("a1", "a")
    assert stage.arrive("b1", "b") == []
    assert stage.arrive("c1", "c") == [], "GPU 1 is to be for b"
    assert stage.arrive("d1", "d") == [Launch("d")], "nobody waits for GPU 2"
    stage.leave("a1")
    assert stage.take() == [Launch("b", ("a",))]


def test_a_recipe_that_is_deleted_while_one_waits_for_it() -> None:
    stage = Stage(model("a"), model("b"))
    stage.run("a")
    stage.arrive("a1", "a")
    stage.arrive("b1", "b")
    del stage.models["b"]
    stage.see()
    assert refused(stage.take()) == [("b1", 404, "model_not_found")]


def test_a_server_elsewhere_is_always_there() -> None:
    stage = Stage(model("far", elsewhere=True, launchable=False, max_concurrent=1))
    assert stage.arrive("1", "far") == [Send("1", "far", None)]
    assert stage.arrive("2", "far") == []
    stage.leave("1")
    assert stage.take() == [Send("2", "far", None)]


def test_what_was_loaded_for_requests_answers_them_however_soon_it_is_to_give_way() -> None:
    stage = Stage(model("a"), model("b"), max_consecutive=0.0)
    stage.arrive("a1", "a")
    stage.arrive("b1", "b")
    stage.launched("a")
    stage.arrive("a2", "a")
    stage.at(50.0)
    stage.run("a")
    assert [one.job for one in stage.take()] == ["a1", "a2"]
    assert stage.arrive("a3", "a") == [], "now it gives way"
    stage.leave("a1")
    stage.leave("a2")
    assert stage.take() == [Launch("b", ("a",))]


def test_a_name_that_only_a_server_elsewhere_knows_is_in_flight_until_it_ends() -> None:
    stage = Stage()
    assert stage.scheduler.send_at_once(0.0, "1", "far/any") == [Send("1", "far/any", None)]
    assert stage.scheduler.in_flight() == {"far/any": 1}
    stage.leave("1")
    assert stage.scheduler.in_flight() == {}


def test_a_request_for_one_run_itself_is_a_use_of_it_from_its_beginning_to_its_end() -> None:
    stage = Stage(model("a", ttl=50.0), model("b"))
    stage.run("a")
    stage.at(40.0)
    assert stage.scheduler.send_at_once(40.0, "1", "a", "a") == [Send("1", "a", "a")]
    assert stage.at(200.0) == [], "it is used"
    assert stage.arrive("b1", "b") == [], "what is used is not stopped for another"
    stage.leave("b1")
    stage.leave("1")
    assert stage.at(249.0) == []
    assert stage.at(251.0) == [Stop("a")]
