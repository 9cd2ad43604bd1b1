"""A home and terminals that are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminal.pty_screen import Terminal, environment, studio
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read

Opener = Callable[..., Terminal]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home; whatever runs in it is stopped at the end."""
    yield tmp_path
    for run in read.live_runs(Places.under(tmp_path)):
        control.stop(run, force=True)


@pytest.fixture
def terminal(home: Path) -> Iterator[Opener]:
    opened: list[Terminal] = []

    def open_one(
        *arguments: str, program: list[str] | None = None, size: tuple[int, int] = (120, 36), **environ: str
    ) -> Terminal:
        argv = studio(*arguments) if program is None else [*program, *arguments]
        made = Terminal(argv, environment(home, **environ), columns=size[0], rows=size[1])
        opened.append(made)
        return made

    yield open_one
    for one in opened:
        one.close()
