"""Files for Ray Serve: held against Ray's own schemas (2.60), as its programs print them."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.test_render import SECRET, recipe, source
from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.handover.order import Order
from vllm_studio_tui.services.handover.ray_serve import plan
from vllm_studio_tui.services.render.ray_serve import render

SCHEMAS = Path(__file__).parents[1] / "fixtures/schemas"
DASHBOARD = "http://10.0.0.1:8265"


def handed(name: str, handover: dict[str, Any] | None = None, **data: Any) -> Recipe:
    return recipe(id=name, handover={"to": "ray-serve", "address": DASHBOARD, **(handover or {})}, **data)


def big(**data: Any) -> Recipe:
    more = {"nodes": 2, "accelerator": "H100", "replicas": 1, "max_replicas": 3, "cpus": 4, **data.pop("handover", {})}
    return handed(
        "big", more, **{
            "model_path": "org/big", "served_model_name": "big-model", "tensor_parallel_size": 8,
            "pipeline_parallel_size": 2, "strategy": "tp_pp", "max_model_len": 32768, "max_num_seqs": 64,
            "enable_prefix_caching": False, "enable_auto_tool_choice": True, "tool_call_parser": "hermes",
            "speculative": {"method": "ngram", "num_speculative_tokens": 3}, "tokenizer": "org/tokenizer",
            "env_vars": {"HF_TOKEN": "env:MY_TOKEN", "VLLM_USE": "1", "RAY_AUTH_TOKEN": "env:THE_CLUSTERS"},
            "extra_args": {"enforce-eager": True, "swap-space": 4}, **data,
        },
    )  # fmt: skip


def small(**data: Any) -> Recipe:
    return handed("small", data.pop("handover", None), backend="llamacpp", model_path="/m/x.gguf", port=8009, **data)


def deployed(one: Recipe) -> dict[str, Any]:
    """The file of a recipe, which Ray's schema takes; its one application."""
    text = render(source(one))[f"{one.id}.yaml"]
    document = yaml.safe_load(text)
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / "ray_serve_deploy.json").read_text())).validate(document)
    (application,) = document["applications"]
    for config in application["args"].get("llm_configs", ()):
        jsonschema.Draft202012Validator(json.loads((SCHEMAS / "ray_llm_config.json").read_text())).validate(config)
    return dict(application)


def test_an_engine_that_rays_module_runs_is_told_in_its_form() -> None:
    made = deployed(big())
    assert (made["name"], made["route_prefix"]) == ("big", "/big")
    assert made["import_path"] == "ray.serve.llm:build_openai_app"
    (config,) = made["args"]["llm_configs"]
    assert config["model_loading_config"] == {
        "model_id": "big-model", "model_source": "org/big", "tokenizer_source": "org/tokenizer",
    }  # fmt: skip
    assert (config["llm_engine"], config["accelerator_type"]) == ("vLLM", "H100")
    scaling = {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 64}
    assert config["deployment_config"] == {"autoscaling_config": scaling}
    assert config["placement_group_config"] == {"bundle_per_worker": {"GPU": 1, "CPU": 4}, "strategy": "PACK"}
    told = config["engine_kwargs"]
    assert told["tensor_parallel_size"] == 8 and told["pipeline_parallel_size"] == 2
    assert told["enable_prefix_caching"] is False and told["enforce_eager"] is True and told["swap_space"] == 4
    assert told["speculative_config"] == {"method": "ngram", "num_speculative_tokens": 3}
    assert told["tool_call_parser"] == "hermes" and told["max_model_len"] == 32768
    assert not {"host", "port", "model", "served_model_name", "distributed_executor_backend"} & set(told)
    known = registry.backend("vllm").known()
    assert known is not None
    assert {name.replace("_", "-") for name in told} - {"swap-space"} <= set(known.flags)


def test_a_replica_on_one_machine_is_kept_there() -> None:
    one = big(handover={"nodes": 1}, strategy="single", pipeline_parallel_size=1)
    (config,) = deployed(one)["args"]["llm_configs"]
    assert config["placement_group_config"]["strategy"] == "STRICT_PACK"


def test_secrets_are_read_on_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", SECRET)
    (config,) = deployed(big())["args"]["llm_configs"]
    variables = config["runtime_env"]["env_vars"]
    assert variables["HF_TOKEN"] == "${MY_TOKEN}" and variables["VLLM_USE"] == "1"
    assert "RAY_AUTH_TOKEN" not in variables, "the cluster's token is not for engines"
    one = small(api_key="env:MY_TOKEN", env_vars={"HF_TOKEN": "file:/etc/token"})
    text = "".join(render(source(one)).values())
    assert SECRET not in text
    assert deployed(one)["args"]["secrets"] == {"HF_TOKEN": "file:/etc/token", "LLAMA_API_KEY": "env:MY_TOKEN"}
    assert "small needs the variable MY_TOKEN" in text


