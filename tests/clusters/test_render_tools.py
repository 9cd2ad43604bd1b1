"""Rendered files, given to the tools they are for: kubernetes-validate, SkyPilot and Helm with the chart vllm-stack.

`VLLM_STUDIO_TEST_KUBERNETES_TOOLS` names an environment with the first two: `pip install kubernetes-validate
'skypilot[kubernetes]'`, 700 MB and two minutes. `VLLM_STUDIO_TEST_VLLM_STACK` names the chart's folder (`helm` of
vllm-project/production-stack, without the dependencies in its Chart.yaml), and `helm` is in PATH: each part is skipped
where that is not so. With an environment that is there they take 20 s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.test_render import ALL, recipe, source
from vllm_studio_tui.services.render.registry import render

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

TOOLS, CHART = "VLLM_STUDIO_TEST_KUBERNETES_TOOLS", "VLLM_STUDIO_TEST_VLLM_STACK"
SERVED = {"accelerator": "H100", "cpus": 8, "memory": "64G"}
WIDE = {"strategy": "tp_pp", "tensor_parallel_size": 8, "pipeline_parallel_size": 2, "model_path": "org/m"}
_TASK = """
import sys, yaml, sky
for path in sys.argv[1:]:
    config = yaml.safe_load(open(path))
    secrets = [(name, "x") for name in config.get("secrets") or ()]
    task = sky.Task.from_yaml_config(config, secrets_overrides=secrets)
    task.validate_name()
    print(task.name, task.num_nodes, task.service is not None)
"""


def tool(name: str) -> str:
    folder = os.environ.get(TOOLS)
    found = shutil.which(name, path=f"{folder}/bin") if folder else None
    if found is None:
        pytest.skip(f"{TOOLS} names no environment with {name}")
    return found


def write(kind: str, folder: Path, *names: object) -> list[Path]:
    files = render(kind, source(*names))  # type: ignore[arg-type]
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def test_kubernetes_validate_takes_deployments_services_and_autoscalers(tmp_path: Path) -> None:
    program = tool("kubernetes-validate")
    scaled = recipe(
        id="scaled", model_path="org/m", handover={"to": "kubernetes", **SERVED, "replicas": 1, "max_replicas": 3}
    )
    for path in write("kubernetes", tmp_path, *ALL, scaled):
        # It stops at the first fault: one object a file.
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            one = tmp_path / f"{number}-{path.name}"
            one.write_text(yaml.safe_dump(document))
            call = [program, "--strict", "--kubernetes-version", "1.37", str(one)]
            done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            document["spec"]["mistyped"] = 1
            one.write_text(yaml.safe_dump(document))
            done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode != 0


def test_skypilot_takes_tasks_of_one_machine_of_several_and_services(tmp_path: Path) -> None:
    tool("sky")
    told = {"to": "skypilot", **SERVED}
    made = write(
        "skypilot", tmp_path,
        recipe(id="one", model_path="org/m", api_key="env:KEY", handover=told),
        recipe(id="wide", **WIDE, handover={**told, "nodes": 2}),
        recipe(id="served", model_path="org/m", handover={**told, "replicas": 1, "max_replicas": 3}),
        recipe(id="bare", model_path="org/m", handover={**told, "setup": "pip install vllm"}),
    )  # fmt: skip
    environ = {**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    call = [tool("python"), "-c", _TASK, *map(str, made)]
    done = subprocess.run(call, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["one 1 False", "wide 2 False", "served 1 True", "bare 1 False"]


def test_helm_makes_the_charts_objects_of_the_values(tmp_path: Path) -> None:
    chart, helm = os.environ.get(CHART), shutil.which("helm")
    if not chart or helm is None:
        pytest.skip(f"{CHART} names no chart, or there is no helm")
    (values,) = write("production-stack", tmp_path, *ALL)
    call = [helm, "template", "test", chart, "--values", str(values)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Deployment"]
    (engine,) = [one for one in made if one["metadata"]["name"] == "test-coder-deployment-vllm"]
    container = engine["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][:3] == ["vllm", "serve", "/models/coder $$HOME"]
    assert container["command"][-2:] == ["--served-model-name", "coder-32b"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] in (2, "2")
    assert {one["mountPath"] for one in container["volumeMounts"]} >= {"/dev/shm", "/models/coder $HOME"}
