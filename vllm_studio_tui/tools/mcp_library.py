"""The MCP library, imported when it is first needed: it takes half a second."""

from __future__ import annotations

import logging


def quiet() -> None:
    """Let nothing of it write to the terminal: what is wrong with a server is told as an error of that server."""
    logger = logging.getLogger("mcp")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
