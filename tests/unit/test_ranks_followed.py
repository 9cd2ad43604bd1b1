"""Which rank's end is the unit's, and what ssh's words mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vllm_studio_tui.domain.job import Cause
from vllm_studio_tui.followers.rank_causes import TOGETHER, WAIT, cause_of_unit
from vllm_studio_tui.followers.ssh import Host, cause_of

B = Host("b", ("--", "b"), "vllm-studio")


def link(host: str, **run: Any) -> Any:
    """What is known of a rank."""
    state = run.pop("state", "failed" if run else "ready")
    over = state == "failed"
    return SimpleNamespace(
        host=SimpleNamespace(name=host),
        run={"state": state, **run},
        over=over,
        ended=over,
        missing=False,
        failing={},
        connected=True,
        silent=0.0,
        cause=None,
        run_id=f"m.{host}",
    )


def decide(ranks: list[Any], dead: dict[int, float], now: float, lost: list[Any] | None = None) -> Cause | None:
    named = {index: (f"rank {index}", one) for index, one in enumerate(ranks)}
    return cause_of_unit(named, dead, now, [("rank 1", one) for one in lost or []])


def test_a_unit_whose_ranks_live_has_not_ended() -> None:
    assert decide([link("a"), link("b")], {}, 100.0) is None


def test_the_rank_that_failed_by_itself_is_named_although_another_was_seen_to_end_before_it() -> None:
    fell = link("a", reason="engine_error", title="RuntimeError: Connection closed by peer")
    failed = link("b", reason="cuda_oom", title="CUDA out of memory", advice="Less.", evidence=["OOM"], retry=False)
    assert decide([fell, failed], {0: 10.0}, 10.0 + WAIT / 2) is None  # the other may still say why
    assert decide([fell, failed], {0: 10.0, 1: 10.5}, 10.5) is None  # others may still come
    found = decide([fell, failed], {0: 10.0, 1: 10.5}, 10.1 + TOGETHER)
    assert found == Cause("cuda_oom", "rank 1 on b: CUDA out of memory", "Less.", ("OOM",), retry=False)


def test_one_that_has_ended_and_has_not_said_all_yet_is_waited_for() -> None:
    fell = link("a", reason="peer_lost", title="rank 1 was not heard of")
    killed = link("b", reason="killed", title="killed by SIGKILL")
    killed.over = False
    assert decide([fell, killed], {0: 10.0, 1: 9.0}, 12.0) is None
    killed.over = True
    found = decide([fell, killed], {0: 10.0, 1: 9.0}, 12.5)
    assert found is not None
    assert (found.reason, found.title) == ("killed", "rank 1 on b: killed by SIGKILL")


def test_where_no_rank_says_why_the_first_to_end_is_named_and_that_none_does() -> None:
    first = link("b", reason="process_exited", title="exit code 1")
    ranks = [link("a", reason="engine_error", title="peer"), first]
    found = decide(ranks, {1: 10.0, 0: 11.0}, 12.0)
    assert found is not None
    assert found.title == "rank 1 on b: exit code 1"
    assert "No rank says more" in found.advice


def test_a_rank_that_failed_and_went_on_is_named_and_not_the_one_that_ended_of_it() -> None:
    ended = link("a", reason="engine_died", title="the engine's core process died: KeyError: 'chatcmpl-1'")
    failed = link("b", state="ready")
    failed.failing = {
        "reason": "engine_error",
        "title": "AssertionError: assert x",
        "advice": "Newer.",
        "evidence": ["E"],
    }
    assert decide([ended, failed], {0: 10.0}, 10.0 + WAIT - 1) is None  # another may have a cause that says more
    found = decide([ended, failed], {0: 10.0}, 10.0 + WAIT + 1)
    assert found is not None
    assert (found.reason, found.title) == ("engine_error", "rank 1 on b: AssertionError: assert x")
    assert found.evidence == ("E",)
    assert found.advice.startswith("Newer. It went on with that; rank 0 on a ended: the engine's core process died")


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        ("engine_error", "RuntimeError: Connection closed by peer [198.18.16.2]:30261"),
        ("engine_error", "RuntimeError: cancelled"),
        ("peer_lost", "198.18.16.2 closed its connection"),
        ("nccl", "NCCL gave up"),
        ("", ""),
    ],
)
def test_an_error_that_comes_of_another_ones_end_names_nobody(reason: str, title: str) -> None:
    ended = link("a", reason="engine_died", title="the engine's core process died: KeyError")
    left = link("b", state="ready")
    left.failing = {"reason": reason, "title": title}
    found = decide([ended, left], {0: 10.0}, 10.0 + WAIT + 1)
    assert found is not None
    assert found.title == "rank 0 on a: the engine's core process died: KeyError"


def test_a_rank_that_waits_for_a_cause_that_never_comes_is_named_in_the_end() -> None:
    ranks = [link("a"), link("b", reason="process_exited", title="exit code 1")]
    assert decide(ranks, {1: 10.0}, 10.0 + WAIT - 1) is None
    found = decide(ranks, {1: 10.0}, 10.0 + WAIT + 1)
    assert found is not None
    assert found.title == "rank 1 on b: exit code 1"


def test_a_rank_that_was_stopped_on_its_host_is_told_as_that() -> None:
    ranks = [link("a"), link("b", reason="stopped", stopped=True, title="stopped")]
    found = decide(ranks, {1: 10.0}, 10.1 + TOGETHER)
    assert found is not None
    assert (found.reason, found.retry) == ("rank_stopped", False)
    assert found.title == "rank 1 on b was stopped there"


def test_a_host_that_is_not_heard_of_is_the_cause_unless_a_rank_has_one() -> None:
    gone = link("b")
    gone.silent, gone.cause = 130.0, Cause("host_unreachable", "b cannot be reached")
    found = decide([link("a"), gone], {}, 500.0, [gone])
    assert found is not None
    assert (found.reason, found.title) == ("host_lost", "rank 1 is lost: b has not answered for 2 minutes 10 seconds")
    gone.cause = Cause("ssh_refused", "ssh does not let us in on b", "See.")
    found = decide([link("a"), gone], {}, 500.0, [gone])
    assert found is not None
    assert (found.reason, found.advice) == ("ssh_refused", "See.")


def test_a_rank_that_falls_with_a_host_that_is_gone_waits_until_that_is_known() -> None:
    gone, fell = link("b"), link("a", reason="engine_died", title="peer")
    gone.connected, gone.silent, gone.cause = False, 50.0, Cause("ssh_refused", "b takes no connections of ssh")
    assert decide([fell, gone], {0: 10.0}, 10.0 + 3 * WAIT) is None
    gone.silent = 121.0
    found = decide([fell, gone], {0: 10.0}, 10.0 + 3 * WAIT, [gone])
    assert found is not None
    assert found.reason == "ssh_refused"


def test_hostile_titles_are_one_safe_line() -> None:
    found = decide([link("a", reason="cuda_oom", title="x\x1b[31m\ny" + "z" * 9999)], {0: 1.0}, 99.0)
    assert found is not None
    assert "\x1b" not in found.title
    assert "\n" not in found.title
    assert len(found.title) < 700


@pytest.mark.parametrize(
    ("code", "words", "reason", "passing"),
    [
        (255, "root@b: Permission denied (publickey).", "ssh_refused", False),
        (255, "Host key verification failed.", "ssh_host_key", False),
        (255, "ssh: Could not resolve hostname b: Name or service not known", "ssh_host_unknown", False),
        (255, "ssh: connect to host b port 22: Connection refused", "ssh_refused", True),
        (255, "ssh: connect to host b port 22: Connection timed out", "host_unreachable", True),
        (255, "ssh: connect to host b port 22: No route to host", "host_unreachable", True),
        (255, "Timeout, server b not responding.", "host_unreachable", True),
        (255, "client_loop: send disconnect: Broken pipe", "host_unreachable", True),
        (255, "kex_exchange_identification: Connection closed by remote host", "host_unreachable", True),
        (255, "something that no version of it says today", "host_unreachable", True),
        (127, "bash: line 1: vllm-studio: command not found", "studio_missing", False),
        (1, "error: it did not work", "rank_command_failed", True),
        (None, "", "host_unreachable", True),
    ],
)
def test_what_ssh_says_is_understood(code: int | None, words: str, reason: str, passing: bool) -> None:
    cause, passes = cause_of(B, code, [words])
    assert (cause.reason, passes) == (reason, passing)
    assert "b" in cause.title
    if words:
        assert words in cause.evidence


def test_a_host_is_reached_without_any_question_and_without_what_the_person_forwards() -> None:
    command = B.command("rank", "attend", "m.r0", connect=7.4)
    assert command[-1] == "vllm-studio rank attend m.r0"
    assert command[-3:-1] == ["--", "b"]
    assert "BatchMode=yes" in command
    assert "ConnectTimeout=7" in command
    assert "ClearAllForwardings=yes" in command
    led = B.command("rank", connect=7, forward="/tmp/x:127.0.0.1:8000")
    assert "ClearAllForwardings=yes" not in led  # it would clear this one too
    assert led[led.index("-L") + 1] == "/tmp/x:127.0.0.1:8000"


def test_this_machine_is_reached_without_ssh() -> None:
    here = Host.from_plan({"name": "localhost", "ssh": []})
    assert here.command("rank", "start", connect=5)[1:] == ["-m", "vllm_studio_tui", "rank", "start"]
