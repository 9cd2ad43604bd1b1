"""Patterns that are compiled when they are first used."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import re

made = []
compiled = re.compile
re.compile = lambda *args: made.append(args[0]) or compiled(*args)
import vllm_studio_tui.keeper.__main__
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.keeper.causes import find
from vllm_studio_tui.keeper.log_watch import LogWatch
from pathlib import Path

made.clear()
LogWatch(Path("/nowhere"), (), FAILURES)
print(len(made), "at the start")
found = find(["OSError: [Errno 98] Address already in use"], FAILURES)
print(found.failure.reason, len(made) < 20)
"""


def test_a_keeper_compiles_no_row_of_the_table_before_a_line_may_match_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0 at the start", "port_in_use True"]
