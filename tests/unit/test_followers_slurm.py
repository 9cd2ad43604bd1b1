"""Jobs of SLURM as its commands tell of them: outputs of a real 22.05, and what other versions say in their place."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from vllm_studio_tui.domain.job import Part, Phase
from vllm_studio_tui.followers import slurm as followed
from vllm_studio_tui.followers.slurm import Slurm, read_facts
from vllm_studio_tui.followers.slurm_words import refusal, why_waiting
from vllm_studio_tui.followers.system import Job, Look, SystemTrouble

JOBS = Path(__file__).parents[1] / "fixtures" / "slurm" / "jobs-22.05.txt"
#: They were of several jobs; the tests' own has the name of its run.
LINES = re.sub(r"JobName=\S+", "JobName=coder-1", JOBS.read_text()).splitlines()
RUNNING = next(line for line in LINES if "JobState=RUNNING" in line)
HOSTS = "n1\nn2\n"
FAILED = "sbatch: error: Batch job submission failed"


class Commands:
    """Stands in for SLURM's commands in PATH: each prints what it is told to, and notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "scontrol", "scancel", "sacct", "sinfo"):
            self.say(name)

    def say(self, name: str, out: str = "", error: str = "", code: int = 0, then: str = "") -> None:
        """Have a command answer so. `scontrol` answers for jobs; hosts and nodes it always knows."""
        for suffix, text in (("out", out), ("err", error)):
            (self.folder / f"{name}.{suffix}").write_text(text)
        at = f'"{self.folder}/{name}'
        program = self.folder / name
        hosts = (
            f'case "$*" in *hostnames*) printf "{HOSTS}"; exit 0;; *"show node"*) echo NodeAddr=10.0.0.1; exit 0;; esac'
        )
        lines = ["#!/bin/sh", f'echo "$*" >> {at}.calls"', hosts if name == "scontrol" else "", then]
        program.write_text("\n".join([*lines, f'cat {at}.out"', f'cat {at}.err" >&2', f"exit {code}"]) + "\n")
        program.chmod(stat.S_IRWXU)

    def calls(self, name: str) -> list[str]:
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    one = Commands(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{one.folder}:{os.environ['PATH']}")
    return one


@pytest.fixture
def system(tmp_path: Path, commands: Commands) -> Slurm:
    return Slurm(Job(tmp_path, "coder-1", {"kind": "slurm", "script": "#!/bin/sh\n"}, "slurm:3"))


def job(number: int, state: str) -> str:
    return next(line for line in LINES if line.startswith(f"JobId={number} ") and f"JobState={state}" in line) + "\n"


def look(commands: Commands, system: Slurm, line: str) -> Look:
    commands.say("scontrol", line)
    return system.look()


def test_a_job_that_waits_says_why_and_when_it_is_to_begin(
    commands: Commands, system: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "_today", lambda: "2026-11-28")
    busy = look(commands, system, job(4, "PENDING"))
    assert (busy.phase, busy.state, busy.address) == (Phase.WAITING, "PENDING", None)
    assert busy.stage == "waiting in SLURM: the nodes are busy (Resources), begins about 11:28"
    assert busy.trouble == ""
    monkeypatch.setattr(followed, "_today", lambda: "2026-11-27")
    assert system.look().stage.endswith("begins about 11:28 on 2026-11-28")


@pytest.mark.parametrize(
    ("number", "words", "advice"),
    [
        (5, "it is held (JobHeldUser)", "scontrol release"),
        (12, "more time than its partition allows (PartitionTimeLimit)", "lower handover.time_limit"),
        (14, "more nodes than its partition allows (PartitionNodeLimit)", "lower handover.nodes"),
        (25, "down, drained or kept for other jobs", "sinfo -R"),
    ],
)
def test_a_job_that_does_not_start_by_itself_says_what_to_do(
    commands: Commands, system: Slurm, number: int, words: str, advice: str
) -> None:
    seen = look(commands, system, job(number, "PENDING"))
    assert words in seen.stage
    assert advice in seen.trouble


@pytest.mark.parametrize(
    ("reason", "words", "waits"),
    [
        ("QOSMaxJobsPerUserLimit", "a limit of the account or QOS is reached", True),
        ("AssocGrpGRES", "a limit of the account or QOS is reached", True),
        ("QOSMaxGRESPerJob", "a limit of the account or QOS forbids it", False),
        ("AssocMaxWallDurationPerJobLimit", "a limit of the account or QOS forbids it", False),
        ("ReqNodeNotAvail,_UnavailableNodes:n1", "a node that it needs is not available", False),
        ("DependencyNeverSatisfied", "the job that it depends on did not end as was asked for", False),
        ("Dependency", "another job has to end first", True),
        ("(Priority)", "other jobs are before it", True),
        ("SomethingOfNextYear", "SLURM gives a reason of its own", True),
    ],
)
def test_reasons_are_put_into_words_and_say_whether_waiting_helps(reason: str, words: str, waits: bool) -> None:
    told, advice = why_waiting(reason)
    assert told.startswith(words)
    assert (advice == "") is waits


def test_a_running_job_has_its_ranks_and_the_address_of_its_head(commands: Commands, system: Slurm) -> None:
    seen = look(commands, system, RUNNING)
    assert (seen.phase, seen.state, seen.address) == (Phase.RUNNING, "RUNNING", ("10.0.0.1", 8001))
    assert list(seen.parts) == [Part("rank 0", "n1", "RUNNING"), Part("rank 1", "n2", "RUNNING")]


def test_a_job_without_its_comment_is_found_by_the_line_of_its_log(
    tmp_path: Path, commands: Commands, system: Slurm
) -> None:
    log = tmp_path / "slurm-3.log"
    log.write_text("module loaded\nvllm-studio serves at n1:20017\nloading\n")
    line = RUNNING.replace("Comment=vllm-studio serves at n1:8001 ", "").replace("StdOut=/dev/null", f"StdOut={log}")
    first = look(commands, system, line)
    assert (first.address, first.stage) == (None, "its node begins")
    assert system.log() == log.read_bytes()
    assert system.look().address == ("10.0.0.1", 20017)
    with log.open("a") as file:
        file.write("more\n")
    assert (system.log(), system.log()) == (b"more\n", b"")


def test_a_log_is_read_on_by_the_next_follower_and_its_pattern_is_filled_in(
    tmp_path: Path, commands: Commands, system: Slurm
) -> None:
    (tmp_path / "100%-3.log").write_text("one\ntwo\n")
    newer = RUNNING.replace("StdOut=/dev/null", f"StdOut={tmp_path}/100%%-%j.log")
    look(commands, system, newer)
    assert system.log() == b"one\ntwo\n"
    again = Slurm(replace(system.job))
    look(commands, again, newer)
    assert again.log() == b""


@pytest.mark.parametrize(
    ("number", "state", "reason", "words", "retry"),
    [
        (3, "CANCELLED", "slurm_cancelled", "somebody cancelled it in SLURM", False),
        (10, "FAILED", "slurm_exit_code", "its job ended with exit code 3", True),
        (20, "FAILED", "slurm_no_output", "its log could not be written on n1", False),
        (24, "NODE_FAIL", "slurm_node_failed", "a node failed: n2, Not responding", True),
        (21, "TIMEOUT", "slurm_time_limit", "its time limit of 00:01:00 is over", True),
    ],
)
def test_an_end_has_its_cause(
    commands: Commands, system: Slurm, number: int, state: str, reason: str, words: str, retry: bool
) -> None:
    commands.say("sinfo", "n2|down*|Not responding\nn2|down*|Not responding\n")
    commands.say("sacct", error="Slurm accounting storage is disabled\n", code=1)
    seen = look(commands, system, job(number, state))
    assert seen.phase is Phase.ENDED
    assert seen.cause is not None
    assert (seen.cause.reason, seen.cause.title, seen.cause.retry) == (reason, words, retry)
    assert not seen.stopped


@pytest.mark.parametrize(
    ("state", "reason", "retry"),
    [
        ("PREEMPTED", "slurm_preempted", True),
        ("OUT_OF_MEMORY", "slurm_out_of_memory", False),
        ("DEADLINE", "slurm_deadline", False),
        ("BOOT_FAIL", "slurm_boot_failed", True),
        ("REVOKED", "slurm_ended", True),
    ],
)
def test_ends_that_this_cluster_did_not_have(
    commands: Commands, system: Slurm, state: str, reason: str, retry: bool
) -> None:
    seen = look(commands, system, RUNNING.replace("JobState=RUNNING", f"JobState={state}"))
    assert seen.cause is not None
    assert (seen.cause.reason, seen.cause.retry) == (reason, retry)


def test_the_rank_that_ended_first_is_named(tmp_path: Path, commands: Commands, system: Slurm) -> None:
    log = tmp_path / "log"
    log.write_text("1: no\nsrun: error: n2: task 1: Exited with exit code 3\nsrun: error: n1: task 0: Killed\n")
    line = RUNNING.replace("JobState=RUNNING", "JobState=FAILED").replace("StdOut=/dev/null", f"StdOut={log}")
    seen = look(commands, system, line.replace("ExitCode=0:0", "ExitCode=3:0"))
    assert seen.cause is not None
    assert (seen.cause.title, seen.cause.weak) == ("rank 1 on n2 ended first: Exited with exit code 3", True)


def test_an_end_in_order_has_no_cause_of_slurm(commands: Commands, system: Slurm) -> None:
    seen = look(commands, system, job(11, "COMPLETED"))
    assert (seen.phase, seen.cause) == (Phase.ENDED, None)


def test_a_script_that_was_told_of_its_time_limit_ends_by_it(commands: Commands, system: Slurm) -> None:
    seen = look(commands, system, job(10, "FAILED").replace("ExitCode=3:0", "ExitCode=124:0"))
    assert seen.cause is not None
    assert seen.cause.reason == "slurm_time_limit"


def test_accounting_says_who_cancelled_it(commands: Commands, system: Slurm) -> None:
    commands.say("sacct", "CANCELLED by 0\n")
    seen = look(commands, system, job(3, "CANCELLED"))
    assert seen.cause is not None
    assert seen.cause.title == "root cancelled it in SLURM"


def test_a_job_that_the_controller_has_forgotten_is_looked_up_in_accounting(commands: Commands, system: Slurm) -> None:
    commands.say("scontrol", error="slurm_load_jobs error: Invalid job id specified\n", code=1)
    commands.say("sacct", "OUT_OF_MEMORY|0:125|n1|01:00:00\n")
    seen = system.look()
    assert seen.cause is not None
    assert (seen.phase, seen.cause.reason) == (Phase.ENDED, "slurm_out_of_memory")
    commands.say("sacct", error="Slurm accounting storage is disabled\n", code=1)
    seen = system.look()
    assert seen.cause is not None
    assert (seen.phase, seen.cause.reason, seen.cause.weak) == (Phase.ENDED, "slurm_forgotten", True)


@pytest.mark.parametrize(
    ("state", "stage", "trouble"),
    [
        ("CONFIGURING", "SLURM prepares its nodes", ""),
        ("COMPLETING", "SLURM ends it", ""),
        ("SUSPENDED", "", "SLURM suspended it: it answers nobody until it goes on"),
        ("A_STATE_OF_NEXT_YEAR", "", ""),
    ],
)
def test_states_in_between_are_no_end(commands: Commands, system: Slurm, state: str, stage: str, trouble: str) -> None:
    seen = look(commands, system, RUNNING.replace("JobState=RUNNING", f"JobState={state}"))
    assert (seen.phase is Phase.ENDED, seen.state, seen.stage, seen.trouble) == (False, state, stage, trouble)


@pytest.mark.parametrize(
    "error",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Socket timed out on send/recv operation",
        'scontrol: error: Munge encode failed: Failed to connect to "/run/munge/munge.socket.2"',
        "something that nobody has seen yet",
        "",
    ],
)
def test_a_controller_that_does_not_answer_ends_nothing(commands: Commands, system: Slurm, error: str) -> None:
    commands.say("scontrol", error=error, code=1)
    with pytest.raises(SystemTrouble) as told:
        system.look()
    assert told.value.passing
    with pytest.raises(SystemTrouble):
        system.stop(force=False)