def test_another_engine_is_started_by_an_application_of_ours() -> None:
    one = small(max_num_seqs=4, ready_timeout=90, handover={"cpus": 2, "memory": "3Gi", "replicas": 2})
    made = deployed(one)
    assert made["import_path"] == "vllm_studio_engine:build"
    argv = made["args"]["argv"]
    assert argv[argv.index("--port") + 1] == "{port}" and "8009" not in argv
    assert made["args"]["health_path"] == "/health" and made["args"]["ready_timeout"] == 90
    (deployment,) = made["deployments"]
    assert (deployment["name"], deployment["num_replicas"]) == ("engine", 2)
    assert deployment["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 0, "memory": 3 * 2**30}
    assert made["args"]["own_paths"] == ["/metrics", "/slots"], "counters of one of two replicas would mislead"
    assert "own_paths" not in deployed(small())["args"]


@pytest.mark.parametrize(
    ("fields", "gpus"), [({}, 0), ({"gpus": ["auto"]}, 1), ({"gpus": ["2", "5"]}, 2), ({"tensor_parallel_size": 4}, 4)]
)
def test_a_replica_is_given_the_gpus_that_the_recipe_takes(fields: dict[str, Any], gpus: int) -> None:
    assert deployed(small(**fields))["deployments"][0]["ray_actor_options"]["num_gpus"] == gpus


def test_what_takes_gpus_without_being_told_is_given_one_for_each_rank() -> None:
    made = deployed(handed("s", backend="sglang", model_path="/m", tensor_parallel_size=2))
    assert made["deployments"][0]["ray_actor_options"]["num_gpus"] == 2
    assert "CUDA_VISIBLE_DEVICES" not in made["args"].get("env", {})


def test_the_file_beside_it_is_a_program_of_the_standard_library() -> None:
    files = render(source(small(), big()))
    assert set(files) == {"small.yaml", "big.yaml", "vllm_studio_engine.py"}
    tree = ast.parse(files["vllm_studio_engine.py"])
    found = {one.module or "" for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    found |= {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
    assert {one.split(".")[0] for one in found} <= set(sys.stdlib_module_names)
    assert set(render(source(big()))) == {"big.yaml"}, "an application of Ray's needs nothing beside it"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (big(api_key="env:KEY"), "asks for no key"),
        (big(strategy="dp", data_parallel_size=2), "copies are Ray's"),
        (big(lora_modules={"a": "/a"}), "lora_config"),
        (small(handover={"nodes": 2}, strategy="tp"), "on one machine"),
        (small(runtime="docker", docker={"image": "x/y:1"}), "starts no container of docker"),
        (small(handover={"replicas": 0}), "without max_replicas"),
        (small(handover={"memory": "much"}), "no size: much"),
        (handed("c", backend="custom", command="srv --here"), "does not name its port"),
        (handed("c", backend="custom", command="srv --port {port} --x '{{port}}'"), "holds the text {port}"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_cannot_be_an_application_is_refused_with_its_reason(one: Recipe, words: str) -> None:
    with pytest.raises(StudioError) as refused:
        render(source(one))
    assert words in refused.value.cause


def test_the_port_is_found_wherever_a_command_names_it() -> None:
    own = handed(
        "c", backend="custom", port=8123, command="srv --listen-port={port} --url http://x:{port}/v1 --len 8123"
    )
    argv = deployed(own)["args"]["argv"]
    assert argv == ["srv", "--listen-port={port}", "--url", "http://x:{port}/v1", "--len", "8123"]


# --- what a launch hands over -------------------------------------------------------------------------------


def planned(one: Recipe, tmp_path: Path) -> Any:
    found = source(one)
    return plan(Order(one, one, found, f"{one.id}-run", 8000, found.settings, Places.under(tmp_path)))


def test_a_launch_hands_over_what_render_writes_under_the_id_of_the_run(tmp_path: Path) -> None:
    made = planned(small(), tmp_path)
    rendered = deployed(small())
    assert made.follow["application"] == {**rendered, "name": "small-run", "route_prefix": "/small-run"}
    text = made.follow["files"]["vllm_studio_engine.py"]
    assert text and render(source(small()))["vllm_studio_engine.py"].endswith(text)
    assert (made.path, made.follow["address"], made.counted) == ("/small-run", DASHBOARD, True)
    assert json.dumps(dict(made.follow))


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    several = planned(small(handover={"max_replicas": 2}), tmp_path)
    assert not several.counted and "each replica counts for itself" in several.notes[-1]
    rays = planned(big(), tmp_path)
    assert not rays.counted and not rays.follow["files"]
    assert rays.ready is not None and rays.ready.path == "/v1/models" and rays.ready.model == "big-model"


def test_the_dashboard_is_found_as_rays_own_programs_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    bare = small(handover={"address": None})
    with pytest.raises(LaunchRefused, match="no cluster of Ray is named"):
        planned(bare, tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    with pytest.raises(LaunchRefused, match="no dashboard"):
        planned(bare, tmp_path)
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", "http://10.0.0.9:8265/")
    assert planned(bare, tmp_path).follow["address"] == "http://10.0.0.9:8265"


def test_the_token_is_a_reference_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert planned(small(), tmp_path).env_refs == {}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text(SECRET)
    assert planned(small(), tmp_path).env_refs == {"RAY_AUTH_TOKEN": f"file:{tmp_path}/.ray/auth_token"}
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    assert planned(small(), tmp_path).env_refs == {"RAY_AUTH_TOKEN": "env:RAY_AUTH_TOKEN"}
    assert planned(big(), tmp_path).env_refs == {"RAY_AUTH_TOKEN": "env:THE_CLUSTERS"}
    assert SECRET not in json.dumps(dict(planned(small(), tmp_path).follow))
