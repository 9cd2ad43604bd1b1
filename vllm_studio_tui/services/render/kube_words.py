"""Names, sizes and literal words as Kubernetes takes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from vllm_studio_tui.services.render.lines import refused

#: The longest name here: what Kubernetes and its controllers append to it must fit into 63 letters.
LONGEST_NAME = 46
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:i?[bB]?)")


def kube_name(text: str) -> str:
    """Return the name of an object for a recipe's or run's id: letters, digits, dashes; different for different ids."""
    made = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not made or not made[0].isalpha():
        made = f"m-{made}".rstrip("-")
    if made == text and len(made) <= LONGEST_NAME:
        return made
    tail = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{made[: LONGEST_NAME - 7].rstrip('-')}-{tail}"


def literal(text: str, filled_in: Iterable[str] = ()) -> str:
    """Return a text as it stands: `$(NAME)` in commands and variables is filled in otherwise.

    Args:
        filled_in: Names of which that is wanted.
    """
    text = text.replace("$", "$$")
    for name in filled_in:
        text = text.replace(f"$$({name})", f"$({name})")
    return text


def size_of(text: str, what: str) -> str:
    """Return a size of memory, written as docker, SLURM or Kubernetes have it, as a quantity.

    Letters count in 1024s in all three places where people write recipes: 64G becomes 64Gi.

    Raises:
        StudioError: It is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise refused(f"{what} is {text}, which is no size such as 64G")
    return f"{found[1]}{found[2].upper()}i" if found[2] else found[1]
