"""What each engine does with a recipe of several machines: its parts, and the command of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Command, LaunchContext
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import InvalidRecipe, LaunchRefused
from vllm_studio_tui.domain.ranks import PORTS, RankPlace
from vllm_studio_tui.domain.recipe import Recipe

#: Engines that run on one machine only.
ALONE = ("llamacpp", "transformers", "tabbyapi")
ADDRESSES = ("10.0.0.1", "10.0.0.2")


def recipe(backend: str, **fields: Any) -> Recipe:
    more = {"nodes": ("a", "b"), "model_path": "/m/model", **fields}
    return Recipe(**{"id": "r", "name": "r", "backend": backend, **more})


def commands(made: Recipe, tmp_path: Path, **place: Any) -> list[Command]:
    """Return the command of each part, with programs that exist."""
    programs = {}
    for name in ("vllm", "vllm-router", "python"):
        programs[name] = tmp_path / name
        programs[name].write_text("#!/bin/sh\n")
        programs[name].chmod(0o700)
    settings = Settings(vllm_executable=str(programs["vllm"]), sglang_python=str(programs["python"]))
    engine = registry.backend(made.backend)
    parts = engine.ranks(made)
    more = {"addresses": ADDRESSES, "master_port": 29600, "interface": "eth1", **place}
    return [
        engine.command(
            made,
            LaunchContext(
                settings, "127.0.0.1", 8000, rank=RankPlace(one.index, len(parts), one.node, role=one.role, **more)
            ),
        )
        for one in parts
    ]


def after(command: Command, flag: str) -> str | None:
    """Return the argument that follows a flag; None where it is not there."""
    return command.argv[command.argv.index(flag) + 1] if flag in command.argv else None


def refusal(made: Recipe) -> InvalidRecipe:
    with pytest.raises(InvalidRecipe) as caught:
        registry.backend(made.backend).ranks(made)
    return caught.value


@pytest.mark.parametrize("backend", ALONE)
def test_an_engine_of_one_machine_refuses_several_and_says_what_to_do_instead(backend: str) -> None:
    said = refusal(recipe(backend, strategy="tp"))
    assert f"{registry.backend(backend).title} runs on one machine, and the recipe wants 2" in said.cause
    assert "vllm-studio serve" in said.advice


@pytest.mark.parametrize("backend", [*ALONE, "vllm", "sglang"])
def test_any_engine_runs_on_one_other_machine(backend: str, tmp_path: Path) -> None:
    made = recipe(backend, nodes=("a",))
    (part,) = registry.backend(backend).ranks(made)
    assert (part.index, part.node, part.serves, part.role) == (0, 0, True, "")


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
def test_on_one_other_machine_the_command_is_that_of_this_one(backend: str, tmp_path: Path) -> None:
    made = recipe(backend, nodes=("a",))
    (there,) = commands(made, tmp_path, addresses=("10.0.0.1",))
    assert not any("nnodes" in one or "master" in one or "dist-init" in one for one in there.argv)


def test_vllm_is_told_on_each_machine_where_it_stands(tmp_path: Path) -> None:
    made = recipe("vllm", strategy="tp_pp", tensor_parallel_size=8, pipeline_parallel_size=2)
    first, second = commands(made, tmp_path)
    for rank, command in enumerate((first, second)):
        assert after(command, "--nnodes") == "2"
        assert after(command, "--node-rank") == str(rank)
        assert after(command, "--master-addr") == "10.0.0.1"
        assert after(command, "--master-port") == "29600"
        assert after(command, "--tensor-parallel-size") == "8"
        assert command.env["VLLM_HOST_IP"] == ADDRESSES[rank]
        assert command.env["NCCL_SOCKET_IFNAME"] == command.env["GLOO_SOCKET_IFNAME"] == "eth1"
    assert "--headless" in second.argv
    assert "--headless" not in first.argv


def test_copies_of_vllm_are_counted_out_to_the_machines(tmp_path: Path) -> None:
    first, second = commands(recipe("vllm", strategy="dp", data_parallel_size=4), tmp_path)
    for command in (first, second):
        assert after(command, "--data-parallel-size") == "4"
        assert after(command, "--data-parallel-size-local") == "2"
        assert after(command, "--data-parallel-address") == "10.0.0.1"
        assert after(command, "--data-parallel-rpc-port") == "29601"
    assert "--headless" in second.argv


@pytest.mark.parametrize("key", ["distributed_executor_backend", "distributed-executor-backend"])
def test_on_ray_only_the_first_machine_gets_a_command_and_the_cluster_is_asked_for(key: str, tmp_path: Path) -> None:
    made = recipe("vllm", strategy="tp", tensor_parallel_size=16, extra_args={key: "ray"})
    (only,) = commands(made, tmp_path)
    assert after(only, "--distributed-executor-backend") == "ray"
    assert not {"--nnodes", "--node-rank", "--headless"} & set(only.argv)
    assert "ray start" in only.notes[0]


def test_a_variable_that_the_recipe_sets_is_kept(tmp_path: Path) -> None:
    made = recipe("vllm", strategy="tp", tensor_parallel_size=2, env_vars={"NCCL_SOCKET_IFNAME": "ib0"})
    first, _ = commands(made, tmp_path)
    assert first.env["NCCL_SOCKET_IFNAME"] == "ib0"
    assert first.env["GLOO_SOCKET_IFNAME"] == "eth1"


def test_a_host_that_is_named_is_not_handed_on_as_an_address_to_bind_to(tmp_path: Path) -> None:
    made = recipe("vllm", strategy="tp", tensor_parallel_size=2)
    first, _ = commands(made, tmp_path, addresses=("node-a", "node-b"), interface="")
    assert not {"VLLM_HOST_IP", "NCCL_SOCKET_IFNAME"} & set(first.env)


def test_a_script_has_its_own_word_for_the_rank(tmp_path: Path) -> None:
    made = recipe("vllm", strategy="tp", tensor_parallel_size=2)
    _, second = commands(made, tmp_path, addresses=("$HEAD", "$HEAD"), index_word="$SLURM_NODEID", interface="")
    assert after(second, "--node-rank") == "$SLURM_NODEID"
    assert after(second, "--master-addr") == "$HEAD"


def test_sglang_is_told_on_each_machine_where_it_stands(tmp_path: Path) -> None:
    made = recipe("sglang", strategy="tp", tensor_parallel_size=16)
    for rank, command in enumerate(commands(made, tmp_path)):
        assert after(command, "--nnodes") == "2"
        assert after(command, "--node-rank") == str(rank)
        assert after(command, "--dist-init-addr") == "10.0.0.1:29600"
        assert command.env["SGLANG_HOST_IP"] == ADDRESSES[rank]
    (ipv6, _) = commands(made, tmp_path, addresses=("fd00::1", "fd00::2"))
    assert after(ipv6, "--dist-init-addr") == "[fd00::1]:29600"


def test_copies_of_sglang_over_machines_are_parts_of_one_group(tmp_path: Path) -> None:
    made = recipe("sglang", strategy="dp", tensor_parallel_size=8, data_parallel_size=2)
    for command in commands(made, tmp_path):
        assert after(command, "--tp-size") == "16"
        assert after(command, "--dp-size") == "2"
        assert command.argv.count("--enable-dp-attention") == 1


def test_vllm_has_prefill_and_decode_apart_behind_its_router(tmp_path: Path) -> None:
    router, prefill, decode = commands(recipe("vllm", strategy="pd", tensor_parallel_size=8), tmp_path)
    assert router.argv[:6] == (
        str(tmp_path / "vllm-router"), "--vllm-pd-disaggregation", "--host", "127.0.0.1", "--port", "8000",
    )  # fmt: skip
    assert after(router, "--prefill") == "http://10.0.0.1:29602"
    assert after(router, "--decode") == "http://10.0.0.2:29602"
    for command, address, role in ((prefill, "10.0.0.1", "kv_producer"), (decode, "10.0.0.2", "kv_consumer")):
        assert (after(command, "--host"), after(command, "--port")) == (address, "29602")
        transfer = json.loads(after(command, "--kv-transfer-config") or "")
        assert transfer == {"kv_connector": "NixlConnector", "kv_role": role}
        assert command.env["VLLM_NIXL_SIDE_CHANNEL_HOST"] == address
        assert command.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "29603"


def test_another_connector_of_the_recipe_is_kept(tmp_path: Path) -> None:
    config = {"kv_connector": "MooncakeConnector", "kv_role": "kv_both"}
    made = recipe("vllm", strategy="pd", extra_args={"kv_transfer_config": config})
    for command in commands(made, tmp_path)[1:]:
        assert command.argv.count("--kv-transfer-config") == 1
        assert json.loads(after(command, "--kv-transfer-config") or "") == config


def test_a_router_that_is_missing_is_said_with_how_to_install_it(tmp_path: Path) -> None:
    made = recipe("vllm", strategy="pd")
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    place = RankPlace(0, 3, 0, ADDRESSES, 29600, role="router")
    settings = Settings(vllm_executable=str(program))
    context = LaunchContext(settings, "127.0.0.1", 8000, environ={"PATH": str(tmp_path)}, rank=place)
    with pytest.raises(LaunchRefused) as refused:
        registry.backend("vllm").command(made, context)
    assert "pip install vllm-router" in refused.value.advice


def test_sglang_has_prefill_and_decode_apart_behind_its_router(tmp_path: Path) -> None:
    made = recipe("sglang", nodes=("a", "b", "c"), strategy="pd")
    addresses = (*ADDRESSES, "10.0.0.3")
    router, prefill, *decode = commands(made, tmp_path, addresses=addresses)
    assert router.argv[1:4] == ("-m", "sglang_router.launch_router", "--pd-disaggregation")
    at = router.argv.index("--prefill")
    assert router.argv[at : at + 3] == ("--prefill", "http://10.0.0.1:29602", "29604")
    assert [router.argv[at + 1] for at, one in enumerate(router.argv) if one == "--decode"] == [
        "http://10.0.0.2:29602", "http://10.0.0.3:29602",
    ]  # fmt: skip
    assert after(prefill, "--disaggregation-mode") == "prefill"
    assert after(prefill, "--disaggregation-bootstrap-port") == "29604"
    assert [after(one, "--disaggregation-mode") for one in decode] == ["decode", "decode"]


def test_a_custom_command_is_told_its_place(tmp_path: Path) -> None:
    made = recipe("custom", command="/bin/true {rank} {nodes} {head} {address} {master_port} {port}", strategy="tp")
    first, second = commands(made, tmp_path)
    assert first.argv[1:] == ("0", "2", "10.0.0.1", "10.0.0.1", "29600", "8000")
    assert second.argv[1:] == ("1", "2", "10.0.0.1", "10.0.0.2", "29600", "8000")
    assert [one.serves for one in registry.backend("custom").ranks(made)] == [True, False]


def test_a_custom_command_that_would_be_the_same_everywhere_is_refused() -> None:
    said = refusal(recipe("custom", command="/bin/true {port}", strategy="tp"))
    assert "would be the same on all 2 machines" in said.cause


CONTRADICTIONS = [
    ({"strategy": "tp", "tensor_parallel_size": 3}, "tensor_parallel_size: 3 cannot be split over 2 machines"),
    ({"strategy": "tp", "tensor_parallel_size": 2, "pipeline_parallel_size": 2}, "strategy tp has no pipeline"),
    ({"strategy": "tp_pp", "tensor_parallel_size": 8}, "set it to 2, and tensor_parallel_size to the GPUs of one"),
    ({"strategy": "tp_pp", "pipeline_parallel_size": 3}, "3 stages cannot be split over 2 machines"),
    ({"strategy": "dp", "data_parallel_size": 3}, "3 copies cannot be split over 2 machines; set it to 2"),
    ({"strategy": "dp"}, "1 copies cannot be split over 2 machines; set it to 2"),
    ({"strategy": "tp", "tensor_parallel_size": 2, "data_parallel_size": 2}, "strategy dp spreads copies"),
    ({"strategy": "pd", "api_key": "env:KEY"}, "api_key: the router would show it"),
    ({"strategy": "pd", "runtime": "docker", "docker": {"image": "x"}}, "the router is not in the engine's image"),
    ({"strategy": "tp", "tensor_parallel_size": 2, "extra_args": {"nnodes": 2}}, "nnodes is given to each part"),
    ({"strategy": "tp", "tensor_parallel_size": 2, "extra_args": {"node-rank": 0}}, "node-rank is given to each part"),
]


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
@pytest.mark.parametrize(("fields", "words"), CONTRADICTIONS)
def test_sizes_that_contradict_the_strategy_are_said_before_anything_starts(
    backend: str, fields: dict[str, Any], words: str
) -> None:
    assert words in refusal(recipe(backend, **fields)).cause


def test_what_only_one_engine_cannot_do_is_said() -> None:
    ray = {"distributed_executor_backend": "ray"}
    assert "no Ray between them" in refusal(recipe("vllm", strategy="pd", extra_args=ray)).cause
    uni = {"distributed_executor_backend": "uni"}
    assert (
        "cannot span machines" in refusal(recipe("vllm", strategy="tp", tensor_parallel_size=2, extra_args=uni)).cause
    )
    pipeline = {"strategy": "tp_pp", "pipeline_parallel_size": 2, "speculative": {"method": "EAGLE"}}
    assert "takes no speculative decoding" in refusal(recipe("sglang", **pipeline)).cause


def test_ports_that_are_kept_free_differ() -> None:
    place = RankPlace(0, 1, 0, ("a",), 1000)
    assert {place.port(which) for which in range(PORTS)} == set(range(1000, 1000 + PORTS))
