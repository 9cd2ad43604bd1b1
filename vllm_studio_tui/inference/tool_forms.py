"""The forms in which families of models write calls of tools as text, and how each is read. No input raises.

Forms: the tool parsers of vLLM 0.33 and SGLang 0.5.23. What is read here is what such a parser would have read; where a
server has one switched on, none of it ever reaches us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.inference.tool_values import coerced, json_value, python_calls

#: A call: its name, and its arguments as an object or, where they are none, as they stand there.
Found = tuple[str, Mapping[str, Any] | str]
#: Schemas of the arguments of the tools that are offered, by name.
Schemas = Mapping[str, Mapping[str, Any]]

_NAME = re.compile(r"[A-Za-z_][\w.\-]{0,99}")
#: Calls of one block at most.
MOST_CALLS = 128
#: What stands behind the last call of a form without an end of its own.
STOPS = ("<|eom_id|>", "<|eot_id|>", "<|im_end|>", "</s>", "<|end|>", "<｜end▁of▁sentence｜>")


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write calls.

    Attributes:
        family: Whose it is; `backends.common.parsers` knows the engines' names for it.
        opener: With what it begins.
        closers: With what it ends, any of them; none: with the answer.
        read: Returns the calls of what stands between; None where it is none of this form.
        alone: It is known only by standing alone: it begins the answer, and is all of it.
    """

    family: str
    opener: str
    closers: tuple[str, ...]
    read: Callable[[str, Schemas], list[Found] | None]
    alone: bool = False


# --- JSON -----------------------------------------------------------------------------------------------


def _call_of(given: Any) -> Found | None:
    """Return the call that an object describes, by any of the names that models use."""
    if not isinstance(given, Mapping):
        return None
    function = given.get("function")
    if isinstance(function, Mapping):
        given = function
    name = given.get("name") or given.get("tool") or given.get("tool_name") or given.get("function")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    arguments: Any = {}
    for key in ("arguments", "parameters", "args", "input"):
        if key in given:
            arguments = given[key]
            break
    if isinstance(arguments, str):
        parsed = json_value(arguments)
        return name, parsed if isinstance(parsed, dict) else arguments
    return (name, arguments if isinstance(arguments, Mapping) else json.dumps(arguments)) if arguments else (name, {})


def json_calls(text: str, _: Schemas) -> list[Found] | None:
    """Read one call or a list of calls as JSON; several may stand one behind the other."""
    decoder, at, calls = json.JSONDecoder(), 0, list[Found]()
    text = _without_stops(text)
    while at < len(text) and len(calls) < MOST_CALLS:
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        for one in value if isinstance(value, list) else [value]:
            call = _call_of(one)
            if call is None:
                return None
            calls.append(call)
        while at < len(text) and text[at] in " \t\r\n;,":
            at += 1
    return calls or None


def _without_stops(text: str) -> str:
    text = text.strip()
    for stop in STOPS:
        text = text.removesuffix(stop).rstrip()
    return text


def _object(text: str) -> Mapping[str, Any] | str:
    """Return arguments that a form has as JSON: the object, or the text where it is none."""
    text = text.strip()
    if text.startswith("```"):  # DeepSeek V3 fences them
        text = text.strip("`").strip().removeprefix("json").strip()
    value = json_value(text) if text else {}
    return value if isinstance(value, dict) else text


# --- pythonic -------------------------------------------------------------------------------------------


def pythonic_calls(text: str, _: Schemas) -> list[Found] | None:
    """Read `[f(a=1), g()]`, also without the brackets."""
    text = _without_stops(text)
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return python_calls(text, MOST_CALLS)


def _python_tag(text: str, schemas: Schemas) -> list[Found] | None:
    """Read what follows Llama's tag: JSON, or a call of a built-in tool, `name.call(a=1)`."""
    return json_calls(text, schemas) or pythonic_calls(text.replace(".call(", "("), schemas)


# --- tags around names and values -----------------------------------------------------------------------

