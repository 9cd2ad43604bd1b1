"""Ground for the doctor to look at: an empty home, system and PATH."""

from __future__ import annotations

from pathlib import Path

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.doctor.context import Ground


def bare_ground(folder: Path) -> Ground:
    """A home that is not there yet, a system root without files, and `folder/bin` as PATH."""
    (folder / "bin").mkdir()
    (folder / "root").mkdir()
    return Ground(Places.under(folder / "home"), {"PATH": str(folder / "bin")}, folder / "root")


def on(ground: Ground, **environ: str) -> Ground:
    """The same with more variables."""
    return Ground(ground.places, {**ground.environ, **environ}, ground.root)


def put(path: Path, text: str = "", mode: int = 0o600) -> Path:
    """Write a file and its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path
