"""GPUs from what nvidia-smi and the files of amdgpu say. All of it is text of others: what does not fit is unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.host_overview import LONGEST, MOST_GPUS, HostGpu
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.probes.gpu.validation import throttle
from vllm_studio_tui.remote.agentless.script import SMI

MIB = 1024**2
#: Cells that name what is wrong with a GPU, and how that is said.
_BROKEN = (("gpu is lost", "lost"), ("requires reset", "requires a reset"))
#: Cells of a reading that failed; one alone is no trouble, as some GPUs never tell their power.
_FAILED = ("err!", "unknown error")
_READ = ("utilization.gpu", "memory.used", "power.draw", "temperature.gpu")
_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)(?:\s|$)")
_LOST = re.compile(
    r"Unable to determine the device handle for GPU\s?(\d{1,4}(?=:\s))?:?\s?([0-9A-Fa-f:.]{4,20}): ?(.{0,100})", re.I
)
_CODE = re.compile(r"\s*rc (\d{1,3})\s*")
_CARD = re.compile(r"class/drm/card(\d{1,3})/device/([a-z0-9_/]{1,80}) (.{1,200})")


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of a host.

    Attributes:
        error: Why none is known; empty where some are, or there are none.
        failed: What reads them does not work, which is a trouble; else there are just none.
        indices: The index of a GPU by its UUID.
    """

    gpus: tuple[HostGpu, ...] = ()
    driver: str = ""
    error: str = ""
    failed: bool = False
    indices: Mapping[str, int] | None = None


def read_nvidia(text: str, columns: Sequence[str]) -> Gpus:
    """Return what nvidia-smi said when it was asked for these columns."""
    found: dict[int, HostGpu] = {}
    indices: dict[str, int] = {}
    driver, code, words = "", 0, []
    lost: list[tuple[int | None, str]] = []
    for line in text.split("\n")[:2000]:
        if (ended := _CODE.fullmatch(line)) is not None:
            code = int(ended[1])
            continue
        cells = [cell.strip() for cell in line.split(",")]
        row = dict(zip(columns, cells, strict=False)) if len(cells) == len(columns) else {}
        index = row.get("index", "")
        if index.isascii() and index.isdigit() and len(index) <= 4:
            if len(found) < MOST_GPUS:
                found[int(index)] = _gpu(int(index), row)
                indices[row.get("uuid", "")[:80]] = int(index)
                driver = driver or clean_line(row.get("driver_version", ""), limit=40)
        elif (gone := _LOST.search(line)) is not None:
            lost.append((int(gone[1]) if gone[1] else None, clean_line(f"{gone[2]}: {gone[3]}", limit=120)))
        elif line.strip():
            words.append(clean_line(line.strip(), limit=LONGEST))
    for at, said in lost[:MOST_GPUS]:
        index_of = at if at is not None and at not in found else max(found, default=-1) + 1
        found[index_of] = HostGpu(index_of, trouble=f"lost, {said}")
    if found:
        return Gpus(tuple(found[at] for at in sorted(found)), _version(driver), indices=indices)
    if code in (124, 137, 143):  # as GNU's, and busybox's, `timeout` end it
        return Gpus(error=f"nvidia-smi gave no answer within {SMI} s", failed=True)
    said_all = " ".join(words[:3])[:LONGEST]
    if "no devices were found" in said_all.lower():
        return Gpus(error="nvidia-smi finds no GPU")
    if not said_all:
        return Gpus(error="nvidia-smi says nothing" + (f" and ends with {code}" if code else ""), failed=True)
    return Gpus(error=said_all, failed=True)


def _version(text: str) -> str:
    return text if text[:1].isdigit() else ""


def _gpu(index: int, row: Mapping[str, str]) -> HostGpu:
    cells = [value.lower() for value in row.values()]
    trouble = next((words for sign, words in _BROKEN if any(sign in cell for cell in cells)), "")
    failed = [row.get(name, "") for name in _READ if any(sign in row.get(name, "").lower() for sign in _FAILED)]
    if not trouble and len(failed) > 1:
        trouble = f"nvidia-smi reads {failed[0]}"
    used, whole = number(row.get("memory.used")), number(row.get("memory.total"))
    use = number(row.get("utilization.gpu"))
    name = clean_line(row.get("name", ""), limit=100)
    return HostGpu(
        index,
        f"{name}, MIG" if row.get("mig.mode.current") == "Enabled" else name,
        use if use is not None and use <= 100 else None,
        used * MIB if used is not None else None,
        whole * MIB if whole else None,
        number(row.get("power.draw")),
        number(row.get("temperature.gpu")),
        tuple(str(one) for one in _slowed(row)),
        clean_line(trouble, limit=100),
    )


def _slowed(row: Mapping[str, str]) -> Iterable[str]:
    text = next((value for name, value in row.items() if name.endswith("_reasons.active")), "")
    try:
        mask = int(text, 16) if text.startswith("0x") and len(text) <= 18 else None
    except ValueError:
        mask = None
    return throttle(mask) or () if mask is not None else ()


def number(text: str | None) -> float | None:
    """Return the number that a cell begins with; its unit may follow. None for `[N/A]` and the like."""
    found = _NUMBER.match(text or "")
    return float(found[1]) if found is not None else None


def read_apps(text: str, indices: Mapping[str, int]) -> dict[int, set[int]]:
    """Return the indices of the GPUs that processes are on, by the numbers of the processes."""
    found: dict[int, set[int]] = {}
    for line in text.split("\n")[:5000]:
        uuid, _, rest = line.partition(",")
        pid = number(rest.partition(",")[0])
        if pid is not None and pid < 2**31 and uuid.strip() in indices:
            found.setdefault(int(pid), set()).add(indices[uuid.strip()])
    return found


def read_amd(text: str) -> Gpus:
    """Return what the files of amdgpu say, line by line `class/drm/card0/device/NAME VALUE`."""
    cards: dict[int, dict[str, str]] = {}
    for line in text.split("\n")[:5000]:
        found = _CARD.fullmatch(line.strip())
        if found is not None:
            name = found[2].rpartition("/")[2]
            cards.setdefault(int(found[1]), {}).setdefault(name, found[3])
    gpus = []
    for at, (_, card) in enumerate(sorted(cards.items())[:MOST_GPUS]):
        watts, heat = number(card.get("power1_average", card.get("power1_input"))), number(card.get("temp1_input"))
        use = number(card.get("gpu_busy_percent"))
        gpus.append(
            HostGpu(
                at,
                clean_line(card.get("product_name", ""), limit=100) or "AMD GPU",
                use if use is not None and use <= 100 else None,
                number(card.get("mem_info_vram_used")),
                number(card.get("mem_info_vram_total")) or None,
                watts / 1e6 if watts is not None else None,
                heat / 1e3 if heat is not None else None,
            )
        )
    return Gpus(tuple(gpus))


def read_pci(text: str) -> Gpus:
    """Return why no GPU is seen, from the makers of the display devices there."""
    if any(line.endswith(" 0x10de") for line in text.split("\n")[:5000]):
        return Gpus(error="an NVIDIA GPU is there and no nvidia-smi: its driver is not installed", failed=True)
    return Gpus()
