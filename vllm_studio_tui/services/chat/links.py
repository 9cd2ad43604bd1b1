"""Links of a chat: addresses in its questions, its answers and what its tools returned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit.markdown import markdown_parser
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.kit.web_addresses import find_addresses, leads_elsewhere, safe_address

if TYPE_CHECKING:
    from markdown_it.token import Token

#: Links of a chat, and characters of a link's text, that are listed at most.
MOST, LONGEST_TEXT = 2000, 200


@dataclass(frozen=True, slots=True)
class Link:
    """An address in a message.

    Attributes:
        number: From 1, in the order of the chat.
        text: The words that lead there; the address itself where it stands bare.
        address: http, https or mailto, in printable ASCII.
        where: `question`, `answer` or `result`.
        message_id: The message that shows it; of a tool's result, the answer that called the tool.
        tool: The name of the tool that returned it.
        elsewhere: Its text names another host than the one that it leads to.
    """

    number: int
    text: str
    address: str
    where: str
    message_id: str
    tool: str = ""
    elsewhere: bool = False

    @property
    def bare(self) -> bool:
        """Whether it has no words of its own."""
        return self.text == self.address

    def to_json(self) -> dict[str, Any]:
        """Return the link as `chats links --json` prints it."""
        return {
            "number": self.number,
            "text": self.text,
            "address": self.address,
            "where": self.where,
            "message": self.message_id,
            "tool": self.tool or None,
            "elsewhere": self.elsewhere,
        }


def links_of(branch: Iterable[Message]) -> list[Link]:
    """Return the links of a branch in its order, of one message each once; none in code, and `MOST` in all."""
    found: list[Link] = []
    calls: dict[str, tuple[str, str]] = {}
    for message in branch:
        tool, shown_in, where = "", message.id, "answer"
        calls.update({call.id: (call.name, message.id) for call in message.tool_calls})
        if message.role == "assistant":
            texts = _in_markdown(message.content)
        elif message.role == "tool":
            tool, shown_in = calls.get(message.tool_call_id or "", ("", message.id))
            texts, where = _in_plain(message.content), "result"
        elif message.role == "user":
            texts, where = _in_plain(message.content), "question"
        else:
            continue
        seen: set[tuple[str, str]] = set()
        for text, address in texts:
            if (text, address) in seen:
                continue
            if len(found) == MOST:
                return found
            seen.add((text, address))
            elsewhere = leads_elsewhere(text, address)
            found.append(Link(len(found) + 1, text, address, where, shown_in, clean_line(tool, limit=80), elsewhere))
    return found


def _in_plain(text: str) -> Iterator[tuple[str, str]]:
    for line in clean(text).split("\n"):
        for found in find_addresses(line):
            yield found.address, found.address


def _in_markdown(text: str) -> Iterator[tuple[str, str]]:
    if "://" not in text and "@" not in text:
        return  # most answers have none, and need not be read
    for token in markdown_parser().parse(clean(text)):
        if token.type == "inline":
            yield from _inline(token.children or ())


def _inline(children: Iterable[Token]) -> Iterator[tuple[str, str]]:
    link: str | None = None
    inside: list[str] = []
    for child in children:
        if child.type == "link_open":
            link, inside = str(child.attrGet("href") or ""), []
        elif child.type == "link_close":
            address = safe_address(link or "")
            if address is not None:
                yield _words("".join(inside), address), address
            link = None
        elif child.type == "image":
            address = safe_address(str(child.attrGet("src") or ""))
            if address is not None:
                yield _words(child.content, address), address
            inside.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            inside.append(" ")
        elif child.content and link is not None:
            inside.append(child.content)
        elif child.type in ("text", "text_special"):
            for found in find_addresses(child.content):
                yield found.address, found.address


def _words(text: str, address: str) -> str:
    """Return what a link is called: its text, in one line; the address where the text is nothing else."""
    line = clean_line(text.strip(), limit=LONGEST_TEXT)
    return address if not line or line == address.removeprefix("mailto:") or safe_address(text) == address else line
