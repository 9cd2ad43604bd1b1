"""What a key may do as text that a person edits, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.api_key import ApiKey, Scope
from vllm_studio_tui.domain.errors import UsageError

FIELDS = (
    "scopes", "models", "may_launch", "requests_per_minute", "max_concurrent", "tokens_per_day", "loading",
)  # fmt: skip


def key_to_text(key: ApiKey) -> str:
    """Return what may be changed of a key, a line each; nothing after the colon means no limit."""
    import yaml  # deferred: only who edits needs it

    values: dict[str, Any] = {
        "scopes": [str(one) for one in sorted(key.scopes)],
        "models": list(key.models),
        **{name: getattr(key, name) for name in FIELDS[2:]},
    }
    lines = []
    for name, value in values.items():
        # A document of one word ends in a line of its own.
        words = "" if value is None else yaml.safe_dump(value, default_flow_style=True, width=10_000).splitlines()[0]
        lines.append(f"{name}: {words}".rstrip())
    return "\n".join(lines) + "\n"


def key_from_text(key: ApiKey, text: str) -> ApiKey:
    """Return the key with what the text says; what the text leaves out stays as it is.

    Raises:
        UsageError: A line cannot be understood.
    """
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise UsageError("the text cannot be understood", cause=str(problem)) from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UsageError("the text cannot be understood", advice=f"A line for each of {', '.join(FIELDS)}.")
    changes: dict[str, Any] = {}
    for name, value in data.items():
        if name not in FIELDS:
            raise UsageError(f"there is no {str(name)[:40]}", advice=f"There are: {', '.join(FIELDS)}")
        changes[name] = _value(name, value)
    return replace(key, **changes)


def _value(name: str, value: Any) -> Any:
    if name in ("scopes", "models"):
        found = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise UsageError(f"{name} is a list of words", advice=f"Such as: {name}: [one, two]")
        if name == "models":
            return tuple(found)
        wrong = [one for one in found if one not in tuple(Scope)]
        if wrong:
            raise UsageError(f"there is no scope {wrong[0][:40]}", advice=f"There are: {', '.join(Scope)}")
        return frozenset(Scope(one) for one in found)
    if name == "may_launch":
        if not isinstance(value, bool):
            raise UsageError("may_launch is true or false")
        return value
    if name == "loading":
        return None if value is None else str(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise UsageError(f"{name} is a whole number, or nothing for no limit")
    return value
