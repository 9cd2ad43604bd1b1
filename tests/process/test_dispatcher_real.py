"""Two recipes of a real small model on the embedded engine, with room for one: they take turns under load."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.process.house import House
from tests.process.serving import serving, small_model
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs import read


@pytest.mark.timeout(180)
async def test_two_models_take_turns_under_load(house: House) -> None:
    path = small_model()
    recipes = [
        Recipe.model_validate(
            {"id": name, "name": name, "backend": "llamacpp", "model_path": str(path), "max_model_len": 512,
             "served_model_name": f"served-{name}", "aliases": [f"alias-{name}"], "on_demand": True}
        )
        for name in ("one", "two")
    ]  # fmt: skip
    async with serving(house, *recipes, max_loaded=1, max_consecutive=0.5) as here:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len([run for run in read.live_runs(house.places) if run.engine_alive]))
                await asyncio.sleep(0.05)

        async def client(seed: int) -> list[tuple[str, str]]:
            dice = random.Random(seed)
            answers = []
            for turn in range(3):
                name = ("one", "two")[(seed + turn) % 2]
                asked = dice.choice([name, f"served-{name}", f"alias-{name}"])
                admission = here.enter(asked)
                try:
                    endpoint = await asyncio.wait_for(admission.wait(), 90)
                    assert endpoint.recipe_id == name
                    # llama.cpp was told of the aliases: only the recipe's id has to be replaced.
                    assert endpoint.model == (f"served-{name}" if asked == name else None)
                    await asyncio.to_thread(here.send, endpoint, 6)
                finally:
                    admission.leave()
                answers.append((name, asked))
            return answers

        watching = asyncio.create_task(watch())
        answers = [one for some in await asyncio.gather(*map(client, range(4))) for one in some]
        watching.cancel()
        assert {name for name, _ in answers} == {"one", "two"}
        assert len(answers) == 12
        assert most == 1, "never more than there is room for"
        assert here.idle()
        runs = read.all_runs(house.places)
        assert len(runs) >= 2
        assert all(run.status.reason in (None, "stopped") for run in runs), "nobody was killed"
