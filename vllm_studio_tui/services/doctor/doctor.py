"""The doctor: checks everything a launch needs, and reports what it found and what would fix it.

A check is a small function of `Ground`; the table `CHECKS` is the whole list. Nothing here changes anything.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from vllm_studio_tui.config.settings import load_settings, unknown_variables
from vllm_studio_tui.domain.check import Check, fail, ok, warn
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.kit.paths import boot_id
from vllm_studio_tui.models.demo.model import demo_model_path
from vllm_studio_tui.probes.gpu.provider import read_once
from vllm_studio_tui.runs.read import live_runs
from vllm_studio_tui.services.doctor import engines as doctor_engines
from vllm_studio_tui.services.doctor import home as doctor_home
from vllm_studio_tui.services.doctor import recipes as doctor_recipes
from vllm_studio_tui.services.doctor import system as doctor_system
from vllm_studio_tui.services.doctor.context import Ground, unchecked
from vllm_studio_tui.services.doctor.gateway import gateway
from vllm_studio_tui.services.doctor.tool_servers import started_servers, tool_servers

__all__ = ["CHECKS", "Check", "Ground", "doctor_document", "healthy", "run_checks"]

#: Seconds that the NVIDIA driver has to answer.
GPU_DEADLINE = 1.0
#: A clock before this is wrong: 2025-01-01.
EARLIEST = 1_735_689_600.0


def python(ground: Ground) -> Check:
    """Check the interpreter that runs us."""
    found = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.maxsize < 2**32:
        return warn(f"{found}, 32 bit", "Use a 64-bit Python: large logs and models need it.")
    return ok(found)


def settings(ground: Ground) -> Check:
    """Check the settings file and our variables."""
    try:
        load_settings(ground.places, ground.environ)
    except SettingsError as error:
        return fail(f"{error.title}: {error.cause}", error.advice)
    strange = unknown_variables(ground.environ)
    if strange:
        hints = [f"{name} (is it {near}?)" if near else name for name, near in strange]
        return warn(f"variables that set nothing: {', '.join(hints)}", "Correct their names or unset them.")
    file = ground.places.settings_file
    return ok(str(file) if file.exists() else "defaults; there is no config.yaml")


def gpus(ground: Ground) -> Check:
    """Check the NVIDIA driver, through NVML."""
    report = read_once(GPU_DEADLINE, processes=False)
    label = "SIMULATED: " if report.simulated else ""
    if report.error:
        return warn(f"{label}{report.error}", report.advice or "Without a GPU only engines for the CPU will run.")
    if not report.gpus:
        return warn(f"{label}the driver shows no GPU", "See `nvidia-smi`; in a container it needs --gpus all.")
    lost = [gpu for gpu in report.gpus if gpu.lost]
    found = f"{label}{len(report.gpus)} GPU{'s' if len(report.gpus) != 1 else ''}, driver {report.driver or 'unknown'}"
    if lost:
        return fail(f"{found}; lost: {', '.join(str(gpu.index) for gpu in lost)}", "See `dmesg`; reset it or reboot.")
    return ok(found)


def demo_model(ground: Ground) -> Check:
    """Check the demo's model: it need not be there."""
    found = demo_model_path(ground.places)
    return ok(str(found) if found else "not fetched; `vllm-studio demo` gets it (100 MB)")


def leftovers(ground: Ground) -> Check:
    """Check for runs whose engine is alive although their keeper is gone."""
    runs = live_runs(ground.places)
    orphans = [run.run_id for run in runs if not run.keeper_alive]
    if orphans:
        return warn(
            f"{len(orphans)} of {len(runs)} runs without a keeper: {', '.join(orphans)}",
            "`vllm-studio restore` gives them a new keeper; `vllm-studio stop RUN` ends them.",
        )
    return ok(f"{len(runs)} runs, each with its keeper" if runs else "no run")


def clock(ground: Ground) -> Check:
    """Check the clock and the boot id, by which processes of an earlier boot are recognised."""
    now = time.time()
    if now < EARLIEST:
        return warn(
            f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}", "Set the clock, for example by NTP."
        )
    boot = boot_id()
    if not boot:
        return warn(
            "the kernel tells no boot id (/proc/sys/kernel/random/boot_id)",
            "After a reboot a run may be taken for alive by its process id; mount /proc in full.",
        )
    return ok(f"boot {boot[:8]}")


#: A check gives one row, or several: those have the name of the check before their own.
Looker = Callable[[Ground], Check | Mapping[str, Check]]

CHECKS: Sequence[tuple[str, Looker]] = (
    ("python", python),
    ("terminal", doctor_system.terminal),
    ("colours", doctor_system.colours),
    ("locale", doctor_system.locale),
    ("tmux", doctor_system.tmux),
    ("settings", settings),
    *((f"home {name}", partial(doctor_home.directory, name)) for name in ("config", "data", "state", "cache")),
    ("disk space", doctor_home.space),
    ("file system", doctor_home.network),
    ("file locks", doctor_home.locks),
    ("database", doctor_home.database),
    ("sqlite", doctor_home.sqlite),
    ("gpus", gpus),
    ("engine", doctor_engines.engines),
    ("engines", doctor_engines.any_engine),
    ("plug-ins", doctor_engines.plug_ins),
    ("own metrics", doctor_engines.own_metrics),
    ("recipes", doctor_recipes.recipes),
    ("demo model", demo_model),
    ("gateway", gateway),
    ("mcp", tool_servers),
    ("runs", leftovers),
    ("open files", doctor_system.open_files),
    ("shared memory", doctor_system.shared_memory),
    ("logout", doctor_system.logout),
    ("process handles", doctor_system.pidfd),
    ("clock", clock),
)

#: The same, with those MCP servers started that a person has agreed to: that takes as long as they do.
WITH_TOOLS: Sequence[tuple[str, Looker]] = tuple(
    (name, started_servers if look is tool_servers else look) for name, look in CHECKS
)


def run_checks(ground: Ground, checks: Sequence[tuple[str, Looker]] = CHECKS) -> list[tuple[str, Check]]:
    """Run every check and return its rows with their names. One that cannot look becomes a warning itself."""
    results: list[tuple[str, Check]] = []
    for name, look in checks:
        try:
            found = look(ground)
        except Exception as error:  # noqa: BLE001, RUF100
            found = unchecked(error)
        results += (
            [(name, found)] if isinstance(found, Check) else [(f"{name} {key}", one) for key, one in found.items()]
        )
    return results


def healthy(results: Sequence[tuple[str, Check]]) -> bool:
    """Return whether nothing failed; warnings are no failures."""
    return all(check.state != "fail" for _, check in results)


def doctor_document(results: Sequence[tuple[str, Check]]) -> dict[str, Any]:
    """Return the results as `doctor --json` prints them; `ok` is false when a check failed."""
    return {"ok": healthy(results), "checks": [{"name": name, **check.to_json()} for name, check in results]}
