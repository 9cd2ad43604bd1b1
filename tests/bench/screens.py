"""What the screens cost, in a real pty: start, rest, streaming, large chats and logs.

Each is taken beside a reference of the framework itself in the same run: a bare Textual app, and a minimal chat that
appends to Textual's own Markdown widget.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figure import Figure
from tests.process.house import House
from tests.terminal.pty_screen import Terminal, environment, studio
from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.runs import control
from vllm_studio_tui.studio import Studio

BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self): yield Static("READY-TO-READ")
Bare().run()
"""

STREAM = """
import asyncio, sys, threading, time
from textual.app import App
from textual.containers import VerticalScroll
from textual.widgets import Input, Markdown
import openai
class Chat(App):
    CSS = "VerticalScroll { height: 1fr; }"
    def compose(self):
        with VerticalScroll() as self.scroll: yield Markdown(id="m")
        yield Input(id="i")
    async def on_mount(self):
        self.scroll.anchor()
        self.query_one("#i").focus()
        self.run_worker(self.go())
    async def go(self):
        client = openai.AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
        stream = await client.chat.completions.create(model="sim", messages=[{"role": "user", "content": "long"}],
            max_tokens=int(sys.argv[2]), stream=True)
        out = Markdown.get_stream(self.query_one("#m"))
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content: await out.write(chunk.choices[0].delta.content)
        await out.stop()
        self.query_one("#i").placeholder = "ALL-IS-HERE"
        self.query_one("#i").value = ""
Chat().run()
"""


def cpu(pid: int) -> float:
    """CPU seconds of a process and all that it started."""
    import psutil

    total = 0.0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def seen(terminal: Terminal, words: bytes, start: int = 0, seconds: float = 120.0) -> float:
    """Wait until some bytes were written; the moment."""
    deadline = time.monotonic() + seconds
    while words not in terminal.raw[start:]:
        if time.monotonic() > deadline or terminal.process.poll() is not None:
            raise AssertionError(f"never written: {words!r}; the last: {bytes(terminal.raw[-2000:])!r}")
        time.sleep(0.002)
    return time.monotonic()


def new_chat(terminal: Terminal) -> None:
    """An empty transcript: what ended an earlier answer is not written again."""
    at = len(terminal.raw)
    terminal.send("\x0e")
    time.sleep(0.5)
    terminal.send("x")
    seen(terminal, b"x", at)
    terminal.send("\x7f")
    time.sleep(0.3)


def opened(argv: list[str], home: Path, words: bytes, **environ: str) -> tuple[Terminal, float]:
    """A program in a pty, and the milliseconds from its start until the words are on the screen."""
    begin = time.monotonic()
    terminal = Terminal(argv, environment(home, **environ), emulate=False)
    return terminal, (seen(terminal, words) - begin) * 1000


def start(home: House, times: int) -> list[Figure]:
    """To the first useful picture: what runs, and the recipes."""
    with Studio.open_sync(home.places) as one:
        for starter in one.recipes.starters():
            one.recipes.create(starter)
    ours, theirs = [], []
    for _ in range(times):
        terminal, took = opened([sys.executable, "-c", BARE], home.root, b"READY-TO-READ")
        terminal.close()
        theirs.append(took)
        terminal, took = opened(studio(), home.root, b"recipes are ready to launch")
        terminal.close()
        ours.append(took)
    return [
        Figure("screens: start to first useful paint", statistics.median(ours), "ms", statistics.median(theirs), 1.5)
    ]


#: Eight GPUs that change every second.
BUSY = "8," + ",".join(f"busy={index}" for index in range(8))


def rest(home: House, seconds: float) -> list[Figure]:
    """CPU and bytes while nobody does anything."""
    figures = []
    terminal, _ = opened(studio(), home.root, b"recipes are ready to launch")
    time.sleep(3.0)
    before, written = cpu(terminal.process.pid), len(terminal.raw)
    time.sleep(seconds)
    share = (cpu(terminal.process.pid) - before) / seconds * 100
    figures.append(Figure("screens: idle, no run, no GPU: CPU", share, "%", None, 0.3))
    figures.append(
        Figure("screens: idle, no run, no GPU: written", (len(terminal.raw) - written) / seconds, "B/s", None, 0)
    )
    terminal.close()
    run = home.ready(home.launch())
    terminal, _ = opened(studio("--screen", "monitor"), home.root, b"ENGINES", VLLM_STUDIO_SIMULATE_GPUS=BUSY)
    time.sleep(4.0)
    before, written = cpu(terminal.process.pid), len(terminal.raw)
    time.sleep(seconds)
    share = (cpu(terminal.process.pid) - before) / seconds * 100
    # nvitop, 8 GPUs at 1 s, took 1.50 % and 1600 B/s where these budgets were made.
    figures.append(Figure("screens: monitor, 8 GPUs, 1 engine: CPU", share, "%", None, 1.5))
    figures.append(
        Figure(
            "screens: monitor, 8 GPUs, 1 engine: written", (len(terminal.raw) - written) / seconds, "B/s", None, 1600
        )
    )
    terminal.close()
    control.stop(run)
    return figures


