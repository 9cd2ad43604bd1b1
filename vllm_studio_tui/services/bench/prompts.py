"""Prompts of an exact number of tokens, as the engine itself counts them, that no cache knows.

Words that are one token each are found by asking the engine; after that a prompt of n tokens is a sum. Each prompt
begins with words that are drawn anew for each benchmark, so that no engine has it in its cache; all words behind
these come from the seed alone, so that two benchmarks of one seed ask the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.bench import BenchPlan
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.sanitize import clean_line

#: Words that most vocabularies have as one token with the space before it.
_WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city community name president team minute idea kid body "
    "information back parent face others level office door health person art war history party result change morning "
    "reason research girl guy moment air teacher force education foot boy age policy process music market sense "
    "nation plan college interest death experience effect use class control care field development role effort rate "
    "heart drug show leader light voice wife police mind price report decision son view relationship town road arm "
    "difference value building action season society tax director position player record paper space ground form "
    "event official matter center couple site project activity star table need court oil situation cost industry "
    "figure street image phone data picture practice piece land product doctor wall patient worker news test movie "
    "north love support technology step baby computer type attention film tree source organization hair look window "
    "culture chance brother energy period course summer plant opportunity term letter condition choice rule south "
    "husband floor campaign material population call economy hospital church risk fire future bank west sport board "
    "subject officer rest behavior performance top goal second bed order author blood agency nature color store sound "
    "movement page "
)
WORDS = tuple(_WORDS.split())
#: Words of a group whose tokens are counted at once, and groups that are tried.
GROUP, GROUPS = 24, 6
#: The word with which each prompt begins.
FIRST = "the"
#: The number of a prompt that no benchmark has.
PROOF = -1
#: Words at the beginning that are drawn anew for each benchmark: there are at least `GROUP` to the power of these.
FRESH = 6
#: Bytes of a file of prompts, and prompts that are taken from it.
MAX_FILE, MAX_PROMPTS = 64 * 1024 * 1024, 100_000

#: Counts the tokens of a prompt as the engine does, whatever its template adds; None: it does not say.
Counter = Callable[[str], Awaitable[int | None]]


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the prompts of one benchmark.

    Attributes:
        words: What it draws from.
        added: Tokens that the engine adds to each prompt, as its template does.
        each: Tokens of a word; 1 where words were found that are one token.
        nonce: By which the beginnings are drawn.
        notes: What a person should know: the engine does not say its tokens.
    """

    plan: BenchPlan
    words: tuple[str, ...] = WORDS
    added: float = 0.0
    each: float = 1.0
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    notes: tuple[str, ...] = ()

    def lengths(self, number: int) -> tuple[int, int]:
        """Return the tokens of the prompt and of the answer of one request of the benchmark."""
        plan = self.plan
        if not plan.spread:
            return plan.prompt_tokens, plan.output_tokens
        drawn = random.Random(f"{plan.seed} {number} lengths")  # noqa: RUF100, S311
        around = [drawn.uniform(1 - plan.spread, 1 + plan.spread) for _ in range(2)]
        return max(1, round(plan.prompt_tokens * around[0])), max(1, round(plan.output_tokens * around[1]))

    def prompt(self, number: int) -> str:
        """Return the prompt of one request."""
        plan = self.plan
        if plan.prompts:
            return plan.prompts[number % len(plan.prompts)]
        tokens, _ = self.lengths(number)
        # The first word has no space before it, with which others may be more tokens.
        count = max(1, round((tokens - self.added) / self.each)) - 1
        shared = min(count, round(plan.shared_prefix / self.each)) if plan.shared_prefix else 0
        text = self._draw(f"{plan.seed} prefix", shared) if shared else []
        fresh = min(FRESH, count - shared)
        text += self._draw(f"{self.nonce} {number}", fresh)
        text += self._draw(f"{plan.seed} {number}", count - shared - fresh)
        return " ".join([FIRST, *text])

    def _draw(self, seed: str, count: int) -> list[str]:
        return random.Random(seed).choices(self.words, k=count)  # noqa: RUF100, S311


