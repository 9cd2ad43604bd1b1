"""What is predicted of the memory of real engines beside what they say: computed within 10 %, once known within 3 %."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines.conftest import Home
from tests.ports import free_port
from vllm_studio_tui.domain.fit import Fit
from vllm_studio_tui.domain.memory_report import MemoryReport
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def predicted(home: Home, recipe_id: str) -> Fit:
    with Studio.open_sync(Places.under(home.root)) as studio:
        fit = studio.fit.of_recipe(studio.recipes.get(recipe_id))
    assert fit is not None
    return fit


def reported(home: Home, run: dict[str, Any]) -> MemoryReport:
    return MemoryReport.from_json(home.json("runs", "show", run["run_id"])["story"]["memory"])


def start(home: Home, engine: str, **changes: Any) -> tuple[Fit, MemoryReport]:
    recipe_id = home.recipe(engine, port=free_port(), **changes)
    fit = predicted(home, recipe_id)
    run = home.launch(recipe_id)
    told = reported(home, run)
    home.run("stop", "--all", "--force")
    return fit, told


def test_vllm_holds_as_many_tokens_as_predicted(home: Home) -> None:
    for within, context, space in ((0.10, 2048, "1"), (0.03, 8192, "2")):
        fit, told = start(
            home, "vllm", max_model_len=context, env_vars={"VLLM_CPU_KVCACHE_SPACE": space, "HF_HUB_OFFLINE": "1"}
        )
        assert told.context == context
        assert told.kv_tokens is not None
        assert fit.cache_tokens == pytest.approx(told.kv_tokens, rel=within)
    assert fit.learned is not None
    assert (fit.learned.starts, fit.learned.same_model) == (1, True)
    assert fit.learned.engine.startswith("vLLM 0.")


@pytest.mark.parametrize("engine", ["llama-server", "embedded"])
def test_llama_cpp_takes_what_is_predicted(home: Home, engine: str) -> None:
    for within, fields in ((0.10, {"max_model_len": 2048}), (0.03, {"max_model_len": 8192, "kv_cache_dtype": "q8_0"})):
        fit, told = start(home, engine, max_num_seqs=2, **fields)
        for name, value in told.parts.items():
            assert fit.parts[name].likely == pytest.approx(value, rel=within), name
    assert fit.learned is not None
