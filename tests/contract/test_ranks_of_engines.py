"""What each engine does with a recipe of several machines: its parts, and the command of each."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe

#: Engines that run on one machine only.
ALONE = ("llamacpp", "transformers", "tabbyapi", "embedded")


def recipe(backend: str, **fields: Any) -> Recipe:
    return Recipe(**{"id": "r", "name": "r", "model_path": "/m/model", "backend": backend, **fields})


@pytest.mark.parametrize("backend", ALONE)
def test_an_engine_of_one_machine_refuses_several_and_says_what_to_do_instead(backend: str) -> None:
    engine = registry.backend(backend)
    with pytest.raises(InvalidRecipe) as refused:
        engine.ranks(recipe(backend, nodes=("a", "b"), strategy="tp"))
    assert f"{engine.title} runs on one machine, and 2 are named" in refused.value.cause
    assert "vllm-studio serve" in refused.value.advice


@pytest.mark.parametrize("backend", ALONE)
def test_an_engine_of_one_machine_runs_on_another_one(backend: str) -> None:
    (part,) = registry.backend(backend).ranks(recipe(backend, nodes=("a",)))
    assert (part.index, part.node, part.serves) == (0, 0, True)
