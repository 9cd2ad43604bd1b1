"""What MCP servers answer, as our values: bounded, and told where something is left out."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.tools import Tool, ToolResult
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tools.names import tool_name
from vllm_studio_tui.tools.results import json_text, result_of

if TYPE_CHECKING:
    import mcp_types as types

#: Tools of one server, letters of a description, bytes of a schema.
MAX_TOOLS = 256
MAX_DESCRIPTION = 4000
MAX_SCHEMA = 32 * 1024
#: Images of one result, and base64 characters of each.
MAX_IMAGES = 8
MAX_IMAGE = 6 * 1024 * 1024
_IMAGE = re.compile(r"image/[a-z0-9.+-]{1,40}")


def tools_of(server: str, given: Iterable[types.Tool]) -> tuple[list[Tool], int]:
    """Return a server's tools, and how many of them cannot be offered: too many, or larger than any is."""
    found: list[Tool] = []
    dropped = 0
    for one in given:
        description = (one.description or "").encode("utf-8", "replace").decode()
        if len(description) > MAX_DESCRIPTION:
            description = description[: MAX_DESCRIPTION - 1] + "…"
        try:
            usable = len(json.dumps(one.input_schema)) <= MAX_SCHEMA
        except (ValueError, TypeError, RecursionError):
            usable = False
        if not usable or len(found) >= MAX_TOOLS or not 0 < len(one.name) <= 200:
            dropped += 1
            continue
        found.append(Tool(tool_name(server, one.name), server, one.name, description, one.input_schema))
    return found, dropped


def result_from(answer: types.CallToolResult, seconds: float) -> ToolResult:
    """Return the result of a call from what the server answered."""
    parts: list[str] = []
    images: list[str] = []
    for one in answer.content:
        text, image = _block(one)
        if image is not None and len(images) >= MAX_IMAGES:
            text, image = f"[one more image: no more than {MAX_IMAGES} are taken]", None
        if image is not None:
            images.append(image)
        if text:
            parts.append(text)
    if not parts and answer.structured_content is not None:
        parts.append(json_text(answer.structured_content))
    if images:
        parts.append(f"[{len(images)} image{'s' if len(images) > 1 else ''} with it]")
    return result_of("\n".join(parts), seconds=seconds, is_error=bool(answer.is_error), images=images)


def _block(one: Any) -> tuple[str, str | None]:
    """Return the text of a part of a result, and its image as a data URL."""
    if one.type == "text":
        return one.text, None
    if one.type == "image":
        return _image(one.data, one.mime_type)
    if one.type == "resource":
        text = getattr(one.resource, "text", None)
        if isinstance(text, str):
            return f"[{one.resource.uri}]\n{text}", None
        kind, blob = one.resource.mime_type or "", getattr(one.resource, "blob", "")
        if kind.startswith("image/"):
            return _image(blob, kind)
        return f"[a file, {kind or 'of an unknown kind'}, {numbers.size(len(blob) * 3 // 4)}: {one.resource.uri}]", None
    if one.type == "resource_link":
        return f"[a link: {one.name} {one.uri}]", None
    return f"[{one.type}: it cannot be shown]", None


def _image(data: str, kind: str) -> tuple[str, str | None]:
    kind = kind.lower()
    if len(data) > MAX_IMAGE:
        return f"[an image of {numbers.size(len(data) * 3 // 4)}: too large, it is left out]", None
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return "[an image that cannot be read]", None
    if not _IMAGE.fullmatch(kind):
        return f"[an image of an unknown kind, {kind[:60]}]", None
    return "", f"data:{kind};base64,{data}"