async def calibrate(plan: BenchPlan, counter: Counter) -> Maker:
    """Find words that are one token each, and what the engine adds to a prompt."""
    maker = Maker(plan)
    if plan.prompts:
        return maker
    known = await _single_tokens(counter)
    if known is None:
        note = "The engine does not say how many tokens a prompt has: lengths are about right."
        return replace(maker, each=1.3, notes=(note,))
    words, added, each = known
    maker = replace(maker, words=words, added=added, each=each)
    # One that is never measured is the proof; what is left over belongs to what the engine adds.
    for _ in range(3):
        wanted, _ = maker.lengths(PROOF)
        found = await counter(maker.prompt(PROOF))
        if found is None or found == wanted:
            break
        maker = replace(maker, added=maker.added + (found - wanted))
    shortest = maker.added + maker.each
    if plan.prompt_tokens < shortest:
        note = f"What the engine's template adds is {maker.added:.0f} tokens: no prompt is shorter than {shortest:.0f}."
        maker = replace(maker, notes=(*maker.notes, note))
    return maker


async def _single_tokens(counter: Counter) -> tuple[tuple[str, ...], float, float] | None:
    """Return words that are one token each, the tokens that are added, and the tokens of a word."""
    groups = [WORDS[begin : begin + GROUP] for begin in range(0, GROUPS * GROUP, GROUP)]
    asked = [["the"] * GROUP, ["the"] * 2 * GROUP, *(["the", *group, "the"] for group in groups)]
    counts = await asyncio.gather(*(counter(" ".join(one)) for one in asked))
    base, twice, *found_each = counts
    if base is None or twice is None or twice <= base:
        return None
    one = (twice - base) / GROUP
    added = base - GROUP * one
    kept: list[str] = []
    costs: list[float] = []
    for group, count in zip(groups, found_each, strict=True):
        if count is None:
            return None
        costs.append((count - added - 2 * one) / len(group))
        if one == 1 and count - added - 2 == len(group):
            kept += group
    if len(kept) >= GROUP:
        return tuple(kept), added, 1.0
    # It counts otherwise, by letters or by bytes: words of one length are alike to it.
    alike = tuple(one for one in WORDS if len(one) == 5)
    found = await counter(" ".join(alike))
    longer = await counter(" ".join(alike * 2))
    if found is None or longer is None or longer <= found:
        return WORDS, added, max(0.1, sum(costs) / len(costs))
    each = (longer - found) / len(alike)
    return alike, found - each * len(alike), each


def read_prompts(path: Path) -> tuple[str, ...]:
    """Return the prompts of a file: a line each, or JSON lines with `prompt`, `text` or `messages`.

    Raises:
        UsageError: It cannot be read, or has none.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", cause=clean_line(str(error)), advice="Name another file.") from None
    if len(raw) > MAX_FILE:
        raise UsageError(f"{path} is too long", cause=f"More than {MAX_FILE >> 20} MB.", advice="Take a part of it.")
    found: list[str] = []
    for line in raw.decode("utf-8", "replace").splitlines():
        text = line.strip()
        if text.startswith("{"):
            with contextlib.suppress(ValueError, RecursionError):
                text = _said(json.loads(text))
        if text:
            found.append(text)
    if not found:
        raise UsageError(f"{path} has no prompts", advice="Write one on each line.")
    return tuple(found[:MAX_PROMPTS])


def _said(document: object) -> str:
    if not isinstance(document, Mapping):
        return ""
    for name in ("prompt", "text", "question", "content"):
        if isinstance(document.get(name), str):
            return str(document[name]).strip()
    messages: Any = document.get("messages") or document.get("conversations")
    for one in messages if isinstance(messages, Sequence) and not isinstance(messages, str) else ():
        if isinstance(one, Mapping):
            said = one.get("content") or one.get("value")
            if one.get("role", one.get("from")) in ("user", "human") and isinstance(said, str):
                return said.strip()
    return ""
