"""The chats of the simulated home, as a person would have them: questions, code, tables, thoughts, a tool, a fork."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.simulation.answers import MARKDOWN
from vllm_studio_tui.simulation.recipes import FAILED, LOADING, READY


@dataclass(frozen=True, slots=True)
class Line:
    """A message.

    Attributes:
        calls: Tools that an answer calls, each with its arguments as JSON.
        finish: How an answer ended; empty: as answers end.
    """

    role: str
    text: str
    thought: str = ""
    calls: Mapping[str, str] = field(default_factory=dict)
    finish: str = ""


@dataclass(frozen=True, slots=True)
class Talk:
    """A chat: hours before now at which it ended, and how many of its messages another chat was forked from."""

    title: str
    recipe: str
    ago: float
    lines: tuple[Line, ...]
    fork: int = 0


def _ask(text: str) -> Line:
    return Line("user", text)


def _say(text: str, thought: str = "", finish: str = "") -> Line:
    return Line("assistant", text, thought, finish=finish)


_RETRY = '''Retry only what is safe to repeat, and wait longer each time:

```python
import random
import time
from collections.abc import Callable


def retry[T](call: Callable[[], T], tries: int = 5, first: float = 0.2) -> T:
    """Call until it succeeds; the pause doubles, with jitter."""
    for attempt in range(tries):
        try:
            return call()
        except ConnectionError:
            if attempt == tries - 1:
                raise
            time.sleep(first * 2**attempt * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable")
```

The jitter matters: without it all clients come back at the same moment.
'''
_TESTS = """Yes. A fake that fails twice, and a clock that does not wait:

```python
def test_it_tries_again(monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    answers = iter([ConnectionError, ConnectionError, "ok"])

    def call():
        answer = next(answers)
        if answer is ConnectionError:
            raise ConnectionError
        return answer

    assert retry(call) == "ok"
    assert len(waited) == 2 and waited[1] > waited[0] / 3
```
"""
_TABLE = """Prices change, so take the ratios rather than the numbers:

| GPU | memory | bandwidth | good for |
|---|--:|--:|---|
| L4 | 24 GB | 300 GB/s | small models, embeddings |
| A100 | 80 GB | 2.0 TB/s | 30B in bf16 on one |
| H100 | 80 GB | 3.35 TB/s | the same, 1.6 times as fast |
| H200 | 141 GB | 4.8 TB/s | 70B in bf16 on one |

Decoding reads all weights for each token, so **bandwidth decides** how fast one user is served; compute decides how
many of them at once.
"""
_SQL = """The join multiplies the rows before the sum. Add up first, then join:

```sql
WITH paid AS (
    SELECT order_id, SUM(amount) AS amount FROM payments GROUP BY order_id
)
SELECT o.id, o.total, COALESCE(p.amount, 0) AS paid
FROM orders o
LEFT JOIN paid p ON p.order_id = o.id
WHERE COALESCE(p.amount, 0) < o.total;
```

An index on `payments (order_id)` is enough for it.
"""
_TRAINS = """Let the first train leave at 0 km/h... no: both run from 9:00 on.

- They close in at 80 + 120 = **200 km/h**.
- 300 km at 200 km/h take 1.5 h.

They meet at **10:30**, 120 km from the first town.
"""
_TRAINS_THOUGHT = (
    "Two trains, 300 km apart, 80 and 120 km/h, towards each other. The speeds add up: 200 km/h. 300 / 200 = 1.5 hours "
    "after 9:00 is 10:30. The first has gone 80 * 1.5 = 120 km. Check with the second: 120 * 1.5 = 180, and 120 + 180 = "
    "300. Good.\n"
)
_MAIL = """Subject: Maintenance of the inference host on Thursday

Hi all,

on **Thursday from 18:00 to 19:00** we update the driver of h100-a. `qwen3-32b` and the web chat are away for about
twenty minutes of it. CI jobs that need the model wait, and go on by themselves.

Nothing is needed from you. If something looks odd afterwards, answer to this mail.
"""
_LONG = """1. **What the cache holds.** For each token of a request its keys and values in every layer.
2. **Why it fills.** 36 requests of 5.2k tokens are 188k tokens; the cache holds 309k. Twelve prompts of 25k more and it
   is full.
