"""Every file and folder of this repository that a page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vllm_studio_tui"
#: The changelog names what was there then; architecture.md is held to it once it describes the tree as it is.
HISTORY = {"docs/changelog.md"}
STALE: set[str] = set()
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if str(path.relative_to(ROOT)) not in HISTORY | STALE),
]
#: A path in code marks: `tests/unit/test_lock.py`, `tui/screens/`; not one with a part to fill in.
PATH = re.compile(r"(?<!`)`(\.?[a-z_][\w.-]*(?:/[\w.-]+)*/?)`(?!`)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def named(text: str) -> set[str]:
    """Paths in a page that begin at the top of the tree or of the package."""
    found = {path for path in PATH.findall(FENCE.sub("", text)) if "/" in path}
    tops = {".ci", ".github"} | {path.name for base in (ROOT, PACKAGE) for path in base.glob("[!.]*/")}
    return {path for path in found if path.partition("/")[0] in tops and not re.search(r"[A-Z]{3,}", path)}


def exists(path: str) -> bool:
    return any((base / path).exists() for base in (ROOT, PACKAGE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert sorted(path for path in named(page.read_text("utf-8")) if not exists(path)) == []


def test_a_missing_file_is_found() -> None:
    assert [
        path for path in named("`kit/ring.py`, `kit/rang.py`, `themes/NAME.yaml`, `and/or`") if not exists(path)
    ] == ["kit/rang.py"]


def test_every_decision_is_in_the_index_and_says_why() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (\S+) \| \[(.+)\]\((.+)\) \|$", index, re.MULTILINE)
    decisions = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert sorted(name for _, _, name in rows) == [path.name for path in decisions]
    for date, title, name in rows:
        text = (folder / name).read_text("utf-8")
        assert name.startswith(f"{date}-")
        assert text.startswith(f"# {title}\n\n{date}\n\n## Context\n")
        assert "\n## Decision\n" in text
        assert "\n## Consequences\n" in text
