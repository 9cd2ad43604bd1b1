"""What a typed path may go on to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.unprivileged import as_nobody
from vllm_studio_tui.models.path_completion import OFFERED, PathOffer, paths_from


def test_folders_and_gguf_files_are_offered_by_name(tmp_path: Path) -> None:
    for name in ("beta", "Alpha"):
        (tmp_path / name).mkdir()
    (tmp_path / "beta" / "config.json").write_text("{}")
    (tmp_path / "big.gguf").write_bytes(bytes(2048))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = paths_from(f"{tmp_path}/")
    assert found == [
        PathOffer(f"{tmp_path}/Alpha/", "Alpha/"),
        PathOffer(f"{tmp_path}/beta", "beta/", "model"),
        PathOffer(f"{tmp_path}/big.gguf", "big.gguf", "2 KiB"),
    ]
    assert [one.name for one in paths_from(f"{tmp_path}/B")] == ["beta/", "big.gguf"]
    assert paths_from(f"{tmp_path}/big.gguf") == []  # nothing is left to be completed


def test_a_tilde_stays_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    assert paths_from("~/mo") == [PathOffer("~/models/", "models/")]
    assert paths_from("~") == []


@pytest.mark.parametrize("typed", ["org/model", "", "/no/such/folder/x", "/etc/passwd/x", "/\0/", "~nobody-here/x"])
def test_what_is_no_path_or_cannot_be_read_offers_nothing(typed: str) -> None:
    assert paths_from(typed) == []


def test_a_folder_that_may_not_be_read_and_names_that_cannot_be_kept_offer_nothing(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    assert as_nobody(lambda: str(paths_from(f"{closed}/"))) == "[]"
    os.mkdir(os.fsencode(tmp_path) + b"/latin-\xe4")
    (tmp_path / "two\nlines").mkdir()
    assert [one.name for one in paths_from(f"{tmp_path}/")] == ["closed/"]
    closed.chmod(0o700)


def test_a_large_folder_offers_what_can_be_looked_through(tmp_path: Path) -> None:
    for number in range(OFFERED + 20):
        (tmp_path / f"m{number:03}").mkdir()
    assert len(paths_from(f"{tmp_path}/")) == OFFERED
    assert [one.name for one in paths_from(f"{tmp_path}/m119")] == ["m119/"]
