"""Answers as real servers send them, beside curl: how long they take to be read, and the speed that is shown.

One HTTP chunk an event, as uvicorn and llama.cpp send them; the same in tiny segments; and the embedded engine.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.screens import new_chat, opened, seen
from tests.process.house import House
from tests.terminal.pty_screen import studio
from vllm_studio_tui.runs import control

ROOT = Path(__file__).resolve().parents[2]
#: Reads answers one after the other, when told to: wall seconds, the end's figures, CPU seconds.
READER = """
import asyncio, json, sys, time
from vllm_studio_tui.domain.chat import ChatRequest, Sampling, Target
from vllm_studio_tui.inference.client import load, stream_chat
load()
async def one():
    sampling = Sampling(temperature=0, max_tokens=int(sys.argv[4]))
    request = ChatRequest(({"role": "user", "content": sys.argv[3]},), sampling)
    begin, cpu = time.perf_counter(), time.process_time()
    async for event in stream_chat(Target(sys.argv[1], sys.argv[2]), request):
        pass
    took, used = time.perf_counter() - begin, time.process_time() - cpu
    print(json.dumps([took, event.timings.tokens_per_second, event.usage.completion_tokens, used]), flush=True)
for _ in sys.stdin:
    asyncio.run(one())
"""
Pick = Callable[[list[float]], float]


def curl(url: str, model: str, prompt: str, tokens: int) -> tuple[float, float]:
    """Seconds that curl takes, in all and from the first byte."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True}
    form = "%{time_total} %{time_starttransfer}"
    argv = [
        "curl",
        "-sNf",
        "-m",
        "300",
        "-o",
        os.devnull,
        "-w",
        form,
        f"{url}/chat/completions",
        "-d",
        json.dumps(body),
    ]
    argv += ["-H", "Content-Type: application/json"]
    whole, first = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return float(whole), float(whole) - float(first)


class Reader:
    """Our reader in a process of its own, warm."""

    def __init__(self, url: str, model: str, prompt: str, tokens: int) -> None:
        argv = [sys.executable, "-c", READER, url, model, prompt, str(tokens)]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self) -> tuple[float, float, int, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        took, speed, tokens, used = json.loads(self._process.stdout.readline())
        return took, speed, tokens, used

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def beside_curl(
    name: str, url: str, model: str, prompt: str, tokens: int, runs: int, budget: float, best: Pick = statistics.median
) -> list[Figure]:
    """Our reader and curl in turn.

    Args:
        best: Which of the runs counts: where the engine itself shares its cores with others, the fastest.
    """
    reader = Reader(url, model, prompt, tokens)
    ours, theirs, speeds = [], [], []
    for _ in range(runs):
        whole, body = curl(url, model, prompt, tokens)
        took, speed, count, _ = reader.read()
        theirs.append(whole)
        ours.append(took)
        speeds.append(abs(speed * body / (count - 1) - 1) * 100)
    reader.close()
    return [
        Figure(f"{name}: wall time", best(ours), "s", best(theirs), budget),
        Figure(f"{name}: speed shown, off by", best(speeds), "%", None, 5),
    ]


def framed(home: House, runs: int) -> list[Figure]:
    """600 tokens at 1 000 tok/s, in each framing."""
    figures = []
    for framing in ("uvicorn", "llamacpp", "tiny"):
        flags = ("--answer", "long:600", "--tokens-per-second", "1000", "--framing", framing)
        run = home.ready(home.launch(*flags))
        figures += beside_curl(f"600 at 1000 tok/s, {framing}", run.base_url or "", "sim", "go", 600, runs, 1.2)
        control.stop(run)
    return figures


def faces(home: House, runs: int) -> list[Figure]:
    """The same through the command and through the screen."""
    run = home.ready(home.launch("--answer", "long:600", "--tokens-per-second", "1000"))
    url = run.base_url or ""
    theirs = statistics.median(curl(url, "sim", "go", 600)[0] for _ in range(runs))
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(home.root)}
    took, speeds = [], []
    for _ in range(runs):
        argv = [
            sys.executable,
            "-m",
            "vllm_studio_tui",
            "chat",
            "--base-url",
            url,
            "--model",
            "sim",
            "--json",
            "--no-save",
        ]
        process = subprocess.Popen([*argv, "go"], env=environ, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first, last, line = None, 0.0, ""
        for line in process.stdout:  # noqa: B007, RUF100
            last = time.monotonic()
            first = first or last
        process.wait()
        stats = json.loads(line)
        took.append(last - (first or last) + stats["ttft"])
        speeds.append(abs(stats["tokens_per_second"] / 1000 - 1) * 100)
    figures = [
        Figure("chat command, 600 at 1000 tok/s: wall time", statistics.median(took), "s", theirs, 1.2),
        Figure("chat command: speed shown, off by", statistics.median(speeds), "%", None, 5),
    ]
    terminal, _ = opened(studio("--screen", "chat"), home.root, b"anything.")
    time.sleep(1.5)
    took, speeds, whole = [], [], []
    body = statistics.median(curl(url, "sim", "go", 600)[1] for _ in range(runs))
    for _ in range(runs):
        new_chat(terminal)
        terminal.send("go")
        at = len(terminal.raw)
        begin = time.monotonic()
        terminal.send("enter")
        first = seen(terminal, b"writing", at)
        ended = seen(terminal, b" tok in ", at)
        took.append(ended - first)
        whole.append(ended - begin)
        time.sleep(0.3)
        # The line below the answer: the rail has the speed of the engine too, over an interval in which it also rested.
        shown = re.findall(rb"([\d.]+) tok/s +\d+ tok in ", bytes(terminal.raw[at:]))
        speeds.append(abs(float(shown[-1]) / 1000 - 1) * 100)
        time.sleep(0.5)
    terminal.close()
    control.stop(run)
    figures += [
        Figure("chat screen, 600 at 1000 tok/s: first word to figures", statistics.median(took), "s", body, 1.2),
        Figure("chat screen, the same: Enter to figures", statistics.median(whole), "s", theirs, 1.2),
        Figure("chat screen: speed shown, off by", statistics.median(speeds), "%", None, 5),
    ]
    return figures


def embedded(home: House, runs: int, model: Path | None) -> list[Figure]:
    """A real engine: the small model of the demo in the embedded llama.cpp."""
    from vllm_studio_tui.domain.recipe_reading import parse_recipe
    from vllm_studio_tui.services import demo
    from vllm_studio_tui.studio import Studio

    with Studio.open_sync(home.places) as one:
        path = demo.fetch(home.places, model, lambda _: None)
        recipe, _ = parse_recipe(
            {"id": "bench-real", "name": "bench-real", "backend": "llamacpp", "model_path": str(path)}
        )
        run = home.ready(one.launcher.launch(one.recipes.create(recipe)))
        target = one.launcher.target(recipe="bench-real")
    figures = []
    prompt = "Count from one to fifty in words."
    for tokens in (40, 200):
        name = f"embedded engine, {tokens} tokens"
        curl(target.base_url, target.model, prompt, tokens)  # the prompt is in its cache for both
        figures += beside_curl(name, target.base_url, target.model, prompt, tokens, runs, 1.05, min)
    control.stop(run)
    return figures
