"""What the embedded engine says of its memory when the small real model starts is kept, shown and learned of."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import run as run_program

import pytest

from tests.process.house import House
from tests.process.serving import small_model
from vllm_studio_tui.domain.memory_report import MIB
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs import control
from vllm_studio_tui.studio import Studio

pytestmark = pytest.mark.timeout(300)


def recipe(**more: object) -> Recipe:
    fields = {"id": "smol", "name": "smol", "backend": "llamacpp", "model_path": str(small_model()), **more}
    return Recipe.model_validate(fields)


def test_a_start_is_kept_and_shown(tmp_path: Path) -> None:
    house = House(tmp_path)
    with Studio.open_sync(house.places) as studio:
        asked = recipe(max_model_len=2048, kv_cache_dtype="q8_0")
        run = house.ready(studio.launcher.launch(studio.recipes.create(asked)))
        told = studio.run_history.get(run.run_id)
        memory = studio.run_history.memory(told.run_id)
        assert memory is not None
        assert memory.context == memory.kv_tokens == 2048
        # 30 layers of 3 heads with 64 numbers for keys and as many for values, of 34 bytes for 32 numbers.
        assert memory.parts["kv"] == pytest.approx(2048 * 30 * 3 * 128 * 34 / 32, rel=0.001)
        assert memory.parts["weights"] / MIB == pytest.approx(92.1, abs=1)
        assert studio.run_story(run.run_id).memory == memory
        control.stop(run)
    shown = run_program(
        [sys.executable, "-m", "vllm_studio_tui", "runs", "show", run.run_id],
        env=dict(os.environ, VLLM_STUDIO_HOME=str(house.root)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "memory     weights 92" in shown
    assert "cache 24 MiB (2048 tokens)" in shown
    document = json.loads(
        run_program(
            [sys.executable, "-m", "vllm_studio_tui", "runs", "show", "smol", "--json"],
            env=dict(os.environ, VLLM_STUDIO_HOME=str(house.root)),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert document["story"]["memory"]["parts"] == memory.parts


def test_what_is_predicted_is_what_the_engine_says_and_the_next_time_it_is_known(tmp_path: Path) -> None:
    house = House(tmp_path)
    asked = [
        recipe(max_model_len=2048, max_num_seqs=1),
        recipe(max_model_len=4096, max_num_seqs=4),
        recipe(max_model_len=8192, max_num_seqs=1, kv_cache_dtype="q8_0"),
    ]
    with Studio.open_sync(house.places) as studio:
        studio.recipes.create(asked[0])
        for starts, one in enumerate(asked):
            fit = studio.fit.of_recipe(one)
            assert fit is not None
            assert (fit.learned.starts if fit.learned is not None else 0) == starts
            run = house.ready(studio.launcher.launch(one))
            memory = studio.run_story(run.run_id).memory
            assert memory is not None
            # The first time it is computed, then corrected by the starts before, which were asked something else.
            within = 0.10 if not starts else 0.03
            assert set(memory.parts) == {"weights", "kv", "activations"}
            for name, told in memory.parts.items():
                assert fit.parts[name].likely == pytest.approx(told, rel=within), (name, starts)
            assert fit.per_gpu.likely == pytest.approx(sum(memory.parts.values()), rel=within)
            studio.launcher.stop(run, force=True)
