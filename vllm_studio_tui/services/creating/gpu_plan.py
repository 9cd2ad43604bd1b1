"""How many GPUs a model takes, how long a talk and how many users: the smallest that serves well, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.fit import Fit

#: A talk as long as this, for so many, is what GPUs are counted out for where nobody said otherwise.
CONTEXT, USERS, ENOUGH = 32_768, 8, 4
#: The same for the processor, which reads slowly.
SLOW_CONTEXT, SLOW_USERS = 16_384, 1
#: A talk shorter than this is of little use.
LEAST = 2048
WAIT = "more than this wait in line, none is refused"
STEP = 1024

#: Answers whether the model fits on so many GPUs, with a length of text, for so many; None: nothing can be known.
Ask = Callable[[int, "int | None", int], "Fit | None"]


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """What was chosen, and why.

    Attributes:
        gpus: How many; 0: it runs on the processor.
        fit: What came of it; None where nothing can be known.
    """

    gpus: int
    context: int | None
    users: int | None
    fit: Fit | None
    gpus_why: str = ""
    context_why: str = ""
    users_why: str = ""


def counts_of(gpus: int, heads: int | None, allowed: Sequence[int] = ()) -> list[int]:
    """Return over how many of so many GPUs a model can be split: powers of two that its heads can be shared by.

    Args:
        allowed: The only counts that its weights allow; empty: any.
    """
    counts = [count for count in (1, 2, 4, 8, 16) if count <= gpus]
    counts = [count for count in counts if not heads or heads % count == 0]
    return [count for count in counts if not allowed or count in allowed]


def plan_gpus(
    ask: Ask,
    counts: Sequence[int],
    *,
    made: int | None,
    gpus: int | None,
    context: int | None,
    users: int | None,
) -> GpuPlan:
    """Return the smallest number of GPUs that serves well, and how long for how many there.

    Args:
        ask: Answers for the model on the chosen engine.
        counts: Over how many GPUs it can be split, the fewest first; empty: it runs on the processor.
        made: Tokens that the model was made for; None: unknown.
        gpus, context, users: What a person said; None: it is chosen.
    """
    tries = [gpus] if gpus is not None else list(counts) or [0]
    usual, most = (CONTEXT, USERS) if tries != [0] else (SLOW_CONTEXT, SLOW_USERS)
    wanted = context or (min(usual, made) if made else usual)
    found = [(count, ask(count, wanted, users or 1)) for count in tries]
    count, why = _choose(found, users or ENOUGH, gpus, len(counts) > 1)
    fit = dict(found)[count]
    if fit is None:
        return GpuPlan(count, context, users, None, why)
    context, context_why = _context(fit, context, wanted, made)
    users, users_why = _users(ask, count, context, users, most)
    return GpuPlan(count, context, users, ask(count, context, users), why, context_why, users_why)


def _choose(found: Sequence[tuple[int, Fit | None]], enough: int, said: int | None, several: bool) -> tuple[int, str]:
    """Return the number of GPUs, and why it is that."""
    if said is not None:
        return said, ""
    before = ""
    for count, fit in found:
        if fit is None:
            return count, "how many it needs is not known"
        if fit.max_users >= enough:
            return count, before
        before = f"{count} would hold {_many(fit.max_users)} of {_tokens(fit.context)}" if fit.fits else (
            f"{count} would not hold the weights with room"
        )  # fmt: skip
    fitting = [count for count, fit in found if fit is not None and fit.max_context >= LEAST]
    if fitting:
        return fitting[0], "the fewest that hold it" if several else ""
    return found[-1][0], "it does not fit" if several or found[-1][0] else ""


def _many(users: int) -> str:
    return "1 talk" if users == 1 else f"{users} talks"


def _tokens(context: int) -> str:
    return f"{context // 1024}k" if context >= 1024 else str(context)


def _context(fit: Fit, said: int | None, wanted: int, made: int | None) -> tuple[int, str]:
    of = f"of {made} that the model was made for" if made else ""
    if said is not None:
        return said, of
    if fit.max_context and fit.max_context < wanted:
        return max(LEAST, fit.max_context // STEP * STEP), f"what fits; {of}" if of else "what fits"
    return wanted, of


def _users(ask: Ask, gpus: int, context: int, said: int | None, most: int) -> tuple[int, str]:
    if said is not None:
        return said, WAIT
    fit = ask(gpus, context, 1)
    if fit is None:
        return 1, WAIT
    surely = min(fit.max_users, sure_users(fit))
    users = max(1, min(most, surely or min(fit.max_users, 1)))
    return users, WAIT if users == most else "so many surely fit; more wait in line, none is refused"


def sure_users(fit: Fit) -> int:
    """Return for how many there is room even where the engine takes as much as it might; `fit` is that of one."""
    one = fit.parts["kv"].likely if "kv" in fit.parts else 0
    rest = sum(part.high for name, part in fit.parts.items() if name != "kv")
    return max(0, fit.limit - rest) // one if one > 0 else fit.max_users
