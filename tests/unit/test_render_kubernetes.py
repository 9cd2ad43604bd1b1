"""Files for Kubernetes: held against the schemas of its API, of LeaderWorkerSet, KServe and production-stack."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.schemas import assert_object, validator
from tests.unit.test_render import ALL, BOXED, CODER, CUSTOM, GGUF, recipe, source
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.kube_words import LONGEST_NAME, kube_name, size_of
from vllm_studio_tui.services.render.registry import render

FAR = {
    "to": "kubernetes", "cpus": 8, "memory": "64G", "accelerator": "NVIDIA-H100-80GB-HBM3", "namespace": "models",
    "replicas": 2, "max_replicas": 4,
}  # fmt: skip


def objects(kind: str, *recipes: Recipe) -> list[dict[str, Any]]:
    return [one for text in render(kind, source(*recipes)).values() for one in yaml.safe_load_all(text)]


def pod(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["template"]["spec"]
    return found


def engine(document: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any]
    (container,) = pod(document)["containers"]
    return container


# --- accepted ---------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
VOLUMES = st.sampled_from(["/data/models:/models:ro", "models:/models", "/t/x.jinja:/t/x.jinja:ro", "/scratch"])
OPTIONS = st.sampled_from(
    [
        ("--ipc=host",), ("--user", "1000:1000"), ("--cap-add", "IPC_LOCK"), ("--privileged",), ("--network", "host"),
        ("--env", "A=$(B) $C"), ("--ulimit", "memlock=-1"), ("-w", "/root"), ("--cap-add=SYS_ADMIN",),
    ]
)  # fmt: skip


@st.composite
def recipes(draw: st.DrawFn, *backends: str) -> Recipe:
    backend = draw(st.sampled_from(backends or ("vllm", "sglang", "llamacpp")))
    boxed = draw(st.booleans())
    fewest = draw(st.integers(1, 3))
    data: dict[str, Any] = {
        "id": draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)),
        "backend": backend,
        "model_path": "/models/x.gguf" if backend == "llamacpp" else draw(st.sampled_from(["org/model", "/models/it"])),
        "port": draw(st.integers(1, 65535)),
        "tensor_parallel_size": draw(st.sampled_from([1, 2, 8])),
        "ready_timeout": draw(st.none() | st.integers(1, 90_000)),
        "env_vars": {"HF_TOKEN": "env:HF_TOKEN", "NOTE": draw(TEXT)} if draw(st.booleans()) else {},
        "api_key": draw(st.sampled_from([None, "env:KEY", "file:/etc/key of it"])),
        "handover": {
            "to": "kubernetes",
            "replicas": fewest,
            "max_replicas": draw(st.none() | st.integers(fewest, 5)),
            "cpus": draw(st.none() | st.integers(1, 64)),
            "memory": draw(st.sampled_from([None, "64G", "512Mi", "1.5t"])),
            "accelerator": draw(st.sampled_from([None, "H100", "amd.com/gpu.product-name=MI300X"])),
            "namespace": draw(st.sampled_from([None, "models"])),
        },
        "docker": {
            "image": "reg.example:5000/org/engine:1.2" if boxed else None,
            "shm": draw(st.sampled_from(["16g", "512m", "8Gi"])),
            "gpus": draw(st.booleans()),
            "volumes": draw(st.lists(VOLUMES, max_size=2, unique=True)),
            "args": [word for option in draw(st.lists(OPTIONS, max_size=3, unique=True)) for word in option],
        },
        "runtime": "docker" if boxed else "native",
    }  # fmt: skip
    return recipe(**data)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes())
def test_whatever_a_recipe_says_its_deployment_and_inference_service_are_accepted(one: Recipe) -> None:
    for kind in ("kubernetes", "kserve"):
        for document in objects(kind, one):
            assert_object(document)
            assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", document["metadata"]["name"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes("vllm"))
def test_whatever_a_recipe_says_its_values_are_those_of_the_chart(one: Recipe) -> None:
    try:
        files = render("production-stack", source(one))
    except StudioError as error:
        assert "docker.args" in error.cause
        return
    validator("production-stack").validate(yaml.safe_load(files["values.yaml"]))


def test_a_mistyped_field_is_not_accepted() -> None:
    """The schemas are closed: else the tests above would hold of anything."""
    deployment, service = objects("kubernetes", CODER)
    for document, place in (
        (deployment, pod(deployment)), (deployment, engine(deployment)), (service, service["spec"]["ports"][0])
    ):  # fmt: skip
        place["mistyped"] = 1
        with pytest.raises(jsonschema.ValidationError):
            assert_object(document)
        del place["mistyped"]
        assert_object(document)
    (service,) = objects("kserve", CODER)
    service["spec"]["predictor"]["containers"][0]["mistyped"] = 1
    with pytest.raises(jsonschema.ValidationError):
        assert_object(service)
    values = yaml.safe_load(render("production-stack", source(CODER))["values.yaml"])
    values["servingEngineSpec"]["modelSpec"][0]["vllmConfig"]["maxModelLength"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validator("production-stack").validate(values)


# --- a Deployment -----------------------------------------------------------------------------------------


def test_a_deployment_is_what_its_recipe_says() -> None:
    deployment, service = objects("kubernetes", CODER)
    made = engine(deployment)
    assert made["image"] == "vllm/vllm-openai:latest"
    assert made["command"] == ["vllm"]
    assert made["args"][:2] == ["serve", "/models/coder $$HOME"], "Kubernetes would fill in a single dollar"
    assert {"name": "NOTE", "value": 'a$$b $${C} "d"'} in made["env"]
    assert made["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert made["startupProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    assert service["spec"]["ports"] == [{"name": "http", "port": 8001, "protocol": "TCP", "targetPort": "http"}]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}, "GPUs do not allow an old and a new one"


def test_secrets_are_read_from_a_secret_which_a_named_command_makes() -> None:
    (text,) = render("kubernetes", source(CODER, CODER_KEY="sk-live-1")).values()
    deployment = next(yaml.safe_load_all(text))
    from_secret = {one["name"]: one["valueFrom"] for one in engine(deployment)["env"] if "valueFrom" in one}
    assert from_secret == {
        key: {"secretKeyRef": {"name": "coder-secrets", "key": key}} for key in ("HF_TOKEN", "VLLM_API_KEY")
    }
    assert '--from-file=VLLM_API_KEY=<(printf %s "$CODER_KEY")' in text
    assert "--from-file=HF_TOKEN=<(head -n 1 '/etc/hf token' | tr -d '\\n')" in text
    assert "sk-live-1" not in text


def test_a_recipe_that_scales_has_an_autoscaler_and_leaves_the_number_to_it() -> None:
    deployment, _service, scaler = objects(
        "kubernetes", CODER.model_copy(update={"handover": recipe(id="x", model_path="m", handover=FAR).handover})
    )
    assert "replicas" not in deployment["spec"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 4)
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "vllm_num_requests_waiting"
    assert {one["metadata"]["namespace"] for one in (deployment, scaler)} == {"models"}
    assert engine(deployment)["resources"]["requests"] == {"cpu": "8", "memory": "64Gi"}
    assert pod(deployment)["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}


def test_what_docker_runs_has_its_counterpart_in_the_pod_or_is_named() -> None:
    (text,) = render("kubernetes", source(BOXED)).values()
    deployment = next(yaml.safe_load_all(text))
    assert pod(deployment)["hostIPC"] is True
    assert engine(deployment)["securityContext"] == {"privileged": True, "capabilities": {"add": ["SYS_PTRACE"]}}
    assert {"name": "A", "value": "$$B"} in engine(deployment)["env"]
    assert "--ulimit memlock=-1 is not in it" in text
    volumes = {one["name"]: one for one in pod(deployment)["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert volumes["volume-0"]["hostPath"] == {"path": "/a", "type": "Directory"}
    other = BOXED.model_copy(update={"docker": BOXED.docker.model_copy(update={"args": ("--device", "/dev/x")})})
    with pytest.raises(StudioError) as error:
        render("kubernetes", source(other))
    assert "docker.args has --device" in error.value.cause


def test_a_named_volume_is_the_claim_of_that_name_and_keeps_the_hub() -> None:
    held = recipe(id="held", model_path="org/m", docker={"volumes": ["hub:/root/.cache/huggingface"]})
    (text,) = render("kubernetes", source(held)).values()
    deployment = next(yaml.safe_load_all(text))
    names = [one.get("persistentVolumeClaim", {}).get("claimName") for one in pod(deployment)["volumes"]]
    assert names == [None, "hub"]
    assert "kubectl get pvc hub" in text
    assert "fetches the model anew" not in text


def test_an_image_that_starts_its_engine_is_given_arguments_only() -> None:
    deployment, _service = objects("kubernetes", GGUF)
    assert "command" not in engine(deployment)
    (volume,) = [one["hostPath"] for one in pod(deployment)["volumes"] if "hostPath" in one]
    assert volume["type"] == "File"


def test_what_has_no_image_or_takes_several_nodes_is_left_out_with_its_reason() -> None:
    def far(name: str, **handover: Any) -> Recipe:
        return recipe(id=name, model_path="m", handover={"to": "kubernetes", **handover})

    own = {"backend": "custom", "command": "x", "runtime": "docker", "docker": {"image": "i"}}
    wide = {"strategy": "tp", "tensor_parallel_size": 4}
    for one, cause in (
        (CUSTOM, "custom has no official image"),
        (recipe(id="wide", model_path="m", **wide, handover={"to": "kubernetes", "nodes": 2}), "several nodes"),
        (recipe(id="own", **own, handover={"to": "kubernetes", "max_replicas": 3}), "no waiting requests"),
        (far("zero", replicas=0, max_replicas=3), "keeps at least one"),
        (far("odd", memory="much"), "no size"),
    ):  # fmt: skip
        with pytest.raises(StudioError) as error:
            render("kubernetes", source(one))
        assert cause in error.value.cause


# --- a LeaderWorkerSet ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
@pytest.mark.parametrize(("nodes", "strategy"), [(2, "tp_pp"), (4, "tp_pp"), (2, "dp")])
def test_a_leader_serves_and_workers_take_their_rank_from_the_set(backend: str, nodes: int, strategy: str) -> None:
    size = {"data_parallel_size": nodes} if strategy == "dp" else {"pipeline_parallel_size": nodes}
    one = recipe(
        id="wide", backend=backend, model_path="org/m", strategy=strategy, tensor_parallel_size=8, **size, port=8000,
        env_vars={"NOTE": "$(LWS_WORKER_INDEX) of me"}, api_key="env:KEY",
        handover={"to": "kubernetes", "nodes": nodes, "replicas": 2},
    )  # fmt: skip
    group, service = objects("lws", one)
    assert_object(group)
    assert_object(service)
    template = group["spec"]["leaderWorkerTemplate"]
    leader, worker = (template[name]["spec"]["containers"][0] for name in ("leaderTemplate", "workerTemplate"))
    assert (group["spec"]["replicas"], template["size"]) == (2, nodes)
    for pod_ in (leader, worker):
        assert pod_["args"][pod_["args"].index("--nnodes") + 1] == str(nodes)
        assert any("$(LWS_LEADER_ADDRESS)" in word for word in pod_["args"])
        assert pod_["resources"]["limits"] == {"nvidia.com/gpu": "8"}
        assert any("secretKeyRef" in str(one) for one in pod_["env"])
    assert leader["args"][leader["args"].index("--node-rank") + 1] == "0"
    assert worker["args"][worker["args"].index("--node-rank") + 1] == "$(LWS_WORKER_INDEX)"
    assert "readinessProbe" in leader
    assert "readinessProbe" not in worker, "a worker has no HTTP server"
    assert service["spec"]["selector"]["role"] == "leader"


def test_what_a_set_cannot_spread_is_refused_with_its_reason() -> None:
    two = {"to": "kubernetes", "nodes": 2}
    for one, cause in (
        (CODER, "takes one node"),
        (recipe(id="a", backend="llamacpp", model_path="/x.gguf", strategy="tp", handover=two), "one machine"),
        (recipe(id="a", model_path="m", strategy="pd", handover=two), "not alike"),
    ):  # fmt: skip
        with pytest.raises(StudioError) as error:
            render("lws", source(one))
        assert cause in error.value.cause


# --- KServe and production-stack ----------------------------------------------------------------------------


def test_an_inference_service_has_a_fixed_number_or_is_scaled_by_knative() -> None:
    (fixed,) = objects("kserve", recipe(id="a", model_path="m", handover={"to": "kubernetes", "replicas": 2}))
    assert fixed["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert (fixed["spec"]["predictor"]["minReplicas"], fixed["spec"]["predictor"]["maxReplicas"]) == (2, 2)
    scaled = {"to": "kubernetes", "replicas": 0, "max_replicas": 2}
    (asleep,) = objects("kserve", recipe(id="a", model_path="m", handover=scaled))
    predictor = asleep["spec"]["predictor"]
    assert asleep["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    assert (predictor["minReplicas"], predictor["scaleMetric"]) == (0, "concurrency")
    assert predictor["containers"][0]["name"] == "kserve-container"


def test_values_say_in_the_charts_keys_what_they_can_and_the_rest_as_arguments() -> None:
    one = recipe(
        id="a", model_path="org/m", max_model_len=8192, max_num_seqs=32, gpu_memory_utilization=0.8, dtype="bfloat16",
        enable_prefix_caching=False, enable_chunked_prefill=True, tool_call_parser="hermes", revision="v1",
        runtime="docker", docker={"image": "reg:5000/org/engine:1.2"},
    )  # fmt: skip
    values = yaml.safe_load(render("production-stack", source(one, *ALL))["values.yaml"])["servingEngineSpec"]
    model = values["modelSpec"][0]
    assert [one["name"] for one in values["modelSpec"]] == ["a", "coder"]
    assert (model["repository"], model["tag"], model["modelRevision"]) == ("reg:5000/org/engine", "1.2", "v1")
    assert model["vllmConfig"] == {
        "enablePrefixCaching": False, "tensorParallelSize": 1, "maxModelLen": 8192, "maxNumSeqs": 32,
        "gpuMemoryUtilization": 0.8, "dtype": "bfloat16", "enableChunkedPrefill": True,
        "extraArgs": model["vllmConfig"]["extraArgs"],
    }  # fmt: skip
    assert "--tool-call-parser" in model["vllmConfig"]["extraArgs"]
    assert not {"--host", "--port", "--revision"} & set(model["vllmConfig"]["extraArgs"])


# --- words ------------------------------------------------------------------------------------------------


def test_names_are_those_of_kubernetes_and_different_ids_have_different_names() -> None:
    ids = ["a.b", "a-b", "a_b", "7b", "x" * 64, "x" * 63, "m-7b", "-", "qwen2.5-7b-20261128-101500-k3"]
    names = [kube_name(one) for one in ids]
    assert len(set(names)) == len(ids)
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name) and len(name) <= LONGEST_NAME for name in names)
    assert kube_name("a-b") == "a-b"


@pytest.mark.parametrize(
    ("text", "size"), [("64G", "64Gi"), ("16g", "16Gi"), ("512Mi", "512Mi"), ("1.5TB", "1.5Ti"), ("1024", "1024")]
)
def test_sizes_are_written_as_quantities(text: str, size: str) -> None:
    assert size_of(text, "memory") == size


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_command_that_makes_a_secret_is_one_that_bash_takes() -> None:
    (text,) = render("kubernetes", source(CODER)).values()
    (line,) = re.findall(r"^# Make its Secret first, in bash: (.*)$", text, re.MULTILINE)
    script = f"kubectl() {{ printf '%s\\n' \"${{@%%=*}}\"; }}; {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.split()[:4] == ["create", "secret", "generic", "coder-secrets"]
