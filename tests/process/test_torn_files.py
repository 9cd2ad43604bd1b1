"""Whatever file of a run is torn, whoever of keeper and engine lives: what is said is so, and `stop` ends it."""

from __future__ import annotations

import itertools
import json
import signal
import time
from pathlib import Path

import pytest

from tests.process.house import House, until
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Stop
from vllm_studio_tui.keeper.files import LEDGER, SPEC, STATE
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, ending, read
from vllm_studio_tui.runs.foreign import find_orphans
from vllm_studio_tui.services.launching.targets import Targets
from vllm_studio_tui.studio import Studio

SHORT = Stop(leader_grace=0.5, tree_grace=0.5)
FILES = [(), (SPEC,), (STATE,), (LEDGER,), (SPEC, STATE), (STATE, LEDGER), (SPEC, LEDGER), (SPEC, STATE, LEDGER)]
#: Who is killed before.
DEAD = [(), ("keeper",), ("engine",), ("keeper", "engine")]
#: As a cut-off writer, a stranger's hand, or a disk leaves a file.
HARM = [b'{"run_id": "si', b"", b'{"a":' * 20_000, b"\0" * 300]


def engines(house: House) -> list[process.Stat]:
    return [one for one in house.ours() if process.environment_value(one.pid, "VLLM_STUDIO_RUN")]


@pytest.mark.parametrize("dead", DEAD, ids=lambda one: "-".join(one) or "none")
@pytest.mark.parametrize("torn", FILES, ids=lambda one: "-".join(name.partition(".")[0] for name in one) or "whole")
def test_what_is_said_is_so_and_stop_ends_it(house: House, torn: tuple[str, ...], dead: tuple[str, ...]) -> None:
    run = house.ready(house.launch("--grandchildren", "1", "--reparent", stop=SHORT))
    until(lambda: len(engines(house)) >= 2, "engine and worker")
    harm = itertools.cycle(HARM[len(torn) % 2 :])
    if "keeper" in dead:
        house.kill_keeper(run)
    if "engine" in dead and "keeper" in dead:
        house.kill_engine(run)
        until(lambda: not house.now(run).engine_alive, "engine gone")
    for name in torn:
        (run.folder / name).write_bytes(next(harm))
    if "engine" in dead and "keeper" not in dead:
        assert run.status.pid is not None
        process.send(run.status.pid, run.status.pid_start, signal.SIGKILL)
        until(lambda: not process.alive(run.status.pid, run.status.pid_start), "engine gone")
    for one in read.all_runs(house.places):
        if engines(house) and "engine" not in dead:
            assert one.live, one.status
        assert one.status.pid is None or process.alive(one.status.pid, one.status.pid_start), one.status
        if "keeper" in dead and engines(house):
            assert one.run_id in {live.run_id for live in read.live_runs(house.places)}, "stop --all finds it"
    begin = time.monotonic()
    ended = control.stop(read.view(run.folder))
    assert time.monotonic() - begin < 30
    assert ended.status.final, ended.status
    assert not engines(house)
    until(lambda: not house.ours(), "keepers gone too")
    assert read.view(run.folder).status.final
    assert not read.live_runs(house.places)


def test_orphans_are_named_before_none_is_said_to_be_left(house: House) -> None:
    run = house.ready(house.launch("--grandchildren", "2", "--reparent"))
    until(lambda: len(engines(house)) >= 3, "engine and workers")
    house.kill_keeper(run)
    house.kill_engine(run)
    until(lambda: len(engines(house)) == 2, "engine gone")
    now = house.now(run)
    assert now.live
    assert (now.state, now.status.pid, now.engine_alive) == (State.UNHEALTHY, None, False)
    assert all(str(one.pid) in (now.status.title or "") for one in engines(house)), now.status.title
    assert {one.pid for one in engines(house)} <= {one.pid for one in find_orphans()}, "`foreign` lists them"
    control.settle(house.places)  # as each launch does first
    assert not engines(house)
    assert house.now(run).status.reason == "keeper_lost"
    control.stop(house.launch())
    house.check_nothing_is_left()


def test_members_that_erased_their_mark_are_found_by_number_and_start(house: House) -> None:
    """As vLLM's parts do: they write a title over their environment."""
    import subprocess
    import sys

    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={"PATH": "/usr/bin"}, start_new_session=True
    )
    try:
        run = house.ready(house.launch())
        house.kill_keeper(run)
        house.kill_engine(run)
        until(lambda: not house.now(run).engine_alive, "engine gone")
        data = json.loads((run.folder / STATE).read_bytes())
        data["members"] = {str(sleeper.pid): process.start_ticks(sleeper.pid), "1": 2, "x": 3}
        (run.folder / STATE).write_text(json.dumps(data))
        assert str(sleeper.pid) in (house.now(run).status.title or "")
        control.stop(run)
        assert sleeper.wait(5) == -signal.SIGTERM
        house.check_nothing_is_left()
    finally:
        sleeper.kill()