def test_an_answer_without_a_state_ends_nothing(commands: Commands, system: Slurm) -> None:
    commands.say("scontrol", "no such thing\n")
    with pytest.raises(SystemTrouble) as told:
        system.look()
    assert told.value.passing


def test_a_client_that_hangs_is_given_up(commands: Commands, system: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "PATIENCE", 0.2)
    commands.say("scontrol", then="exec sleep 30")
    with pytest.raises(SystemTrouble, match="scontrol took more than"):
        system.look()


def test_a_command_that_a_signal_ends_refuses_nothing(commands: Commands, system: Slurm) -> None:
    commands.say("sbatch", then="kill -TERM $$")
    with pytest.raises(SystemTrouble, match="signal 15 ended sbatch") as told:
        system.submit()
    assert told.value.passing


def test_a_submission_is_named_by_its_run_and_is_not_made_twice(
    tmp_path: Path, commands: Commands, system: Slurm
) -> None:
    commands.say("sbatch", "77\n")
    assert system.submit() == "slurm:77"
    assert stat.S_IMODE((tmp_path / "job.sbatch").stat().st_mode) == 0o600
    assert "--name=coder-1" in commands.calls("squeue")[0]
    commands.say("squeue", "77\n")
    assert Slurm(Job(tmp_path, "coder-1", system.job.plan)).submit() == "slurm:77"
    assert len(commands.calls("sbatch")) == 1


