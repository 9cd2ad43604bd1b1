"""The settings and variables of docs/reference/settings.md: made from the model, so that none is missing."""

from __future__ import annotations

import inspect
import re
from typing import Any

from vllm_studio_tui.config.settings import OTHER_VARIABLES, Settings, variables


def markdown() -> str:
    """Return two Markdown tables: every setting with its variables and default, and every other variable."""
    helps = words()
    lines = ["| setting | what | default | variables |", "|---|---|---|---|"]
    for name, info in Settings.model_fields.items():
        names = ", ".join(f"`{one}`" for one in variables(name))
        lines.append(f"| `{name}` | {helps[name]} | {_default(info.default)} | {names} |")
    lines += ["", "| variable | what |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in OTHER_VARIABLES.items()]
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    human = getattr(value, "human_readable", None)
    return f"`{human()}`" if callable(human) else f"`{value}`"


def words() -> dict[str, str]:
    """Return the description of each field, from the docstring of the model."""
    text = inspect.cleandoc(Settings.__doc__ or "").partition("Attributes:")[2]
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
