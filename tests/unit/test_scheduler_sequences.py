"""A thousand random days of a scheduler: requests, clients that leave, failed launches, persons, kills, late looks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from vllm_studio_tui.domain.serving import Phase
from vllm_studio_tui.services.serving import refusals
from vllm_studio_tui.services.serving.eviction import GroupRule, Need, Room
from vllm_studio_tui.services.serving.scheduler import Scheduler
from vllm_studio_tui.services.serving.world import (
    LIVE,
    Decision,
    Launch,
    Model,
    Refuse,
    Rules,
    Run,
    RunPhase,
    Send,
    Stop,
    World,
)

SEQUENCES = 1000
STEP = 0.5


@dataclass
class Machine:
    """Runs that load, serve, fail and are stopped, and what the scheduler has decided. Time stands still in between."""

    seed: int
    now: float = 100.0
    runs: dict[str, Run] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)
    load_until: dict[str, float] = field(default_factory=dict)
    #: Launches and stops under way: the second at which they end.
    operations: list[tuple[float, Decision]] = field(default_factory=list)
    waiting: dict[str, float] = field(default_factory=dict)
    sent: dict[str, str | None] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    numbers: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        dice = self.dice
        self.rules = Rules(
            on_demand=dice.choice(["known", "all"]),
            max_queue=dice.choice([3, 100]),
            max_wait=dice.choice([20.0, 60.0]),
            max_consecutive=dice.choice([0.0, 5.0]),
            min_warm=dice.choice([0.0, 3.0]),
            abandon_after=dice.choice([0.0, 2.0]),
            idle_ttl=dice.choice([None, 6.0]),
        )
        self.models = {
            key: Model(
                key,
                launchable=True,
                on_demand=dice.choice([True, True, True, None]),
                persistent=dice.random() < 0.1,
                priority=dice.choice([0, 0, 1]),
                max_concurrent=dice.choice([None, None, 1, 2]),
                ttl=dice.choice([None, None, 4.0]),
                need=Need(
                    key,
                    dice.choice([None, None, 8000]),
                    frozenset(dice.choice([(), ("0",), ("1",), ("0", "1")])),
                    memory=dice.choice([None, 4, 8]),
                ),
                load_seconds=dice.choice([None, 1.0, 30.0]),
                revision="1",
            )
            for key in "abcd"
        }
        groups = (GroupRule(frozenset("ab"), persistent=dice.random() < 0.3),) if dice.random() < 0.3 else ()
        self.room = Room(dice.choice([None, 1, 2]), groups, None, dice.choice([None, 10]))
        self.scheduler = Scheduler(self.rules)
        self.see()

    # --- what the scheduler is told -----------------------------------------------------------------------

    def world(self) -> World:
        runs = []
        for run in self.runs.values():
            age = self.now - self.ready_at[run.id] if run.id in self.ready_at else None
            busy = sum(where == run.id for where in self.sent.values()) if run.phase is RunPhase.READY else None
            runs.append(replace(run, ready_for=age, busy=busy))
        return World(dict(self.models), tuple(runs), self.room)

    def see(self) -> None:
        self.obey(self.scheduler.see(self.now, self.world()))

    def obey(self, decisions: list[Decision]) -> None:
        for one in decisions:
            if isinstance(one, Send):
                assert one.job in self.waiting, "sent once, and only while it waits"
                del self.waiting[one.job]
                self.sent[one.job] = one.run
                assert one.run is not None
                assert not self.is_touched(one.run), "nothing is sent to what is being stopped"
            elif isinstance(one, Refuse):
                assert one.job in self.waiting, "refused once, and only while it waits"
                self.end(one.job)
            else:
                evict = one.evict if isinstance(one, Launch) else (one.run,)
                for run_id in evict:
                    assert run_id not in self.sent.values(), "no busy run is stopped"
                    assert not self.is_touched(run_id), "nothing is stopped twice"
                    assert not self.models[self.runs[run_id].key].persistent
                if isinstance(one, Launch):
                    assert one.key not in [other.key for _, other in self.operations if isinstance(other, Launch)]
                self.operations.append((self.now + self.dice.choice([0.0, 0.6, 3.0]), one))

    def is_touched(self, run_id: str) -> bool:
        touched = [one.evict if isinstance(one, Launch) else (one.run,) for _, one in self.operations
                   if isinstance(one, Launch | Stop)]  # fmt: skip
        return any(run_id in some for some in touched)

    def end(self, job: str) -> None:
        assert job not in self.ended, "it ends once"
        self.ended.add(job)
        self.waiting.pop(job, None)
        self.sent.pop(job, None)

    # --- what happens ---------------------------------------------------------------------------------------

    def start(self, key: str, started_by: str) -> str:
        self.numbers += 1
        run_id = f"{key}-{self.numbers}"
        need = self.models[key].need
        self.runs[run_id] = Run(run_id, key, RunPhase.LOADING, started_by, port=need.port, gpus=need.gpus,
                                memory=need.memory)  # fmt: skip
        self.load_until[run_id] = self.now + self.dice.choice([0.5, 2.0, 8.0])
        return run_id

    def finish(self, run_id: str, phase: RunPhase) -> None:
        run = self.runs[run_id]
        why = refusals.failed(run.key, "boom", "it broke") if phase is RunPhase.FAILED else None
        self.runs[run_id] = replace(run, phase=phase, why=why)

    def may_start(self, key: str) -> bool:
        """Whether the launcher would let it: no run of the recipe, nobody with its port or GPUs."""
        need = self.models[key].need
        live = [run for run in self.runs.values() if run.phase in LIVE]
        return all(
            run.key != key and not run.gpus & need.gpus and (need.port is None or run.port != need.port) for run in live
        )

    def pass_time(self) -> None:
        self.now += STEP
        for run_id, until in list(self.load_until.items()):
            if self.runs[run_id].phase is RunPhase.LOADING and self.now >= until:
                del self.load_until[run_id]
                self.ready_at[run_id] = self.now
                self.finish(run_id, RunPhase.READY)
        due = [one for one in self.operations if one[0] <= self.now]
        self.operations = [one for one in self.operations if one not in due]
        for _, one in due:
            self.carry_out(one)

    def carry_out(self, one: Decision) -> None:
        if isinstance(one, Stop):
            if self.runs[one.run].phase in LIVE and self.dice.random() < 0.9:
                self.finish(one.run, RunPhase.ENDED)
            self.scheduler.stopped(self.now, one.run)
            self.see()
            return
        assert isinstance(one, Launch)
        for run_id in one.evict:
            assert run_id not in self.sent.values(), "what was to be stopped got no requests meanwhile"
            if self.runs[run_id].phase in LIVE:
                self.finish(run_id, RunPhase.ENDED)
        luck = self.dice.random()
        if luck < 0.1 and self.trouble:
            refusal = refusals.failed(one.key, "bad", "it cannot start") if luck < 0.05 else None
            self.obey(self.scheduler.not_launched(self.now, one.key, refusal))
        elif not self.may_start(one.key):
            self.obey(self.scheduler.not_launched(self.now, one.key, None))
        else:
            run_id = self.start(one.key, one.started_by)
            self.scheduler.launched(self.now, one.key, run_id)
        self.see()

    trouble: bool = True

    def step(self) -> None:
        dice = self.dice
        what = dice.random()
        live = [run.id for run in self.runs.values() if run.phase in LIVE]
        if what < 0.35:
            self.numbers += 1
            job = f"job-{self.numbers}"
            self.waiting[job] = self.now
            self.obey(
                self.scheduler.arrive(
                    self.now, job, dice.choice("abcde"), priority=dice.choice([0, 0, 5]), may_launch=dice.random() < 0.9
                )
            )
        elif what < 0.6 and (self.sent or self.waiting):
            job = dice.choice([*self.sent, *self.sent, *self.waiting])
            self.end(job)
            self.obey(self.scheduler.leave(self.now, job))
            assert self.scheduler.leave(self.now, job) == []
        elif what < 0.63 and live:
            self.finish(dice.choice(live), dice.choice([RunPhase.FAILED, RunPhase.ENDED]))
        elif what < 0.66:
            key = dice.choice("abcd")
            if self.may_start(key):
                self.start(key, "")
        elif what < 0.67:
            key = dice.choice("abcd")
            self.models[key] = replace(self.models[key], revision=str(self.numbers))
        elif what < 0.9:
            self.pass_time()
            self.obey(self.scheduler.tick(self.now))
        if dice.random() < 0.5:
            self.see()
        self.check()

    def check(self) -> None:
        assert self.scheduler.waiting == len(self.waiting)
        assert sum(self.scheduler.in_flight().values()) == len(self.sent)
        for job, since in self.waiting.items():
            assert self.now - since <= self.rules.max_wait + STEP, "nobody waits past the bound"
            assert self.scheduler.status(job).phase in (Phase.QUEUED, Phase.LOADING)


@pytest.mark.parametrize("part", range(4))
def test_each_request_ends_once_nothing_busy_is_stopped_and_nobody_waits_past_the_bound(part: int) -> None:
    launched = evicted = refused = 0
    for seed in range(part, SEQUENCES, 4):
        machine = Machine(seed)
        try:
            for _ in range(60):
                machine.step()
            # Nothing goes wrong any more: everything comes to its end.
            machine.trouble = False
            for _ in range(round(machine.rules.max_wait / STEP) + 20):
                for job in list(machine.sent):
                    machine.end(job)
                    machine.obey(machine.scheduler.leave(machine.now, job))
                machine.pass_time()
                machine.see()
                machine.check()
                if not machine.waiting and not machine.sent and not machine.operations:
                    break
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert not machine.waiting, seed
        assert not machine.sent, seed
        assert machine.scheduler.in_flight() == {}, seed
        assert machine.scheduler.queue() == {}, seed
        launched += sum(run.started_by == "request" for run in machine.runs.values())
        evicted += sum(run.phase is RunPhase.ENDED for run in machine.runs.values())
        refused += len(machine.ended)
    assert launched > SEQUENCES / 4
    assert evicted > SEQUENCES / 8
    assert refused > SEQUENCES


@pytest.mark.parametrize("part", range(2))
def test_where_everything_works_everybody_is_served(part: int) -> None:
    """Three models, room for one, no failures: every request is sent, whatever the order, long before the bound."""
    for seed in range(part, 200, 2):
        machine = Machine(seed)
        machine.trouble = False
        at_once = seed % 4 < 2
        machine.rules = Rules(
            max_wait=600.0,
            max_consecutive=0.0 if at_once else 5.0,
            min_warm=0.0 if at_once else 2.0,
            abandon_after=1.0,
        )
        machine.models = {
            key: replace(one, on_demand=True, persistent=False, ttl=None, max_concurrent=None)
            for key, one in machine.models.items()
        }
        machine.room = Room(max_loaded=1)
        machine.scheduler = Scheduler(machine.rules)
        machine.see()
        served = 0
        for turn in range(400):
            if turn < 100 and machine.dice.random() < 0.5:
                machine.numbers += 1
                job = f"job-{machine.numbers}"
                machine.waiting[job] = machine.now
                machine.obey(machine.scheduler.arrive(machine.now, job, machine.dice.choice("abc"), may_launch=True))
            for job in list(machine.sent):
                if machine.dice.random() < 0.5:
                    machine.end(job)
                    served += 1
                    machine.obey(machine.scheduler.leave(machine.now, job))
            machine.pass_time()
            machine.see()
            longest = max((machine.now - since for since in machine.waiting.values()), default=0.0)
            assert longest < 100, (seed, "a turn comes in time")
            live = [run for run in machine.runs.values() if run.phase in LIVE]
            assert len(live) <= 1, (seed, "no more than the room has")
            if turn >= 100 and not machine.waiting and not machine.sent:
                break
        assert served == len(machine.ended), seed
        assert not machine.waiting, seed
