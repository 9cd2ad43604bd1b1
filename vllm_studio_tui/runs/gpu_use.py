"""Find out which GPUs a run of a recipe will use, as far as that is known before."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.simulation import marks

#: What is there where a GPU of NVIDIA (also under WSL, or on a Jetson), AMD or Intel can be used. No driver is asked:
#: that may take seconds.
DEVICES = (
    "/dev/nvidia[0-9]*",
    "/proc/driver/nvidia/gpus/*",
    "/dev/dxg",
    "/dev/nvhost-gpu",
    "/dev/kfd",
    "/dev/dri/renderD*",
    "/dev/accel/accel*",
)


def gpus_of_node(recipe: Recipe) -> int:
    """Return how many GPUs the engine takes on each machine that it runs on."""
    return math.ceil(recipe.gpu_count / recipe.node_count)


def claims(recipe: Recipe, version: str | None = None, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the GPUs that a run will use.

    Args:
        version: The installed engine's: one that was built for the CPU takes no GPU that is not named.
        environ: What the engine will inherit; None: ours.
    """
    if recipe.gpus:
        return () if recipe.gpus == ("auto",) else tuple(str(one) for one in recipe.gpus)
    backend = registry.find(recipe.backend)
    if backend is None or not backend.takes_first_gpus:
        return ()
    if (version or "").endswith("+cpu") or _on_cpu(recipe):
        return ()
    environ = os.environ if environ is None else environ
    visible = _visible(recipe, environ)
    if visible is not None:
        return visible[: gpus_of_node(recipe)]
    return tuple(str(index) for index in range(gpus_of_node(recipe))) if gpus_here(environ) else ()


def gpus_here(environ: Mapping[str, str]) -> bool:
    """Return whether this machine shows any sign of a GPU."""
    if environ.get(marks.GPUS, "").strip():
        return True
    return any(next(Path("/").glob(pattern[1:]), None) is not None for pattern in DEVICES)


def _on_cpu(recipe: Recipe) -> bool:
    device = recipe.extra_args.get("device") or recipe.env_vars.get("VLLM_TARGET_DEVICE")
    return str(device or "").split(":")[0].lower() == "cpu"


def _visible(recipe: Recipe, environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the GPUs that CUDA will show to the engine, in its order; None where nothing limits them."""
    for value in (
        recipe.env_vars.get("CUDA_VISIBLE_DEVICES"),
        recipe.extra_args.get("cuda_visible_devices", recipe.extra_args.get("cuda-visible-devices")),
        environ.get("CUDA_VISIBLE_DEVICES"),
    ):
        if isinstance(value, str | int) and not isinstance(value, bool) and not secrets.is_reference(str(value)):
            named = [one.strip() for one in str(value).split(",")]
            # CUDA stops at the first that it does not know.
            stop = next((place for place, one in enumerate(named) if one in ("", "-1")), len(named))
            return tuple(named[:stop])
    return None
