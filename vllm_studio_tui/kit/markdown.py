"""The reader of Markdown, the same for what is drawn and for what is looked up in it."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

#: The line that says where `[words][1]` leads.
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]{1,999}\]:", re.MULTILINE)


@lru_cache(1)
def markdown_parser() -> MarkdownIt:
    """Return the parser."""
    from markdown_it import MarkdownIt

    # Raw HTML is shown as it was written; it means nothing in a terminal.
    return MarkdownIt("commonmark", {"html": False, "maxNesting": 40}).enable(["table", "strikethrough"])


def references_of(source: str) -> dict[str, Any]:
    """Return where the references of a text lead, to read a part of it with; cheap for a text that has none."""
    if _DEFINITION.search(source) is None:
        return {}
    env: MutableMapping[str, Any] = {}
    markdown_parser().parse(source, env)
    found: dict[str, Any] = env.get("references", {})
    return found