def reference(home: House, url: str, tokens: int) -> float:
    """CPU seconds of the framework's own way to stream the answer."""
    terminal = Terminal([sys.executable, "-c", STREAM, url, str(tokens)], environment(home.root), emulate=False)
    seen(terminal, b"ALL-IS-HERE", seconds=300)
    used = cpu(terminal.process.pid)
    terminal.close()
    return used


def streamed(
    home: House, rate: int, tokens: int, *, kind: str = "long", words: bytes = b"writing", beside: bool = False
) -> tuple[float, float, float, float]:
    """One answer in the chat: CPU seconds, lag and 95th percentile of keys in milliseconds, growth of memory in MB."""
    speed = ("--tokens-per-second", str(rate))
    run = home.ready(home.launch(*speed, "--answer", f"{kind}:{tokens}", "--max-context", "1000000"))
    terminal, _ = opened(studio("--screen", "chat"), home.root, b"anything.")
    time.sleep(1.5)
    new_chat(terminal)
    before, memory = cpu(terminal.process.pid), rss(terminal.process.pid)
    terminal.send("go")
    at = len(terminal.raw)
    terminal.send("enter")
    first = seen(terminal, words, at)
    keys: list[float] = []
    marks = [chr(code) for code in range(0x391, 0x3C9) if chr(code).isalpha()]
    expected = first + (tokens / rate if rate else 0.0)
    for mark in marks:
        if time.monotonic() > expected - 0.5 and keys:
            break
        position, begin = len(terminal.raw), time.monotonic()
        terminal.send(mark)
        keys.append((seen(terminal, mark.encode(), position) - begin) * 1000)
        time.sleep(0.15)
    ended = seen(terminal, b" tok in ", at, 300)
    lag = max(0.0, ended - expected) * 1000
    used = cpu(terminal.process.pid) - before
    grown = rss(terminal.process.pid) - memory
    url = run.base_url or ""
    theirs = reference(home, url, tokens) if beside else 0.0
    terminal.close()
    control.stop(run)
    keys.sort()
    return used / theirs if theirs else used, lag, keys[min(len(keys) - 1, int(len(keys) * 0.95))], grown


def streaming(home: House, quick: bool) -> list[Figure]:
    """The whole way from the engine to the terminal."""
    figures = []
    for name, rate, tokens, ratio, lag_budget, key_budget in (
        ("200 tok/s, 2k", 200, 2000, 0.34, 100, 60),
        ("1000 tok/s, 8k", 1000, 8000, 0.17, 150, 80),
        ("burst, 32k", 0, 32_000, 0.0, 1000, 100),
    ):
        beside = ratio if not (quick and tokens > 2000) else 0.0
        used, lag, key, grown = streamed(home, rate, tokens, beside=beside > 0)
        if beside:
            figures.append(Figure(f"chat, {name}: CPU beside get_stream", used, "x", None, ratio))
        else:
            figures.append(Figure(f"chat, {name}: CPU", used, "s", None, 2.5))
        if rate:
            figures.append(Figure(f"chat, {name}: lag at the end", lag, "ms", None, lag_budget))
        figures.append(Figure(f"chat, {name}: key p95", key, "ms", None, key_budget))
        if not rate:
            figures.append(Figure(f"chat, {name}: RSS growth", grown, "MB", None, 20))
    return figures


def unfinished(home: House) -> list[Figure]:
    """A table and a block of code that are open all the while."""
    figures = []
    for name, kind, tokens, words in (
        ("open table, 8k", "open-table", 8000, b"of the table"),
        ("open fence, 16k", "open-fence", 16_000, b"value_"),
    ):
        used, lag, key, _ = streamed(home, 1000, tokens, kind=kind, words=words)
        figures.append(Figure(f"chat, {name} at 1000 tok/s: CPU", used, "s", None, tokens / 1000))
        figures.append(Figure(f"chat, {name} at 1000 tok/s: lag at the end", lag, "ms", None, 500))
        figures.append(Figure(f"chat, {name} at 1000 tok/s: key p95", key, "ms", None, 150))
    return figures


