"""`gpus`: what the GPUs do. `--line` and `--json` alone are answered before anything large is imported."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import json_safe

if TYPE_CHECKING:
    import typer

#: What stands for an unknown value.
DASH = "-"


def gpus_line(report: GpuReport, width: int | None = None) -> str:
    """Return the GPUs on one line, for tmux's `status-right`.

    Only our own words and numbers are in it: names of GPUs come from outside, and tmux acts on `#[..]`.

    Args:
        width: Columns there are. What does not fit is left out whole, the least important first.
    """
    label = "SIM " if report.simulated else ""
    if not report.gpus:
        forms = [f"{label}no GPU", "no GPU"]
    else:
        each = " ".join("lost" if gpu.lost else _percent(gpu.utilization) for gpu in report.gpus)
        hottest = _largest(report.gpus, lambda gpu: gpu.temperature)
        memory, power = _memory(report.gpus), _power(report.gpus)
        heat = numbers.fixed(hottest, 0, "°C", unknown="")
        stale = numbers.fixed(report.stale, 0, "s old", unknown="")
        mean = _mean_use(report.gpus)
        count = f"{len(report.gpus)}x"
        forms = [
            label + "  ".join(part for part in parts if part)
            for parts in (
                (f"gpu {each}", memory, power, heat, stale),
                (f"gpu {each}", memory, power, stale),
                (f"gpu {count} {mean}", memory, power, stale),
                (f"gpu {count} {mean}", memory, stale),
                (f"gpu {count} {mean}", stale),
                (f"gpu {mean}", stale),
            )
        ]
    for form in forms:
        if width is None or len(form) <= width:
            return form
    return ""


def _percent(value: float | None) -> str:
    return numbers.fixed(value, 0, "%", DASH)


def _largest(gpus: Sequence[Gpu], get: Callable[[Gpu], int | None]) -> int | None:
    return max((value for gpu in gpus if (value := get(gpu)) is not None), default=None)


def _mean_use(gpus: Sequence[Gpu]) -> str:
    known = [gpu.utilization for gpu in gpus if gpu.utilization is not None]
    return _percent(sum(known) / len(known)) if known else DASH


def _memory(gpus: Sequence[Gpu]) -> str:
    """Return used and total memory of the GPUs that report both: a total of more GPUs would look like free memory."""
    known = [
        (gpu.memory_used, gpu.memory_total)
        for gpu in gpus
        if gpu.memory_used is not None and gpu.memory_total is not None
    ]
    if not known:
        return ""
    used, total = sum(pair[0] for pair in known), sum(pair[1] for pair in known)
    return numbers.whole_memory(used, total)


def _power(gpus: Sequence[Gpu]) -> str:
    known = [gpu.power_draw for gpu in gpus if gpu.power_draw is not None]
    return numbers.power(sum(known)) if known else ""


def quick(argv: list[str]) -> int | None:
    """Answer `gpus --line [--width N]` and `gpus --json [--once]`; None when it is something else."""
    if argv[:1] != ["gpus"]:
        return None
    flags = argv[1:]
    width: int | None = None
    if "--line" in flags:
        flags.remove("--line")
        if len(flags) == 2 and flags[0] == "--width" and flags[1].isascii() and flags[1].isdigit():
            width, flags = int(flags[1]), []
        if flags not in ([], ["--once"]):
            return None
        from vllm_studio_tui.probes.gpu.provider import read_once

        sys.stdout.write(gpus_line(read_once(line=True), width) + "\n")
    elif sorted(flags) in (["--json"], ["--json", "--once"]):
        from vllm_studio_tui.probes.gpu.provider import read_once

        text = json.dumps(read_once(thorough=True).to_json(), ensure_ascii=False)
        sys.stdout.write(json_safe(text, terminal=sys.stdout.isatty()) + "\n")
    else:
        return None
    sys.stdout.flush()
    return 0


def show(report: GpuReport) -> None:
    """Print the report for a person."""
    from vllm_studio_tui.cli.output import note, say, table

    if report.simulated:
        say("Simulated GPUs")
    if report.error:
        note(report.error)
        if report.advice:
            note(report.advice)
    if not report.gpus:
        return
    say(f"Driver {report.driver or DASH}, CUDA {report.cuda or DASH}")
    table(
        ("GPU", "Name", "Use", "Memory GiB", "Power W", "Temp", "MHz", "PCIe", "Notes"),
        [_row(gpu, report.at) for gpu in report.gpus],
        right=(0, 2, 3, 4, 5, 6, 7),
    )
    _show_parts(report.gpus)
    using = [(gpu.index, process) for gpu in report.gpus for process in gpu.processes]
    if using:
        say()
        table(
            ("GPU", "PID", "User", "Memory GiB", "SM", "Run", "Command"),
            [
                (
                    str(index),
                    str(process.pid),
                    process.user or DASH,
                    numbers.gib(process.gpu_memory, DASH),
                    _percent(process.sm),
                    process.run_id or DASH,
                    (process.command or DASH)[:80],
                )
                for index, process in using
            ],
            right=(0, 1, 3, 4),
        )
    _show_errors(report)


def _show_parts(gpus: Sequence[Gpu]) -> None:
    """Print the parts of GPUs that are divided."""
    from vllm_studio_tui.cli.output import say, table

    parts = [(gpu.index, part) for gpu in gpus for part in gpu.mig_devices]
    if parts:
        say()
        table(
            ("GPU", "Part", "Memory GiB", "PIDs", "UUID"),
            [
                (
                    str(index),
                    part.name,
                    f"{numbers.gib(part.memory_used, DASH)} / {numbers.gib(part.memory_total, DASH)}",
                    " ".join(str(pid) for pid in part.processes) or DASH,
                    part.uuid or DASH,
                )
                for index, part in parts
            ],
            right=(0, 2),
        )


def _show_errors(report: GpuReport) -> None:
    """Print the errors that the driver told the kernel's log: what they mean, and what to do."""
    from vllm_studio_tui.cli.output import say, table
    from vllm_studio_tui.domain.xids import MEANINGS, words

    errors = [(gpu.index, one) for gpu in report.gpus for one in gpu.xids]
    if not errors:
        return
    say()
    table(
        ("GPU", "When", "Error", "PID", "In the log"),
        [
            (
                str(index),
                numbers.ago(one.at, report.at),
                words(one),
                DASH if one.pid is None else str(one.pid),
                one.words[:60] or DASH,
            )
            for index, one in errors
        ],
        right=(0, 3),
    )
    for code in dict.fromkeys(one.code for _, one in errors if one.code in MEANINGS):
        say(f"Xid {code}: {MEANINGS[code].advice}")


