"""Results of calls: bounded, and told where they were cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vllm_studio_tui.domain.tools import MAX_RESULT, ToolResult
from vllm_studio_tui.kit import numbers


class ToolFault(Exception):
    """What a model is told of a call that could not be made."""


def result_of(text: str, *, seconds: float = 0.0, is_error: bool = False, images: Sequence[str] = ()) -> ToolResult:
    """Return a result whose text has at most `MAX_RESULT` bytes; what is missing is told at its end."""
    text = text.encode("utf-8", "replace").decode()
    size = len(text.encode())
    if size > MAX_RESULT:
        told = f"\n[cut: the whole result has {numbers.size(size)}, this is its beginning]"
        text = text.encode()[: MAX_RESULT - len(told.encode())].decode("utf-8", "ignore") + told
    return ToolResult(text, is_error, seconds, size, tuple(images))


def json_text(data: Any) -> str:
    """Return plain data as the JSON that models read."""
    return json.dumps(data, ensure_ascii=False, separators=(", ", ": "), default=str)
