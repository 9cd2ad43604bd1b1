"""A model on two hosts over ssh, for real: namespaces with sshd, and the simulated engine, whose ranks meet and fall.

`python -m pytest -m nodes tests/clusters`; see `tests/clusters/hosts.py` for what it needs.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import hosts as clusters
from tests.clusters.hosts import Hosts, TestHost
from tests.ports import free_port
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.files import LEDGER, read_ledger
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.studio import Studio

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]
#: Seconds of the lease in most tests: more than a busy machine needs for a connection, and less than a person waits.
LEASE = 12.0


def until(condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 60.0) -> Any:
    """Wait for something that must come; fail with its name when it does not."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
    return found


class Here:
    """The machine that launches."""

    def __init__(self, hosts: Hosts, home: Path, lease: float, recipe: str = "m") -> None:
        self.hosts, self.places, self.recipe = hosts, Places.under(home), recipe
        self.places.config.mkdir(parents=True)
        text = clusters.settings_of(hosts, nodes_lost_after=lease, inference_port=free_port())
        self.places.settings_file.write_text(text)

    def launch(self, *nodes: str, **more: Any) -> read.RunView:
        """Launch a model on these nodes."""
        recipe = Recipe.model_validate({
            "id": self.recipe, "name": "M", "model_path": "Org/model", "served_model_name": "m",
            "nodes": nodes or ("a", "b"), "strategy": "tp", "tensor_parallel_size": len(nodes or "ab"), **more,
        })  # fmt: skip
        with Studio.open_sync(self.places) as studio:
            return studio.launcher.launch(recipe)

    def now(self, run: read.RunView) -> read.RunView:
        return read.view(run.folder)

    def ready(self, run: read.RunView, seconds: float = 90.0) -> read.RunView:
        """Wait until it is ready."""
        until(lambda: self.now(run).state is State.READY or self.now(run).status.final, lambda: self.told(run), seconds)
        assert self.now(run).state is State.READY, self.told(run)
        return self.now(run)

    def ended(self, run: read.RunView, seconds: float = 60.0) -> read.RunView:
        """Wait until it has ended."""
        until(lambda: self.now(run).status.final, lambda: self.told(run), seconds)
        return self.now(run)

    def told(self, run: read.RunView) -> str:
        """What is known of it, for a failure."""
        said = [str(self.now(run).status)]
        for name in ("engine.log", "keeper.log", "report.json", "ranks.json"):
            path = run.folder / name
            said.append(f"--- {name}\n{path.read_text(errors='replace')[-3000:] if path.exists() else ''}")
        for host in self.hosts.of.values():
            said += [f"--- {host.name} {state}" for state in host.states().values()]
        return "\n".join(said)

    def stop(self, run: read.RunView, *, force: bool = False) -> read.RunView:
        return control.stop(run, force=force)

    def ask(self, run: read.RunView, tokens: int = 5) -> int:
        """Chat with it; the tokens of the answer."""
        body = {"model": "m", "messages": [{"role": "user", "content": "count"}], "max_tokens": tokens}
        request = urllib.request.Request(
            f"{run.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["usage"]["completion_tokens"])

    def follower(self, run: read.RunView) -> tuple[int, int]:
        state = self.now(run).status
        assert state.pid is not None
        assert state.pid_start is not None
        return state.pid, state.pid_start

    def kill_follower(self, run: read.RunView) -> None:
        found = self.follower(run)
        process.send(*found, signal.SIGKILL)
        process.wait_gone(*found, 5.0)

    def kill_keeper(self, run: read.RunView) -> None:
        state = self.now(run).status
        if state.keeper_pid is not None:
            process.send(state.keeper_pid, state.keeper_start, signal.SIGKILL)
            process.wait_gone(state.keeper_pid, state.keeper_start, 5.0)

    def end(self) -> None:
        """Whatever a test left."""
        for one in process.all_processes():
            if str(self.places.runs) in clusters._line(one.pid):
                process.send(one.pid, one.start, signal.SIGKILL)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with clusters.running(tmp_path_factory.mktemp("hosts")) as hosts:
        yield hosts


@pytest.fixture
def here(pair: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    yield from _here(pair, tmp_path, monkeypatch, LEASE)


def _here(pair: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lease: float) -> Iterator[Here]:
    monkeypatch.setenv("PATH", f"{pair.root}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("VLLM_STUDIO_VLLM_EXECUTABLE", str(pair["a"].folder / "bin" / "vllm"))
    for host in pair.of.values():
        host.flags()
    one = Here(pair, tmp_path / "here", lease)
    try:
        yield one
        for host in pair.of.values():
            wait_for_the_end_of(host)
    finally:
        for host in pair.of.values():
            host.heal()
        one.end()
        for host in pair.of.values():
            host.end()


def wait_for_the_end_of(host: TestHost) -> None:
    """Nothing of its runs is left on a host."""
    until(lambda: not host.processes(), lambda: f"left on {host.name}: {host.lines()}", LEASE * 3)


def reasons(host: TestHost) -> list[str | None]:
    """Why the runs of a host ended, the latest last."""
    return [state.get("reason") for _, state in sorted(host.states().items())]


def test_ranks_are_one_run_that_answers_counts_and_stops(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    assert here.ask(run) == 5
    until(lambda: [one.get("state") for one in here.now(run).status.parts] == ["ready", "ready"], "both are ready")
    assert [one["where"] for one in here.now(run).status.parts] == ["a", "b"]
    with urllib.request.urlopen(f"{run.base_url.removesuffix('/v1')}/metrics", timeout=10) as answer:  # type: ignore[union-attr]
        assert b"vllm:generation_tokens_total" in answer.read()
    log = run.log.read_text()
    assert "[0 a] " in log
    assert "[1 b] Loading safetensors" in log
    assert len(pair["a"].engines()) == len(pair["b"].engines()) == 1
    ended = here.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    assert not pair["a"].engines()
    assert not pair["b"].engines()
    assert "stopped" in {reasons(pair["a"])[-1], reasons(pair["b"])[-1]}  # one may fall with the other
    counted = [line["values"] for _, line in read_ledger(run.folder / LEDGER) if line["kind"] == "counters"]
    assert counted[-1]["generation_tokens"] == 5


def test_a_rank_that_is_killed_ends_the_others_and_is_named(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    assert pair["b"].kill_engine()
    ended = here.ended(run).status
    assert (ended.state, ended.reason) == (State.FAILED, "killed"), here.told(run)
    assert ended.title == "rank 1 on b: killed by SIGKILL"
    assert not pair["a"].engines()


def test_a_rank_that_fails_to_load_is_told_with_its_own_cause(here: Here, pair: Hosts) -> None:
    pair["b"].flags("--simulate-failure", "oom")
    run = here.launch()
    ended = here.ended(run).status
    assert ended.state is State.FAILED
    assert ended.reason == "out_of_memory", here.told(run)
    assert ended.title is not None
    assert ended.title.startswith("rank 1 on b: "), here.told(run)
    assert ended.advice


def test_a_rank_whose_keeper_is_killed_goes_on(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    engine, keeper = pair["b"].engines(), pair["b"].keepers()
    assert pair["b"].kill_keeper()
    until(lambda: pair["b"].keepers() and pair["b"].keepers()[0].pid != keeper[0].pid, "another keeper")
    assert [one.pid for one in pair["b"].engines()] == [one.pid for one in engine]
    assert here.ask(run) == 5
    assert here.stop(run).status.reason == "stopped"


def test_a_cut_that_is_shorter_than_the_lease_is_told_and_survived(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    before = {name: [one.pid for one in pair[name].engines()] for name in "ab"}
    pair["b"].cut()
    until(lambda: "no answer from b" in (here.now(run).status.trouble or ""), "it is told", LEASE)
    assert here.ask(run) == 5  # its head answers as before
    pair["b"].heal()
    until(lambda: not here.now(run).status.trouble, "it is well again", LEASE * 2)
    assert here.now(run).state is State.READY, here.told(run)
    assert before == {name: [one.pid for one in pair[name].engines()] for name in "ab"}
    assert here.stop(run).status.reason == "stopped"


def test_a_cut_that_is_longer_than_the_lease_ends_the_unit_and_the_rank_there_by_itself(
    here: Here, pair: Hosts
) -> None:
    run = here.ready(here.launch())
    pair["b"].cut()
    until(lambda: not pair["b"].engines(), "the rank there ends by itself", LEASE * 3)
    assert reasons(pair["b"])[-1] == "unit_lost"
    ended = here.ended(run, LEASE * 4).status
    assert (ended.state, ended.reason) == (State.FAILED, "host_lost"), here.told(run)
    assert ended.title is not None
    assert ended.title.startswith("rank 1 is lost: b has not answered for")
    assert not pair["a"].engines()


def test_a_stop_while_a_host_is_cut_off_says_until_when_its_rank_ends(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    pair["b"].cut()
    until(lambda: here.now(run).status.trouble, "it is told", LEASE)
    ended = here.stop(run)
    assert ended.state is State.EXITED
    assert "rank 1 ends there by itself by" in (ended.status.title or ""), here.told(run)
    assert "rank 1 ends there by itself by" in run.log.read_text()
    assert not pair["a"].engines()
    until(lambda: not pair["b"].engines(), "the rank there ends by itself", LEASE * 3)
    assert reasons(pair["b"])[-1] == "unit_lost"


def test_a_host_that_lets_nobody_in_any_more_is_told_as_that(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    pair["b"].stop_sshd()
    try:
        until(lambda: "takes no connections" in (here.now(run).status.trouble or ""), lambda: here.told(run), LEASE * 2)
        ended = here.ended(run, LEASE * 4).status
        assert ended.reason == "ssh_refused", here.told(run)
        assert ended.title is not None
        assert "b takes no connections of ssh" in ended.title
    finally:
        pair["b"].start_sshd()
    until(lambda: not pair["b"].engines(), "the rank there ends by itself", LEASE * 3)


def test_a_follower_that_is_killed_is_followed_by_another_and_no_rank_is_started_twice(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    before = {name: sorted(pair[name].states()) for name in "ab"}
    pids = {name: [one.pid for one in pair[name].engines()] for name in "ab"}
    first = here.follower(run)
    here.kill_follower(run)
    until(lambda: here.now(run).status.pid not in (None, first[0]), "another follower")
    here.ready(run)
    assert here.ask(run) == 5
    assert before == {name: sorted(pair[name].states()) for name in "ab"}
    assert pids == {name: [one.pid for one in pair[name].engines()] for name in "ab"}
    here.kill_keeper(run)
    control.settle(here.places)
    here.ready(run)
    assert here.ask(run) == 5
    assert pids == {name: [one.pid for one in pair[name].engines()] for name in "ab"}
    assert here.stop(run).status.reason == "stopped"


def test_where_the_machine_that_launched_is_gone_for_good_every_rank_ends(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch())
    here.kill_keeper(run)
    here.kill_follower(run)
    here.end()
    until(lambda: not pair["a"].engines() and not pair["b"].engines(), "they end by themselves", LEASE * 3)
    until(lambda: "unit_lost" in {reasons(pair["a"])[-1], reasons(pair["b"])[-1]}, "their keepers say why")


def test_a_unit_is_stopped_by_force_at_once(here: Here, pair: Hosts) -> None:
    pair["a"].flags("--ignore-term")
    pair["b"].flags("--ignore-term")
    run = here.ready(here.launch())
    assert here.stop(run, force=True).state is State.EXITED
    until(lambda: not pair["a"].engines() and not pair["b"].engines(), "both are gone", 20.0)


def test_a_launch_is_refused_where_a_host_cannot_be_used_and_says_which(here: Here, pair: Hosts) -> None:
    hidden = pair["b"].program.rename(pair["b"].folder / "elsewhere")
    try:
        with pytest.raises(LaunchRefused) as refused:
            here.launch()
        assert refused.value.title == "there is no vllm-studio on b"
        pair["a"].cut()
        with pytest.raises(LaunchRefused) as refused:
            here.launch()
        assert "2 of 2 nodes cannot be used: a, b" in refused.value.title
        assert "a cannot be reached" in refused.value.cause
    finally:
        hidden.rename(pair["b"].program)
    assert not here.places.runs.exists() or not list(here.places.runs.iterdir())
    assert not pair["a"].engines()


def test_this_machine_may_be_one_of_the_hosts(here: Here, pair: Hosts) -> None:
    run = here.ready(here.launch("localhost", "b"))
    runs = {one.run_id: one for one in read.all_runs(here.places)}
    assert len(runs) == 2
    (own,) = (one for one in runs.values() if one.run_id != run.run_id)
    assert own.state is State.READY
    assert here.ask(run) == 5
    here.kill_follower(run)  # what is left of it is ended, and the rank beside it is none of that
    here.ready(run)
    assert read.view(own.folder).status.pid == own.status.pid
    assert here.stop(run).status.reason == "stopped"
    assert read.view(own.folder).status.final
