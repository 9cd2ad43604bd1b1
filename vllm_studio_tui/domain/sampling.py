"""What shapes an answer: the parameters of sampling, by one name for all engines, and the form that it must have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The most that is taken of a list of texts, and of one text.
MOST_TEXTS = 16
MOST_TEXT = 64 * 1024
#: The most alternatives of a token that any engine tells.
MOST_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of sampling.

    Attributes:
        name: Its name in presets, settings of a chat and `--set`.
        kind: `float`, `int`, `bool`, `texts` (a list of texts), `map` (a JSON object of numbers) or `tool` (a word of
            `domain.tool_choice`, or the name of a tool).
        help: What it does.
        low, high: The bounds of a number.
    """

    name: str
    kind: str
    help: str
    low: float = 0.0
    high: float = math.inf

    @property
    def title(self) -> str:
        """Its name in words."""
        return self.name if self.name in _AS_THEY_ARE else self.name.replace("_", " ")


_AS_THEY_ARE = frozenset({"top_p", "top_k", "min_p", "typical_p"})
_BIG = 2**31 - 1
#: A word of `domain.tool_choice`, or the name of a tool as models call it.
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,64}")

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("temperature", "float", "how freely tokens are chosen; 0: always the likeliest", 0, 5),
    Parameter("top_p", "float", "among the likeliest tokens of this share", 0, 1),
    Parameter("top_k", "int", "among this many tokens; -1 or 0: all", -1, _BIG),
    Parameter("min_p", "float", "not below this share of the likeliest token", 0, 1),
    Parameter("typical_p", "float", "among tokens as surprising as is usual; 1: off", 0, 1),
    Parameter("top_n_sigma", "float", "within so many deviations of the likeliest; -1: off", -1, 100),
    Parameter("max_tokens", "int", "tokens of the answer at most", 1, 10_000_000),
    Parameter("min_tokens", "int", "tokens of the answer at least", 0, 10_000_000),
    Parameter("seed", "int", "the same seed gives the same answer, where the engine can", 0, _BIG),
    Parameter("stop", "texts", "texts at which the answer ends"),
    Parameter("presence_penalty", "float", "against tokens that were there", -2, 2),
    Parameter("frequency_penalty", "float", "against tokens, the more often they were there", -2, 2),
    Parameter("repetition_penalty", "float", "against tokens that were there, as a factor; 1: off", 0, 10),
    Parameter("penalty_range", "int", "how many tokens back penalties look; -1: all", -1, 10_000_000),
    Parameter("dry_multiplier", "float", "against sequences that were there (DRY); 0: off", 0, 100),
    Parameter("dry_base", "float", "how fast that grows with the sequence", 1, 100),
    Parameter("dry_allowed_length", "int", "sequences up to this length are free of it", 0, 10_000),
    Parameter("dry_range", "int", "how many tokens back it looks; -1: all", -1, 10_000_000),
    Parameter("xtc_probability", "float", "how often the likeliest tokens are left out (XTC); 0: off", 0, 1),
    Parameter("xtc_threshold", "float", "those above this likelihood", 0, 1),
    Parameter("mirostat", "int", "keeps the surprise even: 1 or 2; 0: off", 0, 2),
    Parameter("mirostat_tau", "float", "how much surprise", 0, 100),
    Parameter("mirostat_eta", "float", "how fast it is corrected", 0, 1),
    Parameter("dynatemp_range", "float", "how far the temperature moves with the certainty; 0: off", 0, 5),
    Parameter("dynatemp_exponent", "float", "in which way it moves", 0, 10),
    Parameter("logit_bias", "map", 'pushes single tokens, by their ids: {"15": -100}', -100, 100),
    Parameter("ignore_eos", "bool", "go on behind the token that ends the answer"),
    Parameter("tool_choice", "tool", "whether it calls a tool: auto, none, required, or the name of one"),
    Parameter("logprobs", "int", "tell how likely each token was, and so many others", 0, MOST_LOGPROBS),
)
BY_NAME: Mapping[str, Parameter] = {one.name: one for one in PARAMETERS}


def read_value(name: str, text: str) -> Any:
    """Return the value of a parameter that somebody wrote.

    Raises:
        ValueError: It is none; the message says in a few words what is wrong.
    """
    kind = BY_NAME[name].kind
    text = text.strip() if kind != "texts" else text
    value: Any
    try:
        if kind == "float":
            value = float(text)
        elif kind == "int":
            value = int(text)
        elif kind == "bool":
            value = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False,
                     "0": False}[text.lower()]  # fmt: skip
        elif kind == "map":
            value = json.loads(text)
        elif kind == "tool":
            value = text
        else:
            value = _texts(text)
    except (ValueError, KeyError, RecursionError):
        wanted = {"float": "a number", "int": "a whole number", "bool": "true or false", "map": "a JSON object"}
        raise ValueError(f"not {wanted.get(kind, 'texts')}") from None
    return checked(name, value)


