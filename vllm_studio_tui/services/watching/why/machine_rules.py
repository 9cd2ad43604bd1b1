"""Rules whose cause lies in the machine: power, heat, the processor, the bus, memory, others on the GPU."""

from __future__ import annotations

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.why import values
from vllm_studio_tui.services.watching.why.finding import Finding, effect, sentences
from vllm_studio_tui.services.watching.why.values import Values

#: At this share of its limit a GPU is held back by it; from this temperature on, in degrees C, by heat.
AT_LIMIT, HOT = 0.95, 82.0
#: What is left of the clock of a GPU that is slowed.
CLOCK_LEFT, CLOCK_HALF = 0.95, 0.7
#: A GPU that waits for the processor is no busier than this, in percent; the process that it waits for has most of a
#: core.
WAITS, ONE_CORE = 75.0, 60.0


def heat(seen: Values) -> Finding | None:
    """The GPU is hot, and slows itself down."""
    hot = seen.most("temperature")
    told = any("thermal" in one for one in seen.facts.throttled)
    if (hot is None or hot < HOT) and not told:
        return None
    if not told and not seen.fell("clock", CLOCK_LEFT):
        return None
    return Finding(
        "thermal", 1.75, "The GPU is hot, and slows itself down.",
        sentences(
            f"{_temperature(hot)}; clock {seen.text('clock', _clock)}." if hot is not None else "",
            _power(seen), effect(seen),
        ),
        "Look at fans and air; a lower power limit keeps it steadier than heat does.",
    )  # fmt: skip


def power_cap(seen: Values) -> Finding | None:
    """The GPU draws what it may, and its clock is lowered for it."""
    power, limit = seen.most("power"), seen.facts.power_limit
    told = any("power cap" in one for one in seen.facts.throttled)
    near = power is not None and limit is not None and power >= AT_LIMIT * limit
    if not (near or told):
        return None
    slowed = seen.fell("clock", CLOCK_LEFT)
    if not slowed and not told and (seen.now("throttle") or 0.0) < 0.3:
        return None
    # Prompts make it draw most: then they are the cause, and the cap only shows it.
    weight = 1.55 if slowed and not seen.rose("prefill", 1.5) else 0.8
    return Finding(
        "power-cap", weight, "The GPU is at its power limit, and its clock is lowered for it.",
        sentences(_power(seen), _clocks(seen), effect(seen)),
        "Raise the power limit where the cooling allows it; a few percent of speed are often a quarter of the energy.",
        slow=slowed or weight > 1,
    )  # fmt: skip


def slowed_by_hardware(seen: Values) -> Finding | None:
    """The clock is far lower, and neither heat nor the power limit tells why."""
    told = any(one in ("hardware slowdown", "power brake") for one in seen.facts.throttled)
    power, limit = seen.now("power"), seen.facts.power_limit
    below = power is not None and limit is not None and power < 0.8 * limit
    if not told and not (seen.fell("clock", CLOCK_HALF) and below and seen.over("gpu", 20)):
        return None
    return Finding(
        "hardware-slowdown", 1.7, "The hardware slows the GPU down.",
        sentences(_clocks(seen), _power(seen), effect(seen)),
        "Look at the power supply and its cables, and at the kernel's log; a slot or a PSU that is too weak does this.",
    )  # fmt: skip


def processor(seen: Values) -> Finding | None:
    """The GPU waits: a process of the engine keeps a core of the host busy."""
    if not seen.facts.gpus or not seen.under("gpu", WAITS) or not seen.over("running", 1.5):
        return None
    host, own = seen.now("host_cpu"), seen.now("cpu")
    crowded = host is not None and host >= 90
    alone = own is not None and own >= ONE_CORE
    if not (crowded or alone) or not (seen.fell("gpu", 0.9) or seen.before("gpu") is None or crowded):
        return None
    others = crowded and (not alone or seen.rose("host_cpu", 1.3))
    return Finding(
        "host-crowded" if others else "cpu-bound", 1.5,
        "The GPU waits for the processor, which others keep busy." if others
        else "The GPU waits for the processor: the engine's own work there takes the time.",
        sentences(
            f"GPU busy to {seen.text('gpu', values.whole_percent)}; {values.requests(seen.now('running'))} running.",
            f"Its busiest process has {values.whole_percent(own)} of a core." if own is not None else "",
            f"Host CPU {seen.text('host_cpu', values.whole_percent)}." if host is not None else "",
            effect(seen),
        ),
        "See what else runs on this machine." if others
        else "More API servers, fewer and larger pieces of answers, or no logging of requests take work off it.",
    )  # fmt: skip


