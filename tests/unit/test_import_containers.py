"""Containers and units that start engines: `docker run`, compose files, systemd."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.formats.format import Found, Source
from vllm_studio_tui.services.recipes.formats.registry import read_format


def read(text: str) -> list[Found]:
    found = read_format(Source(text.encode(), "f"))
    assert found is not None
    for one in found:
        parse_recipe(one.data, imported=True)
    return found


def fields(text: str) -> dict[str, Any]:
    (only,) = read(text)
    return dict(only.data)


def said(text: str) -> dict[str, str]:
    return {note.field: note.action for one in read(text) for note in one.notes}


RUN = "docker run {} vllm/vllm-openai:v0.9.1 --model org/m"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--gpus all", {"docker": {"image": "vllm/vllm-openai:v0.9.1"}}),
        ("", {"docker": {"image": "vllm/vllm-openai:v0.9.1", "gpus": False}}),
        ("""--gpus '"device=0,1"'""", {"gpus": ["0", "1"]}),
        ("--gpus device=2", {"gpus": ["2"]}),
        ("--device nvidia.com/gpu=1", {"gpus": ["1"]}),
        ("-p 9000:8000", {"host": "0.0.0.0", "port": "9000"}),  # noqa: S104
        ("-p 127.0.0.1:9000:8000/tcp", {"host": "127.0.0.1", "port": "9000"}),
        ("-e HF_TOKEN", {"env_vars": {"HF_TOKEN": "env:HF_TOKEN"}}),
        ("-eA=b --env=C=d", {"env_vars": {"A": "b", "C": "d"}}),
        ("--env VLLM_API_KEY=$KEY", {"api_key": "env:KEY"}),
        ("--gpus all -dit --rm --shm-size=8g",
         {"docker": {"image": "vllm/vllm-openai:v0.9.1", "shm": "8g"}}),
        ("--gpus all -v /d:/m --mount type=bind,source=/e,target=/n,readonly",
         {"docker": {"image": "vllm/vllm-openai:v0.9.1", "volumes": ["/d:/m", "/e:/n:ro"]}}),
        ("--gpus all --ipc=host --ulimit memlock=-1",
         {"docker": {"image": "vllm/vllm-openai:v0.9.1", "args": ["--ipc", "host", "--ulimit", "memlock=-1"]}}),
        ("--restart on-failure:5", {"restart": {"policy": "on-failure", "budget": 5}}),
        ("--restart unless-stopped --name Big", {"restart": {"policy": "always"}, "id": "big", "name": "Big"}),
    ],
)  # fmt: skip
def test_options_of_docker_run(options: str, expected: dict[str, Any]) -> None:
    data = fields(RUN.format(options))
    assert {name: data.get(name) for name in expected} == expected
    assert data["runtime"] == "docker"


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ("podman run --device nvidia.com/gpu=all ghcr.io/ggml-org/llama.cpp:server-cuda -m /m/x.gguf", "llamacpp"),
        ("docker run ghcr.io/ggerganov/llama.cpp:server -m /m/x.gguf", "llamacpp"),
        ("sudo docker run lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path m", "sglang"),
        ("docker run lmsysorg/sglang bash -c 'cd /x && python3 -m sglang.launch_server --model-path m'", "sglang"),
        ("docker container run --entrypoint vllm me/own serve org/m", "vllm"),
        ("docker run me/own:1 vllm serve org/m", "vllm"),
        ("docker run vllm/vllm-openai-rocm:latest --model org/m", "vllm"),
        ("docker run --net=host localhost:5000/own@sha256:0 llama-server -m /m/x.gguf", "llamacpp"),
    ],
)
def test_the_engine_of_an_image(text: str, backend: str) -> None:
    assert fields(text)["backend"] == backend


def test_what_runs_in_no_known_engine_is_none() -> None:
    for text in ("docker run nginx", "docker run", "docker ps", "docker run ollama/ollama serve"):
        assert read_format(Source(text.encode(), "f")) is None


def test_a_model_in_a_volume_is_where_this_machine_has_it() -> None:
    data = fields("docker run -v /data:/models llama-server:x llama-server -m /models/a/x.gguf")
    assert data["model_path"] == "/data/a/x.gguf"


def test_every_option_is_accounted_for() -> None:
    text = RUN.format("-it --health-cmd x --network mine --log-opt a=b --no-such-option=3 -p 1:2 -p 3:8000")
    for name in ("--tty", "--interactive", "--health-cmd", "--network", "--log-opt", "--no-such-option", "--publish"):
        assert name in said(text)


COMPOSE = """
x-common: &common
  image: vllm/vllm-openai:${TAG:-v0.9.1}
  ipc: host
