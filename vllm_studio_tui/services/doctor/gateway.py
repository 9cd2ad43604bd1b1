"""The doctor on the gateway: whether it is installed as this version wants it, and how old its LiteLLM is."""

from __future__ import annotations

from datetime import UTC, datetime

from vllm_studio_tui.domain.check import Check, ok, warn
from vllm_studio_tui.services.doctor.context import Ground
from vllm_studio_tui.services.gateway.environment import OLD, VERSION, Environment, pin_age


def gateway(ground: Ground) -> Check:
    """Check the gateway: it need not be installed."""
    environment = Environment.of(ground.places)
    if not environment.root.exists():
        return ok("not installed; `vllm-studio gateway install` does it (LiteLLM, 600 MB)")
    if not environment.installed():
        return warn(f"not as this version installs it (LiteLLM {VERSION})", "vllm-studio gateway install")
    days = pin_age(datetime.now(UTC).date())
    found = f"LiteLLM {VERSION}, chosen {days} days ago"
    if days > OLD:
        return warn(found, "Its security fixes come with new versions of vllm-studio: upgrade, then gateway install.")
    return ok(found)
