"""Addresses in text: what is found, what is safe to hand on, and which texts lie."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.kit.web_addresses import LONGEST, find_addresses, host_of, leads_elsewhere, safe_address

#: What makes addresses, and what takes them apart.
WRITTEN = [
    "https://",
    "HTTP://",
    "mailto:",
    "a.b",
    "exämple.com",
    "@",
    ":",
    "//",
    "/x",
    "?q=ä",
    "#f",
    "(",
    ")",
    "[::1]",
]
BROKEN = [
    "\x1b]8;;",
    "\x1b\\",
    "\x07",
    "\x9c",
    "\u202e",
    "\ud800",
    "\n",
    " ",
    "]",
    "\\",
    "%",
    "%zz",
    "99999",
    ".",
    "。",
]
HOSTILE = st.lists(st.one_of(st.sampled_from(WRITTEN), st.sampled_from(BROKEN), st.text(max_size=5)), max_size=12).map(
    "".join
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.b/c_(d). And", ["https://a.b/c_(d)"]),
        ("(https://a.b/x)", ["https://a.b/x"]),
        ("[1] https://a.b/x?y=1&z=2, then", ["https://a.b/x?y=1&z=2"]),
        ("'https://a.b' \"https://c.d\" <https://e.f>", ["https://a.b", "https://c.d", "https://e.f"]),
        ("**https://a.b/x** and _https://a.b/_", ["https://a.b/x", "https://a.b/"]),
        ('{"url":"https://a.b/c\\n"}', ["https://a.b/c"]),
        ("見て https://ex.com/x。次", ["https://ex.com/x"]),
        ("HTTPS://A.B/C!", ["https://A.B/C"]),
        ("https://exämple.com/ä?ö#ü", ["https://xn--exmple-cua.com/%C3%A4?%C3%B6#%C3%BC"]),
        ("http://[::1]:8000/v1 http://localhost:8080", ["http://[::1]:8000/v1", "http://localhost:8080"]),
        ("write to mailto:a@b.c, or call", ["mailto:a@b.c"]),
        ("no: http:// https://: mailto:nobody xhttps://a.b ftp://a.b file:///etc/passwd javascript:alert(1)", []),
        ("https://a:b:c/ https://a.b:99999/ https://[::1/ https://a%b/", []),
        ("https://a.b\x1b]8;;https://evil.example", ["https://a.b", "https://evil.example"]),
    ],
)
def test_addresses_are_found_without_the_sentence_around_them(text: str, found: list[str]) -> None:
    assert [one.address for one in find_addresses(text)] == found


@pytest.mark.parametrize(
    ("text", "address", "lies"),
    [
        ("the docs", "https://docs.vllm.ai/", False),
        ("https://bank.com/login", "https://evil.example/x", True),
        ("your bank: bank.com", "https://evil.example/x", True),
        ("bank.com", "https://bank.com.evil.ru/", True),
        ("bank.com", "https://evilbank.com/", True),
        ("bank.com", "https://login.bank.com/", False),
        ("www.bank.com", "https://bank.com/", False),
        ("https://user@bank.com", "https://evil.example/", True),
        ("https://google.com@evil.example/", "https://google.com@evil.example/", True),
        ("main.py and README.md", "https://github.com/x/y", False),
        ("https://exämple.com", "https://xn--exmple-cua.com/", False),
        ("https://gооgle.com", "https://google.com/", True),  # two letters are Cyrillic
        ("https://bank.com", "mailto:thief@evil.example", True),
        ("write to us", "mailto:a@b.c", False),
    ],
)
def test_a_text_lies_that_names_another_host(text: str, address: str, lies: bool) -> None:
    assert leads_elsewhere(text, address) is lies


def test_where_an_address_leads_is_its_host_and_not_what_stands_before_it() -> None:
    assert host_of("https://google.com@evil.example:8443/x") == "evil.example:8443"
    assert host_of("mailto:a%20b@c.d?subject=x") == "a b@c.d"
    # A browser takes a backslash for a slash: so does what is handed to it.
    assert safe_address("https://evil.example\\@good.com/") == "https://evil.example/@good.com/"


@settings(max_examples=400, deadline=None)
@given(text=HOSTILE, other=HOSTILE)
def test_whatever_comes_a_safe_address_is_printable_and_of_the_web(text: str, other: str) -> None:
    for address in [safe_address(text), *(one.address for one in find_addresses(text))]:
        if address is None:
            continue
        assert all(" " < character < "\x7f" for character in address)
        assert address.startswith(("http://", "https://", "mailto:"))
        assert address.startswith("mailto:") or urlsplit(address).hostname
        assert safe_address(address) == address, "it is handed on as often as one likes"
        assert host_of(address) or address.startswith("mailto:")
        leads_elsewhere(other, address)
    for found in find_addresses(text):
        assert safe_address(text[found.start : found.end]) == found.address


def test_a_text_made_to_be_slow_is_not() -> None:
    began = time.perf_counter()
    for text in ("https://" * 40_000, f"https://a{')' * 300_000}", f"http://{'a.' * 150_000}", "www." * 80_000):
        found = list(find_addresses(text))
        assert all(len(one.address) <= LONGEST for one in found)
        leads_elsewhere(text, "https://a.b")
    assert time.perf_counter() - began < 20, "quadratic work on these would take minutes"
