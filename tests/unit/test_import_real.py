"""Commands, containers and units as people publish them start the engine with the arguments that they had."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.common.docker import ImageSettings
from vllm_studio_tui.backends.common.flags import given
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.services.recipes.formats.format import Source
from vllm_studio_tui.services.recipes.formats.registry import read_format

REAL = yaml.safe_load((Path(__file__).parents[1] / "fixtures" / "imports" / "real.yaml").read_text("utf-8"))
#: What the studio gives besides, or instead: where it listens, what it needs to watch the engine.
OURS = {"host", "port", "metrics", "enable-metrics", "jinja", "alias"}


@pytest.mark.parametrize("case", REAL, ids=[" ".join(one["runs"].split()[:2]) for one in REAL])
def test_it_starts_the_engine_as_it_did(case: dict[str, Any]) -> None:
    found = read_format(Source(case["text"].encode(), "real"))
    assert found is not None and len(found) == 1
    recipe, _ = parse_recipe(found[0].data, imported=True)
    backend = registry.backend(recipe.backend)
    context = LaunchContext(ImageSettings(), recipe.host, recipe.port or 1, environ={}, container=True)
    words = list(backend.command(recipe, context).argv)
    start = 3 if words[1:2] == ["-m"] else 2 if words[1:2] == ["serve"] else 1
    wanted = [expanded(one) for one in shlex.split(case["runs"])]
    style = backend.flag_style
    if not wanted[0].startswith("-"):
        assert words[start] == wanted.pop(0)
        start += 1
    made = {name: one for name, one in given(words[start:], style).items() if name not in OURS}
    assert made == {name: one for name, one in given(wanted, style).items() if name not in OURS}
