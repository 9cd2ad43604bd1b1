"""Values in calls that a model wrote as text: untyped ones by the tool's schema, and Python's. No input raises."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

#: Letters of the arguments of one call in Python, and how deep its brackets may be: `ast` is not made for more.
MOST_PYTHON = 100_000
DEEPEST = 40
_NAME = re.compile(r"\s*([A-Za-z_][\w.\-]{0,99})\s*\(")
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}


def json_value(text: str, otherwise: Any = None) -> Any:
    """Return the value of a JSON text, or something else where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def coerced(given: Mapping[str, str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return texts as the values that the schema of a tool asks for; what does not fit stays text."""
    properties = (schema or {}).get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    return {name: _value(text, known.get(name)) for name, text in given.items()}


def _value(text: str, schema: Any) -> Any:
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return text
    plain = {"True": "true", "False": "false", "None": "null"}.get(text.strip(), text.strip())
    value = json_value(plain, text)
    if not kinds:
        return value
    for kind in kinds:
        fits = isinstance(value, _KINDS.get(kind, ())) and (kind == "boolean" or not isinstance(value, bool))
        if fits:
            return value
    if "integer" in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    return text


def _kinds(schema: Any) -> set[str]:
    """Return the types that a schema allows; none where it does not say."""
    if not isinstance(schema, Mapping):
        return set()
    kind: Any = schema.get("type")
    found = {one for one in (kind if _list(kind) else [kind]) if isinstance(one, str)}
    for name in ("anyOf", "oneOf"):
        for one in schema[name][:20] if _list(schema.get(name)) else ():
            inner = one.get("type") if isinstance(one, Mapping) else None
            if isinstance(inner, str):
                found.add(inner)
    if not found and _list(schema.get("enum")) and all(isinstance(one, str) for one in schema["enum"]):
        found.add("string")
    return found


def _list(value: Any) -> bool:
    return isinstance(value, list | tuple)


# --- Python ---------------------------------------------------------------------------------------------


def python_calls(text: str, most: int) -> list[tuple[str, Mapping[str, Any] | str]] | None:
    """Read calls of functions with literal keyword arguments, apart by commas; None where that is not all there is."""
    calls: list[tuple[str, Mapping[str, Any] | str]] = []
    at = 0
    while True:
        found = _NAME.match(text, at)
        if found is None:
            return None
        end = _closing(text, found.end())
        if end < 0 or len(calls) >= most:
            return None
        arguments = _keywords(text[found.end() : end])
        if arguments is None:
            return None
        calls.append((found[1], arguments))
        rest = text[end + 1 :].lstrip()
        if not rest:
            return calls
        if not rest.startswith((",", ";", "\n")) and not _NAME.match(rest):
            return None
        at = len(text) - len(rest) + (1 if rest[0] in ",;" else 0)


def _closing(text: str, at: int) -> int:
    """Return where the bracket closes that is open before `at`; -1 where it does not, or too late."""
    depth, quote, index = 1, "", at
    limit = min(len(text), at + MOST_PYTHON)
    while index < limit:
        letter = text[index]
        if quote:
            if letter == "\\":
                index += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
            if depth > DEEPEST:
                return -1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    return -1


def _keywords(text: str) -> dict[str, Any] | None:
    try:
        tree = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args or any(one.arg is None for one in tree.keywords):
            return None
        values = {str(one.arg): ast.literal_eval(_JsonWords().visit(one.value)) for one in tree.keywords}
        json.dumps(values)  # Python has values that JSON lacks
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError):
        return None
    return values


class _JsonWords(ast.NodeTransformer):
    """Models mix the words of JSON in."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        words = {"true": True, "false": False, "null": None}
        return ast.copy_location(ast.Constant(words[node.id]), node) if node.id in words else node