services:
  big:
    <<: *common
    container_name: big-one
    command: >
      --model ${MODEL:-org/m}
      --max-model-len 2048
    environment: ["HF_TOKEN=${HF_TOKEN}", "X=1"]
    ports: ["${PORT:-8001}:8000"]
    volumes: ["/data:/models:ro"]
    deploy: {resources: {reservations: {devices: [{driver: nvidia, device_ids: ["0", "1"], capabilities: [gpu]}]}}}
    depends_on: [web]
  small:
    image: ghcr.io/ggml-org/llama.cpp:server
    command: ["-hf", "org/m-GGUF", "-c", "4096"]
    environment: {LLAMA_ARG_X: 1}
    restart: unless-stopped
  web: {image: nginx}
"""


def test_services_of_a_compose_file() -> None:
    big, small = read(COMPOSE)
    assert big.data["docker"] == {
        "image": "vllm/vllm-openai:v0.9.1",
        "volumes": ["/data:/models:ro"],
        "args": ["--ipc", "host"],
    }
    assert big.data["env_vars"] == {"HF_TOKEN": "env:HF_TOKEN", "X": "1"}
    assert (big.data["port"], big.data["gpus"], big.data["id"]) == ("8001", ["0", "1"], "big-one")
    assert {"services.web", "depends_on", "variables"} <= {note.field for note in big.notes}
    assert (small.data["id"], small.data["model_path"]) == ("small", "org/m-GGUF")
    assert small.data["restart"] == {"policy": "always"}


def test_a_compose_file_without_engines_is_refused() -> None:
    with pytest.raises(StudioError, match="no service that is a known engine"):
        read("services:\n  web: {image: nginx}\n")


def test_anchors_do_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = "\n".join([*lines, "services:", "  a: {image: vllm/vllm-openai, command: *a11}"])
    assert read_format(Source(text.encode(), "f")) is None


def test_brackets_without_end_cost_no_time() -> None:
    text = "services:\n  a: {image: vllm/vllm-openai, command: [" + "[{" * 5000
    began = time.process_time()
    assert read_format(Source(text.encode(), "f")) is None
    assert time.process_time() - began < 0.5


UNIT = """
[Unit]
Description=Mine
[Service]
User=llm
Environment="CUDA_VISIBLE_DEVICES=0" MODEL=org/m
Environment='A=b c'
EnvironmentFile=-/etc/x
WorkingDirectory=/srv
ExecStartPre=/bin/true
ExecStart=-/opt/v/bin/vllm serve ${MODEL} \\
   # a remark
   --port 8001 --chat-template "/t/a b.jinja"
Restart=on-failure
RestartSec=5s
[Install]
WantedBy=multi-user.target
"""


def test_a_unit_of_systemd() -> None:
    data = fields(UNIT)
    assert data["executable"] == "/opt/v/bin/vllm"
    assert (data["model_path"], data["port"], data["cwd"]) == ("org/m", "8001", "/srv")
    assert data["env_vars"] == {"CUDA_VISIBLE_DEVICES": "0", "MODEL": "org/m", "A": "b c"}
    assert data["extra_args"] == {"chat-template": "/t/a b.jinja"}
    assert data["restart"] == {"policy": "on-failure", "delay": 5.0}
    assert {"User", "EnvironmentFile", "ExecStartPre"} <= set(said(UNIT))


def test_a_unit_of_another_program_is_refused() -> None:
    with pytest.raises(StudioError, match="starts no engine"):
        read("[Service]\nExecStart=/usr/sbin/sshd -D\n")


def test_a_unit_that_starts_a_container() -> None:
    data = fields(
        "[Service]\nExecStart=/usr/bin/docker run --gpus all vllm/vllm-openai:v1 --model org/m\nRestart=always\n"
    )
    assert (data["runtime"], data["restart"]) == ("docker", {"policy": "always"})
