"""Tools that are functions of this program, and what they share: their arguments are a model's, and may be anything."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import Tool, ToolResult
from vllm_studio_tui.tools.results import ToolFault, result_of

#: Makes a call; what it returns is the text of the result.
Work = Callable[[Mapping[str, Any]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Function:
    """A tool and what does its work.

    Attributes:
        work: Raises `ToolFault` or `StudioError` for what the model, or the person, got wrong.
        seconds: How long it may take.
    """

    tool: Tool
    work: Work
    seconds: float = 30.0


class FunctionSource:
    """Tools of this program under one name, such as `builtin`."""

    def __init__(self, name: str, functions: Sequence[Function]) -> None:
        self.name = name
        self._functions = {one.tool.title: one for one in functions}

    async def tools(self) -> Sequence[Tool]:
        """Return them."""
        return [one.tool for one in self._functions.values()]

    async def call(self, title: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call. Raises nothing but cancellation."""
        import asyncio

        one = self._functions[title]
        began = time.monotonic()
        try:
            strange = sorted(str(name)[:40] for name in arguments.keys() - one.tool.parameters.get("properties", {}))
            if strange:
                raise ToolFault(f"{title} has no argument {', '.join(strange)}")
            async with asyncio.timeout(one.seconds):
                text, failed = await one.work(arguments), False
        except ToolFault as fault:
            text, failed = str(fault), True
        except StudioError as error:
            text, failed = str(error), True
        except TimeoutError:
            text, failed = f"{title} was ended: it took more than {one.seconds:g} seconds", True
        except Exception as error:  # noqa: BLE001 - a fault of ours, and no reason to end an answer
            text, failed = f"{title} failed: {type(error).__name__}", True
        return result_of(text, seconds=time.monotonic() - began, is_error=failed)


def schema(properties: Mapping[str, Mapping[str, Any]], *, required: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments."""
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False}


def text_of(arguments: Mapping[str, Any], name: str, default: str | None = None, *, most: int = 4096) -> str:
    """Return an argument that is text.

    Raises:
        ToolFault: It is missing, no text, or too long.
    """
    value = arguments.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value or len(value) > most:
        raise ToolFault(f"{name} must be a text of 1 to {most} characters")
    return value


def whole_of(arguments: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return an argument that is a whole number, kept inside of the bounds; models write numbers as text, too.

    Raises:
        ToolFault: It is none.
    """
    value = arguments.get(name)
    if value is None:
        return default
    try:
        if isinstance(value, bool) or (isinstance(value, str) and len(value) > 20):
            raise ValueError
        return min(max(int(value), low), high)
    except (TypeError, ValueError, OverflowError):
        raise ToolFault(f"{name} must be a whole number from {low} to {high}") from None
