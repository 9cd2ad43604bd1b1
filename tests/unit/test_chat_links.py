"""Links of a chat: where they are found, and what opens them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.chat import Message, ToolCall
from vllm_studio_tui.services.chat.links import MOST, Link, links_of
from vllm_studio_tui.tui.terminal.browser import Browser, find_browser, open_address


def found(content: str, role: str = "assistant") -> list[Link]:
    return links_of([Message("m1", "s1", role, content)])


def test_links_of_an_answer_are_found_in_every_form_and_none_in_code() -> None:
    told = found(
        "See [the *docs*](https://d.e/x) and https://a.b/c_d, <https://f.g>, <me@h.i>, [r][1] and ![p](https://i.j/k.png).\n"
        "`https://in.code` [bad](javascript:alert(1)) [near](docs/a.md)\n\n"
        "> - [`code`](https://q.r)\n\n| a |\n|---|\n| https://t.u |\n\n"
        "```\nhttps://in.fence\n```\n\n    https://in.block\n\n[1]: https://ref.example\n"
    )
    assert [(one.text, one.address) for one in told] == [
        ("the docs", "https://d.e/x"),
        ("https://a.b/c_d", "https://a.b/c_d"),
        ("https://f.g", "https://f.g"),
        ("mailto:me@h.i", "mailto:me@h.i"),
        ("r", "https://ref.example"),
        ("p", "https://i.j/k.png"),
        ("code", "https://q.r"),
        ("https://t.u", "https://t.u"),
    ]
    assert [one.number for one in told] == list(range(1, 9))


def test_questions_and_results_of_tools_are_plain_text_and_a_result_stands_where_its_call_does() -> None:
    call = ToolCall("c1", "git__search", "{}")
    told = links_of(
        [
            Message("m1", "s1", "system", "https://system.example"),
            Message("m2", "s1", "user", "what is `https://a.b`?"),
            Message("m3", "s1", "assistant", "", tool_calls=(call,)),
            Message("m4", "s1", "tool", '{"url": "https://c.d/e"}', tool_call_id="c1"),
            Message("m5", "s1", "tool", "https://of.nobody", tool_call_id="c9"),
            Message(
                "m6", "s1", "assistant", "[bank.com](https://evil.example) twice: [bank.com](https://evil.example)"
            ),
        ]
    )
    assert [(one.where, one.address, one.message_id, one.tool, one.elsewhere) for one in told] == [
        ("question", "https://a.b", "m2", "", False),
        ("result", "https://c.d/e", "m3", "git__search", False),
        ("result", "https://of.nobody", "m5", "", False),
        ("answer", "https://evil.example", "m6", "", True),
    ]
    assert told[1].to_json()["tool"] == "git__search"
    assert told[0].to_json()["tool"] is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["[", "]", "(", ")", "<", ">", "!", "`", "\n", "https://a.b", "[1]: ", "\x1b", "\ud800", "| "])
    )
)
def test_no_text_is_too_much_for_it(pieces: list[str]) -> None:
    for role in ("user", "assistant", "tool"):
        for link in found("".join(pieces), role):
            assert link.address.isascii()
            assert link.text.isprintable()


def test_of_very_many_links_the_first_ones_are_listed() -> None:
    began = time.perf_counter()
    assert len(found("\n".join(f"https://a.b/{number}" for number in range(MOST * 3)))) == MOST
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", ("xdg-open",)),
        ({"WAYLAND_DISPLAY": "wayland-0", "BROWSER": "w3m:firefox --new-tab"}, "linux", ("firefox", "--new-tab")),
        ({"BROWSER": "firefox"}, "linux", None),
        ({"SSH_CONNECTION": "1 2 3 4", "BROWSER": "firefox"}, "linux", None),
        ({"SSH_CONNECTION": "1 2 3 4", "DISPLAY": "localhost:10.0"}, "linux", ("xdg-open",)),
        (
            {"SSH_CONNECTION": "x", "VSCODE_IPC_HOOK_CLI": "y", "BROWSER": "/vs/browser.sh"},
            "linux",
            ("/vs/browser.sh",),
        ),
        ({}, "darwin", ("open",)),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", None),
        ({"WSL_DISTRO_NAME": "Debian"}, "linux", ("wslview",)),
        ({"DISPLAY": ":0", "BROWSER": "'unclosed"}, "linux", ("xdg-open",)),
        ({"DISPLAY": ":0", "BROWSER": "gone"}, "linux", ("xdg-open",)),
    ],
)
def test_a_browser_is_offered_where_somebody_would_see_it(
    environ: dict[str, str], platform: str, expected: tuple[str, ...] | None
) -> None:
    browser = find_browser(environ, platform=platform, which=lambda name: None if name == "gone" else f"/bin/{name}")
    assert (browser.words if browser is not None else None) == expected
    assert find_browser(environ, platform=platform, which=lambda name: None) is None


def test_a_browser_gets_the_address_as_one_word_and_none_of_our_terminal(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = tmp_path / "browser"
    script.write_text(f"#!/bin/sh\n[ -t 0 ] && exit 9\nprintf '%s|' \"$@\" > {told}\n")
    script.chmod(0o755)
    address = "https://a.b/$(touch%20x);'?q=1&r=2"
    assert open_address(Browser((str(script), "--new")), address) == ""
    assert told.read_text() == f"--new|{address}|"
    assert open_address(Browser((str(script), "--url=%s", "%s")), address) == ""
    assert told.read_text() == f"--url={address}|{address}|"


def test_why_a_browser_did_not_open_it_is_said(tmp_path: Path) -> None:
    assert open_address(Browser(("/bin/false",)), "https://a.b") == "false ended with 1"
    assert "No such file" in open_address(Browser((str(tmp_path / "gone"),)), "https://a.b")
    for address in ("--help", "file:///etc/passwd", "javascript:alert(1)", "https://a.b\n--help"):
        assert open_address(Browser(("/bin/false",)), address) == "it is no web or mail address"
    slow = Browser((sys.executable, "-c", "import time; time.sleep(1)"))
    assert open_address(slow, "https://a.b", patience=0.2) == "", "one that stays has taken it"
