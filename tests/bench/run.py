"""The budgets of this project, measured: `python tests/bench/run.py [--quick]`.

Every figure is taken side by side with its reference in one run, and printed as a ratio with its budget. Nothing
here fails: a slow machine is not a defect. Read the table.
"""

from __future__ import annotations

import argparse
import compileall
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench import (  # noqa: E402, RUF100
    cards,
    load,
    peers,
    processes,
    samples,
    screens,
    serving,
    serving_cancel,
    serving_litellm,
    streams,
)
from tests.bench.figure import Figure  # noqa: E402, RUF100
from tests.process.house import House, until  # noqa: E402, RUF100
from vllm_studio_tui.runs import control, read  # noqa: E402, RUF100

STUDIO = (sys.executable, "-m", "vllm_studio_tui")
BASE = (sys.executable, "-c", "pass")


def wall(argv: Sequence[str], environ: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(argv, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def in_turn(commands: Sequence[Sequence[str]], environ: dict[str, str], runs: int) -> list[float]:
    """Median seconds of each command; the commands are run in turn, so that drift hits all alike."""
    taken: list[list[float]] = [[] for _ in commands]
    for _ in range(runs + 1):
        for place, argv in enumerate(commands):
            taken[place].append(wall(argv, environ))
    return [statistics.median(times[1:]) for times in taken]


def quick_commands(home: House, runs: int) -> list[Figure]:
    fill(home, 20)
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(home.root), "VLLM_STUDIO_SIMULATE_GPUS": "8"}
    ours = (("--version",), ("status", "--json"), ("gpus", "--line"), ("status", "--line"))
    commands = [BASE, *((*STUDIO, *words) for words in ours)]
    base, version, status, gpus, line = (seconds * 1000 for seconds in in_turn(commands, environ, runs))
    return [
        Figure("vllm-studio --version", version, "ms", base, 3),
        Figure("status --json (20 runs on the disk)", status, "ms", base, 7),
        Figure("gpus --line (8 simulated GPUs)", gpus, "ms", base, 7),
        Figure("status --line (20 runs, 8 simulated GPUs)", line, "ms", base, 7),
    ]


def fill(home: House, count: int) -> None:
    """Ended runs, as they lie there after a few weeks."""
    for _ in range(count):
        run = home.launch(argv=(sys.executable, "-c", "pass"), again=True)
        until(lambda run=run: home.now(run).status.final and not home.now(run).keeper_alive, "ended")  # type: ignore[misc]


RECIPE = """
id: idle
name: idle
backend: custom
command: "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"
metrics_style: vllm
"""


def keeper(home: House, seconds: float) -> list[Figure]:
    """From the launching command's exec to the engine's first instant; then what an idle keeper costs."""
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(home.root)}
    recipe = home.root / "idle.yaml"
    recipe.write_text(RECIPE)
    subprocess.run([*STUDIO, "recipes", "import", str(recipe)], env=environ, check=True, stdout=subprocess.DEVNULL)
    taken = []
    for _ in range(3):
        begin = time.time()
        argv = [*STUDIO, "launch", "idle", "--wait", "--json"]
        subprocess.run(argv, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (run,) = read.live_runs(home.places)
        taken.append((run.status.started_at or begin) - begin)
        if len(taken) < 3:
            control.stop(run)
    pid = run.status.keeper_pid
    assert pid is not None
    time.sleep(2.0)  # past its start
    before = cpu_of(pid)
    time.sleep(seconds)
    share = (cpu_of(pid) - before) / seconds * 100
    rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    control.stop(run)
    return [
        Figure("keeper: launch command to engine spawned", statistics.median(taken) * 1000, "ms", None, 500),
        Figure("keeper: RSS", rss, "MB", None, 30),
        Figure(f"keeper: idle CPU over {seconds:g} s", share, "%", None, 0.2),
    ]


def cpu_of(pid: int) -> float:
    """CPU seconds so far, from schedstat: clock ticks are too coarse for a process that sleeps."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


BURST = """
import asyncio, json, resource, sys, time
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Ended, Sampling, Target
from vllm_studio_tui.inference.client import stream_chat
import openai, httpx2
async def main():
    target = Target(sys.argv[1], "sim")
    request = ChatRequest(({"role": "user", "content": "long"},), Sampling(max_tokens=int(sys.argv[2])))
    before = resource.getrusage(resource.RUSAGE_SELF); begin = time.perf_counter(); text = 0
    async for event in stream_chat(target, request):
        if isinstance(event, Delta): text += len(event.content)
        if isinstance(event, Ended): ended = event
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([cpu, time.perf_counter() - begin, text, ended.finish, ended.usage.completion_tokens]))
asyncio.run(main())
"""

PARSED = """
import asyncio, json, resource, sys, time
import openai
async def main():
    client = openai.AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    before = resource.getrusage(resource.RUSAGE_SELF); begin = time.perf_counter(); text = 0
    stream = await client.chat.completions.create(model="sim", messages=[{"role": "user", "content": "long"}],
        max_tokens=int(sys.argv[2]), stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        if chunk.choices: text += len(chunk.choices[0].delta.content or "")
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        time.perf_counter() - begin, text, "", 0]))
asyncio.run(main())
"""


def burst(home: House, tokens: int) -> list[Figure]:
    """A whole answer as fast as the engine can send it: our reader beside the client library's own events."""
    import json

    run = home.ready(home.launch("--tokens-per-second", "0", "--answer", f"long:{tokens}", "--max-context", "1000000"))
    results = {}
    for name, script in (("ours", BURST), ("theirs", PARSED), ("ours", BURST)):
        argv = [sys.executable, "-c", script, run.base_url or "", str(tokens)]
        done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT)
        results[name] = json.loads(done.stdout)
    control.stop(run)
    ours, theirs = results["ours"], results["theirs"]
    assert ours[2] == theirs[2], "both read the whole answer"
    return [
        Figure(f"chat core: {tokens // 1000}k-token burst, CPU", ours[0], "s", theirs[0], 0.33),
        Figure(f"chat core: {tokens // 1000}k-token burst, CPU", ours[0], "s", None, 0.6 * tokens / 32000),
    ]


