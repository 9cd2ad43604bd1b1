"""No text from outside can steer a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.sanitize import clean, clean_line, redact, strip_ansi

HOSTILE = [
    "\x1b]52;c;ZXZpbA==\x1b\\",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x9d52;c;x\x9c",
    "a\x08\x08b",
    "\x7f",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "line\u2028separator",
    "\ufeffbom",
    "\U000e0041tag",
    "\ud800lone",
    "over\rwritten",
]


def is_dangerous(character: str) -> bool:
    code = ord(character)
    if character in "\n\t\u200d":
        return False
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or code in range(0x202A, 0x202F)
        or code in range(0x2066, 0x2070)
        or code in (0x200E, 0x200F, 0x2028, 0x2029, 0x061C, 0xFEFF)
        or 0xE0000 <= code <= 0xE007F
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert not any(is_dangerous(character) for character in clean(text))


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_becomes_safe_and_encodable(text: str) -> None:
    safe = clean(text)
    assert not any(is_dangerous(character) for character in safe)
    safe.encode("utf-8")
    assert clean(safe) == safe


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r"))))
def test_pieces_are_as_safe_as_the_whole(pieces: list[str]) -> None:
    assert "".join(map(clean, pieces)) == clean("".join(pieces))


def test_plain_text_emoji_and_line_ends_stay() -> None:
    text = "Hello, wörld 👩‍💻 日本\n\tindented ┌─┐"
    assert clean(text) == text
    assert clean("a\r\nb") == "a\nb"


def test_a_line_stays_one_line_and_within_its_limit() -> None:
    assert clean_line("a\nb\tc") == "a b c"
    assert len(clean_line("x" * 1000, limit=10)) == 10


def test_what_has_no_width_is_marked_in_a_name_and_stays_in_a_text() -> None:
    assert clean_line("re\u200bad") == "re\ufffdad"
    assert clean("word\u200bbreak") == "word\u200bbreak"


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("\x1b[32mgreen\x1b[0m", "green"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("\x9b1mbold", "bold"),
        ("\x1b", ""),
    ],
)
def test_sequences_of_a_log_are_taken_out_whole(raw: str, plain: str) -> None:
    assert strip_ansi(raw) == plain


def test_known_secrets_and_what_looks_like_a_key_are_masked() -> None:
    text = "key=hunter22 Authorization: Bearer abcdef123456 sk-abcdefgh12345 hf_ABCDEFGH1234 'api_key': 'quiet' done"
    masked = redact(text, ["hunter22"])
    for secret in ("hunter22", "abcdef123456", "sk-abcdefgh12345", "hf_ABCDEFGH1234", "quiet"):
        assert secret not in masked
    assert masked.endswith("done")
