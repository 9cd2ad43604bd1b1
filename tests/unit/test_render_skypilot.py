"""SkyPilot tasks: held against the schemas by which SkyPilot itself checks a task, its resources and its service."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from tests.schemas import validator
from tests.unit.test_render import CODER, CUSTOM, GGUF, recipe, source
from tests.unit.test_render_kubernetes import recipes
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.registry import render


def task(one: Recipe) -> dict[str, Any]:
    (text,) = render("skypilot", source(one)).values()
    found: dict[str, Any] = yaml.safe_load(text)
    validator("skypilot-task").validate(found)
    return found


def far(one: Recipe, **handover: Any) -> Recipe:
    return Recipe.model_validate(
        {**one.model_dump(), "handover": {"to": "skypilot", "accelerator": "H100", **handover}}
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recipes())
def test_whatever_a_recipe_says_its_task_is_one_of_skypilots(one: Recipe) -> None:
    try:
        task(one)
    except StudioError as error:
        assert re.search(r"kind of GPU|starts the engine by itself", error.cause)


def test_a_task_is_what_its_recipe_says() -> None:
    made = task(far(CODER, cpus=8, memory="64G"))
    assert made["resources"] == {
        "accelerators": {"H100": 2}, "cpus": "8+", "memory": "64+", "image_id": "docker:vllm/vllm-openai:latest",
        "ports": 8001,
    }  # fmt: skip
    assert made["file_mounts"] == {"/models/coder $HOME": "/models/coder $HOME"}
    assert made["envs"]["NOTE"] == 'a$b ${C} "d"'
    assert made["secrets"] == {"HF_TOKEN": None, "VLLM_API_KEY": None}, "their values are given at the launch"
    assert made["run"].startswith("exec vllm serve '/models/coder $HOME' \\\n  --host 0.0.0.0")
    assert "service" not in made
    made["resources"]["accelerator"] = "H100"
    with pytest.raises(jsonschema.ValidationError):
        validator("skypilot-task").validate(made)


def test_the_line_that_starts_it_hands_secrets_over_by_their_names() -> None:
    (text,) = render("skypilot", source(far(CODER), CODER_KEY="sk-live-1")).values()
    assert "sk-live-1" not in text
    (line,) = re.findall(r"^# Start: (.*)$", text, re.MULTILINE)
    assert 'export VLLM_API_KEY="${CODER_KEY:?the secret of VLLM_API_KEY}"' in line
    assert line.endswith("sky launch -d -c coder --secret HF_TOKEN --secret VLLM_API_KEY coder.yaml")
    assert subprocess.run([shutil.which("sh") or "sh", "-n", "-c", line], timeout=20, check=False).returncode == 0


def test_copies_are_skyserves() -> None:
    assert task(far(CODER, replicas=3))["service"]["replicas"] == 3
    service = task(far(CODER, replicas=0, max_replicas=4))["service"]
    assert service["replica_policy"] == {"min_replicas": 0, "max_replicas": 4, "target_qps_per_replica": 1.0}
    assert service["readiness_probe"]["path"] == "/health"
    (text,) = render("skypilot", source(far(CODER, replicas=3))).values()
    assert "sky serve up -n coder" in text


def test_lines_of_setup_stand_for_an_image() -> None:
    made = task(far(GGUF, setup="apt-get install -y llama.cpp\nllama-server --version"))
    assert "image_id" not in made["resources"]
    assert "config" not in made
    assert made["setup"].splitlines() == ["apt-get install -y llama.cpp", "llama-server --version"]
    assert made["run"].startswith("exec llama-server")


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
def test_each_machine_of_several_takes_its_rank_from_skypilot(backend: str) -> None:
    wide = recipe(
        id="wide", backend=backend, model_path="org/m", strategy="tp_pp", tensor_parallel_size=8,
        pipeline_parallel_size=2, handover={"to": "skypilot", "accelerator": "H100", "nodes": 2}, port=8000,
    )  # fmt: skip
    made = task(wide)
    assert made["num_nodes"] == 2
    assert made["resources"]["accelerators"] == {"H100": 8}
    told = "{ printf '%s ' \"$@\"; exit; }"
    run = f"vllm() {told}\npython3() {told}\n{made['run'].replace('exec ', '')}"
    for rank in ("0", "1"):
        environ = {"PATH": "/usr/bin:/bin", "SKYPILOT_NODE_RANK": rank, "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
        done = subprocess.run(["bash", "-c", run], env=environ, capture_output=True, text=True, timeout=20, check=True)
        assert f"--node-rank {rank} " in done.stdout
        assert "10.0.0.1" in done.stdout
        assert "$" not in done.stdout


def test_what_cannot_be_a_task_says_why() -> None:
    for one, cause in (
        (CUSTOM, "custom has no official image"), (CODER, "kind of GPU"),
    ):  # fmt: skip
        with pytest.raises(StudioError) as error:
            render("skypilot", source(one))
        assert cause in error.value.cause
