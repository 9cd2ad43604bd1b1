"""What is wrong with a Ray cluster is told in sentences with numbers, the worst first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.ray_dashboard import view_of
from vllm_studio_tui.domain.ray_trouble import ray_troubles
from vllm_studio_tui.domain.ray_view import (
    ALIVE,
    RayAmount,
    RayApplication,
    RayBundle,
    RayDemand,
    RayGroup,
    RayNode,
    RayProxy,
    RayView,
)
from vllm_studio_tui.domain.ray_words import gist, needs_words, no_room, no_room_for_group

GIB = 1024**3


def said(view: RayView, severity: str = "") -> list[str]:
    return [one.words for one in ray_troubles(view) if severity in ("", one.severity)]


def node(address: str, gpus: float = 2, used: float | None = 0, **facts: object) -> RayNode:
    resources = (RayAmount("CPU", 0, 8), RayAmount("GPU", used, gpus))
    made = RayNode(address, address, state=ALIVE, resources=resources)
    return replace(made, **facts)  # type: ignore[arg-type]


def test_a_killed_raylet_is_told_with_what_it_had_and_what_is_left() -> None:
    view = view_of("raylet-killed-later")
    first, second = said(view, "trouble")
    assert first == (
        "Node 10.77.0.2 is dead for 31 s, with 1 GPU and 1 CPU; 1 of 2 nodes left: Unexpected termination: health "
        "check failed due to missing too many heartbeats"
    )
    assert second == (
        "llm LLMServer:qwen: 1 of 2 replicas run, 1 starting, unhealthy; each needs 1 GPU and 0.1 CPU, and no node "
        "has 1 GPU free (the most is 0 GPU)"
    )


def test_a_replica_on_a_dead_node_is_told_before_serve_knows_it() -> None:
    assert "llm LLMServer:qwen: 2 of 2 replicas run, healthy; 1 on 10.77.0.2, which is dead" in said(
        view_of("raylet-killed"), "trouble"
    )


def test_a_killed_replica_is_told_with_how_many_run() -> None:
    (words,) = said(view_of("replica-killed"), "trouble")
    assert words.startswith("llm LLMServer:qwen: 1 of 2 replicas run, 1 starting, unhealthy; A replica's health check")
    (note,) = said(view_of("replica-killed"), "note")
    assert note.startswith("1 ServeReplica:llm:LLMServer:qwen died on 10.77.0.1: The actor is dead because")


def test_a_constructor_that_raises_is_told_by_the_last_line_of_its_traceback() -> None:
    assert said(view_of("deploy-failed"), "trouble") == [
        "broken Broken: 0 of 1 replicas run, deploy failed; ValueError: The model /models/none is not there"
    ]


def test_what_waits_is_told_once_each_with_why_there_is_no_room() -> None:
    words = said(view_of("pending"), "warning")
    assert words[0] == (
        "big TooBig: 0 of 2 replicas run, 2 starting, updating; each needs 2 GPU and 0.1 CPU, and no node has more "
        "than 1 GPU"
    )
    assert words[1].startswith("Placement group vllm-tp2 waits for ")
    assert words[1].endswith(": it needs 2 times 1 GPU (STRICT_PACK), and no node has more than 1 GPU")
    assert words[2:] == [
        "The actor big-worker waits: it needs 4 GPU and 1 CPU, and no node has more than 1 GPU",
        "3 tasks wait: each needs 3 GPU and 1 CPU, and no node has more than 1 GPU",
    ]


def test_trouble_comes_before_warnings_and_these_before_notes() -> None:
    severities = [one.severity for one in ray_troubles(view_of("raylet-killed-later"))]
    assert severities == sorted(severities, key=("trouble", "warning", "note").index)


def test_a_node_that_came_back_or_was_taken_away_on_purpose_is_no_trouble() -> None:
    dead = node("10.0.0.2", state="DEAD", why="Unexpected termination: lost", since=10.0, ended=20.0)
    assert said(RayView(nodes=(dead, node("10.0.0.1"))), "trouble")
    assert not said(RayView(nodes=(dead, node("10.0.0.2", since=30.0))))
    drained = replace(dead, why="Expected termination: received SIGTERM")
    assert not said(RayView(nodes=(drained, node("10.0.0.1"))))


def test_a_dead_head_is_named_as_such_and_several_dead_are_counted() -> None:
    dead = tuple(node(f"10.0.0.{number}", state="DEAD", head=number == 2) for number in (2, 3))
    words = said(RayView(nodes=(*dead, node("10.0.0.1"))), "trouble")
    assert words == [
        "The head 10.0.0.2 is dead, with 2 GPU and 8 CPU; 1 of 3 nodes left",
        "Node 10.0.0.3 is dead, with 2 GPU and 8 CPU; 1 of 3 nodes left",
    ]


def test_full_memory_and_a_full_store_are_told_before_ray_ends_workers() -> None:
    full = node(
        "10.0.0.1",
        resources=(RayAmount("object_store_memory", 9.6 * GIB, 10 * GIB),),
        memory_used=61 * GIB, memory_total=64 * GIB,
    )  # fmt: skip
    assert said(RayView(nodes=(full,)), "warning") == [
        "The object store of 10.0.0.1 is full: 96%, 9.6 / 10.0 GiB",
        "The memory of 10.0.0.1 is 95% used: Ray ends workers to free it",
    ]


def test_an_application_whose_import_fails_has_no_deployment_and_is_told() -> None:
    failed = RayApplication("llm", "DEPLOY_FAILED", "Deploying app 'llm' failed:\nModuleNotFoundError: No module 'm'")
    assert said(RayView(applications=(failed,))) == ["llm is deploy failed: ModuleNotFoundError: No module 'm'"]


def test_a_proxy_that_is_not_healthy_is_told() -> None:
    view = RayView(proxies=(RayProxy("10.0.0.1", "UNHEALTHY"), RayProxy("10.0.0.2", "STARTING")))
    assert said(view) == ["The proxy of Serve on 10.0.0.1 is unhealthy"]


def test_what_the_autoscaler_was_asked_for_is_a_note() -> None:
    view = RayView(nodes=(node("a"),), demands=(RayDemand("request", 2, (RayBundle({"GPU": 8}),)),))
    assert said(view, "note") == ["The autoscaler was asked for 2 times 8 GPU"]


def test_a_cluster_that_does_not_answer_is_one_sentence() -> None:
    assert said(RayView(error="connection refused"), "trouble") == ["Ray does not answer: connection refused"]


def test_what_cannot_be_read_is_one_note_a_reason() -> None:
    view = RayView(missing={"nodes": "it answers 500", "serve": "it answers 501", "load": "it answers 500"})
    assert said(view) == [
        "Not known: nodes, how busy nodes are: it answers 500",
        "Not known: applications of Serve: it answers 501",
    ]


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"GPU": 3}, "no node has more than 2 GPU"),
        ({"TPU": 1}, "no node has any TPU"),
        ({"accelerator_type:H100": 0.001}, "no node has H100"),
        ({"GPU": 2, "CPU": 9}, "no node has more than 8 CPU"),
        ({"GPU": 2}, "no node has 2 GPU free (the most is 1 GPU)"),
        ({"GPU": 1}, ""),
    ],
)
def test_why_there_is_no_room(needs: dict[str, float], words: str) -> None:
    assert no_room(needs, (node("a", used=1), node("b", used=2))) == words


def test_room_that_is_not_known_is_not_denied() -> None:
    assert no_room({"GPU": 2}, (node("a", used=None), node("b", used=2))) == ""


def test_without_a_node_there_is_no_room() -> None:
    assert no_room({"GPU": 1}, ()) == "no node is alive"


@pytest.mark.parametrize(
    ("bundles", "strategy", "words"),
    [
        ((RayBundle({"GPU": 1}, 3),), "STRICT_PACK", "no node has more than 2 GPU"),
        ((RayBundle({"GPU": 1}, 3),), "STRICT_SPREAD", "3 nodes are needed, and 2 are alive"),
        ((RayBundle({"GPU": 1}, 5),), "PACK", "2 GPU is free on all nodes together"),
        ((RayBundle({"GPU": 1}, 2),), "PACK", ""),
    ],
)
def test_why_a_placement_group_waits(bundles: tuple[RayBundle, ...], strategy: str, words: str) -> None:
    assert no_room_for_group(bundles, strategy, (node("a", used=1), node("b", used=1))) == words


def test_a_group_that_ray_calls_infeasible_says_so_where_nothing_better_is_known() -> None:
    group = RayGroup("0123456789abcdef", state="PENDING", why="INFEASIBLE", bundles=(RayBundle({"GPU": 1}),))
    assert said(RayView(nodes=(node("a"),), waiting_groups=(group,))) == [
        "Placement group 01234567 waits: it needs 1 GPU, and Ray calls that infeasible with the nodes there are"
    ]


def test_needs_are_put_into_words_gpus_first() -> None:
    assert needs_words({"memory": 8 * GIB, "CPU": 0.5, "GPU": 1}) == "1 GPU, 0.5 CPU and 8.0 GiB memory"
    assert needs_words({}) == "nothing"


def test_a_long_message_comes_to_its_first_sentences_without_colours_or_secrets() -> None:
    assert gist("\x1b[36mray::f()\x1b[39m\nValueError: no.") == "ValueError: no"
    assert gist("It died. " * 200).endswith("It died")
    assert len(gist("x" * 5000)) < 300
    assert "hunter2" not in gist("cannot open redis://me:hunter2@host")
    assert gist("") == gist("\n \n") == ""
