"""The simulated engine's answers. A token is a piece of text; joined, the pieces give the text."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

_PIECE = re.compile(r"\s*\S{1,6}|\s+$")

POEM = """The fans turn over in the racks at night,
and no one asks them what they mean to say.
A row of LEDs blinks its quiet light;
the weights are warm; the prompt is far away.
"""

MARKDOWN = """# What a KV cache is

While a model writes, each new token looks back at **all** earlier ones. Their *keys* and *values* do not change,
so they are kept:

- memory grows with the length of the context,
- each step stays cheap,
- and a shared prefix can be used again.

> Full is not broken: requests wait.

| what | grows with |
|---|---|
| weights | nothing |
| KV cache | tokens × layers |

```python
def kv_bytes(tokens: int, layers: int, heads: int, dim: int) -> int:
    return 2 * tokens * layers * heads * dim * 2  # bf16
```

1. Look at `kv_cache_usage`.
2. If it is near 1, shorten the context.
"""

CODE = """```python
def fib(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
```
"""

TABLE = "| n | square | cube |\n|--:|--:|--:|\n" + "".join(f"| {n} | {n * n} | {n**3} |\n" for n in range(1, 40))

THOUGHT = "The person wants a short answer. I look at what I know, check it once, and say it plainly.\n"
LOREM = "The simulated engine goes on writing words that mean little but come at a steady pace. "


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: pieces of thinking, pieces of text, and perhaps a tool call (name, arguments as JSON)."""

    thinking: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    call: tuple[str, str] | None = None


def pieces(text: str) -> tuple[str, ...]:
    """Cut a text into tokens of a few characters."""
    found = tuple(_PIECE.findall(text))
    return found if "".join(found) == text else (text,)


def count(text: str) -> int:
    """Return the number of tokens of a text."""
    return len(pieces(text)) if text else 0


def long(tokens: int) -> tuple[str, ...]:
    """Return so many tokens of plain words."""
    return tuple(islice(cycle(pieces(LOREM)), max(0, tokens)))


def open_table(tokens: int) -> tuple[str, ...]:
    """Return a table of so many tokens that never ends."""
    rows = (f"| {number} | row **{number}** of the table | {number * 17 % 1000} |\n" for number in itertools.count(1))
    text = pieces("| n | what | value |\n|--:|---|--:|\n")
    return (*text, *islice((piece for row in rows for piece in pieces(row)), max(0, tokens - len(text))))


def open_fence(tokens: int) -> tuple[str, ...]:
    """Return a code block of so many tokens that never ends."""
    lines = (f"value_{at} = compute({at}, scale=0.{at % 10})  # step {at}\n" for at in itertools.count(1))
    text = pieces("```python\n")
    return (*text, *islice((piece for line in lines for piece in pieces(line)), max(0, tokens - len(text))))


def answer(name: str | None, prompt: str, tools: list[object], *, thinks: bool) -> Answer:
    """Return the answer of this name, or one that fits the prompt.

    Names: poem, markdown, table, code, long:N, open-table:N, open-fence:N, echo, thinking, tool.
    """
    lower = prompt.lower()
    if name is None:
        if tools:
            name = "tool"
        elif "think" in lower or thinks:
            name = "thinking"
        else:
            wanted = ("markdown", "table", "code", "echo", "poem")
            name = next((word for word in wanted if word in lower), "markdown" if "kv" in lower else "poem")
    thought = pieces(THOUGHT) if thinks or name == "thinking" else ()
    kind, _, argument = name.partition(":")
    if kind in ("long", "open-table", "open-fence"):
        make = {"long": long, "open-table": open_table, "open-fence": open_fence}[kind]
        return Answer(thought, make(int(argument or "1000")))
    if kind == "echo":
        return Answer(thought, pieces(prompt))
    if kind == "tool":
        return Answer(thought, (), _call(tools))
    texts = {"markdown": MARKDOWN, "table": TABLE, "code": CODE, "thinking": "Paris.", "poem": POEM}
    return Answer(thought, pieces(texts.get(kind, POEM)))


def _call(tools: list[object]) -> tuple[str, str]:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            properties = schema.get("properties") if isinstance(schema, dict) else None
            names = list(properties) if isinstance(properties, dict) else []
            return function["name"], json.dumps({str(one): "Paris" for one in names})
    return "get_weather", '{"city": "Paris"}'


def parts(answer_: Answer) -> Iterator[tuple[str, str]]:
    """Yield pairs of kind (thinking, text) and piece, in order."""
    for piece in answer_.thinking:
        yield "thinking", piece
    for piece in answer_.text:
        yield "text", piece