3. **What happens then.** The scheduler takes the youngest request out, frees its blocks, and computes its prompt again
   later: that is a *preemption*. It costs
"""
_REGEX = r"""`(?<![\d.])` looks behind: the match may not follow a digit or a dot.

- `\d{1,4}` takes up to four digits,
- `(?:\.\d{1,2})?` perhaps a fraction,
- `b(?![a-z\d])` a `b` after which no word goes on.

So `Qwen3-32B` gives `32`, and `b7210` gives nothing.
"""
_GERMAN = """Die Antwort in zwei Sätzen: Ein KV-Cache merkt sich die Zwischenergebnisse früherer Token, damit jedes neue Token nicht
alles noch einmal rechnen muss. Er wächst mit der Länge des Gesprächs und begrenzt deshalb, wie viele Gespräche zugleich
laufen.
"""

TALKS = (
    Talk("Retry with backoff in Python", READY, 0.6, (_ask("Write a retry helper with backoff."), _say(_RETRY),
         _ask("Can you test it without waiting?"), _say(_TESTS)), fork=2),
    Talk("Why was it slow at noon?", READY, 1.4, (
        _ask("Our dashboard shows the KV cache at 98% for a minute, and the answers stalled. Explain, step by step."),
        _say(_LONG, finish="stopped"), _ask("Shorter, please."),
        _say("The cache was full, so requests were thrown out and their prompts computed twice. Fewer long prompts at "
             "once, or an fp8 cache, would have avoided it."))),
    Talk("Which GPU for what", READY, 3.2, (_ask("Compare L4, A100, H100 and H200 for serving, as a table."), _say(_TABLE))),
    Talk("Two trains", READY, 5.1, (
        _ask("Two trains start at 9:00 in towns 300 km apart, at 80 and 120 km/h towards each other. When do they meet?"),
        _say(_TRAINS, _TRAINS_THOUGHT))),
    Talk("Weather in Paris", READY, 8.3, (
        _ask("What is the weather in Paris?"),
        Line("assistant", "", calls={"get_weather": '{"city": "Paris"}'}, finish="tool_calls"),
        Line("tool", '{"city": "Paris", "sky": "light rain", "celsius": 11}'),
        _say("Light rain in Paris, and 11 °C."))),
    Talk("Orders that are not paid", READY, 21.0, (
        _ask("This query counts payments twice when an order has several lines. Why?"), _say(_SQL),
        _ask("Does it need an index?"),
        _say("The one on `payments (order_id)`. The planner then adds up by walking the index, without a sort."))),
    Talk("Mail about Thursday's maintenance", READY, 26.5, (
        _ask("Write a short mail: driver update of h100-a on Thursday 18:00 to 19:00, qwen3-32b is away for 20 minutes."),
        _say(_MAIL))),
    Talk("What a KV cache is", READY, 30.2, (_ask("What is a KV cache? With an example in code."), _say(MARKDOWN))),
    Talk("KV-Cache auf Deutsch", "gemma-3-12b", 6.0, (_ask("Erkläre den KV-Cache in zwei Sätzen."), _say(_GERMAN))),
    Talk("What does this regex do?", "mistral-small-24b", 25.2, (
        _ask(r"Explain (?<![\d.])(\d{1,4}(?:\.\d{1,2})?)b(?![a-z\d])"), _say(_REGEX))),
    Talk("A proof, slowly", LOADING, 51.4, (
        _ask("Show that the square root of two is irrational."),
        _say("Suppose it is $p/q$ in lowest terms. Then $p^2 = 2q^2$, so $p$ is even, $p = 2r$, and $q^2 = 2r^2$: $q$ is "
             "even, too. That contradicts lowest terms, so it is irrational.",
             "Classic: assume p/q in lowest terms, square it, both turn out to be even. Say it in three lines.\n"))),
    Talk("Release notes from commits", FAILED, 350.0, (
        _ask("Make release notes of: fix crash in logs; add run page; faster start."),
        _say("- **New:** a page for each run.\n- **Faster:** the program starts sooner.\n- **Mended:** a crash in Logs."))),
)  # fmt: skip
