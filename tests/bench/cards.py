"""What cards of tool calls and pictures cost the chat that holds them, each beside a chat of as many plain messages.

Every chat has the same questions and answers; one has a call with its result between them, one the same unfolded, one
a picture with each question. All are measured in one run, in turn, so that a ratio is theirs and not the machine's.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import Callable

from tests.bench.figure import Figure
from tests.bench.screens import cpu, opened, rss, seen
from tests.pictures import picture
from tests.process.house import House
from tests.terminal.pty_screen import Terminal, studio
from vllm_studio_tui.domain.chat import Message, ToolCall
from vllm_studio_tui.domain.tools import MAX_RESULT
from vllm_studio_tui.runs import control
from vllm_studio_tui.studio import Studio

#: Questions of each chat, and those of them whose cards are unfolded.
ROUNDS, UNFOLDED = 60, 4
#: Pages up, and down again.
PAGES = 20
KINDS = ("plain", "cards", "unfolded", "pictures")
TEXT = "some **words** of it, and `more` of them\n\n- a\n- b\n"
RESULT = "\n".join(f"line {number} of what the tool found, with some words" for number in range(12))


def filled(house: House, kind: str) -> None:
    """A chat of one kind, which the screens open with."""
    whole = "".join(f"{number:06d} of a large result that nobody reads\n" for number in range(2000))[:MAX_RESULT]
    url = "data:image/jpeg;base64," + base64.b64encode(picture("JPEG", (640, 480))).decode()
    with Studio.open_sync(house.places) as one:
        session = one.chat.new_session(f"a chat of {kind}")
        parent = None

        def add(role: str, text: str, **facts: object) -> None:
            nonlocal parent
            made = Message("", session, role, text, parent, finish="stop", **facts)  # type: ignore[arg-type]
            parent = one.chat.messages.append(made).id

        with one.db.write():
            for number in range(ROUNDS):
                add("user", f"question {number}", images=(url,) if kind == "pictures" else ())
                if kind in ("cards", "unfolded"):
                    call = ToolCall(f"c{number}", "shell__run", json.dumps({"command": f"sar -d -s 14:{number:02d}"}))
                    add("assistant", TEXT, tool_calls=(call,))
                    found = whole if number == ROUNDS - 2 else RESULT
                    add("tool", found, tool_call_id=call.id, details={"call": {"how": "done", "seconds": 0.2}})
                else:
                    add("assistant", TEXT)
                    add("user", RESULT)
                add("assistant", f"answer {number}\n\n{TEXT * 4}")
        house.places.state.mkdir(parents=True, exist_ok=True)
        (house.places.state / "desk.json").write_text(json.dumps({"session": session}))


def shown(house: House) -> tuple[Terminal, float]:
    """The chat on the screen, and the milliseconds until its end was there."""
    return opened(studio("--screen", "chat"), house.root, f"answer {ROUNDS - 1}".encode())


def written(terminal: Terminal, key: str, words: bytes = b"", seconds: float = 0.5) -> float | None:
    """Send a key; the milliseconds until something, or these words, were written. None: nothing was."""
    at, begin = len(terminal.raw), time.monotonic()
    terminal.send(key)
    while time.monotonic() - begin < seconds:
        if words in terminal.raw[at:] if words else len(terminal.raw) > at:
            return (time.monotonic() - begin) * 1000
        time.sleep(0.001)
    return None


def unfold(terminal: Terminal) -> float:
    """Unfold the last cards, whole; the longest milliseconds until one stood there, the large one among them."""
    written(terminal, "tab")
    longest = 0.0
    found = 0
    for _ in range(UNFOLDED * 5):
        written(terminal, "up", seconds=0.2)
        time.sleep(0.1)
        if written(terminal, "enter", b"arguments") is None:
            continue
        time.sleep(0.3)
        longest = max(longest, written(terminal, "enter") or 0.0)
        time.sleep(0.3)
        found += 1
        if found == UNFOLDED:
            break
    assert found == UNFOLDED, f"{found} cards were unfolded"
    written(terminal, "escape")
    time.sleep(0.3)
    written(terminal, "tab")
    time.sleep(0.3)
    return longest


def paged(terminal: Terminal) -> tuple[float, float]:
    """Through the whole chat by pages, up and down: CPU seconds, and the longest time of a page in milliseconds."""
    terminal.send("tab")
    time.sleep(0.3)
    before, longest = cpu(terminal.process.pid), 0.0
    for key in ["pageup"] * PAGES + ["pagedown"] * PAGES:
        longest = max(longest, written(terminal, key, seconds=0.2) or 0.0)
        time.sleep(0.04)
    used = cpu(terminal.process.pid) - before
    terminal.send("escape")
    time.sleep(0.3)
    terminal.send("tab")
    time.sleep(0.3)
    return used, longest


def streamed(terminal: Terminal, rate: int, tokens: int) -> tuple[float, float, float]:
    """One answer below all of it: CPU seconds, lag at the end and 95th percentile of keys in milliseconds."""
    before = cpu(terminal.process.pid)
    terminal.send("go")
    at = len(terminal.raw)
    terminal.send("enter")
    first = seen(terminal, b"writing", at)
    keys: list[float] = []
    expected = first + tokens / rate
    for mark in (chr(code) for code in range(0x391, 0x3C9) if chr(code).isalpha()):
        if time.monotonic() > expected - 0.5 and keys:
            break
        position, begin = len(terminal.raw), time.monotonic()
        terminal.send(mark)
        keys.append((seen(terminal, mark.encode(), position) - begin) * 1000)
        time.sleep(0.15)
    lag = max(0.0, seen(terminal, b" tok in ", at, 300) - expected) * 1000
    keys.sort()
    return cpu(terminal.process.pid) - before, lag, keys[min(len(keys) - 1, int(len(keys) * 0.95))]


def cards(home: House, quick: bool) -> list[Figure]:
    """Each kind beside the plain one."""
    rate, tokens, budget = (200, 1000, (100, 60)) if quick else (1000, 8000, (150, 80))
    houses = {kind: House(home.root / kind) for kind in KINDS}
    for kind, house in houses.items():
        filled(house, kind)
    opening: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(2 if quick else 3):
        for kind in ("plain", "cards", "pictures"):
            terminal, took = shown(houses[kind])
            terminal.close()
            opening[kind].append(took)
    taken: dict[str, tuple[float, float, float]] = {}
    pages: dict[str, tuple[float, float]] = {}
    whole = grown = 0.0
    for kind, house in houses.items():
        speed = ("--tokens-per-second", str(rate), "--max-context", "1000000")
        run = house.ready(house.launch(*speed, "--answer", f"long:{tokens}"))
        terminal, _ = shown(house)
        time.sleep(2.0)
        if kind == "unfolded":
            whole = unfold(terminal)
        memory = rss(terminal.process.pid)
        pages[kind] = paged(terminal)
        taken[kind] = streamed(terminal, rate, tokens)
        grown = max(grown, rss(terminal.process.pid) - memory)
        terminal.close()
        control.stop(run)
        house.end()
    name = f"{ROUNDS} questions, {rate} tok/s, {tokens // 1000}k"
    plain = taken["plain"]
    figures = [Figure(f"plain, {name}: CPU", plain[0], "s", None, tokens / 1000)]
    for kind in KINDS[1:]:
        used, lag, key = taken[kind]
        figures += [
            Figure(f"{kind}, {name}: CPU", used, "s", plain[0], 1.2),
            Figure(f"{kind}: lag at the end", lag, "ms", None, budget[0]),
            Figure(f"{kind}: key p95", key, "ms", None, budget[1]),
            Figure(f"{kind}: {2 * PAGES} pages: CPU", pages[kind][0], "s", pages["plain"][0], 2.0),
            Figure(f"{kind}: the longest page", pages[kind][1], "ms", None, 100),
        ]
    for kind in ("cards", "pictures"):
        more = statistics.median(opening[kind]) - statistics.median(opening["plain"])
        figures.append(Figure(f"{kind}: opened, more than plain", max(0.0, more), "ms", None, 100))
    figures.append(Figure("a result of 64 KiB is unfolded", whole, "ms", None, 100))
    figures.append(Figure("cards and pictures: RSS growth", grown, "MB", None, 20))
    return figures


def steps(home: House, quick: bool) -> list[Callable[[], list[Figure]]]:
    """What is measured."""
    return [lambda: cards(home, quick)]
