"""vLLM for the CPU as two ranks of one job on a SLURM of two nodes: launched, asked, counted and killed from here.

`python -m pytest -m engine tests/engines/test_vllm_on_slurm.py`, as root; see `install.py`, `tests/clusters/slurm.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.slurm import missing, slurm_cluster, wait_for
from tests.clusters.test_slurm import Studio, studio_in
from tests.engines import small_vllm
from vllm_studio_tui.domain.run import State

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is here"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_vllm.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def studio() -> Iterator[Studio]:
    with slurm_cluster() as cluster:
        yield from studio_in(cluster)


def test_two_ranks_are_one_job_that_answers_and_the_one_that_is_killed_is_named(studio: Studio, model: Path) -> None:
    recipe = studio.recipe(id="small", name="small", **small_vllm.recipe(model, handover={"nodes": 2}))
    studio.run("launch", recipe)
    run = studio.until(500, state=State.READY)
    wait_for(lambda: len(studio.now()["parts"]) == 2, "where its ranks are")
    assert [(one["name"], one["where"]) for one in studio.now()["parts"]] == [("rank 0", "n1"), ("rank 1", "n2")]
    assert studio.ask(recipe).strip()
    usage = json.loads(studio.run("usage", "--json").stdout)
    assert [(one["recipe"], one["total_requests"]) for one in usage["by_recipe"]] == [("small", 1)]
    assert "[1 n2] " in studio.log()
    python = str(small_vllm.PROGRAM.parent.resolve())  # srun and the script have the engine's words in theirs too
    engines = {pid: words for pid, (_, words) in studio.cluster.processes().items() if words.startswith(python)}
    rank = next(pid for pid, words in engines.items() if "--headless" in words)
    studio.cluster.kill(rank)
    ended = studio.until(120, state=State.FAILED)
    assert ended["run_id"] == run["run_id"]
    assert ended["title"].startswith("rank 1 on n2 ended first"), (ended["title"], studio.log()[-3000:])
    assert not [words for _, words in studio.cluster.processes().values() if "vllm" in words and "serve" in words]