def test_a_job_of_another_cluster_is_asked_for_there(tmp_path: Path, commands: Commands, system: Slurm) -> None:
    commands.say("sbatch", "77;big\n")
    handle = system.submit()
    assert handle == "slurm:77@big"
    look(commands, Slurm(Job(tmp_path, "coder-1", {}, handle)), RUNNING)
    assert "--clusters=big --oneliner show job 77" in commands.calls("scontrol")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (f"sbatch: error: invalid partition specified: nope\n{FAILED}: Invalid partition name specified",
         "slurm_partition"),
        (f"sbatch: error: Memory specification can not be satisfied\n{FAILED}: Requested node configuration is not "
         "available", "slurm_memory"),
        (f"{FAILED}: Requested node configuration is not available", "slurm_resources"),
        ("sbatch: error: Invalid --time specification", "slurm_time"),
        ("sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information", "slurm_option"),
        (f"{FAILED}: Node count specification invalid", "slurm_nodes"),
        (f"{FAILED}: Invalid account or account/partition combination specified",
         "slurm_account"),
        (f"{FAILED}: Job violates accounting/QOS policy (job submit limit, user's size "
         "and/or time limits)", "slurm_limit"),
        ("sbatch: fatal: Could not establish a configuration source", "slurm_not_set_up"),
        (f"{FAILED}: Something of next year", "slurm_refused"),
    ],
)  # fmt: skip
def test_a_refusal_is_explained_and_not_tried_again(commands: Commands, system: Slurm, error: str, reason: str) -> None:
    commands.say("sbatch", error=error, code=1)
    with pytest.raises(SystemTrouble) as told:
        system.submit()
    assert (told.value.passing, told.value.cause.reason, told.value.cause.retry) == (False, reason, False)
    assert told.value.cause == refusal(error)