_FUNCTION = re.compile(r"\s*<function=([^>\s]{1,100})>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>]{1,200})>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_GLM = re.compile(r"<arg_key>([^<]{1,200})</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL)
_INVOKE = re.compile(
    r"<(?:[^\s<>/=\"']{0,20})?invoke\s+name=[\"']?([^\"'>\s]{1,100})[\"']?[^>]{0,200}>"
    r"(.*?)(?:</(?:[^\s<>/=\"']{0,20})?invoke>|\Z)",
    re.DOTALL,
)
_INVOKED = re.compile(
    r"<(?:[^\s<>/=\"']{0,20})?parameter\s+name=[\"']?([^\"'>]{1,200}?)[\"']?(?:\s+string=[\"']?(true|false)[\"']?)?\s*>"
    r"(.*?)(?:</(?:[^\s<>/=\"']{0,20})?parameter>|\Z)",
    re.DOTALL,
)


def _value(text: str) -> str:
    """Return a value as it was meant: templates put it on lines of its own."""
    return text.removeprefix("\n").removesuffix("\n")


def coder_calls(text: str, schemas: Schemas) -> list[Found] | None:
    """Read `<function=name><parameter=key>value</parameter></function>`; Llama has JSON in place of parameters."""
    calls: list[Found] = []
    at = 0
    while found := _FUNCTION.match(text, at):
        at = found.end()
        name, body = found[1], found[2].strip()
        if not _NAME.fullmatch(name) or len(calls) >= MOST_CALLS:
            return None
        if body.startswith("{"):
            calls.append((name, _object(body)))
            continue
        given = {one[1].strip(): _value(one[2]) for one in _PARAMETER.finditer(body)}
        calls.append((name, coerced(given, schemas.get(name))))
    return calls or None


def _glm(text: str, schemas: Schemas) -> list[Found] | None:
    """Read `name<arg_key>key</arg_key><arg_value>value</arg_value>`."""
    head, found, rest = text.strip().partition("<arg_key>")
    name = head.strip()
    if not _NAME.fullmatch(name):
        return None
    pairs = {one[1].strip(): _value(one[2]) for one in _GLM.finditer(found + rest)}
    return [(name, coerced(pairs, schemas.get(name)))] if found else ([(name, {})] if name in schemas else None)


def _coder_alone(text: str, schemas: Schemas) -> list[Found] | None:
    return coder_calls(f"<function={text}", schemas)


def invoke_calls(text: str, schemas: Schemas) -> list[Found] | None:
    """Read `<invoke name="f"><parameter name="k">v</parameter></invoke>`, whatever prefix the tags have."""
    calls: list[Found] = []
    for found in _INVOKE.finditer(text):
        name = found[1]
        if not _NAME.fullmatch(name) or len(calls) >= MOST_CALLS:
            return None
        texts, values = dict[str, str](), dict[str, Any]()
        for one in _INVOKED.finditer(found[2]):
            if one[2] == "false":
                values[one[1]] = json_value(one[3], one[3])
            elif one[2] == "true":
                values[one[1]] = one[3]
            else:
                texts[one[1]] = _value(one[3])
        calls.append((name, {**coerced(texts, schemas.get(name)), **values}))
    return calls or None


# --- marks of single families ---------------------------------------------------------------------------


def _mistral(text: str, schemas: Schemas) -> list[Found] | None:
    """Read a list of objects, or `name[ARGS]{..}` again and again."""
    text = _without_stops(text)
    if "[ARGS]" not in text:
        return json_calls(text, schemas)
    calls: list[Found] = []
    for piece in text.split("[TOOL_CALLS]"):
        name, mark, arguments = piece.partition("[ARGS]")
        name = name.partition("[CALL_ID]")[0].strip()
        if not mark or not _NAME.fullmatch(name) or len(calls) >= MOST_CALLS:
            return None
        calls.append((name, _object(arguments)))
    return calls or None


def _between(text: str, begin: str, end: str) -> Iterator[str]:
    """Yield what stands between marks; what follows the last begin may have no end."""
    for piece in text.split(begin)[1 : MOST_CALLS + 1]:
        yield piece.partition(end)[0]


