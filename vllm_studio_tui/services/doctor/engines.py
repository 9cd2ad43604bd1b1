"""The doctor on engines: which can be found, and their versions. None of them is imported or started.

How each is looked for is said in its backend's own file (`Backend.doctor`).
"""

from __future__ import annotations

from collections.abc import Mapping

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common import parsers
from vllm_studio_tui.backends.common.doctor import is_usable
from vllm_studio_tui.config.custom_metrics import custom_metrics
from vllm_studio_tui.domain.check import Check, ok, warn
from vllm_studio_tui.services.doctor.context import Ground, unchecked
from vllm_studio_tui.services.serving.callbacks import request_callbacks
from vllm_studio_tui.services.watching.panels import panels_of_packages


def engines(ground: Ground) -> Mapping[str, Check]:
    """Look for every engine there is a backend of, those of other packages too."""
    settings = ground.settings()
    found: dict[str, Check] = {}
    for name, backend in registry.backends().items():
        try:
            found |= backend.doctor(settings, ground.environ)
        except Exception as error:  # noqa: BLE001, RUF100
            found[name] = unchecked(error, whose=type(backend).__module__.partition(".")[0])
    return found


def any_engine(ground: Ground) -> Check:
    """Check whether anything can be launched without a recipe that names its own engine."""
    found = [name for name, check in engines(ground).items() if is_usable(check)]
    if not found:
        return warn(
            "none in PATH or the settings",
            "Recipes can name one (python_path, executable). For the demo: pip install 'vllm-studio-tui[demo]'.",
        )
    return ok(", ".join(found))


def plug_ins(_ground: Ground) -> Check:
    """Check what other packages bring: backends, families of parsers, who is told of requests, panels."""
    callbacks, broken_callbacks = request_callbacks()
    panels, broken_panels = panels_of_packages()
    broken = {**registry.broken_plug_ins(), **parsers.broken_plug_ins(), **broken_callbacks, **broken_panels}
    if broken:
        return warn(
            "; ".join(f"{name} cannot be used: {why}" for name, why in sorted(broken.items())),
            "Update or remove the package that brings it.",
        )
    names = sorted(set(registry.backends()) - set(registry.OURS))
    more = len(parsers.families()) - len(parsers.FAMILIES)
    found = [
        *(f"backend {name}" for name in names),
        *([f"parsers for {more} famil{'y' if more == 1 else 'ies'}"] if more else []),
        *(f"request callback {one.name}" for one in callbacks),
        *(f"panel {one.name}" for one in panels),
    ]
    return ok(", ".join(found) or "none")


def own_metrics(ground: Ground) -> Check:
    """Check the metrics of engines that were added, by a file or by packages."""
    found, problems = custom_metrics(ground.places)
    if problems:
        return warn("; ".join(problems), "Correct the row; the others are shown.")
    return ok(", ".join(one.name for one in found) or "none")
