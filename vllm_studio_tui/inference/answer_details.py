"""What is known of an answer besides its text and figures, as `Message.details` keeps it."""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import ChatRequest, Ended, Target
from vllm_studio_tui.domain.tool_choice import choice_of, unheeded
from vllm_studio_tui.inference.answer_form import look_at
from vllm_studio_tui.inference.likelihoods import Likelihoods
from vllm_studio_tui.inference.parameters import fields_of


def details_of(target: Target, request: ChatRequest, ended: Ended, text: str, likely: Likelihoods) -> dict[str, Any]:
    """Return what was not sent and why, what the answer does not keep to, how likely its tokens were. Blocking.

    Args:
        text: The answer without its thinking; needed where a form was asked for.
    """
    sampling = request.sampling
    asked = fields_of(registry.find(target.backend), sampling, tools=bool(request.tools))
    details: dict[str, Any] = {}
    if asked.left_out:
        details["not_sent"] = dict(asked.left_out)
    if asked.unsure:
        details["unsure"] = list(asked.unsure)
    if sampling.form is not None and ended.finish in ("stop", "length"):
        details["form"] = look_at(sampling.form, text)
    if request.tools and "tool_choice" not in asked.left_out:
        wrong = unheeded(choice_of(sampling), ended.tool_calls, ended.finish)
        if wrong is not None:
            details["unheeded"] = wrong
    if likely.tokens:
        details["logprobs"] = likely.to_json()
    return details
