"""The built-in tool that tells the time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.tools.functions import Function, schema, text_of
from vllm_studio_tui.tools.results import ToolFault, json_text


def clock() -> Function:
    """Return the tool."""
    zone = {"type": "string", "description": "An IANA time zone such as Europe/Berlin; without it the machine's own."}
    tool = Tool(
        "builtin__time",
        "builtin",
        "time",
        "The current date and time, in UTC and in a time zone.",
        schema({"timezone": zone}),
        asks=False,
    )
    return Function(tool, _time)


async def _time(arguments: Mapping[str, Any]) -> str:
    now = datetime.fromtimestamp(time.time(), UTC)
    name = text_of(arguments, "timezone", "", most=64) if arguments.get("timezone") else ""
    try:
        there = now.astimezone(ZoneInfo(name) if name else None)
    except (ValueError, OSError, KeyError):  # `ZoneInfoNotFoundError` is a KeyError; a folder's name an OSError
        raise ToolFault(f"there is no time zone {name}; write it like Europe/Berlin") from None
    return json_text(
        {
            "utc": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "local": there.isoformat(timespec="seconds"),
            "timezone": name or there.tzname(),
            "weekday": there.strftime("%A"),
        }
    )
