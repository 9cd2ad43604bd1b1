"""Secrets by reference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vllm_studio_tui.kit.secrets import MAX_FILE, is_reference, resolve


def test_a_variable_and_the_first_line_of_a_file_are_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-first\nsecond\n")
    assert resolve("env:KEY", {"KEY": "sk-1"}) == "sk-1"
    assert resolve(f"file:{key}", {}) == "sk-first"


def test_the_users_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("x")
    assert resolve("file:~/key", {}) == "x"


@pytest.mark.parametrize("text", ["env:A", "env:_B2", "file:/a b/c", "file:key"])
def test_references_are_recognised(text: str) -> None:
    assert is_reference(text)


@pytest.mark.parametrize("text", ["", "sk-123", "env:", "env:2A", "env:A B", "file:", "env:A\n", "ENV:A"])
def test_what_is_no_reference_is_refused_without_repeating_it(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(ValueError, match="not a reference") as error:
        resolve(text, {"A": "value"})
    assert str(error.value) == "not a reference to a secret: use env:NAME or file:PATH"


def test_an_unset_or_empty_variable_is_named() -> None:
    for environ in ({}, {"KEY": " "}):
        with pytest.raises(ValueError, match="env:KEY"):
            resolve("env:KEY", environ)


def test_files_that_are_no_keys_are_refused_by_name_without_their_content(tmp_path: Path) -> None:
    large, pipe, binary, empty = (tmp_path / name for name in ("large", "pipe", "binary", "empty"))
    large.write_text("secret" * MAX_FILE)
    os.mkfifo(pipe)
    binary.write_bytes(b"secret\xff\n")
    empty.write_text("\nsecret\n")
    for path in (large, pipe, binary, empty, tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match=f"file:{path}") as error:
            resolve(f"file:{path}", {})
        assert "secret" not in str(error.value).removeprefix(f"file:{path}")