def _deepseek(text: str, _: Schemas) -> list[Found] | None:
    calls: list[Found] = []
    for piece in _between(text, "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"):
        name, mark, rest = piece.partition("<｜tool▁sep｜>")
        if name.strip() == "function":  # V3 says so, and has the name on a line of its own
            name, rest = rest.split("\n", 1) if "\n" in rest else (rest, "")
        if not mark or not _NAME.fullmatch(name.strip()):
            return None
        calls.append((name.strip(), _object(rest)))
    return calls or None


def _kimi(text: str, _: Schemas) -> list[Found] | None:
    calls: list[Found] = []
    for piece in _between(text, "<|tool_call_begin|>", "<|tool_call_end|>"):
        name, mark, arguments = piece.partition("<|tool_call_argument_begin|>")
        name = name.strip().removeprefix("functions.").partition(":")[0]
        if not mark or not _NAME.fullmatch(name):
            return None
        calls.append((name, _object(arguments)))
    return calls or None


def _harmony(text: str, _: Schemas) -> list[Found] | None:
    """Read `functions.name <|constrain|>json<|message|>{..}`."""
    head, mark, arguments = text.partition("<|message|>")
    found = _NAME.match(head.strip().removeprefix("functions."))
    if not mark or found is None:
        return None
    return [(found[0], _object(_without_stops(arguments)))]


def _hermes(text: str, schemas: Schemas) -> list[Found] | None:
    return json_calls(text, schemas) if text.lstrip().startswith(("{", "[")) else None


def _alone(
    opener: str, read: Callable[[str, Schemas], list[Found] | None]
) -> Callable[[str, Schemas], list[Found] | None]:
    """Return a reader of what has no marks: it is a call only where its name is that of a tool."""

    def alone(text: str, schemas: Schemas) -> list[Found] | None:
        calls = read(opener + text, schemas)
        return calls if calls and all(name in schemas for name, _ in calls) else None

    return alone


_CALL_END = ("<|call|>", "<|start|>")
#: Of two that begin alike the one that is tried first.
FORMS: tuple[Form, ...] = (
    Form("hermes", "<tool_call>", ("</tool_call>",), _hermes),
    Form("qwen3_coder", "<tool_call>", ("</tool_call>",), coder_calls),
    Form("glm45", "<tool_call>", ("</tool_call>",), _glm),
    Form("qwen3_coder", "<function=", ("</function>",), _coder_alone),
    Form("llama3_json", "<|python_tag|>", (), _python_tag),
    Form("mistral", "[TOOL_CALLS]", (), _mistral),
    Form("granite", "<|tool_call|>", (), json_calls),
    Form("deepseek_v3", "<｜tool▁calls▁begin｜>", ("<｜tool▁calls▁end｜>",), _deepseek),
    Form("deepseek_v32", "<｜DSML｜function_calls>", ("</｜DSML｜function_calls>",), invoke_calls),
    Form("deepseek_v4", "<｜DSML｜tool_calls>", ("</｜DSML｜tool_calls>",), invoke_calls),
    Form("kimi_k2", "<|tool_calls_section_begin|>", ("<|tool_calls_section_end|>",), _kimi),
    Form("minimax_m2", "<minimax:tool_call>", ("</minimax:tool_call>",), invoke_calls),
    Form("lfm2", "<|tool_call_start|>", ("<|tool_call_end|>",), pythonic_calls),
    Form("step3", "<｜tool_calls_begin｜>", ("<｜tool_calls_end｜>",), invoke_calls),
    Form("openai", "<|channel|>commentary to=", _CALL_END, _harmony),
    Form("openai", "to=functions.", _CALL_END, _harmony, alone=True),
    Form("llama3_json", "{", (), _alone("{", json_calls), alone=True),
    Form("llama3_json", "[", (), _alone("[", json_calls), alone=True),
    Form("pythonic", "[", (), _alone("[", pythonic_calls), alone=True),
)