def litellm(home: House, quick: bool, environment: Path | None) -> list[Figure]:
    if environment is None:
        print("(LiteLLM is not measured: name an environment of it with --litellm)", flush=True)
        return []
    return serving_litellm.litellm(home, quick, environment)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer runs, for a first look")
    arguments.add_argument("--screens", action="store_true", help="the screens too (some minutes)")
    arguments.add_argument("--cards", action="store_true", help="only chats with cards of tools and pictures")
    arguments.add_argument("--peers", action="store_true", help="only the monitor, beside nvitop")
    arguments.add_argument("--streams", action="store_true", help="only streams, beside curl")
    arguments.add_argument("--serve", action="store_true", help="only the server, beside bare proxies")
    arguments.add_argument("--samples", action="store_true", help="only a month of kept samples")
    arguments.add_argument("--litellm", type=Path, help="with --serve: an environment of LiteLLM, to measure it too")
    arguments.add_argument(
        "--model", type=Path, help="a GGUF for the embedded engine, else that of the demo is fetched"
    )
    given = arguments.parse_args()
    quick = given.quick
    # As pip leaves it: else each start would compile what was edited last.
    compileall.compile_dir(ROOT / "vllm_studio_tui", quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        home = House(Path(folder) / "home")
        steps: list[Callable[[], list[Figure]]] = [
            lambda: quick_commands(home, 5 if quick else 15),
            lambda: keeper(home, 10.0 if quick else 60.0),
            lambda: burst(home, 32_000),
            lambda: processes.processes(50 if quick else 200),
        ]
        framed: list[Callable[[], list[Figure]]] = [
            lambda: streams.framed(home, 5 if quick else 9),
            lambda: streams.faces(home, 3 if quick else 7),
            lambda: streams.embedded(home, 5 if quick else 9, given.model),
        ]
        steps = framed if given.streams else [*steps, *framed]
        beside: list[Callable[[], list[Figure]]] = [lambda: peers.monitors(20.0 if quick else 60.0)]
        if given.peers:
            steps = beside
        if given.serve:
            steps = [
                lambda: serving.serving(home, quick),
                lambda: load.load(quick),
                lambda: serving_cancel.cancelled(home, quick, given.model),
                lambda: litellm(House(Path(folder) / "litellm"), quick, given.litellm),
            ]
        if given.samples:
            steps = [lambda: samples.figures(quick=quick)]
        if given.cards:
            steps = cards.steps(home, quick)
        if given.screens:
            steps += [*screens.steps(home, quick), *cards.steps(House(Path(folder) / "cards"), quick), *beside]
        try:
            for step in steps:
                for figure in step():
                    print(figure.row(), flush=True)
        finally:
            home.end()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"(CPU of all children: {children.ru_utime + children.ru_stime:.1f} s; Python {sys.version.split()[0]})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
