"""Markdown in chunks and in lines, for any text and any width."""

from __future__ import annotations

import re
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from vllm_studio_tui.tui.document.code import LEXERS, code_lines
from vllm_studio_tui.tui.document.line_breaking import Line, fold
from vllm_studio_tui.tui.document.markdown import render
from vllm_studio_tui.tui.document.scanner import Scanner

DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\n]")
WORDS = st.sampled_from(
    ["word", "**bold**", "`code`", "\n", "\n\n", "- ", "1. ", "> ", "# ", "```", "```py\n", "~~~\n", "| a | b |\n",
     "|---|--:|\n", "    ", "\t", "[x](http://y.z)", "![i](u)", "*", "_", "<b>", "&#27;", "&#x202e;", "\x1b[31m",
     "\x9b2J", "\u202e", "漢字", "é", "👩‍👩‍👧", "---\n", "\\", "\r\n", " " * 9, "x" * 200]
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=40).map("".join) | st.text(max_size=200)


def joined(text: str, sizes: list[int]) -> tuple[list[str], str]:
    scanner, chunks, at = Scanner(), [], 0
    for size in sizes or [len(text) or 1]:
        chunks += scanner.feed(text[at : at + size])
        at += size
    chunks += scanner.feed(text[at:])
    return chunks, scanner.tail


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, sizes=st.lists(st.integers(1, 7), max_size=60))
def test_any_cutting_of_a_stream_gives_the_same_chunks(text: str, sizes: list[int]) -> None:
    chunks, tail = joined(text, sizes)
    assert "".join(chunks) + tail == text
    assert joined(text, []) == (chunks, tail)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, width=st.integers(1, 90))
@example(text="1. ", width=1)
@example(text="1. ```", width=1)
@example(text="1. | a |\n   |---|\n   | b |", width=1)
@example(text="> 1. ***", width=1)
def test_any_text_at_any_width_is_lines_that_fit_and_do_no_harm(text: str, width: int) -> None:
    for line in render(text, width):
        assert cell_len(line.text) <= max(width, 2)
        assert not DANGEROUS.search(line.text)
        assert not DANGEROUS.search(line.right)


WHOLE = """# Title

Some **bold** text with a [link](http://there) in it.

- one
- two
  - inner

  more of two

> a quote
> of two lines

```python
x = 1

y = 2
```

| a | b |
|---|---|
| 1 | 2 |

1. first
2. second

The end.
"""


def test_chunk_by_chunk_looks_as_the_whole() -> None:
    scanner = Scanner()
    chunks = [*scanner.feed(WHOLE), *scanner.close()]
    assert len(chunks) > 6
    apart = [line.text for chunk in chunks for line in (*render(chunk, 60), Line(())) if render(chunk, 60)]
    together = [line.text for line in render(WHOLE, 60)]
    assert [text for text in apart if text.strip()] == [text for text in together if text.strip()]


def test_a_fence_keeps_its_blank_lines_and_its_language() -> None:
    lines = render("```python\na\n\nb\n```", 40)
    assert [line.text.strip() for line in lines] == ["a", "", "b"]
    assert lines[0].right == "python"
    assert {line.plane for line in lines} == {"code"}


def load_lexer(language: str) -> None:
    LEXERS.get(language)
    while language not in LEXERS._known:
        time.sleep(0.01)


def test_code_is_coloured_once_its_lexer_is_loaded() -> None:
    load_lexer("python")
    styles = {style for line in code_lines("def f(): return 1 # c\n", "python", 60) for _, style in line.parts}
    assert {"kw", "fn", "num", "comment italic"} <= styles


def test_an_unknown_language_is_plain() -> None:
    load_lexer("no-such-language")
    assert code_lines("x\n", "no-such-language", 20)[0].text.strip() == "x"


def test_what_follows_a_word_without_a_blank_stays_with_it() -> None:
    for width in range(16, 60):
        for line in render("see **bold**, [a](https://a.b), https://c.d/e, `code`; *and* (*so*) on. " * 3, width):
            assert not line.text.startswith((",", ";", ".", ")")), (width, line.text)
            assert cell_len(line.text) <= width


def test_links_show_where_they_lead() -> None:
    assert "(http://evil.example)" in render("[your bank](http://evil.example)", 80)[0].text


def test_tables_align_and_wrap_in_little_room() -> None:
    source = "| name | value |\n|---|--:|\n| a long name of something | 12 |\n"
    lines = [line.text for line in render(source, 20)]
    assert all(cell_len(line) <= 20 for line in lines)
    assert any(line.rstrip().endswith("12") for line in lines)
    wide = [line.text.rstrip() for line in render(source, 80)]
    assert wide[0].startswith("name")
    assert wide[2].endswith("12")


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=120), width=st.integers(1, 40))
def test_folding_loses_no_word(text: str, width: int) -> None:
    from vllm_studio_tui.kit.sanitize import clean_line

    shown = "".join(line.text for line in fold([(text, "fg")], width))
    assert "".join(shown.split()) == "".join("".join(clean_line(row) for row in text.split("\n")).split())