def _link(gpu: Gpu) -> str:
    """Return the PCIe link and what goes over it both ways."""
    kind = [f"gen {gpu.pcie_generation}"] if gpu.pcie_generation else []
    kind += [f"x{gpu.pcie_width}"] if gpu.pcie_width else []
    known = [one for one in (gpu.pcie_rx, gpu.pcie_tx) if one is not None]
    return " ".join([*kind, *([numbers.throughput(sum(known))] if known else [])]) or DASH


def _row(gpu: Gpu, at: float) -> tuple[str, ...]:
    from vllm_studio_tui.domain.xids import trouble_of

    if gpu.lost:
        return (str(gpu.index), gpu.name, *(DASH,) * 6, f"lost: {gpu.lost}")
    trouble = trouble_of(gpu, at)
    power = numbers.fixed(gpu.power_draw, 0, unknown=DASH)
    limit = numbers.fixed(gpu.power_limit, 0, unknown=DASH)
    notes = [*([trouble] if trouble else []), *gpu.throttle, *(["MIG"] if gpu.mig else [])]
    if gpu.stale is not None:
        notes.append(numbers.fixed(gpu.stale, 0, " s old"))
    return (
        str(gpu.index),
        gpu.name,
        _percent(gpu.utilization),
        f"{numbers.gib(gpu.memory_used, DASH)} / {numbers.gib(gpu.memory_total, DASH)}",
        f"{power} / {limit}",
        numbers.fixed(gpu.temperature, 0, "°C", DASH),
        numbers.fixed(gpu.sm_clock, 0, unknown=DASH),
        _link(gpu),
        ", ".join(notes),
    )


def watch(
    read: Callable[[], GpuReport],
    show_one: Callable[[GpuReport], None],
    interval: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show a reading every `interval` seconds until it is interrupted."""
    clear = sys.stdout.isatty()
    while True:
        report = read()
        if clear:
            sys.stdout.write("\x1b[H\x1b[J")
        show_one(report)
        sys.stdout.flush()
        sleep(interval)


def register(app: typer.Typer) -> None:
    """Add the command `gpus`, and those below it."""
    from vllm_studio_tui.cli import gpu_commands, gpu_processes

    nouns = gpu_commands.group(show, gpus_line, watch)
    app.add_typer(nouns, name="gpus")
    gpu_processes.register_with(nouns)
