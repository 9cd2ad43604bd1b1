"""Fixtures of the process tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import House
from tests.process.house import house as make_house
from vllm_studio_tui.simulation.gpus import uuid

#: The number of a simulated GPU by its name.
INDEX: dict[str, int] = {}


@pytest.fixture(autouse=True)
def own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes without a port get none that a test of another worker gives to one of its own at the same time.

    From its keeper letting go of a port until an engine binds it, it looks free to whoever launches elsewhere.
    """
    monkeypatch.setenv("VLLM_STUDIO_INFERENCE_PORT", str(free_port()))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    yield from make_house(tmp_path)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two simulated GPUs."""
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2")
    INDEX.update({uuid(index): index for index in range(2)})
