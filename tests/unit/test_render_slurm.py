"""Scripts for SLURM: what SLURM is told, and what a shell makes of them where `srun` only starts what it is given."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import until
from tests.unit.test_render import BOXED, CODER, CUSTOM, GGUF, OTHERS, recipe, source
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_parts import Handover
from vllm_studio_tui.services.render import slurm
from vllm_studio_tui.services.render.registry import render
from vllm_studio_tui.services.render.source import RenderedRecipe

SPREAD = recipe(
    id="spread", model_path="/models/x y", tensor_parallel_size=8, strategy="tp", port=8001,
    handover={"to": "slurm", "nodes": 4},
)  # fmt: skip
COPIES = recipe(
    id="copies", backend="sglang", model_path="org/m", tensor_parallel_size=2, strategy="tp",
    handover={"to": "slurm", "nodes": 2},
)  # fmt: skip
RANKED = recipe(
    id="ranked", backend="custom", command="srv --rank={rank} --at {head}:{master_port} --me {address} --port {port}",
    strategy="tp", handover={"to": "slurm", "nodes": 2},
)  # fmt: skip
HOSTILE = 'it\'s "$(touch pwned)" `id` ;&|<>\\ $HOME *'


def handed(one: Recipe, **told: Any) -> Recipe:
    return one.model_copy(update={"handover": Handover(to="slurm", **told)})


def rendered(one: Recipe) -> RenderedRecipe:
    return source(one).recipes[0]


def text_of(one: Recipe) -> str:
    return render("slurm", source(one))[f"{one.id}.sbatch"]


def told(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_sbatch_is_told_what_the_recipe_says() -> None:
    text = text_of(
        handed(
            CODER, partition="gpu", account="lab", time_limit="1-00:00:00", accelerator="h100", cpus=8, memory="64G",
            options=("--qos", "high", "--constraint=a&b", "-x", "n7", "--comment=of mine"),
        )
    )  # fmt: skip
    assert told(text) == [
        "--job-name=coder", "--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=h100:2", "--cpus-per-task=8",
        "--mem=64G", "--time=1-00:00:00", "--partition=gpu", "--account=lab", "--output=coder-%j.log", "--no-requeue",
        "--signal=B:USR1@30", "--export=ALL,CODER_HF_TOKEN,CODER_KEY", "--qos=high", '"--constraint=a&b"', "-xn7",
        '"--comment=of mine"',
    ]  # fmt: skip
    assert "CUDA_VISIBLE_DEVICES" not in text
    assert 'export VLLM_API_KEY="${CODER_KEY:?the secret of VLLM_API_KEY}"' in text


def test_a_further_option_goes_before_ours_and_gpus_are_asked_for_once() -> None:
    lines = told(text_of(handed(CODER, options=("-o", "/scratch/%j.log", "--gres=gpu:a100:2", "--requeue"))))
    assert not any(line.startswith(("--output", "--gpus", "--no-requeue")) for line in lines)
    assert lines[-3:] == ["-o/scratch/%j.log", "--gres=gpu:a100:2", "--requeue"]


@pytest.mark.parametrize(
    ("one", "gpus"),
    [
        (CODER, 2),
        (GGUF, 1),
        (CODER.model_copy(update={"gpus": ()}), 2),
        (CODER.model_copy(update={"gpus": (), "extra_args": {"device": "cpu"}}), 0),
        (GGUF.model_copy(update={"gpus": ()}), 0),
        (handed(GGUF.model_copy(update={"gpus": ()}), accelerator="l4"), 1),
    ],
)
def test_gpus_are_counted_not_named(one: Recipe, gpus: int) -> None:
    assert slurm.gpus_a_node(one) == gpus


@pytest.mark.parametrize(
    ("one", "cause"),
    [
        (BOXED, "its runtime is docker, which nodes of SLURM do not have"),
        (OTHERS, "it is run by somebody else"),
        (handed(CODER, options=("--array=1-4",)), "with --array it is not one job"),
        (handed(CODER, options=("-W",)), "with --wait it is not one job"),
        (handed(CODER, options=("-Jmine",)), "with --job-name it is not one job"),
        (handed(CODER, options=('--comment=a"b',)), "cannot be written into a line of #SBATCH"),
    ],
)
def test_what_cannot_be_a_job_is_refused_in_words(one: Recipe, cause: str) -> None:
    with pytest.raises(StudioError, match="no recipe can be written as slurm") as error:
        render("slurm", source(one))
    assert cause in error.value.cause


def test_ranks_of_several_nodes_find_each_other_by_what_slurm_tells_them() -> None:
    text = text_of(SPREAD)
    assert {"--nodes=4", "--gpus-per-node=2"} <= set(told(text))
    first, other = text[text.index("rank() {") : text.index("\nsrun")].split("  fi\n")
    for words in (first, other):
        assert "--nnodes 4" in words
        assert '--master-addr "$head"' in words
        assert '--master-port "$meet"' in words
    assert ("--node-rank 0" in first, "--headless" in first) == (True, False)
    assert ('--node-rank "$SLURM_NODEID"' in other, "--headless" in other) == (True, True)
    assert "srun --ntasks=4 --ntasks-per-node=1 --label" in text


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"strategy": "pd"}, "its parts on several nodes are not alike"),
        ({"extra_args": {"distributed_executor_backend": "ray"}}, "Ray places its ranks"),
        ({"tensor_parallel_size": 3}, "3 cannot be split over 4 machines"),
    ],
)
def test_what_cannot_be_ranks_of_a_job_is_refused_in_words(fields: dict[str, Any], cause: str) -> None:
    with pytest.raises(StudioError) as error:
        render("slurm", source(SPREAD.model_copy(update=fields)))
    assert cause in error.value.cause


def test_who_can_use_it_without_a_key_is_said() -> None:
    assert "It has no api_key" in text_of(CUSTOM)
    assert "It has no api_key" not in text_of(CODER)


@pytest.mark.parametrize("one", [CODER, GGUF, CUSTOM, SPREAD, COPIES, RANKED], ids=lambda one: one.id)
def test_shells_have_nothing_against_it(one: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "job"
    told = {"nodes": one.handover.nodes, "cpus": 2, "setup": ("module load x",), "options": ("--comment=it's $HOME",)}
    path.write_text(text_of(handed(one, **told)))
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        # 2016: words in single quotes are meant to be as they are; 2317: `rank` is called by the shell of the step.
        done = subprocess.run(
            ["shellcheck", "--exclude=SC2016,SC2317", path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


class Node:
    """A node as the script sees it: `srun` starts what it is given, and `scontrol` notes what it was told."""

    def __init__(self, place: Path) -> None:
        self.place, self.bin = place, place / "bin"
        self.bin.mkdir()
        self.program("scontrol", f'[ "$2" = hostnames ] && printf "127.0.0.1\\nn2\\n" || echo "$@" >> {place}/scontrol')
        self.program("srun", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
        self.program("scancel", f"kill -TERM $(cat {place}/pid)")
        lines = [
            "import json, os, signal, sys, time",
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))",
            "open('pid', 'w').write(str(os.getpid()))",
            "json.dump([sys.argv[1:], dict(os.environ)], open('told.new', 'w'))",
            "os.rename('told.new', 'told')",
            "time.sleep(60)",
        ]
        (place / "engine.py").write_text("\n".join(lines))
        self.program("engine", f'exec python3 {place}/engine.py "$@"')

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(stat.S_IRWXU)

    def start(self, script: str, **env: str) -> subprocess.Popen[str]:
        (self.place / "job").write_text(f"#!/bin/bash\n{script}")
        environ = {
            "PATH": f"{self.bin}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7", **env
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", "job"], cwd=self.place, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def told(self) -> tuple[list[str], dict[str, str]]:
        until((self.place / "told").exists, "the engine is started")
        words, environ = json.loads((self.place / "told").read_text())
        return words, environ


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def own(node: Node, **fields: Any) -> Recipe:
    line = f"{node.bin}/engine --host {{host}} --port {{port}} --json {shlex.quote(HOSTILE)}"
    return recipe(id="own", backend="custom", command=line, handover={"to": "slurm"}, **fields)


def test_every_word_and_variable_arrives_as_it_is_in_the_recipe(node: Node) -> None:
    wanted = free_port()
    one = own(node, env_vars={"NOTE": HOSTILE, "TOKEN": "env:THEIRS"}, port=wanted)
    script, _ = slurm.script(rendered(one), name="own-1", output="x")
    job = node.start(script, THEIRS=HOSTILE)
    words, environ = node.told()
    job.send_signal(signal.SIGTERM)
    assert words == ["--host", "0.0.0.0", "--port", str(wanted), "--json", HOSTILE]  # noqa: S104
    assert (environ["NOTE"], environ["TOKEN"]) == (HOSTILE, HOSTILE)
    assert (node.place / "scontrol").read_text().split("=", 2)[1:] == [
        "7 Comment", f"vllm-studio serves at 127.0.0.1:{wanted}\n"
    ]  # fmt: skip
    assert not (node.place / "pwned").exists()
    node_end(node, job)


def node_end(node: Node, job: subprocess.Popen[str]) -> str:
    """End the engine, as SLURM does; return what the script printed."""
    subprocess.run([node.bin / "scancel"], check=False)
    out, _ = job.communicate(timeout=30)
    return out


def test_a_script_waits_for_the_engine_when_its_job_is_cancelled(node: Node) -> None:
    script, _ = slurm.script(rendered(own(node, port=free_port())))
    job = node.start(script)
    node.told()
    job.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.5)
    node_end(node, job)
    assert job.returncode == 3


def test_before_its_time_limit_the_engine_is_told_to_end_and_the_script_says_why(node: Node) -> None:
    script, _ = slurm.script(rendered(own(node, port=free_port())))
    job = node.start(script)
    node.told()
    job.send_signal(signal.SIGUSR1)
    out, _ = job.communicate(timeout=30)
    assert "the time limit is near" in out
    assert job.returncode == 124


def test_a_port_that_another_job_of_the_node_has_is_not_taken(node: Node) -> None:
    wanted = free_port()
    with socket.create_server(("127.0.0.1", wanted)):
        job = node.start(slurm.script(rendered(own(node, port=wanted)))[0])
        words, _ = node.told()
    out = node_end(node, job)
    assert int(words[3]) > wanted
    assert f"vllm-studio serves at 127.0.0.1:{words[3]}\n" in out


def test_a_rank_fills_in_its_number_the_head_and_the_ports(node: Node) -> None:
    wanted = free_port()
    line = f"{node.bin}/engine --rank={{rank}} --at {{head}}:{{master_port}} --me {{address}} --port {{port}} 'a $b'"
    one = recipe(
        id="own", backend="custom", command=line, strategy="tp", port=wanted, handover={"to": "slurm", "nodes": 2}
    )
    job = node.start(slurm.script(rendered(one))[0], SLURM_NODEID="1", SLURMD_NODENAME="n2")
    words, _ = node.told()
    assert words == [
        "--rank=1", "--at", f"127.0.0.1:{wanted + 1}", "--me", "n2", "--port", str(wanted), "a $b",
    ]  # fmt: skip
    node_end(node, job)


def test_without_its_secret_a_job_does_not_start(node: Node) -> None:
    job = node.start(slurm.script(rendered(own(node, env_vars={"TOKEN": "env:THEIRS"})))[0])
    out, _ = job.communicate(timeout=30)
    assert job.returncode != 0
    assert "THEIRS: the secret of TOKEN" in out
