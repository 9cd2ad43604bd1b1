"""vLLM for the CPU as two ranks on two hosts over ssh: launched, asked, counted, killed and stopped from here.

`python -m pytest -m engine tests/engines/test_vllm_over_ssh.py`, as root; see `install.py`, `tests/clusters/hosts.py`.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import hosts as clusters
from tests.clusters.test_ranks import Here, reasons, until, wait_for_the_end_of
from tests.engines import small_vllm
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.files import LEDGER, read_ledger

pytestmark = [pytest.mark.engine, pytest.mark.nodes, pytest.mark.timeout(900)]
#: Two hosts start at once on a machine of two cores.
START = 500.0
LEASE = 60.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_vllm.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    (tmp_path / "hosts").mkdir()
    with clusters.running(tmp_path / "hosts") as pair:
        monkeypatch.setenv("PATH", f"{pair.root}/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        one = Here(pair, tmp_path / "here", LEASE)
        try:
            yield one
            for host in pair.of.values():
                wait_for_the_end_of(host)
        finally:
            one.end()
            for host in pair.of.values():
                host.end()


def answers(run: Any) -> bytes:
    """What its metrics say, through the port of this machine."""
    with urllib.request.urlopen(f"{run.base_url.removesuffix('/v1')}/metrics", timeout=20) as answer:
        found: bytes = answer.read()
        return found


def test_two_ranks_are_one_run_that_answers_counts_and_stops(here: Here, model: Path) -> None:
    run = here.ready(here.launch("a", "b", **small_vllm.recipe(model)), START)
    assert here.ask(run, tokens=7) == 7
    assert b"vllm:generation_tokens_total" in answers(run)
    until(lambda: [one.get("state") for one in here.now(run).status.parts] == ["ready", "ready"], "both are ready")
    ended = here.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped"), here.told(run)
    counted = [line["values"] for _, line in read_ledger(run.folder / LEDGER) if line["kind"] == "counters"]
    assert counted[-1]["generation_tokens"] == 7


def test_a_link_that_is_cut_for_half_a_minute_is_told_and_the_same_engine_answers_after_it(
    here: Here, model: Path
) -> None:
    run = here.ready(here.launch("a", "b", **small_vllm.recipe(model)), START)
    assert here.ask(run) == 5
    before = {name: host.engines()[0].pid for name, host in here.hosts.of.items()}
    here.hosts["b"].cut()
    until(lambda: "no answer from b" in (here.now(run).status.trouble or ""), lambda: here.told(run))
    time.sleep(30)  # no condition: that nothing is given up within this time is what is tried
    here.hosts["b"].heal()
    until(lambda: not here.now(run).status.trouble, lambda: here.told(run))
    assert {name: host.engines()[0].pid for name, host in here.hosts.of.items()} == before
    assert here.ask(run) == 5
    here.stop(run)


def test_what_fails_inside_the_engine_of_one_rank_is_told_with_that_ranks_words(here: Here, model: Path) -> None:
    """A pipeline over CPUs gets ready and fails at its first question, in vLLM 0.32's own code."""
    sizes = {"strategy": "tp_pp", "tensor_parallel_size": 1, "pipeline_parallel_size": 2}
    run = here.ready(here.launch("a", "b", **small_vllm.recipe(model, **sizes)), START)
    with pytest.raises(OSError):
        here.ask(run)
    ended = here.ended(run, 120.0).status
    assert (ended.state, ended.reason) == (State.FAILED, "engine_error"), here.told(run)
    assert ended.title is not None
    assert ended.title.startswith("rank 1 on b: AssertionError"), here.told(run)
    assert "rank 0 on a ended: the engine's core process died" in (ended.advice or "")
    assert "master_addr" not in (ended.advice or "")


@pytest.mark.parametrize("strategy", ["tp", "dp"])
def test_a_rank_that_is_killed_ends_the_other_and_is_named(here: Here, model: Path, strategy: str) -> None:
    sizes = {"tensor_parallel_size": 2} if strategy == "tp" else {"tensor_parallel_size": 1, "data_parallel_size": 2}
    run = here.ready(here.launch("a", "b", **small_vllm.recipe(model, strategy=strategy, **sizes)), START)
    assert here.ask(run) == 5
    assert here.hosts["b"].kill_engine()
    ended = here.ended(run, 120.0).status
    assert ended.state is State.FAILED, here.told(run)
    assert ended.title is not None
    assert ended.title.startswith("rank 1 on b: "), here.told(run)
    assert reasons(here.hosts["b"])[-1] == ended.reason
