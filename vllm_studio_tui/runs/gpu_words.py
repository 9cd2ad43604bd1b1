"""All GPUs in a few words, for the strip and for lines of status bars. Light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu

#: Columns of a line from which power and memory are written with their spaces.
ROOMY = 100


def gpu_words(found: Sequence[Gpu], degree: str, *, tight: bool = True) -> list[str]:
    """Return the mean use, the memory, the power and the highest temperature of all GPUs, as far as each is known."""
    words = []
    uses = [gpu.utilization for gpu in found if gpu.utilization is not None]
    if uses:
        words.append(f"{sum(uses) / len(uses):.0f}%")
    sizes = [(gpu.memory_used, gpu.memory_total) for gpu in found]
    if sizes and all(used is not None and total for used, total in sizes):
        used = sum(one or 0 for one, _ in sizes) / numbers.GIB
        words.append(f"{used:.0f}/{sum(one or 0 for _, one in sizes) / numbers.GIB:.0f}G")
    drawn = [gpu.power_draw for gpu in found if gpu.power_draw is not None]
    if drawn:
        power = numbers.power(sum(drawn))
        words.append(power.replace(" ", "") if tight else power)
    hottest = max((gpu.temperature for gpu in found if gpu.temperature is not None), default=None)
    if hottest is not None:
        words.append(f"{hottest}{degree}")
    return words


def lost_words(found: Sequence[Gpu]) -> str:
    """Return which GPUs do not answer; empty where all do."""
    lost = [str(gpu.index) for gpu in found if gpu.lost is not None]
    return f"gpu {' '.join(lost) if len(lost) <= 3 else len(lost)} lost" if lost else ""
