"""Pauses of the garbage collector: what stays is not looked at, and what was drawn is freed without it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from rich.segment import Segment
from textual.strip import Strip

from vllm_studio_tui.tui.terminal import textual_patches


def in_a_process_of_its_own(code: str) -> str:
    """What a Python process prints: the collector is the whole process's."""
    begin = "import gc\nfrom vllm_studio_tui.kit import gc_freeze\n"
    return subprocess.run(
        [sys.executable, "-c", begin + code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_what_was_imported_is_not_looked_at_again() -> None:
    code = """
gc_freeze.begin()
before = gc.isenabled()
with gc_freeze.importing():
    import decimal
    during = gc.isenabled()
print(before, during, gc.isenabled(), gc.get_freeze_count() > 1000)
kept = []
with gc_freeze.importing():
    print(gc.isenabled())
    kept += [[] for _ in range(5000)]
print(gc.isenabled(), len(gc.get_objects()) < 5000)
"""
    assert in_a_process_of_its_own(code).split() == ["False", "False", "True", "True", "False", "True", "True"]


def test_the_collector_comes_back_also_where_an_import_fails() -> None:
    code = """
gc_freeze.begin()
try:
    with gc_freeze.importing():
        import there_is_no_such_module
except ImportError:
    print(gc.isenabled())
"""
    assert in_a_process_of_its_own(code) == "True"


def test_a_process_that_makes_apps_over_and_over_is_left_alone() -> None:
    code = """
with gc_freeze.importing():
    print(gc.isenabled())
print(gc.isenabled(), gc.get_freeze_count())
"""
    assert in_a_process_of_its_own(code).split() == ["True", "True", "0"]


def test_a_line_that_was_drawn_is_freed_when_it_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Strip, "divide", Strip.divide)  # put back afterwards
    textual_patches.whole_strips()
    whole = Strip([Segment("four")], 4)
    assert whole.divide([4]) == [whole]
    assert [part.text for part in whole.divide([1, 4])] == ["f", "our"]
    gc.collect()
    was = gc.isenabled()
    gc.disable()
    try:
        for _ in range(1000):
            Strip([Segment("four")], 4).divide([4])
        assert gc.collect() < 1000, "they are freed without the collector"
    finally:
        if was:
            gc.enable()
