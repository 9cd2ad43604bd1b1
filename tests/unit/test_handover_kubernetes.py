"""The plan of a run in Kubernetes: what `render` writes under the run's own name, after the cluster was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kubectl_stand_in import KubectlStandIn
from tests.schemas import assert_object
from tests.unit.test_render import CODER, recipe, source
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.handover import kubernetes as handover
from vllm_studio_tui.services.handover.order import Order, Plan

RUN = "coder-20261128-101500-ab12"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubectlStandIn:
    one = KubectlStandIn(tmp_path / "kubectl")
    monkeypatch.setattr("shutil.which", lambda name: str(one.program))
    return one


def far(one: Recipe = CODER, **more: Any) -> Recipe:
    return Recipe.model_validate({**one.model_dump(), "handover": {"to": "kubernetes", **more}})


def plan(one: Recipe) -> Plan:
    return handover.plan(Order(one, one, source(one), RUN, 9000, None, None))  # type: ignore[arg-type]


def test_a_plan_has_the_objects_that_are_rendered_with_the_runs_name_and_label(kubectl: KubectlStandIn) -> None:
    made = plan(far(namespace="models", context="far", options=["--validate=strict"]))
    follow = json.loads(json.dumps(made.follow))
    assert (follow["name"], follow["context"], follow["namespace"]) == (RUN, "far", "models")
    assert follow["kinds"] == ["deployments.apps", "services"]
    for document in follow["documents"]:
        assert_object(document)
        assert document["metadata"]["name"] == RUN
        assert document["metadata"]["labels"]["vllm-studio/run"] == RUN
    template = follow["documents"][0]["spec"]["template"]
    assert template["metadata"]["labels"]["vllm-studio/run"] == RUN
    assert "coder-secrets" in json.dumps(template), "the Secret is the recipe's: it is there before and after the run"
    assert follow["budget"] == 5
    assert dict(made.env_refs) == {}, "no secret passes through here"
    dry, secret = kubectl.calls
    assert dry.startswith("--context far --namespace models")
    assert "apply --dry-run=server --server-side --field-manager=vllm-studio -f - --validate=strict" in dry
    assert "get secret coder-secrets -o name" in secret


def test_several_nodes_are_a_leader_worker_set_and_scaling_an_autoscaler(kubectl: KubectlStandIn) -> None:
    made = plan(
        recipe(
            id="wide", model_path="org/m", strategy="tp_pp", tensor_parallel_size=8, pipeline_parallel_size=2,
            handover={"to": "kubernetes", "nodes": 2},
        )
    )  # fmt: skip
    assert made.follow["kinds"] == ["leaderworkersets.leaderworkerset.x-k8s.io", "services"]
    assert any("no api_key" in note for note in made.notes)
    assert plan(far(replicas=1, max_replicas=3)).follow["kinds"][-1] == "horizontalpodautoscalers.autoscaling"


@pytest.mark.parametrize(
    ("one", "cause"),
    [
        (far(replicas=0), "nothing would ever answer"),
        (far(options=["--dry-run=client"]), "--dry-run=client"),
        (far(recipe(id="a", model_path="m", env_vars={"MY_TOKEN": "sk-live-0123456789abcdef"})), "a secret is written"),
        (far(recipe(id="a", backend="custom", command="x --port {port}")), "no official image"),
        (far(recipe(id="a", model_path="m", docker={"args": ["--device", "/x"]})), "docker.args has --device"),
    ],
)
def test_what_is_known_to_fail_is_refused_before_the_cluster_is_asked(
    kubectl: KubectlStandIn, one: Recipe, cause: str
) -> None:
    with pytest.raises(LaunchRefused) as error:
        plan(one)
    assert cause in error.value.cause
    assert kubectl.calls == []


def test_what_the_cluster_says_is_why_it_is_refused(kubectl: KubectlStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl.say('Error from server (NotFound): namespaces "nowhere" not found')
    with pytest.raises(LaunchRefused) as error:
        plan(far(namespace="nowhere"))
    assert 'namespaces "nowhere" not found' in error.value.cause
    kubectl.say("The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?")
    with pytest.raises(LaunchRefused) as error:
        plan(far())
    assert error.value.cause.startswith("Kubernetes does not answer")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LaunchRefused) as error:
        plan(far())
    assert error.value.title == "kubectl is not installed here"
