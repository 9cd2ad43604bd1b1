"""Artifacts of a chat: what is found in its answers, and what it is called."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vllm_studio_tui.cli import chat_artifacts
from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.services.chat.artifacts import Artifact, artifacts_of


def found(content: str, reasoning: str = "", role: str = "assistant") -> list[Artifact]:
    return artifacts_of([Message("m1", "s1", role, content, reasoning=reasoning)])


def test_fences_tags_and_bare_pages_are_found_in_the_order_of_the_answer() -> None:
    told = found(
        "Look:\n\n```python main.py\nprint(1)\n```\n\n"
        "1. first\n\n   ~~~js\n   if (a)\n     b()\n   ~~~\n\n"
        '<artifact type="text/html" title="My page">\n<p>hi</p>\n</artifact>\n'
        "<svg width='1'>\n<rect/>\n</svg> and\n"
        "<!DOCTYPE html>\n<html><b>x</b></html>\n"
        "```artifact-mermaid\ngraph TD\n```\n"
        "```\nplain\n```\n"
    )
    assert [(one.number, one.kind, one.name, one.text) for one in told] == [
        (1, "python", "main.py", "print(1)\n"),
        (2, "js", "js-2.js", "if (a)\n  b()\n"),
        (3, "html", "My-page.html", "<p>hi</p>\n"),
        (4, "svg", "svg-4.svg", "<svg width='1'>\n<rect/>\n</svg>\n"),
        (5, "html", "html-5.html", "<!DOCTYPE html>\n<html><b>x</b></html>\n"),
        (6, "mermaid", "mermaid-6.mmd", "graph TD\n"),
        (7, "text", "text-7.txt", "plain\n"),
    ]
    assert not any(one.thinking or one.cut for one in told)


def test_those_within_thinking_are_kept_and_marked() -> None:
    told = found("done", reasoning="so\n```html\n<p>a</p>\n```\n")
    assert [(one.text, one.thinking) for one in told] == [("<p>a</p>\n", True)]
    told = found("<think>\nso\n```html\n<p>a</p>\n```\n</think>\nbut\n```html\n<p>b</p>\n```\n")
    assert [(one.text, one.thinking) for one in told] == [("<p>a</p>\n", True), ("<p>b</p>\n", False)]


def test_only_answers_hold_artifacts_and_blank_ones_are_none() -> None:
    assert not found("```py\nx\n```", role="user")
    assert not found("```py\n\n```\ntext `` ` `` and ```inline``` and <svg that never ends")


def test_a_fence_that_never_closed_is_told_as_cut() -> None:
    (one,) = found("```rust\nfn main() {")
    assert (one.text, one.cut, one.name) == ("fn main() {", True, "rust-1.rs")


def test_a_tag_around_a_fence_is_one_artifact() -> None:
    (one,) = found('<artifact title="clock">\n```jsx\n<Clock/>\n```\n</artifact>')
    assert (one.name, one.kind, one.text) == ("clock.jsx", "jsx", "<Clock/>\n")
    (one,) = found("````md\n```py\nx\n```\n````\n")
    assert one.text == "```py\nx\n```\n"


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ("python ../../.ssh/authorized_keys.py", "authorized_keys.py"),
        ('sh title="/etc/cron.d/x"', "x.sh"),
        ('sh title=".."', "sh-1.sh"),
        ("ts:src/a.ts", "a.ts"),
        ('js file="..\\..\\evil.js"', "evil.js"),
        ('py title=".bashrc"', "bashrc.py"),
        ('py title="\x1b]0;x\x07a b"', "0-x-a-b.py"),
        (f'py title="{"ü" * 400}"', "ü" * 60 + ".py"),
    ],
)
def test_a_hostile_name_leads_nowhere(info: str, name: str) -> None:
    (one,) = found(f"```{info}\nx\n```")
    assert one.name == name


@given(st.text(max_size=60), st.text(max_size=200))
@example("-", "0")
def test_any_answer_is_read_and_every_name_is_a_plain_file(info: str, text: str) -> None:
    told = found(f"```{info}\n{text}\n```\n<artifact title='{info}'>\n{text}\n</artifact>\n```{info}\n{text}", text)
    for one in told:
        assert Path(one.name).name == one.name
        assert not one.name.startswith((".", "-"))
        assert len(one.name.encode()) < 200
        assert one.name.isprintable()
    assert len({one.name.casefold() for one in told}) == len(told)


def test_the_same_name_again_is_given_a_number() -> None:
    told = found("```py a.py\n1\n```\n```py A.py\n2\n```\n```py a-2.py\n3\n```\n```py a.py\n4\n```\n")
    assert [one.name for one in told] == ["a.py", "A-2.py", "a-2-2.py", "a-3.py"]


def test_a_long_answer_of_many_beginnings_is_read_at_once() -> None:
    began = time.process_time()
    assert len(found("<svg\n<artifact\n```py a.py\nx\n```\n" * 20000)) == 20000
    assert time.process_time() - began < 10


def save(folder: Path, told: list[Artifact], which: str, *, force: bool = False) -> list[str]:
    paths = chat_artifacts._save(chat_artifacts._chosen(told, which), folder, force=force)
    return [path.name for path in paths.values()]


def test_saving_writes_over_nothing_unless_told_to(tmp_path: Path) -> None:
    told = found("```py a.py\n1\n```\n```py b.py\n2\n```\n")
    folder, other = tmp_path / "new" / "er", tmp_path / "other"
    assert save(folder, told, "all") == ["a.py", "b.py"]
    (folder / "a.py").unlink()
    (folder / "b.py").write_text("mine")
    with pytest.raises(StudioError, match=r"b\.py exists"):
        save(folder, told, "all")
    assert not (folder / "a.py").exists()
    assert (folder / "b.py").read_text() == "mine"
    assert save(folder, told, "2", force=True) == ["b.py"]
    assert (folder / "b.py").read_text() == "2\n"
    (folder / "a.py").symlink_to(other)
    with pytest.raises(StudioError, match=r"a\.py exists"):
        save(folder, told, "1")
    assert save(folder, told, "1", force=True) == ["a.py"]
    assert not other.exists()  # the link was replaced, not followed
    with pytest.raises(StudioError, match="exists"):
        save(folder / "a.py", told, "2")
    for wrong in ("0", "3", "1,x", "-1", ""):
        with pytest.raises(UsageError, match="numbered from 1 to 2"):
            save(tmp_path, told, wrong)
    with pytest.raises(StudioError, match="nothing to save"):
        save(tmp_path, [], "all")