def large(home: House) -> list[Figure]:
    """A chat of a thousand messages, ten thousand chats, a log of a gigabyte: beside an empty one of each."""
    figures = []
    small = House(home.root / "small")
    big = House(home.root / "big")
    with Studio.open_sync(small.places) as one:
        one.chat.new_session("an empty chat")
    with Studio.open_sync(big.places) as one:
        session = one.chat.new_session("a long chat")
        parent = None
        with one.db.write():
            for number in range(1000):
                role = "assistant" if number % 2 else "user"
                text = f"message {number} " + "some **words** of it\n\n- a\n- b\n" * 4
                parent = one.chat.messages.append(Message("", session, role, text, parent, finish="stop")).id
    for name, house in (("small", small), ("big", big)):
        (house.places.state).mkdir(parents=True, exist_ok=True)
        with Studio.open_sync(house.places) as one:
            (house.places.state / "desk.json").write_text(f'{{"session": "{one.chat.sessions.list()[0].id}"}}')
        assert name
    taken: dict[str, list[float]] = {"small": [], "big": []}
    for _ in range(3):
        for name, house, words in (("small", small, b"an empty chat"), ("big", big, b"message 999")):
            terminal, took = opened(studio("--screen", "chat"), house.root, words)
            terminal.close()
            taken[name].append(took)
    more = statistics.median(taken["big"]) - statistics.median(taken["small"])
    figures.append(Figure("chat of 1 000 messages: more than an empty one", max(0.0, more), "ms", None, 100))
    with Studio.open_sync(big.places) as one, one.db.write():
        for number in range(10_000):
            one.chat.sessions.create(f"chat number {number}")
    begin = time.monotonic()
    with Studio.open_sync(big.places) as one:
        one.chat.sessions.list(limit=200)
    figures.append(Figure("10 000 chats: the list", (time.monotonic() - begin) * 1000, "ms", None, 150))
    from vllm_studio_tui.runs.log_text import LogText

    path = home.root / "huge.log"
    with path.open("wb") as stream:
        block = b"".join(b"INFO 11-23 08:02:30 line %06d of the log\n" % number for number in range(25_000))
        while stream.tell() < 1 << 30:
            stream.write(block)
    begin = time.monotonic()
    log = LogText(path)
    log.tail(800)
    figures.append(Figure("log of 1 GiB: opened at its end", (time.monotonic() - begin) * 1000, "ms", None, 50))
    path.unlink()
    return figures


def write_models(folder: Path, number: int) -> None:
    """Write so many small models: a configuration and the head of a file of weights."""
    head = json.dumps({"w": {"dtype": "BF16", "shape": [64, 64], "data_offsets": [0, 8192]}}).encode()
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64,
              "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192}  # fmt: skip
    for index in range(number):
        place = folder / f"model-{index:03d}"
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config))
        (place / "tokenizer.json").write_text("{}")
        (place / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(8192))


def models(home: House, times: int) -> list[Figure]:
    """The models screen with five hundred models, beside an empty one; what it costs while nothing changes."""
    empty, full = House(home.root / "no-models"), House(home.root / "models")
    write_models(full.places.data / "models", 500)
    taken: dict[bytes, list[float]] = {b"No models on": [], b"model-000": []}
    for count in range(times + 1):
        for house, words in ((empty, b"No models on"), (full, b"model-000")):
            terminal, took = opened(studio("--screen", "models"), house.root, words, HF_HUB_CACHE=os.devnull)
            terminal.close()
            if count:  # the first look reads every head; they are remembered
                taken[words].append(took)
    more = statistics.median(taken[b"model-000"]) - statistics.median(taken[b"No models on"])
    terminal, _ = opened(studio("--screen", "models"), full.root, b"model-000", HF_HUB_CACHE=os.devnull)
    time.sleep(4.0)
    before, written = cpu(terminal.process.pid), len(terminal.raw)
    time.sleep(10.0)
    used, more_written = (cpu(terminal.process.pid) - before) / 10, (len(terminal.raw) - written) / 10
    terminal.close()
    return [
        Figure("500 models: the screen, more than without any", max(0.0, more), "ms", None, 100),
        Figure("500 models: idle: CPU", used * 100, "%", None, 0.5),
        Figure("500 models: idle: written", more_written, "B/s", None, 0),
    ]


def flood(home: House) -> list[Figure]:
    """Keys while an engine writes as fast as it can into the log that is followed."""
    run = home.ready(home.launch())
    terminal, _ = opened(studio("--screen", "logs"), home.root, b"STAGES")
    time.sleep(1.5)
    writer = subprocess.Popen(
        [sys.executable, "-c", "import time\nend=time.time()+8\nwhile time.time()<end:\n"
         " print('\\n'.join('INFO 11-23 08:02:30 flood %d' % i for i in range(1000)), flush=True)\n time.sleep(0.02)"],
        stdout=run.log.open("ab"),
    )  # fmt: skip
    time.sleep(1.0)
    keys: list[float] = []
    for _ in range(12):
        position, begin = len(terminal.raw), time.monotonic()
        terminal.send("f1")
        seen(terminal, b"EVERYWHERE", position)
        keys.append((time.monotonic() - begin) * 1000)
        position = len(terminal.raw)
        terminal.send("escape")
        seen(terminal, b"STAGES", position)  # it has closed, and the log is no longer dimmed
        time.sleep(0.3)  # a key that comes with the end of an escape is another key
    writer.wait()
    memory = rss(terminal.process.pid)
    terminal.close()
    control.stop(run)
    keys.sort()
    return [
        Figure("log at 50 000 lines/s: help opens, p50", statistics.median(keys), "ms", None, 100),
        Figure("screens: RSS after a flood", memory, "MB", None, 120),
    ]


def steps(home: House, quick: bool) -> list[Callable[[], list[Figure]]]:
    """What is measured, in order."""
    return [
        lambda: start(home, 3 if quick else 9),
        lambda: rest(home, 8.0 if quick else 30.0),
        lambda: streaming(home, quick),
        lambda: unfinished(home),
        lambda: large(home),
        lambda: flood(home),
        lambda: models(home, 3 if quick else 7),
    ]
