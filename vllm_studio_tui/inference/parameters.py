"""Turns parameters of sampling and the form of an answer into the fields of one engine's request.

What an engine does not take is left out, and said: many drop unknown fields without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.sampling import AnswerForm
from vllm_studio_tui.domain.tool_choice import NONE, REQUIRED, choice_of, forces

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend
    from vllm_studio_tui.domain.chat import Sampling

#: Fields that the client itself knows; others go beside them.
STANDARD = frozenset({
    "temperature", "top_p", "max_tokens", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias",
    "logprobs", "top_logprobs", "response_format", "tool_choice",
})  # fmt: skip
#: How OpenAI's API is asked for a form; engines that nobody described are asked like it.
_OPENAI_FORMS: Mapping[str, str] = {"json_object": "response_format", "json_schema": "response_format"}


@dataclass(slots=True)
class Fields:
    """What is sent of the sampling of a request.

    Attributes:
        values: The fields, by the engine's names.
        left_out: What is not sent, by our names, and why.
        unsure: What is sent, and perhaps not looked at: the engine is not known.
    """

    values: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()


def given(sampling: Sampling) -> dict[str, Any]:
    """Return the parameters that are set, by our names."""
    values = {name: getattr(sampling, name) for name in ("temperature", "top_p", "max_tokens", "seed")}
    values["stop"] = list(sampling.stop) or None
    values |= sampling.others
    return {name: value for name, value in values.items() if value is not None}


def fields_of(backend: Backend | None, sampling: Sampling, *, tools: bool = False) -> Fields:
    """Return the fields of a request for what is set.

    Args:
        backend: The engine; None: it is not known.
        tools: The request has tools.
    """
    known = backend.sampling if backend is not None else None
    title = backend.title if backend is not None else "the server"
    found = Fields()
    unsure = []
    refused = backend.tools_or if backend is not None and tools else frozenset()
    for name, value in given(sampling).items():
        if name == "tool_choice" and not (tools and forces(choice_of(sampling))):
            continue  # see `tool_fields`
        if known is not None and name not in known:
            found.left_out[name] = f"{title} takes no {name}"
        elif name in refused:
            found.left_out[name] = f"{title} takes no {name} together with tools"
        else:
            if name != "tool_choice":
                found.values |= _field(known[name] if known is not None else name, name, value)
            if known is None and name not in STANDARD:
                unsure.append(name)
    found.unsure = tuple(unsure)
    if sampling.thinking is not None and backend is not None and backend.standard_fields_only:
        found.left_out["thinking"] = f"{title} takes no switch for thinking"
    if sampling.form is not None:
        if "form" in refused:
            found.left_out["form"] = f"{title} cannot be held to a form together with tools"
        else:
            forms = backend.answer_forms if backend is not None else None
            made = form_fields(sampling.form, _OPENAI_FORMS if forms is None else forms)
            if made is None:
                found.left_out["form"] = f"{title} cannot be held to {sampling.form.words}"
            else:
                found.values |= made
    return found


def tool_fields(backend: Backend | None, sampling: Sampling, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a request for the tools that are offered, and whether one is to be called."""
    choice = choice_of(sampling)
    if not tools:
        return {}
    if backend is not None and backend.sampling is not None and "tool_choice" not in backend.sampling:
        return {} if choice == NONE else {"tools": list(tools)}  # it calls none that it does not know
    if choice is None:
        return {"tools": list(tools)}
    if choice in (NONE, REQUIRED):
        return {"tools": list(tools), "tool_choice": choice}
    if backend is not None and backend.forces_any_tool_only:
        own = [one for one in tools if _name_of(one) == choice]
        return {"tools": own, "tool_choice": REQUIRED}
    return {"tools": list(tools), "tool_choice": {"type": "function", "function": {"name": choice}}}


def _name_of(tool: Mapping[str, Any]) -> Any:
    function = tool.get("function")
    return function.get("name") if isinstance(function, Mapping) else None


def _field(engine_name: str, name: str, value: Any) -> dict[str, Any]:
    if name == "logprobs":
        return {"logprobs": True, "top_logprobs": value}
    return {engine_name: list(value) if isinstance(value, tuple) else value}


def form_fields(form: AnswerForm, forms: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the fields that hold an answer to a form; None where the engine cannot.

    Args:
        forms: As `Backend.answer_forms`.
    """
    for kind, value in _ways(form):
        path = forms.get(kind)
        if path is None:
            continue
        if path == "response_format":
            return {"response_format": _response_format(kind, value, form.name)}
        first, _, second = path.partition(".")
        return {first: {second: value}} if second else {first: value}
    return None


def _ways(form: AnswerForm) -> Iterator[tuple[str, Any]]:
    """Yield the form, and then others that say the same."""
    value = list(form.value) if isinstance(form.value, tuple) else form.value
    yield form.kind, value
    if form.kind == "json_object":
        yield "json_schema", {"type": "object"}
    elif form.kind == "choice":
        yield "regex", "(?:" + "|".join(map(re.escape, form.value)) + ")"
        yield "grammar", "root ::= " + " | ".join(json.dumps(one, ensure_ascii=False) for one in form.value)


def _response_format(kind: str, value: Any, name: str) -> dict[str, Any]:
    if kind == "json_object":
        return {"type": "json_object"}
    called = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": called, "schema": value, "strict": True}}
