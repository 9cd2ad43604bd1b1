"""Why a file cannot be read or run: said as it is, as the user who would do it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.unprivileged import as_nobody, enterable_folder
from vllm_studio_tui.kit import file_access


def script(path: Path, first: str, mode: int = 0o755) -> Path:
    path.write_text(f"{first}\nexit 0\n")
    path.chmod(mode)
    return path


def words(path: Path | str, search: str | None = None) -> str:
    found = file_access.explain_program(str(path), search)
    return found.words if found else ""


def test_a_program_that_can_be_run_has_no_trouble(tmp_path: Path) -> None:
    assert file_access.program_trouble(sys.executable) is None
    assert file_access.program_trouble(script(tmp_path / "a", "#!/bin/sh")) is None
    assert file_access.program_trouble(script(tmp_path / "b", "#! /usr/bin/env -S sh -e")) is None
    assert file_access.program_trouble(script(tmp_path / "c", "#!/usr/bin/env sh"), "/usr/bin:/bin") is None


def test_what_keeps_a_program_from_being_run_is_told_as_it_is(tmp_path: Path) -> None:
    plain = script(tmp_path / "plain", "#!/bin/sh", 0o644)
    moved = script(tmp_path / "moved", "#!/opt/old-venv/bin/python3")
    nested = script(tmp_path / "nested", f"#!{moved}")
    dos = script(tmp_path / "dos", "#!/bin/sh\r")
    no_env = script(tmp_path / "no-env", "#!/usr/bin/env python9")
    bare = script(tmp_path / "bare", "echo hello")
    link = tmp_path / "link"
    link.symlink_to("/opt/old-venv/bin/python3")
    assert words(plain).startswith(f"{plain} is not executable (mode 0644, owner ")
    gone = "/opt/old-venv/bin/python3 does not exist"
    assert words(moved) == f"{moved} is a script whose interpreter cannot be run: {gone}"
    assert words(nested).endswith(gone)
    assert "CR LF" in words(dos)
    assert words(no_env, "/bin").endswith("python9 is not in PATH")
    assert "no program" in words(bare)
    assert words(link) == f"{link} is a link to /opt/old-venv/bin/python3, which does not exist"
    assert words(tmp_path) == f"{tmp_path} is a folder"
    assert words(tmp_path / "x") == f"{tmp_path}/x does not exist"
    assert words(plain / "x").endswith("does not exist")
    assert words("no-such-program", str(tmp_path)) == "no-such-program is not in PATH"
    # A bare name that PATH holds, and which cannot be run from there.
    assert words("plain", str(tmp_path)) == words(plain)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    assert words(tmp_path / "fifo").endswith("is no regular file")
    found = file_access.read_trouble(tmp_path / "fifo")
    assert found is not None
    assert found.reason == "no_file"


def test_rights_are_told_with_the_folder_that_keeps_us_out() -> None:
    with enterable_folder() as folder:
        shut = folder / "shut" / "deep"
        shut.mkdir(parents=True)
        for name, mode in ((shut / "a", 0o644), (folder / "b", 0o000), (folder / "c", 0o644), (folder / "d", 0o700)):
            name.write_text("#!/bin/sh\n")
            name.chmod(mode)
        (folder / "list").mkdir(mode=0o111)
        shut.parent.chmod(0o000)

        def look() -> str:
            found = [file_access.read_trouble(one) for one in (shut / "a", folder / "b", folder / "c")]
            found += [file_access.read_trouble(folder / "list", folder=True), file_access.program_trouble(folder / "d")]
            return "\n".join(one.words if one else "fine" for one in found)

        said = as_nobody(look).splitlines()
        assert f"may not enter {shut.parent} (mode 0000" in said[0]
        assert "b cannot be read by user" in said[1]
        assert "(mode 0000" in said[1]
        assert said[2] == "fine"
        if os.getuid() == 0:  # else they are ours
            assert "list cannot be listed by user" in said[3]
            assert "d cannot be executed by user" in said[4]


@given(st.text(max_size=80))
def test_no_path_is_too_strange(name: str) -> None:
    file_access.read_trouble(name)
    file_access.read_trouble(name, folder=True)
    file_access.program_trouble(name)
    file_access.explain_program(name, "/bin")


@given(st.binary(max_size=300))
def test_no_first_line_is_too_strange(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        Path(file.name).chmod(0o700)
        file_access.program_trouble(file.name, "/bin")
