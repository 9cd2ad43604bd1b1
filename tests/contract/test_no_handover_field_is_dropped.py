"""Every field of a hand-over changes what is submitted to a system that takes it; a check names it for the others."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_no_field_is_dropped import VALUES
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.backends.checks import unused
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_parts import HANDOVER_FIELDS, Handover
from vllm_studio_tui.domain.recipe_places import TITLES
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.handover.fields import field_problems, refusals
from vllm_studio_tui.services.handover.order import Order, plan_of
from vllm_studio_tui.services.render.gather import gather_source
from vllm_studio_tui.services.render.source import RenderSource

SYSTEMS = sorted(HANDOVER_FIELDS)
#: What each system cannot do without.
NEEDED: dict[str, dict[str, Any]] = {
    "skypilot": {"accelerator": "A100"},
    "ray-serve": {"address": "http://127.0.0.1:8265"},
}
#: A value of each field that is not its default.
TOLD: dict[str, Any] = {
    "nodes": 2, "replicas": 3, "max_replicas": 4, "address": "http://127.0.0.2:8265", "partition": "p", "account": "a",
    "time_limit": "1:00:00", "namespace": "ns", "context": "ctx", "accelerator": "H100", "cpus": 8, "memory": "64G",
    "setup": ["module load x"], "options": ["--verbose"],
}  # fmt: skip
#: What the studio itself does with a recipe, wherever it runs.
OURS = {
    "id", "name", "backend", "description", "tags", "extends", "host", "port", "health_path", "metrics_style",
    "ready_timeout", "restart", "nodes", "strategy", "handover", "aliases", "on_demand", "ttl", "persistent", "preload",
    "priority", "max_concurrent", "stall_timeout", "params",
}  # fmt: skip
#: What is for other engines than the one here: tests/contract/test_no_field_is_dropped.py tries these.
OTHERS = {"base_url", "command", "vision"}


@pytest.fixture(autouse=True)
def _programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the systems that take everything."""
    for name in ("kubectl", "sky", "sbatch"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.3:8265")


def recipe(to: str, told: dict[str, Any] | None = None, **fields: Any) -> Recipe:
    handover = {**NEEDED.get(to, {}), **(told or {}), "to": to}
    made = {"id": "r", "name": "r", "backend": "vllm", "model_path": "org/m", **fields}
    if handover.get("nodes", 1) > 1:
        made |= {"strategy": "tp", "tensor_parallel_size": 2}
    return Recipe.model_validate({**made, "handover": handover})


def source(made: Recipe) -> RenderSource:
    return gather_source([made], Settings(), resolve=lambda path: path, number=lambda _: None, environ={})


def submitted(made: Recipe, home: Path) -> str:
    """Return what a follower is given to submit, or why it is refused."""
    order = Order(made, made, source(made), "r-20261128-101010-abcd", 8000, Settings(), Places.under(home))
    try:
        plan = plan_of(order)
    except StudioError as error:
        return f"refused: {error.title} {error.cause}"
    text = json.dumps(dataclasses.asdict(dataclasses.replace(plan, notes=())), default=str, sort_keys=True)
    revision = [str(one.revision) for one in order.source.recipes if getattr(one, "revision", None)]
    for word in revision:
        text = text.replace(word, "REVISION")
    return "\n".join(line for line in text.split("\\n") if not line.startswith("#") or line.startswith("#SBATCH"))


def named(made: Recipe) -> set[str]:
    return {one.field for one in (*field_problems(made), *unused(registry.backend(made.backend), made))}


@pytest.mark.parametrize("field", [name for name in Handover.model_fields if name != "to"])
@pytest.mark.parametrize("to", SYSTEMS)
def test_a_field_changes_what_is_submitted_or_the_check_names_it(tmp_path: Path, to: str, field: str) -> None:
    told = recipe(to, {field: TOLD[field]})
    changed = submitted(told, tmp_path) != submitted(recipe(to), tmp_path)
    assert changed is (field in HANDOVER_FIELDS[to])
    assert (f"handover.{field}" in named(told)) is not changed


def test_without_a_system_each_field_is_named() -> None:
    for field in Handover.model_fields.keys() - {"to"}:
        made = Recipe.model_validate(
            {"id": "r", "name": "r", "backend": "vllm", "model_path": "m", "handover": {field: TOLD[field]}}
        )
        assert named(made) == {f"handover.{field}"}


def test_every_field_of_a_hand_over_is_tried() -> None:
    assert TOLD.keys() == Handover.model_fields.keys() - {"to"}
    assert {name for fields in HANDOVER_FIELDS.values() for name in fields} == TOLD.keys()
    assert TITLES.keys() == HANDOVER_FIELDS.keys()


@pytest.mark.parametrize("field", sorted(VALUES.keys() - OURS - OTHERS))
@pytest.mark.parametrize("to", SYSTEMS)
def test_a_field_of_the_recipe_reaches_the_system_or_the_check_names_it(tmp_path: Path, to: str, field: str) -> None:
    bare = submitted(recipe(to), tmp_path)
    for value in VALUES[field]:
        made = recipe(to, **{field: value}, **({"docker": {"image": "a/b:1"}} if field == "runtime" else {}))
        if submitted(made, tmp_path) != bare or field in named(made):
            return
    pytest.fail(f"{to} is not told {field}, and the check does not say so")


def problems(made: Recipe) -> list[Problem]:
    return refusals(source(made))


def test_what_cannot_be_handed_over_is_said_by_the_check_without_asking_anybody() -> None:
    [one] = problems(recipe("slurm", runtime="docker", docker={"image": "a/b:1"}))
    assert (one.field, one.severity) == ("handover.to", "error")
    assert one.message.startswith("SLURM: its runtime is docker")
    assert problems(recipe("kubernetes")) == []
    assert problems(recipe("kubernetes", {"nodes": 2})) == []
