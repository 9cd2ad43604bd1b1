"""What machines tell of themselves is read without belief, and what stands against a start is said with the machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ports import free_port
from vllm_studio_tui.backends import registry
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.node_facts import (
    UNLIMITED,
    NodeFacts,
    NodeGpu,
    NodeInterface,
    NodeModel,
    read_node_facts,
)
from vllm_studio_tui.domain.ranks import PORTS, RankPlace
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.ports import hold
from vllm_studio_tui.services.handover.node_facts import facts_here, look_at_model
from vllm_studio_tui.services.handover.preflight import node_problems

GIB = 1 << 30
TEXTS = st.text(max_size=30)
COUNTS = st.none() | st.integers(0, 1 << 50)
FACTS = st.builds(
    NodeFacts,
    host=TEXTS,
    engine=TEXTS,
    gpus=st.none() | st.lists(st.builds(NodeGpu, TEXTS, COUNTS), max_size=4).map(tuple),
    model=st.builds(
        NodeModel, TEXTS, st.none() | st.booleans(), COUNTS, COUNTS, TEXTS, TEXTS, st.none() | st.integers(1, 256)
    ),
    memlock=st.none() | st.integers(UNLIMITED, 1 << 50),
    shm=COUNTS,
    interfaces=st.lists(
        st.builds(NodeInterface, TEXTS, st.lists(TEXTS, max_size=2).map(tuple), COUNTS), max_size=3
    ).map(tuple),
    taken=st.lists(st.integers(0, 65535), max_size=3).map(tuple),
    at=st.none() | st.floats(0, 1e12),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(FACTS)
def test_facts_come_back_from_json_as_they_were(facts: NodeFacts) -> None:
    assert read_node_facts(json.loads(json.dumps(facts.to_json()))) == facts


@given(FACTS, st.sampled_from([*NodeFacts.__dataclass_fields__, "of a later version"]), ANYTHING)
def test_facts_with_a_value_of_any_kind_are_read_and_compared(facts: NodeFacts, name: str, value: object) -> None:
    found = read_node_facts({**facts.to_json(), name: value})
    assert read_node_facts(found.to_json()) == found
    assert isinstance(node_problems(recipe(), [found, facts]), list)


@given(ANYTHING)
def test_anything_is_read_as_facts(value: object) -> None:
    assert isinstance(read_node_facts(value), NodeFacts)
    assert isinstance(read_node_facts({"model": value, "gpus": value, "interfaces": [value]}), NodeFacts)


def recipe(**fields: Any) -> Recipe:
    sizes = {"strategy": "tp_pp", "tensor_parallel_size": 8, "pipeline_parallel_size": 2}
    return Recipe(**{"id": "r", "name": "r", "model_path": "/m/model", "nodes": ("a", "b"), **sizes, **fields})


def node(host: str, **facts: Any) -> NodeFacts:
    whole = NodeFacts(
        host=host,
        studio="1.0",
        engine="0.33.0",
        python="3.12",
        driver="590.1",
        gpus=(NodeGpu("H100", 80 * GIB),) * 8,
        model=NodeModel("/m/model", there=True, bytes=1000, files=4, config="a" * 64, heads=64),
        memlock=UNLIMITED,
        shm=64 * GIB,
        shm_free=60 * GIB,
        nofile=65535,
        address="10.0.0.1" if host == "a" else "10.0.0.2",
        interface="eth1",
        interfaces=(NodeInterface("eth0", ("192.168.0.1",), 1000), NodeInterface("eth1", ("10.0.0.1",), 100_000)),
        at=1000.0,
        apart=0.1,
    )
    return replace(whole, **facts)


def said(*nodes: NodeFacts, **fields: Any) -> list[tuple[str, str]]:
    return [(one.severity, one.message) for one in node_problems(recipe(**fields), nodes)]


def test_machines_that_are_alike_have_nothing_against_them() -> None:
    assert said(node("a"), node("b")) == []


def test_what_no_machine_tells_is_not_held_against_it() -> None:
    assert said(NodeFacts(host="a"), NodeFacts(host="b")) == []


CASES = [
    ({"engine": "0.32.0"}, "error", "the engine's versions differ: b has 0.32.0, and a 0.33.0"),
    ({"trouble": "vLLM cannot be found"}, "error", "b: vLLM cannot be found"),
    ({"model": NodeModel("/m/model", there=False)}, "error", "b does not have the model at /m/model"),
    (
        {"model": NodeModel("/m/model", there=True, bytes=900, files=4, config="a" * 64)},
        "error", "the model differs in size: b has 900 bytes in 4 files, and a 1000 bytes in 4 files",
    ),
    (
        {"model": NodeModel("/m/model", there=True, bytes=1000, files=4, config="b" * 64)},
        "error", "the model's config.json differs: b has bbbbbbbbbbbb, and a aaaaaaaaaaaa",
    ),
    ({"gpus": (NodeGpu("H100", 80 * GIB),) * 4}, "error", "b has 4 GPUs, and each machine has 8 ranks"),
    ({"gpus": ()}, "error", "b has no GPU that a driver tells of, and others have"),
    ({"taken": (29501,)}, "error", "port 29501 of b is taken, where the ranks would meet"),
    ({"address": "127.0.1.1"}, "error", "b reaches the first machine by 127.0.1.1, which no other machine can reach"),
    ({"memlock": 65536}, "warning", "b may lock only 64 KiB of memory: InfiniBand and RoCE fail or fall back"),
    ({"shm": 64 << 20}, "warning", "b has 64 MiB in /dev/shm, and 8 ranks share it"),
    ({"shm_free": 100 << 20}, "warning", "b has 100 MiB free in /dev/shm"),
    ({"nofile": 1024}, "warning", "b allows 1024 open files"),
    ({"apart": -42.0}, "warning", "the clock of b is 42 s behind"),
    ({"python": "3.11"}, "warning", "the engine's Python differs: b has 3.11, and a 3.12"),
    ({"studio": "0.9"}, "warning", "the versions of vllm-studio differ: b has 0.9, and a 1.0"),
    ({"driver": "570.2"}, "warning", "the driver differs: b has 570.2, and a 590.1"),
    (
        {"gpus": (NodeGpu("A100", 40 * GIB),) * 8},
        "warning", "the GPUs differ: b has A100 of 40.0 GiB, and a H100 of 80.0 GiB",
    ),
    (
        {"interface": "eth0"},
        "warning", "b reaches the first machine by eth0 (1 Gbit/s), and has eth1 (100 Gbit/s)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "severity", "words"), CASES)
def test_what_stands_against_a_start_names_the_machine(facts: dict[str, Any], severity: str, words: str) -> None:
    found = said(node("a"), node("b", **facts))
    assert (severity, words) in found


def test_a_first_machine_that_finds_itself_by_its_loopback_is_warned_of() -> None:
    found = said(node("a", address="127.0.1.1"), node("b"))
    assert ("warning", "a reaches the first machine by 127.0.1.1, which no other machine can reach") in found


def test_parts_of_one_machine_may_meet_on_its_loopback() -> None:
    assert said(node("a", address="127.0.0.1"), node("b", address="127.0.0.1")) == []


def test_a_slow_machine_is_named_where_all_wait_for_it() -> None:
    slow = NodeInterface("eth1", ("10.0.0.2",), 1000)
    found = said(node("a"), node("b", interfaces=(slow,)))
    assert ("warning", "b is joined at 1 Gbit/s, others at 100 Gbit/s: all wait for it") in found


def test_heads_that_cannot_be_split_are_said_with_what_can() -> None:
    nine = NodeModel("/m/model", there=True, heads=9)
    (found,) = node_problems(recipe(), [node("a", model=nine), node("b", model=nine)])
    assert (found.severity, found.field) == ("error", "tensor_parallel_size")
    assert found.message == "9 attention heads cannot be split over 8 GPUs"
    assert found.advice.startswith("Set it to 3")


def test_weights_that_no_gpu_has_room_for_are_said_before_anything_is_loaded() -> None:
    large = NodeModel("/m/model", there=True, bytes=1600 * GIB, files=4, config="a" * 64, heads=64)
    found = said(node("a", model=large), node("b", model=large))
    words = "the weights take 1600.0 GiB, 100.0 of each of 16 GPUs, and one of a has 80.0"
    assert found == [("error", words)]
    assert said(node("a", model=large), node("b", model=large), quantization="fp8") == []


def test_machines_for_the_cpu_are_not_asked_for_gpus() -> None:
    assert said(node("a", gpus=(), memlock=65536), node("b", gpus=(), memlock=65536)) == []


def test_this_machine_tells_what_lies_here_and_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    port = free_port()
    if port > 65536 - PORTS:
        pytest.skip("the system gave a port with none behind it")
    place = RankPlace(0, 2, 0, ("127.0.0.1", "127.0.0.1"), port)
    made = recipe(model_path=str(tmp_path))
    settings = Settings(vllm_executable=str(program))
    with hold("127.0.0.1", port) as held:
        held.listen()
        facts = facts_here(made, registry.backend("vllm"), settings, place, 8000)
    assert port in facts.taken
    assert (facts.address, facts.trouble) == ("127.0.0.1", "")
    assert (facts.model.there, facts.model.bytes, facts.model.files) == (True, 100, 1)
    assert len(facts.model.config) == 64
    missing = facts_here(
        made.model_copy(update={"model_path": str(tmp_path / "none"), "executable": str(tmp_path / "gone")}),
        registry.backend("vllm"), settings, place, 8000,
    )  # fmt: skip
    assert missing.model.there is False
    assert "vLLM cannot be found" in missing.trouble


def test_a_name_of_the_hub_that_is_not_here_is_only_missing_where_it_cannot_be_fetched(tmp_path: Path) -> None:
    made = recipe(model_path="org/model")
    assert look_at_model(made, {"HF_HOME": str(tmp_path)}).there is None
    offline = look_at_model(made, {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    assert offline.there is False
    assert "HF_HUB_OFFLINE" in offline.trouble
