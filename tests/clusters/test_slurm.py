"""Runs on a real SLURM of two nodes, through the product's own commands. Run with `pytest -m slurm tests/clusters`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.slurm import ACCOUNTING, Slurm, missing, slurm_cluster, wait_for
from tests.process.serving import small_model
from vllm_studio_tui.domain.run import FINAL, State

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is here"),
    pytest.mark.xdist_group("slurm"),
]
KEY = "sk-of-the-test-0123456789abcdef"
ROOT = Path(__file__).parents[2]
SIMULATED = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"
RANKED = f"{{python}} {Path(__file__).with_name('ranked.py')} {{rank}} {{head}} {{master_port}} {{port}}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm_cluster() as one:
        yield one


class Studio:
    """The product on the login node of a cluster, in a home of its own."""

    def __init__(self, cluster: Slurm, home: Path) -> None:
        self.cluster, self.home = cluster, home
        self.env = {"VLLM_STUDIO_HOME": str(home), "OUR_KEY": KEY, "PYTHONPATH": str(ROOT)}

    def run(self, *words: str, ok: bool = True, limit: float = 60) -> subprocess.CompletedProcess[str]:
        return self.cluster.run(sys.executable, "-m", "vllm_studio_tui", *words, ok=ok, limit=limit, env=self.env)

    def recipe(self, **fields: Any) -> str:
        data = {
            "id": "sim",
            "name": "sim",
            "backend": "custom",
            "metrics_style": "vllm",
            "command": SIMULATED,
            **fields,
        }
        data["handover"] = {"to": "slurm", **fields.get("handover", {})}
        path = self.home / "recipe.json"
        path.write_text(json.dumps(data))
        self.run("recipes", "import", str(path), "--replace")
        return str(data["id"])

    def now(self) -> dict[str, Any]:
        """Return what is known of the latest run."""
        runs = json.loads(self.run("status", "--json", "--all").stdout)["runs"]
        return max(runs, key=lambda run: run["started_at"]) if runs else {"state": "none"}

    def until(self, limit: float = 60, **wanted: Any) -> dict[str, Any]:
        """Wait until fields of the latest run are so; fail where it ends in another way."""
        seen: dict[str, Any] = {}

        def so() -> bool:
            seen.update(self.now())
            if seen["state"] in FINAL and wanted.get("state") not in FINAL:
                raise AssertionError(f"{seen}\n{self.log()}")
            return all(seen.get(name) == value for name, value in wanted.items())

        try:
            wait_for(so, str(wanted), limit)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}\n{self.log()}") from None
        return seen

    def ready(self, recipe: str) -> dict[str, Any]:
        self.run("launch", recipe)
        return self.until(state=State.READY)

    def log(self) -> str:
        return self.run("logs", str(self.now().get("run_id")), ok=False).stdout

    def ask(self, recipe: str) -> str:
        return self.run("chat", "--recipe", recipe, "Say hi", "--max-tokens", "8").stdout

    def job(self) -> dict[str, str]:
        return self.cluster.job(self.now()["handle"].removeprefix("slurm:"))

    def jobs(self) -> list[str]:
        """Return the numbers of all jobs, ended ones too, that have the name of the latest run."""
        name = f"--name={self.now()['run_id']}"
        return self.cluster.run("squeue", "--noheader", "--states=all", name, "--format=%i").stdout.split()


@pytest.fixture
def studio(cluster: Slurm) -> Iterator[Studio]:
    yield from studio_in(cluster)


def studio_in(cluster: Slurm) -> Iterator[Studio]:
    home = cluster.root / f"home-{os.urandom(4).hex()}"
    home.mkdir(mode=0o700)
    one = Studio(cluster, home)
    yield one
    one.run("stop", "--all", ok=False)
    cluster.run("scancel", "--user=root", ok=False)
    wait_for(lambda: not cluster.run("squeue", "--noheader").stdout.strip(), "no job is left")


def test_a_model_waits_for_its_turn_is_served_asked_counted_and_stopped(studio: Studio, cluster: Slurm) -> None:
    other = cluster.fill()
    recipe = studio.recipe(
        id="smol", name="smol", backend="llamacpp", command=None, metrics_style=None, model_path=str(small_model()),
        max_model_len=2048, gpus=["0"], api_key="env:OUR_KEY", handover={"cpus": 2, "time_limit": "0:30:00"},
    )  # fmt: skip
    studio.run("launch", recipe)
    seen = studio.until(job_state="PENDING", state=State.STARTING)
    seen = studio.until(job_state="PENDING") if "Resources" not in str(seen["stage"]) else seen
    wait_for(lambda: "the nodes are busy (Resources)" in str(studio.now()["stage"]), "why it waits")
    assert "begins about" in studio.now()["stage"]
    assert KEY not in (studio.home / "x").name + cluster.run("scontrol", "show", "job", studio.job()["JobId"]).stdout
    cluster.run("scancel", other)
    seen = studio.until(state=State.READY, job_state="RUNNING")
    wait_for(lambda: studio.now()["parts"], "where it runs")
    seen = studio.now()
    assert [(part["name"], part["where"]) for part in seen["parts"]] == [("rank 0", "n1")]
    assert studio.ask(recipe).strip()
    bare = cluster.run(
        "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{seen['base_url']}/completions", "-d", "{}"
    )
    assert bare.stdout == "401"
    assert json.loads(studio.run("metrics", recipe, "--json").stdout)
    script = next((studio.home).rglob("job.sbatch")).read_text()
    assert KEY not in script
    studio.run("stop", recipe)
    ended = studio.now()
    assert (ended["state"], ended["reason"]) == (State.EXITED, "stopped")
    assert cluster.job(seen["handle"].removeprefix("slurm:"))["JobState"] == "CANCELLED"
    used = json.loads(studio.run("usage", "--json").stdout)
    assert "smol" in json.dumps(used)
    assert studio.log().count("serves at n1:") <= 1


def test_a_node_that_fails_is_told_and_named(studio: Studio, cluster: Slurm) -> None:
    studio.ready(studio.recipe())
    try:
        cluster.kill_node("n1")
        ended = studio.until(state=State.FAILED, limit=90)
        assert ended["reason"] == "slurm_node_failed"
        assert ended["title"] == "a node failed: n1, Not responding"
        assert "SLURM chooses other nodes" in ended["advice"]
    finally:
        cluster.start_node("n1")
        wait_for(cluster.both_idle, "both nodes are idle again")


def test_a_job_that_somebody_cancels_is_told_as_that(studio: Studio, cluster: Slurm) -> None:
    run = studio.ready(studio.recipe())
    cluster.run("scancel", run["handle"].removeprefix("slurm:"))
    ended = studio.until(state=State.FAILED)
    assert (ended["reason"], ended["title"]) == ("slurm_cancelled", "somebody cancelled it in SLURM")


@pytest.mark.skipif(bool(missing(*ACCOUNTING)), reason=missing(*ACCOUNTING) or "it is here")
def test_where_slurm_keeps_accounts_it_is_told_who_cancelled_a_job() -> None:
    with slurm_cluster(accounting=True) as cluster:
        for studio in studio_in(cluster):
            run = studio.ready(studio.recipe())
            cluster.run("scancel", run["handle"].removeprefix("slurm:"))
            assert studio.until(state=State.FAILED)["title"] == "root cancelled it in SLURM"


def test_a_job_whose_node_fails_is_submitted_again_by_the_policy_of_its_recipe(studio: Studio, cluster: Slurm) -> None:
    recipe = studio.recipe(restart={"policy": "on-failure", "delay": 0.5})
    first = studio.ready(recipe)
    try:
        cluster.kill_node("n1")
        wait_for(lambda: studio.now()["restarts"] == 1, "it is submitted again")
        second = studio.until(state=State.READY)
        assert second["handle"] != first["handle"]
        wait_for(lambda: [part["where"] for part in studio.now()["parts"]] == ["n2"], "it is on the other node")
        assert studio.ask(recipe).strip()
    finally:
        cluster.start_node("n1")
        wait_for(cluster.both_idle_or_busy, "both nodes work again")


def test_a_time_limit_that_is_over_is_told_as_that_and_the_engine_ends_in_order(studio: Studio) -> None:
    studio.ready(studio.recipe(handover={"partition": "short", "time_limit": "1"}))
    ended = studio.until(state=State.FAILED, limit=120)
    assert (ended["reason"], ended["title"]) == ("slurm_time_limit", "its time limit of 00:01:00 is over")
    assert "the time limit is near: the engine is told to end" in studio.log()


@pytest.mark.parametrize("killed", ["follower", "keeper", "both"])
def test_a_job_goes_on_and_is_found_again_when_keeper_or_follower_are_killed(
    studio: Studio, cluster: Slurm, killed: str
) -> None:
    recipe = studio.recipe()
    run = studio.ready(recipe)
    assert run["keeper_pid"]
    for name in ("keeper", "follower"):
        if killed in (name, "both"):
            cluster.run("kill", "-KILL", str(run["keeper_pid" if name == "keeper" else "pid"]))
    studio.run("restore", ok=False)
    wait_for(lambda: (now := studio.now())["state"] == State.READY and now["keeper_pid"], "it is followed again")
    wait_for(lambda: "sim" in studio.run("status").stdout and studio.run(
        "chat", "--recipe", recipe, "hi", ok=False).returncode == 0, "it is asked again")  # fmt: skip
    assert studio.now()["handle"] == run["handle"]
    assert studio.jobs() == [run["handle"].removeprefix("slurm:")]


def test_a_controller_that_is_away_is_told_and_ends_nothing(studio: Studio, cluster: Slurm) -> None:
    recipe = studio.recipe()
    run = studio.ready(recipe)
    cluster.wait_until_saved(run["run_id"])
    cluster.kill_controller()
    try:
        wait_for(lambda: "SLURM does not answer" in str(studio.now()["trouble"]), "what is wrong is said")
        assert studio.now()["state"] == State.READY
        assert studio.ask(recipe).strip()
        began = time.monotonic()
        wait_for(lambda: time.monotonic() > began + 20, "it is away for 20 s")
        assert studio.now()["state"] == State.READY
    finally:
        cluster.start_controller()
    studio.until(state=State.READY, trouble=None)
    assert studio.jobs() == [run["handle"].removeprefix("slurm:")]


def test_two_ranks_on_two_nodes_are_one_run_and_end_together(studio: Studio, cluster: Slurm) -> None:
    recipe = studio.recipe(
        id="ranked", name="ranked", command=RANKED, strategy="tp", env_vars={"RANKED_KEY": "env:OUR_KEY"},
        api_key="env:OUR_KEY", gpus=["0"], handover={"nodes": 2},
    )  # fmt: skip
    run = studio.ready(recipe)
    wait_for(lambda: len(studio.now()["parts"]) == 2, "where its ranks are")
    run = studio.now()
    assert [(one["name"], one["where"], one["state"]) for one in run["parts"]] == [
        ("rank 0", "n1", "RUNNING"), ("rank 1", "n2", "RUNNING"),
    ]  # fmt: skip
    assert studio.ask(recipe).strip()
    rank = next(pid for pid, (_, words) in cluster.processes().items() if "ranked.py 1 n1 " in words)
    cluster.kill(rank)
    ended = studio.until(state=State.FAILED)
    assert ended["title"] == "rank 1 on n2 ended first: Killed"
    assert not [words for _, words in cluster.processes().values() if "ranked.py" in words or "--model ranked" in words]


def test_what_sbatch_refuses_fails_with_what_to_do(studio: Studio) -> None:
    studio.run("launch", studio.recipe(handover={"partition": "nope"}), ok=False)
    ended = studio.until(state=State.FAILED)
    assert (ended["reason"], ended["title"]) == ("slurm_partition", "SLURM refuses it: there is no such partition")
    assert "sinfo -s" in ended["advice"]


def test_what_does_not_start_by_itself_says_so(studio: Studio) -> None:
    studio.run("launch", studio.recipe(handover={"partition": "short", "time_limit": "10"}))
    seen = studio.until(job_state="PENDING")
    wait_for(lambda: "PartitionTimeLimit" in str(studio.now()["stage"]), "why it waits")
    seen = studio.now()
    assert "lower handover.time_limit" in seen["trouble"]
    studio.run("stop", "sim")
    assert (studio.now()["state"], studio.now()["reason"]) == (State.EXITED, "stopped")


@pytest.mark.parametrize(
    ("fields", "handover"),
    [
        (
            {"backend": "vllm", "model_path": "/models/x y $HOME"},
            {"cpus": 2, "memory": "2G", "setup": ["module load x"]},
        ),
        ({"backend": "vllm", "model_path": "org/m", "tensor_parallel_size": 4, "strategy": "tp"}, {"nodes": 2}),
        ({"command": SIMULATED}, {"time_limit": "0-00:20:00", "options": ["--comment", "it's $HOME & co", "-N1"]}),
    ],
)
def test_sbatch_itself_takes_what_is_rendered(
    studio: Studio, cluster: Slurm, fields: dict[str, Any], handover: dict[str, Any]
) -> None:
    recipe = studio.recipe(**{"command": None, "metrics_style": None, **fields}, handover=handover)
    studio.run("render", "slurm", recipe, "-o", str(studio.home))
    told = cluster.run("sbatch", "--test-only", studio.home / f"{recipe}.sbatch").stderr
    assert "to start at" in told


def test_a_cluster_whose_test_is_killed_ends_too() -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.clusters.slurm import slurm_cluster\n"
        "with slurm_cluster() as one:\n    one.fill()\n    print(one.init, one.root, flush=True)\n    time.sleep(100)\n"
    )
    test = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert test.stdout is not None
    init, root = test.stdout.readline().split()
    test.kill()
    test.communicate(timeout=10)
    wait_for(lambda: not Path(f"/proc/{init}").exists(), "its first process has ended")
    inside = [path for path in Path("/proc").glob("[0-9]*/cmdline") if root.encode() in _read(path)]
    assert not inside
    shutil.rmtree(root)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
