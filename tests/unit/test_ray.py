"""Ray's dashboard is read: real answers of a cluster, and answers that no cluster would give."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ray_dashboard import ANSWERING, SCENES, answer_of, dashboard, dripping, scene, view_of
from vllm_studio_tui.domain.ray_reading import LONGEST, MESSAGE, MOST, read_ray_view
from vllm_studio_tui.domain.ray_trouble import ray_troubles
from vllm_studio_tui.domain.ray_view import RayAmount, RayView
from vllm_studio_tui.probes.ray import PATHS, Answer, read_ray, understand

TOKEN = "not-a-real-token"


@pytest.mark.parametrize("name", ANSWERING)
def test_what_a_real_cluster_answers_is_read(name: str) -> None:
    with dashboard(name) as board:
        view = read_ray(board.url)
    assert view.error == ""
    assert view.version == "2.60.0"
    assert view.missing == ({"serve": view.missing["serve"]} if name == "no-serve" else {})
    assert view.nodes is not None
    assert {node.address: node.head for node in view.nodes} == {"10.77.0.1": True, "10.77.0.2": False}
    assert len(board.asked) == len(PATHS) + 1
    assert read_ray_view(json.loads(json.dumps(view.to_json()))) == view


def test_a_healthy_cluster_has_what_its_nodes_and_replicas_have() -> None:
    view = view_of("healthy")
    assert ray_troubles(view) == []
    assert view.resources()[:2] == [RayAmount("CPU", 0.19999999999999996, 2.0), RayAmount("GPU", 2.0, 2.0)]
    stores = [node.amount("object_store_memory") for node in view.nodes or ()]
    assert [one.total for one in stores] == [100e6, 100e6]
    assert all(one.used is not None and 0 < one.used < 1e6 for one in stores)
    assert all(0 < (node.memory_used or 0) < (node.memory_total or 0) for node in view.nodes or ())
    assert view.actors == {"ALIVE": 5}
    ((app),) = view.applications or ()
    ((deployment),) = app.deployments
    assert (app.name, app.status, app.route) == ("llm", "RUNNING", "/")
    assert (deployment.name, deployment.target, deployment.states()) == ("LLMServer:qwen", 2, {"RUNNING": 2})
    assert {replica.node for replica in deployment.replicas} == {"10.77.0.1", "10.77.0.2"}
    assert [proxy.status for proxy in view.proxies] == ["HEALTHY", "HEALTHY"]


def test_a_dead_node_is_left_out_of_sums_and_nothing_old_is_told_of_it() -> None:
    view = view_of("raylet-killed-later")
    dead = next(node for node in view.nodes or () if not node.alive)
    assert (dead.state, dead.address) == ("DEAD", "10.77.0.2")
    assert dead.ended is not None
    assert (dead.cpu, dead.memory_used, dead.amount("GPU").used) == (None, None, None)
    assert next(one for one in view.resources() if one.name == "GPU") == RayAmount("GPU", 1.0, 1.0)


def test_without_serve_the_rest_is_shown_and_its_words_say_why() -> None:
    with dashboard("no-serve") as board:
        view = read_ray(board.url)
    assert view.applications is None
    assert view.nodes is not None
    assert "it answers 501: Serve dependencies are not installed" in view.missing["serve"]
    assert [one.severity for one in ray_troubles(view)] == ["note"]


def test_a_token_is_sent_and_its_lack_is_said() -> None:
    with dashboard("token-given") as board:
        assert read_ray(board.url, TOKEN).error == ""
    assert {sent for _, sent in board.asked} == {f"Bearer {TOKEN}"}
    for name, words in (("token-missing", "it wants a token"), ("token-wrong", "it refuses the token")):
        with dashboard(name) as board:
            view = read_ray(board.url, TOKEN)
        assert (view.error, len(board.asked)) == (words, 1), "nothing else is asked then"
        assert "ray_token" in view.advice
        assert TOKEN not in str(view)


def test_each_answer_has_its_own_deadline_and_the_others_are_shown() -> None:
    over = threading.Event()
    with dashboard("healthy") as board:
        board.answer("serve", dripping(over))
        board.answer("load", lambda _: over.wait(20))
        began = time.monotonic()
        view = read_ray(board.url, patience=3)
        assert time.monotonic() - began < 12
        over.set()
    assert set(view.missing) == {"serve", "load"}
    assert view.missing["serve"] == "no whole answer in 3 s"
    assert len(view.alive) == 2
    assert all(node.cpu is None and node.amount("GPU").used == 1.0 for node in view.alive)


def test_a_thread_that_was_given_up_ends() -> None:
    over = threading.Event()
    with dashboard("healthy") as board:
        board.answer("version", dripping(over))
        assert read_ray(board.url, patience=0.3).error == "no whole answer in 0.3 s"
        until = time.monotonic() + 20
        while any(thread.name == "ray" for thread in threading.enumerate()):
            assert time.monotonic() < until, "it still reads"
            time.sleep(0.01)
        over.set()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "no JSON"), "its answer is no JSON"),
        ((200, "{}"), "what answers there is no dashboard of Ray"),
        ((200, '{"ray_version": 4}'), "what answers there is no dashboard of Ray"),
        ((200, "[" * 100_000), "its answer is no JSON"),
        ((302, ""), "it answers 302"),
        ((500, "<html>Internal"), "it answers 500"),
        ((500, "a\x1b[2Jb"), "it answers 500: a"),
        ((200, b"\xff\xfe{"), "its answer is no JSON"),
    ],
)
def test_what_is_no_dashboard_says_so(answer: tuple[int, Any], words: str) -> None:
    with dashboard(answers={"/api/version": answer}) as board:
        view = read_ray(board.url)
    assert view.error.startswith(words)
    assert "\x1b" not in view.error
    assert view.nodes is None
    assert [one.severity for one in ray_troubles(view)] == ["trouble"]


@pytest.mark.parametrize(
    "address",
    ["", "nonsense", "ftp://host", "http://", "http://host:99999", "http://[::1", "http://127.0.0.1:1", "auto"],
)
def test_an_address_that_leads_nowhere_is_an_error_in_words(address: str) -> None:
    view = read_ray(address, patience=5)
    assert view.error
    assert view.nodes is None


def test_a_password_in_an_address_is_not_repeated() -> None:
    assert "hunter2" not in str(read_ray("http://me:hunter2@127.0.0.1:1"))


def test_an_answer_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.probes.ray.MOST_BYTES", 1000)
    with dashboard("healthy", {PATHS["nodes"]: (200, b" " * 2000)}) as board:
        view = read_ray(board.url)
    assert view.nodes is None
    assert "larger than" in view.missing["nodes"]


# --- answers that no cluster would give ----------------------------------------------------------------------

_WORDS = st.sampled_from(
    ["data", "result", "summary", "clusterStatus", "loadMetricsReport", "usageByNode", "resourceDemand", "pgDemand",
     "node_id", "state", "resources_total", "applications", "deployments", "replicas", "bundles", "death_cause",
     "raylet", "nodeId", "mem", "gpus", "node_id_to_summary", "state_counts", "unit_resources", "stats", "proxies"]
)  # fmt: skip
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ALIVE", "DEAD", "GPU", "RUNNING", 10**400, -1])
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=40)
@given(st.fixed_dictionaries(dict.fromkeys(PATHS, _JSON)))
def test_any_answers_are_read_without_raising(answers: dict[str, Any]) -> None:
    view = read_ray_view({"at": 1.0, **understand({name: Answer(one) for name, one in answers.items()})})
    assert read_ray_view(json.loads(json.dumps(view.to_json()))) == view
    assert all(one.words for one in ray_troubles(view))


@given(st.data(), st.sampled_from(ANSWERING))
def test_a_real_answer_with_a_part_changed_is_read_without_raising(data: st.DataObject, name: str) -> None:
    found = scene(name)["answers"]
    answers = {part: answer_of(*found[path]) for part, path in PATHS.items()}
    changed = data.draw(st.sampled_from(sorted(PATHS)))
    document: Any = answers[changed].document
    for _ in range(data.draw(st.integers(0, 9))):  # to some place in it
        keys: list[Any] = sorted(document) if isinstance(document, dict) else list(range(len(document or ())))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(document[key], dict | list) or not document[key]:
            document[key] = data.draw(_JSON)
            break
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            document[key] = data.draw(_JSON)
            break
        document = document[key]
    view = read_ray_view({"at": 1.0, **understand(answers)})
    assert read_ray_view(json.loads(json.dumps(view.to_json()))) == view
    assert all(one.words for one in ray_troubles(view))


@settings(max_examples=40)
@given(_JSON)
def test_any_document_is_a_view(document: Any) -> None:
    assert isinstance(read_ray_view(document), RayView)


def test_what_is_too_much_is_cut() -> None:
    many = [{"id": "x" * 1000, "why": "y" * 10_000, "state": "DEAD"} for _ in range(MOST + 5)]
    view = read_ray_view({"nodes": many})
    assert view.nodes is not None
    assert len(view.nodes) == MOST
    assert len(view.nodes[0].id) <= LONGEST
    assert len(view.nodes[0].why) <= MESSAGE
    assert view.nodes[0].why[-100:] == "y" * 100, "the end of a traceback says what went wrong"


@pytest.mark.parametrize("name", SCENES)
def test_no_fixture_names_the_machine_that_it_was_taken_on(name: str) -> None:
    text = json.dumps(scene(name))
    assert "/root" not in text
    assert "/home" not in text