def checked(name: str, value: Any) -> Any:
    """Return a value of a parameter as it is sent.

    Raises:
        ValueError: It is no parameter, or not such a value.
    """
    one = BY_NAME.get(name)
    if one is None:
        raise ValueError("no parameter of sampling")
    if one.kind in ("float", "int"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError("not a number")
        if one.kind == "int" and value != int(value):
            raise ValueError("not a whole number")
        if not one.low <= value <= one.high:
            raise ValueError(f"from {one.low:g} to {one.high:g}")
        return int(value) if one.kind == "int" else float(value)
    if one.kind == "tool":
        if not isinstance(value, str) or not _TOOL.fullmatch(value):
            raise ValueError("none of auto, none, required, and no name of a tool")
        return value
    if one.kind == "bool":
        if not isinstance(value, bool):
            raise ValueError("not true or false")
        return value
    if one.kind == "texts":
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and text for text in texts):
            raise ValueError("not texts")
        if len(texts) > MOST_TEXTS or any(len(text) > MOST_TEXT for text in texts):
            raise ValueError(f"at most {MOST_TEXTS} texts")
        return tuple(texts)
    return _bias(one, value)


def _bias(one: Parameter, value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping) or not value or len(value) > 1000:
        raise ValueError("not a JSON object of ids and numbers")
    for key, bias in value.items():
        if not str(key).isdecimal():
            raise ValueError(f"{str(key)[:20]!r} is no id of a token")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not one.low <= bias <= one.high:
            raise ValueError(f"from {one.low:g} to {one.high:g}")
    return {str(key): float(bias) for key, bias in value.items()}


def _texts(text: str) -> list[str]:
    """Return texts from a JSON list, else one a line; in those `\\n` and `\\t` stand for what they always do."""
    if text.strip().startswith("["):
        found = json.loads(text)
        if isinstance(found, list):
            return found
    lines = [line for line in text.split("\n") if line]
    return [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines]


def written(value: Any) -> str:
    """Return a value as `read_value` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "\n".join(str(one).replace("\n", "\\n").replace("\t", "\\t") for one in value)
    return json.dumps(value, ensure_ascii=False)


# --- the form of an answer ------------------------------------------------------------------------------

#: The forms that an answer can be made to have: what each is, for a list to choose from.
FORMS: Mapping[str, str] = {
    "json_object": "any JSON object",
    "json_schema": "JSON by a schema",
    "regex": "a text that matches a regular expression",
    "choice": "one of several texts",
    "grammar": "a text of a grammar (GBNF or EBNF)",
}


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form that an answer must have.

    Attributes:
        kind: One of `FORMS`.
        value: The schema (an object), the expression, the grammar, or the texts to choose from; None for any JSON.
        name: What it is called; empty: nothing.
    """

    kind: str
    value: Any = None
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the form as settings, presets and answers are kept with."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"kind": self.kind, "value": value, "name": self.name}

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        what = FORMS.get(self.kind, self.kind)
        return f"{what}: {self.name}" if self.name else what


def read_form(given: Any) -> AnswerForm:
    """Return a form from what `to_json` made of it, or from what a person wrote.

    Raises:
        ValueError: It is none; the message says what is wrong.
    """
    if not isinstance(given, Mapping) or given.get("kind") not in FORMS:
        raise ValueError(f"not one of {', '.join(FORMS)}")
    kind, value = str(given["kind"]), given.get("value")
    if kind == "json_object":
        value = None
    elif kind == "json_schema":
        if not isinstance(value, Mapping):
            raise ValueError("a schema is a JSON object")
        if len(json.dumps(value)) > MOST_TEXT:
            raise ValueError("the schema is larger than 64 kB")
        value = dict(value)
    elif kind == "choice":
        if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) and one for one in value):
            raise ValueError("texts to choose from")
        value = tuple(value[:1000])
    elif not isinstance(value, str) or not value.strip() or len(value) > MOST_TEXT:
        raise ValueError("a text, at most 64 kB")
    return AnswerForm(kind, value, str(given.get("name") or "")[:200])


def form_of_text(kind: str, text: str, name: str = "") -> AnswerForm:
    """Return the form that somebody wrote as text: a schema as JSON, choices one a line.

    Raises:
        ValueError: It is none.
    """
    value: Any = text
    if kind == "json_schema":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {str(error)[:100]}") from None
    elif kind == "choice":
        value = [line.strip() for line in text.split("\n") if line.strip()]
    return read_form({"kind": kind, "value": value, "name": name})
