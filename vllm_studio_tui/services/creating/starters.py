"""Models to begin with on this machine: for each purpose the largest that fits, found by the fit itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.creation import Glance, StarterModel
from vllm_studio_tui.services.published import Published, published

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import GpuReport

#: A starter that holds less than this is not offered: a talk of this length, for one.
SHORTEST = 8192
#: Tokens that its cache has to hold, and those on GPUs with more memory than `LARGE`.
FEWEST, FEWEST_LARGE, LARGE = 16_384, 65_536, 30 << 30
#: With more than so many others, one for small machines is left out.
ENOUGH = 2


def choose_starters(
    report: GpuReport, environ: Mapping[str, str], glance: Callable[[str], Glance]
) -> list[StarterModel]:
    """Return one model for each purpose: the first of the list that this machine can run, and that fits. Blocking.

    Args:
        glance: How a model would run here.
    """
    found: list[StarterModel] = []
    done: set[str] = set()
    for one in published():
        if one.role in done or not _able(report, one):
            continue
        how = glance(one.model)
        if not how.fits or how.context < SHORTEST or not _serves(report, one, how):
            continue
        done.add(one.role)
        here = _is_here(one, environ)
        found.append(StarterModel(one.name, one.model, one.about, one.why, 0 if here else one.bytes, one.source, how))
    if len(found) > ENOUGH:
        found = [one for one in found if role_of(one) != "small"]
    order = {role: index for index, role in enumerate(("tools", "code", "large", "images", "small"))}
    return sorted(found, key=lambda one: order.get(role_of(one), 9))


def role_of(one: StarterModel) -> str:
    """Return what a starter is for."""
    return next((other.role for other in published() if other.model == one.model), "")


def _serves(report: GpuReport, one: Published, how: Glance) -> bool:
    """Return whether it is of use there: without a GPU a small one alone; on large GPUs for several at a time."""
    if not how.gpus:
        return one.processor
    large = any((gpu.memory_total or 0) > LARGE for gpu in report.gpus)
    return how.context * how.users >= (FEWEST_LARGE if large else FEWEST)


def _able(report: GpuReport, one: Published) -> bool:
    """Return whether the GPUs can compute with its kind of weights; GGUF files need none."""
    if not one.needs:
        return True
    able = [gpu.compute_capability for gpu in report.gpus]
    return bool(able) and all(_number(text) >= one.needs for text in able)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _is_here(one: Published, environ: Mapping[str, str]) -> bool:
    from vllm_studio_tui.models.local import hub_cache

    name = one.model.partition(":")[0].replace("/", "--")
    try:
        return any((hub_cache(environ) / f"models--{name}" / "snapshots").iterdir())
    except OSError:
        return False