def test_the_members_of_a_run_are_written_down(house: House) -> None:
    run = house.ready(house.launch("--grandchildren", "1", "--reparent"))
    until(lambda: len(house.now(run).status.members) >= 2, "engine and worker are in the state")
    control.stop(run)
    assert house.now(run).status.members == {}


def test_a_stopped_keeper_is_ended_after_its_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "SLACK", -8.0)
    run = house.ready(house.launch(stop=SHORT))
    keeper = run.status.keeper_pid
    assert keeper is not None
    assert process.send(keeper, run.status.keeper_start, signal.SIGSTOP)
    ended = control.stop(run)
    assert ended.status.final
    until(lambda: not house.ours(), "all processes gone")


def test_a_run_without_a_directory_to_write_to_is_ended_from_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = house.ready(house.launch("--grandchildren", "1", "--reparent", stop=SHORT))
    house.kill_keeper(run)

    def refused(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(control, "start_keeper", refused)
    ended = control.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    until(lambda: not house.ours(), "all processes gone")


def test_the_end_that_a_killed_keeper_wrote_down_is_not_told_twice(house: House) -> None:
    """Its ledger has the exit, its state does not: the next keeper goes on from there."""
    run = house.ready(house.launch())
    state = (run.folder / STATE).read_bytes()
    house.kill_engine(run)
    until(lambda: house.now(run).status.final, "ended")
    until(lambda: not house.now(run).keeper_alive, "keeper gone")
    whole = (run.folder / LEDGER).read_bytes()
    for cut in (0, 1):  # with its last move, and without
        lines = whole.splitlines(keepends=True)
        (run.folder / LEDGER).write_bytes(b"".join(lines[: len(lines) - cut]))
        (run.folder / STATE).write_bytes(state)
        if cut == 0:
            now = house.now(run)
            assert (now.state, now.status.exit_signal, now.status.reason) == (State.FAILED, 9, "killed")
            assert not now.lost
        control.settle(house.places)
        until(lambda: house.now(run).status.final and not house.now(run).keeper_alive, "settled")
        now = house.now(run)
        assert (now.state, now.status.exit_signal, now.status.reason) == (State.FAILED, 9, "killed")
        assert [line["signal"] for line in house.ledger(run) if line["kind"] == "exit"] == [9]


def test_a_restarted_host_is_said_to_be_that_also_when_it_is_written_down(house: House) -> None:
    run = house.ready(house.launch())
    house.kill_engine(run)
    house.kill_keeper(run)
    until(lambda: not house.ours(), "all gone")
    for name in (STATE, LEDGER):
        path = run.folder / name
        path.write_text(path.read_text().replace(run.status.boot_id, "another-boot"))
    control.settle(house.places)
    until(lambda: not house.now(run).lost, "written down")
    assert house.now(run).status.reason == "host_rebooted"


def test_no_json_in_one_run_keeps_others_from_being_seen(house: House) -> None:
    from vllm_studio_tui.runs.json_documents import status_document

    run = house.ready(house.launch())
    whole = json.loads((run.folder / STATE).read_bytes())
    spec = json.loads((run.folder / SPEC).read_bytes())
    odd: list[object] = [None, True, -1, 1e300, 2**70, "x" * 9, [], {}, [[1]], {"a": {}}, float("nan")]
    other = house.places.runs / "other-20200101-000000-abcd"
    other.mkdir()
    deep: object = {}
    for _ in range(900):
        deep = {"a": deep}
    for number, name in enumerate([*whole, *spec, None]):
        for value in [odd[number % len(odd)], odd[(number + 3) % len(odd)], deep]:
            changed, changed_spec = dict(whole), dict(spec)
            if name is not None:
                (changed if number < len(whole) else changed_spec)[name] = value
            (other / STATE).write_text(json.dumps(changed))
            (other / SPEC).write_text(json.dumps(changed_spec))
            document = json.dumps(status_document(read.all_runs(house.places), every=True))
            assert run.run_id in document
    for raw in HARM:
        for file in (STATE, SPEC, LEDGER):
            (other / file).write_bytes(raw)
        assert run.run_id in json.dumps(status_document(read.all_runs(house.places), every=True))
    Path(other / STATE).unlink()
    control.stop(run)


def test_a_run_whose_spec_is_torn_is_not_asked(house: House) -> None:
    run = house.ready(house.launch())
    (run.folder / SPEC).write_bytes(b"{")
    with Studio.open_sync(house.places) as studio:
        for wish in ({"recipe": run.run_id}, {}):
            with pytest.raises(StudioError, match="cannot be asked"):
                Targets(house.places, lambda: studio.recipes).target(**wish)
    control.stop(run)
    house.check_nothing_is_left()
