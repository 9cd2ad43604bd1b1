"""A chat as one page: nothing is loaded from anywhere, nothing in it is run.

What a message says is text. Its Markdown is drawn without the HTML in it, links of unknown kinds stay text, a picture
is shown only where its data is in the chat, and the page forbids the browser all else (Content-Security-Policy).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.chat import ROLE_TITLES, Message, Session
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.services.chat.exports import system_of

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --dim: #667; --line: #8884; --plane: #8881; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif; }
header, article { border-bottom: 1px solid var(--line); padding: .6rem 0; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1rem; margin: .2rem 0; }
.dim { color: var(--dim); font-size: .85rem; font-weight: normal; }
.user { background: var(--plane); padding: .6rem .8rem; }
pre { overflow-x: auto; background: var(--plane); padding: .6rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
.plain { white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; }
table { border-collapse: collapse; } td, th { border: 1px solid var(--line); padding: .2rem .5rem; }
.error { color: #c33; }
"""


def as_html(session: Session, branch: Sequence[Message]) -> str:
    """Return a branch of a chat as a page."""
    title = clean_line(session.title or "Chat")
    about = " · ".join(filter(None, [clean_line(session.model or ""), session.created_at[:16].replace("T", " ")]))
    parts = [
        '<!doctype html>\n<html lang="">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f'<header><h1>{escape(title)}</h1><p class="dim">{escape(about)}</p></header>',
    ]
    if system := system_of(session):
        parts.append(f'<article class="system"><h2>System</h2>{_plain(system)}</article>')
    parts += [_article(one) for one in branch]
    return "\n".join([*parts, "</body>\n</html>\n"]).encode("utf-8", "replace").decode()


def _article(message: Message) -> str:
    role = message.role if message.role in ROLE_TITLES else "user"
    facts = " · ".join(filter(None, _facts(message)))
    parts = [f'<article class="{role}"><h2>{ROLE_TITLES[role]} <span class="dim">{escape(facts)}</span></h2>']
    if message.reasoning.strip():
        parts.append(f"<details><summary>Thinking</summary>{_plain(message.reasoning)}</details>")
    if role == "tool":
        parts.append(f"<details><summary>{escape(_result_of(message))}</summary>{_plain(message.content)}</details>")
    elif role == "assistant":
        parts.append(_markdown().render(clean(message.content)))
    else:
        parts.append(_plain(message.content))
    parts += [f'<p><img alt="picture" src="{one}"></p>' for one in message.images if _PICTURE.fullmatch(one)]
    for file in message.files:
        name = f"{clean_line(file.name)} ({clean_line(file.media_type)}, {file.size} bytes)"
        parts.append(
            f"<details><summary>{escape(name)}</summary>{_plain(file.text)}</details>"
            if file.text is not None
            else f'<p class="dim">{escape(name)}</p>'
        )
    for call in message.tool_calls:
        parts.append(
            f"<details><summary>calls {escape(clean_line(call.name))}</summary>{_plain(call.arguments)}</details>"
        )
    if message.error:
        parts.append(f'<p class="error">{escape(clean(message.error))}</p>')
    return "\n".join([*parts, "</article>"])


def _facts(message: Message) -> list[str]:
    tokens, rate = message.usage.completion_tokens, message.timings.tokens_per_second
    cut = message.finish if message.finish in ("length", "stopped", "interrupted", "failed", "streaming") else None
    return [
        clean_line(message.model or ""),
        message.created_at[:19].replace("T", " "),
        f"{tokens} tokens" if tokens is not None else "",
        f"{numbers.rate(rate)} tok/s" if rate is not None else "",
        cut or "",
        "bookmarked" if message.bookmarked_at else "",
    ]


def _result_of(message: Message) -> str:
    call = message.details.get("call")
    name = call.get("name") if isinstance(call, dict) else None
    return f"Result of {clean_line(name)}" if isinstance(name, str) and name else "Result"


def _plain(text: str) -> str:
    return f'<div class="plain">{escape(clean(text))}</div>'


@lru_cache(1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Without `image`, a picture from elsewhere is a link: a page that is opened tells nobody so.
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 40}).enable(["table", "strikethrough"])
    return parser.disable("image")
