"""What a follower makes of what Kubernetes says: answers that a real cluster gave (see tests/clusters)."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubectl_stand_in import CAPTURED, KubectlStandIn
from vllm_studio_tui.domain.job import Part, Phase
from vllm_studio_tui.followers.kube_logs import stamp
from vllm_studio_tui.followers.kubectl import trouble
from vllm_studio_tui.followers.kubernetes import Kubernetes
from vllm_studio_tui.followers.system import SystemTrouble


@pytest.fixture
def kubectl(tmp_path: Path) -> KubectlStandIn:
    return KubectlStandIn(tmp_path / "kubectl")


@pytest.fixture
def made() -> Iterator[list[Kubernetes]]:
    found: list[Kubernetes] = []
    yield found
    for one in found:
        one.close()


def pods(case: str) -> list[dict[str, Any]]:
    return copy.deepcopy(CAPTURED[case])


def follow(kubectl: KubectlStandIn, made: list[Kubernetes], case: str = "", **plan: Any) -> Kubernetes:
    if case:
        kubectl.show(pods(case))
    made.append(Kubernetes(kubectl.job(**plan)))
    return made[-1]


@pytest.mark.parametrize(
    ("case", "state", "stage", "told"),
    [
        ("unschedulable", "Pending", "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "handover.accelerator"),
        ("image", "ErrImagePull", "its image cannot be fetched", "docker.image"),
        ("secret", "CreateContainerConfigError", 'secret "sim-secrets" not found', "goes on: kubectl create secret x"),
    ],
)
def test_what_a_run_waits_for_is_said_with_what_to_do(
    kubectl: KubectlStandIn, made: list[Kubernetes], case: str, state: str, stage: str, told: str
) -> None:
    look = follow(kubectl, made, case, secret="kubectl create secret x").look()
    assert (look.phase, look.address, look.cause) == (Phase.WAITING, None, None)
    assert look.state in (state, "ImagePullBackOff")
    assert look.stage.startswith("waiting in Kubernetes: ")
    assert stage in look.stage
    assert told in look.trouble


def test_a_run_that_serves_is_led_to_and_its_copies_are_parts(kubectl: KubectlStandIn, made: list[Kubernetes]) -> None:
    one = follow(kubectl, made, "two_copies")
    look = one.look()
    assert (look.phase, look.address, look.trouble) == (Phase.RUNNING, ("127.0.0.1", 45001), "")
    assert [(part.where, part.state) for part in look.parts] == [("node-a", "ready")] * 2
    assert all(isinstance(part, Part) and part.name.startswith("pod ") for part in look.parts)
    one.look()
    assert sum("port-forward" in call for call in kubectl.calls) == 1, "it goes on"
    items = pods("two_copies")
    first = next(part for part in items if part["kind"] == "Pod" and part["metadata"]["name"] == one._leads_to)
    first["status"]["containerStatuses"][0]["ready"] = False
    kubectl.show(items)
    look = one.look()
    assert look.trouble == "1 of 2 pods are not ready"
    assert one._leads_to != first["metadata"]["name"], "another copy answers"


def test_a_forward_that_cannot_be_is_tried_again(kubectl: KubectlStandIn, made: list[Kubernetes]) -> None:
    kubectl.put("no-forward", "")
    one = follow(kubectl, made, "two_copies")
    assert one.look().address is None
    (kubectl.folder / "no-forward").unlink()
    one._forward_due = 0.0
    assert one.look().address == ("127.0.0.1", 45001)


@pytest.mark.parametrize(
    ("case", "budget", "reason", "words", "retry"),
    [
        ("ended_once", 1, "engine_error", "exit code 1", True),
        ("ended_twice", 2, "engine_error", "exit code 3", False),
        ("out_of_memory", 1, "system_ram_oom", "OOMKilled", True),
    ],
)
def test_a_container_that_ended_as_often_as_it_may_ends_the_run(
    kubectl: KubectlStandIn, made: list[Kubernetes], case: str, budget: int, reason: str, words: str, retry: bool
) -> None:
    look = follow(kubectl, made, case, budget=budget).look()
    assert look.phase is Phase.ENDED
    assert look.cause is not None
    assert (look.cause.reason, look.cause.retry) == (reason, retry)
    assert words in look.cause.title
    look = follow(kubectl, made, case, budget=9).look()
    assert look.phase is not Phase.ENDED
    assert "ended" in look.trouble or look.stage


def test_an_image_whose_name_is_none_can_never_start(kubectl: KubectlStandIn, made: list[Kubernetes]) -> None:
    items = pods("image")
    waiting = next(one for one in items if one["kind"] == "Pod")["status"]["containerStatuses"][0]["state"]["waiting"]
    waiting["reason"] = "InvalidImageName"
    kubectl.show(items)
    look = follow(kubectl, made).look()
    assert look.phase is Phase.ENDED
    assert look.cause is not None
    assert look.cause.title.startswith("InvalidImageName")
    assert not look.cause.retry


def test_a_run_that_is_not_there_any_more_was_deleted_and_a_silent_server_says_nothing(
    kubectl: KubectlStandIn, made: list[Kubernetes]
) -> None:
    one = follow(kubectl, made)
    kubectl.say("The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?")
    with pytest.raises(SystemTrouble) as error:
        one.look()
    assert error.value.passing
    kubectl.say("")
    look = one.look()
    assert look.phase is Phase.ENDED
    assert look.cause is not None
    assert "deleted" in look.cause.title


NO_KIND = (
    'error: resource mapping not found for name: "q" namespace: "" from "STDIN": no matches for kind "LeaderWorkerSet" '
    'in version "leaderworkerset.x-k8s.io/v1"\nensure CRDs are installed first'
)
NO_RESOURCE = (
    "Error from server (NotFound): the server could not find the requested resource "
    "(patch leaderworkersets.leaderworkerset.x-k8s.io wide-0)"
)
FORBIDDEN = (
    'E1128 10:49:18.1 1 memcache.go:287] x\nError from server (Forbidden): pods is forbidden: User "a" cannot list'
)
NO_HOST = "Unable to connect to the server: dial tcp: lookup k8s.invalid: no such host"


@pytest.mark.parametrize(
    ("said", "passing", "reason", "words"),
    [
        (NO_HOST, True, "no_answer", "no such host"),
        ("Unable to connect to the server: net/http: TLS handshake timeout", True, "no_answer", "TLS handshake"),
        (FORBIDDEN, False, "forbidden", "User"),
        ("error: You must be logged in to the server (Unauthorized)", True, "unauthorized", "does not know you"),
        (NO_KIND, False, "unknown_kind", "has no LeaderWorkerSet"),
        (NO_RESOURCE, False, "unknown_kind", "has no leaderworkersets"),
        ('Error from server (NotFound): namespaces "nowhere" not found', False, "refused", '"nowhere" not found'),
        ("", False, "refused", "no reason"),
    ],
)  # fmt: skip
def test_what_kubectl_says_on_its_way_out_is_told_by_its_kind(
    said: str, passing: bool, reason: str, words: str
) -> None:
    found = trouble(said)
    assert (found.passing, found.cause.reason) == (passing, reason)
    assert words in found.cause.title


def test_submitting_is_one_apply_with_our_name_and_a_refusal_leaves_nothing(
    kubectl: KubectlStandIn, made: list[Kubernetes]
) -> None:
    one = follow(kubectl, made, "", documents=[{"kind": "Service"}], options=["--validate=strict"], context="far")
    kubectl.show([])
    assert one.submit() == "k8s:default/sim-1"
    (apply,) = [call for call in kubectl.calls if " apply " in call]
    assert "--context far" in apply
    assert "--server-side --field-manager=vllm-studio -f - --validate=strict" in apply
    assert '"items": [{"kind": "Service"}]' in (kubectl.folder / "applied").read_text()
    kubectl.put("calls", "")
    items = pods("two_copies")
    items[-1]["metadata"]["deletionTimestamp"] = "2026-11-28T11:00:00Z"
    kubectl.show(items)
    with pytest.raises(SystemTrouble) as error:
        one.submit()
    assert error.value.passing, "what was there before goes first"
    assert not any(" apply " in call for call in kubectl.calls)


def test_stopping_deletes_by_the_runs_label_until_nothing_is_left(
    kubectl: KubectlStandIn, made: list[Kubernetes]
) -> None:
    one = follow(kubectl, made, "two_copies")
    assert not one.stop(force=False)
    (delete,) = [call for call in kubectl.calls if " delete " in call]
    assert "deployments.apps,services --selector vllm-studio/run=sim-1 --ignore-not-found --wait=false" in delete
    left = [item for item in pods("two_copies") if item["kind"] == "Pod"]
    for item in left:
        item["metadata"]["deletionTimestamp"] = "2026-11-28T11:00:00Z"
    kubectl.show(left)
    kubectl.put("calls", "")
    assert not one.stop(force=False)
    assert not any(" delete " in call for call in kubectl.calls), "their engines have time to end"
    assert not one.stop(force=True)
    assert any("delete pods" in call and "--grace-period=0 --force" in call for call in kubectl.calls)
    kubectl.show([])
    assert one.stop(force=False)


def test_each_line_of_a_log_is_told_once_also_by_the_next_follower(
    kubectl: KubectlStandIn, made: list[Kubernetes]
) -> None:
    kubectl.put("log", "2026-11-28T10:00:00.000000001Z one\n2026-11-28T10:00:00.5Z two\nno time\n")
    alone = [item for item in pods("two_copies") if item["kind"] != "Pod"]
    alone.append(next(item for item in pods("two_copies") if item["kind"] == "Pod"))
    kubectl.show(alone)
    one = follow(kubectl, made)
    deadline = time.monotonic() + 20
    found = b""
    while found.count(b"\n") < 2 and time.monotonic() < deadline:
        one.look()
        found += one.log()
    assert found.split() == [b"one", b"two"]
    memory = one.job.memory
    one.close()
    kubectl.put("log", "2026-11-28T10:00:00.5Z two\n2026-11-28T10:00:01Z three\n")
    job = kubectl.job()
    job.memory = memory
    made.append(Kubernetes(job))
    found = b""
    while b"three" not in found and time.monotonic() < deadline:
        made[-1].look()
        found += made[-1].log()
    assert b"two" not in found
    assert any("--since-time=2026-11-28T10:00:00Z" in call for call in kubectl.calls)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"1970-01-01T00:00:01.000000002Z", 1_000_000_002),
        (b"1970-01-01T00:00:01Z", 1_000_000_000),
        (b"1970-01-01T02:00:01.5+02:00", 1_500_000_000),
        (b"1970-01-01", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_times_of_logs_are_read_in_every_form(text: bytes, moment: int | None) -> None:
    assert stamp(text) == moment


def test_a_log_that_is_followed_and_hangs_is_read_in_pieces(
    kubectl: KubectlStandIn, made: list[Kubernetes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_studio_tui.followers.kube_logs.SILENT", 0.0)
    kubectl.put("hangs", "")
    kubectl.put("log", "2026-11-28T10:00:00Z one\n")
    alone = [item for item in pods("two_copies") if item["kind"] != "Pod"]
    alone.append(next(item for item in pods("two_copies") if item["kind"] == "Pod"))
    kubectl.show(alone)
    one = follow(kubectl, made)
    deadline = time.monotonic() + 20
    found = b""
    while b"one" not in found and time.monotonic() < deadline:
        one.look()
        found += one.log()
    assert found == b"one\n"
    (kubectl.folder / "hangs").unlink()
    kubectl.put("log", "2026-11-28T10:00:00Z one\n2026-11-28T10:00:01Z two\n")
    while b"two" not in found and time.monotonic() < deadline:
        one.look()
        found += one.log()
    assert found == b"one\ntwo\n"


def group(uid: str, *, ready: bool) -> list[dict[str, Any]]:
    """Return a LeaderWorkerSet with a leader and a worker, made of what a Deployment's pods told."""
    items = pods("two_copies")
    found = [one for one in items if one["kind"] == "Pod"]
    for number, (one, role) in enumerate(zip(found, ("worker", "leader"), strict=True)):
        one["metadata"] |= {"name": f"sim-1-0{'' if role == 'leader' else '-1'}", "uid": f"{uid}-{number}"}
        one["metadata"]["labels"]["role"] = role
        one["status"]["containerStatuses"][0]["ready"] = ready
    return [{"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": {}}, *found]


def test_the_leader_of_a_group_is_led_to_and_a_group_that_is_made_anew_too_often_has_ended(
    kubectl: KubectlStandIn, made: list[Kubernetes]
) -> None:
    one = follow(kubectl, made, budget=2)
    for uid in ("a", "b"):
        kubectl.show(group(uid, ready=False))
        assert one.look().phase is Phase.RUNNING
    kubectl.show(group("b", ready=True)[:1])
    assert one.look().stage == "waiting in Kubernetes: no pod was made yet"
    kubectl.show(group("b", ready=True))
    look = one.look()
    assert look.address is not None
    assert one._leads_to == "sim-1-0"
    assert [part.name for part in look.parts] == ["leader 0", "worker 0-1"]
    for uid in ("c", "d"):  # it had been ready: only what comes after counts
        kubectl.show(group(uid, ready=False))
        look = one.look()
    assert look.phase is Phase.ENDED
    assert look.cause is not None
    assert look.cause.title == "one of its pods ended, and all were made anew, 2 times"
    assert look.cause.weak
