"""The signs of states: a character, its plain form, and a colour. Light: a status bar asks for them often."""

from __future__ import annotations

from vllm_studio_tui.domain.run import State

#: For each state: its Unicode and ASCII characters, and its colour.
STATES: dict[str, tuple[str, str, str]] = {
    "queued": ("○", "o", "dim"),
    State.STARTING: ("◔", ":", "accent"),
    State.LOADING: ("◐", "%", "accent"),
    State.READY: ("●", "*", "ok"),
    State.UNHEALTHY: ("▲", "!", "warn"),
    State.STOPPING: ("◒", "<", "dim"),
    State.EXITED: ("◌", "-", "faint"),
    State.BACKOFF: ("↻", "@", "warn"),
    State.FAILED: ("✕", "x", "err"),
}
#: The states, the most urgent first: the order of runs in the header and in lists.
TROUBLE = (
    State.FAILED,
    State.UNHEALTHY,
    State.BACKOFF,
    State.STARTING,
    State.LOADING,
    State.READY,
    State.STOPPING,
    State.EXITED,
)


def state_mark(state: str, *, plain: bool = False) -> tuple[str, str]:
    """Return the character of a state and its colour.

    Args:
        plain: With ASCII alone.
    """
    unicode, ascii_form, colour = STATES.get(state, ("○", "o", "dim"))
    return (ascii_form if plain else unicode), colour
