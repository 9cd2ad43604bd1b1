"""The locked versions that CI installs: they are what pyproject asks for, each with its hashes, from no named index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / ".ci/requirements.txt").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def locked() -> dict[str, Version]:
    """The version of each locked distribution by its normalised name."""
    rows = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in rows}


def wanted() -> list[str]:
    """Every requirement of the project: to run it, for its extras, and to build it."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [
        *PROJECT["project"]["dependencies"],
        *(one for extra in extras for one in extra),
        *PROJECT["build-system"]["requires"],
    ]


@pytest.mark.parametrize("text", wanted())
def test_a_requirement_is_locked_within_its_bounds(text: str) -> None:
    requirement = Requirement(text)
    assert locked()[canonicalize_name(requirement.name)] in requirement.specifier, "make it anew: poe lock"


def test_every_locked_version_has_its_hashes() -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked())
    assert [entry.splitlines()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


def test_no_index_is_named() -> None:
    assert re.findall(r"://|index-url|find-links| @ |^-", LOCK, re.MULTILINE) == []


def test_ci_installs_what_is_locked_and_builds_with_it() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert "install -q --require-hashes -r .ci/requirements.txt" in script
    assert "install -q --no-deps --no-build-isolation -e ." in script
