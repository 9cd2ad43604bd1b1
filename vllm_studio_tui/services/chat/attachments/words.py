"""What a person is told of an attachment, in words."""

from __future__ import annotations

from vllm_studio_tui.domain.chat import Attachment
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line


def name_of(one: Attachment) -> str:
    """Return its name, safe to show."""
    return clean_line(one.name, limit=80) or "file"


def facts_of(one: Attachment) -> list[str]:
    """Return its facts: size, pages or points, roughly how many tokens it takes, and whether all of it is sent."""
    facts = [clean_line(one.note, limit=80)] if one.note else []
    facts.append(numbers.size(one.size))
    if one.tokens is not None:
        facts.append(f"about {numbers.count(one.tokens)} tok")
    if one.cut:
        facts.append("not all of it")
    return facts