def others_take_the_processor(seen: Values) -> Finding | None:
    """An engine on the processor gets less of it, for others have it."""
    if seen.facts.gpus or not seen.over("host_cpu", 92) or not seen.over("running", 0.5):
        return None
    if not seen.fell("out", 0.85 * min(1.0, seen.ratio("running") or 1.0)):
        return None  # less came since less was asked
    if not seen.fell("cpu", 0.85) and not seen.rose("host_cpu", 1.3):
        return None
    return Finding(
        "host-crowded", 1.5, "Others keep the processor busy, which this engine computes on.",
        sentences(
            f"Host CPU {seen.text('host_cpu', values.whole_percent)}.",
            f"Its busiest process has {seen.text('cpu', values.whole_percent)} of a core."
            if seen.now("cpu") is not None else "",
            effect(seen),
        ),
        "See what else runs on this machine.",
    )  # fmt: skip


def bus(seen: Values) -> Finding | None:
    """The GPUs wait for the PCIe bus."""
    carried, link = seen.now("pcie"), seen.facts.link
    if carried is None or not link or carried < 0.6 * link or seen.over("gpu", 90):
        return None
    return Finding(
        "pcie", 1.35, "The GPUs wait for the PCIe bus.",
        sentences(
            f"PCIe {carried / 1e9:.1f} of about {link / 1e9:.1f} GB/s; GPU busy to "
            f"{values.whole_percent(seen.now('gpu'))}.", effect(seen),
        ),
        "Ranks of one model want NVLink, or slots with more lanes; pipeline parallelism moves less than tensor "
        "parallelism.",
    )  # fmt: skip


def others_on_the_gpu(seen: Values) -> Finding | None:
    """Somebody else computes on the same GPU."""
    most = max(seen.facts.others, key=lambda one: one[1], default=None)
    if most is None or most[1] < 15:
        return None
    return Finding(
        "gpu-shared", 1.65, f"{most[0]} computes on the same GPU.",
        sentences(
            "; ".join(f"{name} has {values.whole_percent(share)} of it" for name, share in seen.facts.others[:3]) + ".",
            effect(seen),
        ),
        "Give each its own GPU.",
    )  # fmt: skip


def host_memory(seen: Values) -> Finding | None:
    """The host has no memory left, and swaps."""
    full, swapping = seen.over("host_memory", 0.97), (seen.now("swap") or 0.0) > 0
    if not full and not (swapping and seen.rose("swap", 1.2) and seen.over("host_memory", 0.9)):
        return None
    return Finding(
        "host-memory", 1.25, "The memory of the host is full.",
        sentences(f"Memory {seen.text('host_memory', numbers.percent)}.", effect(seen)),
        "See what else runs on this machine; what is offloaded to the host counts too.",
    )  # fmt: skip


def _clock(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} MHz"


def _temperature(value: float) -> str:
    return f"{value:.0f} °C"


def _clocks(seen: Values) -> str:
    return "" if seen.now("clock") is None else f"Clock {seen.text('clock', _clock)}."


def _power(seen: Values) -> str:
    power, limit = seen.now("power"), seen.facts.power_limit
    if power is None:
        return ""
    return f"Power {numbers.power(power)}" + (f" of {numbers.power(limit)}." if limit else ".")


RULES = (
    heat, power_cap, slowed_by_hardware, processor, others_take_the_processor, bus, others_on_the_gpu, host_memory,
)  # fmt: skip
