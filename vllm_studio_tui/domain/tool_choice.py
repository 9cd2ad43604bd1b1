"""Whether a model calls a tool: left to it, forbidden, or forced, of any tool or of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vllm_studio_tui.domain.chat import Sampling, ToolCall
from vllm_studio_tui.domain.errors import UsageError

AUTO, NONE, REQUIRED = "auto", "none", "required"
#: What may be chosen besides the name of a tool, with what it means.
WORDS = {AUTO: "as the model does it", NONE: "calls none", REQUIRED: "calls one, whichever"}
#: Names of tools that are told when another one is chosen.
MOST_NAMES = 40


def choice_of(sampling: Sampling | None) -> str | None:
    """Return what was chosen; None: it is left to the model."""
    choice = None if sampling is None else sampling.others.get("tool_choice")
    return choice if isinstance(choice, str) and choice != AUTO else None


def forces(choice: str | None) -> bool:
    """Return whether a call must come."""
    return choice is not None and choice != NONE


def unforced(sampling: Sampling) -> Sampling:
    """Return what shapes the answers below results of tools: were a call forced there too, there would be no end."""
    if not forces(choice_of(sampling)):
        return sampling
    return replace(sampling, others={name: one for name, one in sampling.others.items() if name != "tool_choice"})


def check_offered(choice: str | None, names: Iterable[str]) -> None:
    """Refuse to force a call that cannot come.

    Raises:
        UsageError: No tool of this name is offered, or none at all.
    """
    if choice is None or not forces(choice):
        return
    offered = list(names)
    if not offered:
        raise UsageError(
            "a call of a tool is forced, and there are no tools",
            cause="None are switched on, or their server does not answer.",
            advice="See what there is: vllm-studio mcp tools",
        )
    if choice != REQUIRED and choice not in offered:
        more = f" and {len(offered) - MOST_NAMES} more" if len(offered) > MOST_NAMES else ""
        raise UsageError(
            f"no tool {choice} is offered",
            cause=f"There are: {', '.join(offered[:MOST_NAMES])}{more}.",
            advice="Name one of these, or write required, none or auto.",
        )


def unheeded(choice: str | None, calls: Iterable[ToolCall], finish: str) -> str | None:
    """Return in which way an answer that came does not keep to what was chosen; None where it does."""
    if choice is None or finish not in ("stop", "length", "tool_calls"):
        return None
    called = list(dict.fromkeys(call.name for call in calls))
    if choice == NONE:
        return f"calls were forbidden, and it asked for {', '.join(called)[:200]}" if called else None
    if not called:
        what = "a call" if choice == REQUIRED else f"a call of {choice}"
        why = "the answer was cut before one came" if finish == "length" else "none came: the engine did not look at it"
        return f"{what} was forced, and {why}"
    others = [name for name in called if name != choice]
    return (
        f"a call of {choice} was forced, and {', '.join(others)[:200]} came" if choice != REQUIRED and others else None
    )
