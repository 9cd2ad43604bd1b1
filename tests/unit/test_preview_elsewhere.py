"""The command that is shown of a recipe that runs elsewhere: that of each part, although nothing of it is here."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.launching.preview import Preview
from vllm_studio_tui.services.launching.preview_elsewhere import preview_elsewhere


def shown(**fields: Any) -> Preview:
    made = Recipe(**{"id": "r", "name": "r", "model_path": "org/model", **fields})
    return preview_elsewhere(made, registry.backend(made.backend), LaunchContext(Settings(), "127.0.0.1", 8000))


def test_the_command_of_each_rank_is_shown_with_its_host() -> None:
    found = shown(nodes=("me@a:2222", "b"), strategy="tp", tensor_parallel_size=2)
    assert found.argv[:3] == ("vllm", "serve", "org/model")
    assert "--node-rank 0" in found.shell
    assert "--master-addr a " in found.shell
    notes = " | ".join(found.notes)
    assert "This is rank 0, on me@a:2222." in notes
    assert "rank 1 on b: " in notes and "--node-rank 1" in notes and "--headless" in notes


def test_what_is_handed_over_is_shown_with_where_the_whole_of_it_is() -> None:
    found = shown(handover={"to": "slurm", "nodes": 2}, strategy="tp", tensor_parallel_size=2)
    assert found.argv[:2] == ("vllm", "serve")
    assert "vllm-studio render slurm r" in found.notes[-1]


def test_what_cannot_be_spread_has_no_command() -> None:
    with pytest.raises(InvalidRecipe, match="cannot be spread"):
        shown(nodes=("a", "b"), strategy="tp", tensor_parallel_size=3)


def test_router_and_engines_of_a_model_in_steps_are_shown() -> None:
    found = shown(nodes=("a", "b"), strategy="pd")
    assert found.argv[0] == "vllm-router"
    assert [note.partition(": ")[0] for note in found.notes[1:3]] == ["prefill on a", "decode on b"]
