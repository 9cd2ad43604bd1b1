"""The arguments of a chat template that control thinking: the token budget of a recipe's thinking mode."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Families whose templates have a thinking budget, and the tokens they think at most before a mode scales them.
_BUDGETS = (
    (re.compile(r"minimax.*m-?2.*reap-?50|reap-?50.*minimax"), 128_000),
    (re.compile(r"minimax.*m-?2"), 64_000),
    (re.compile(r"intellect.*3"), 64_000),
    (re.compile(r"glm-?4"), 32_000),
    (re.compile(r"deepseek.*r1"), 64_000),
)
_MODES = {"conservative": 0.25, "balanced": 1.0, "auto": 1.0, "aggressive": 2.0}


def thinking_kwargs(recipe: Recipe) -> dict[str, object] | None:
    """Return the arguments of the chat template that control thinking; None: there are none.

    Only a recipe that sets `max_thinking_tokens` or a `thinking_mode` other than the default asks for anything.
    The bases, multipliers and limits are those of the web product whose recipes are imported.
    """
    mode = recipe.thinking_mode
    if recipe.max_thinking_tokens is None and mode == "conservative":
        return None
    name = f"{recipe.served_model_name or ''} {recipe.model_path}".lower()
    if mode == "disabled":
        return {"enable_thinking": False}
    if recipe.max_thinking_tokens is not None:
        return {"max_thinking_tokens": recipe.max_thinking_tokens}
    base = next((tokens for family, tokens in _BUDGETS if family.search(name)), None)
    if base is None:
        return None
    return {"max_thinking_tokens": min(512_000, max(2048, int(base * _MODES.get(mode, 1.0))))}