def test_a_submission_that_nobody_takes_now_is_tried_again(commands: Commands, system: Slurm) -> None:
    commands.say("sbatch", error=f"{FAILED}: Unable to contact slurm controller", code=1)
    with pytest.raises(SystemTrouble) as told:
        system.submit()
    assert told.value.passing


def test_without_slurm_here_it_is_said_so(system: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(SystemTrouble) as told:
        system.submit()
    assert (told.value.passing, told.value.cause.reason) == (False, "slurm_not_here")


def test_a_stop_is_told_once_waits_for_the_end_and_kills_only_when_asked_to(commands: Commands, system: Slurm) -> None:
    commands.say("scontrol", RUNNING)
    assert [system.stop(force=False) for _ in range(3)] == [False, False, False]
    assert commands.calls("scancel") == ["3"]
    assert system.stop(force=True) is False
    assert commands.calls("scancel")[1:] == ["--signal=KILL --full 3"]
    commands.say("scontrol", job(3, "CANCELLED"))
    assert system.stop(force=False)
    assert system.look().stopped


def test_a_stop_without_a_handle_ends_what_arrived_all_the_same(tmp_path: Path, commands: Commands) -> None:
    lost = Slurm(Job(tmp_path, "coder-1", {}))
    assert lost.stop(force=False)
    commands.say("squeue", "78\n")
    commands.say("scontrol", RUNNING)
    assert lost.stop(force=False) is False
    assert commands.calls("scancel") == ["78"]


def test_another_job_that_was_given_the_number_is_not_taken_for_it_and_not_stopped(
    commands: Commands, system: Slurm
) -> None:
    """As of a controller that lost what it knew: seen with 22.05, killed a second after a submission."""
    other = RUNNING.replace("JobName=coder-1", "JobName=another")
    assert other != RUNNING
    found = look(commands, system, other)
    assert (found.phase, found.cause and found.cause.reason) == (Phase.ENDED, "slurm_forgotten")
    assert system.stop(force=True)
    assert commands.calls("scancel") == []


def test_values_with_blanks_do_not_pass_for_others() -> None:
    line = "JobId=1 JobState=RUNNING Reason=None NodeList=n1 Comment=a NodeList=evil JobState=FAILED b StdOut=/o p"
    facts = read_facts(line)
    assert (facts["JobState"], facts["NodeList"], facts["StdOut"]) == ("RUNNING", "n1", "/o p")


def test_slurm_hears_nothing_of_a_job_that_we_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_MEM_PER_NODE", "SLURM_CONF", "VLLM_STUDIO_RUN"):
        monkeypatch.setenv(name, "1")
    told = followed.environment()
    assert {"SLURM_CONF"} == {name for name in told if name.startswith(("SLURM_J", "SLURM_M", "SLURM_C", "VLLM_"))}
    assert subprocess.run(["env"], env=told, capture_output=True, check=True).returncode == 0
