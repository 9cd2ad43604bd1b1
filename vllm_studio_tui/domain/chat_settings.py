"""What is chosen for a chat, as it is kept with its session: parameters of sampling by name, thinking, the form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.chat import Sampling
from vllm_studio_tui.domain.sampling import BY_NAME, AnswerForm, checked, read_form

#: Fields that `Sampling` has for itself.
_FIELDS = ("temperature", "top_p", "max_tokens", "seed")


def shaped(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what shapes an answer among the settings of a chat; what cannot be read is as if it were not there."""
    found: dict[str, Any] = {}
    for name in BY_NAME:
        if settings.get(name) is not None:
            try:
                found[name] = checked(name, settings[name])
            except ValueError:
                continue
    if isinstance(settings.get("thinking"), bool):
        found["thinking"] = settings["thinking"]
    if (form := form_of(settings)) is not None:
        found["form"] = form.to_json()
    return found


def form_of(settings: Mapping[str, Any]) -> AnswerForm | None:
    """Return the form that the answers of a chat must have."""
    try:
        return read_form(settings["form"]) if settings.get("form") else None
    except ValueError:
        return None


def sampling_of(settings: Mapping[str, Any]) -> Sampling:
    """Return what shapes the answers of a chat."""
    found = shaped(settings)
    first: dict[str, Any] = {name: found.get(name) for name in _FIELDS}
    others = {name: value for name, value in found.items() if name in BY_NAME and name not in (*_FIELDS, "stop")}
    return Sampling(
        **first,
        stop=tuple(found.get("stop", ())),
        thinking=found.get("thinking"),
        others=others,
        form=form_of(settings),
    )


def with_preset(settings: Mapping[str, Any], name: str, preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a chat with a preset in the place of all that shaped its answers."""
    kept = {key: value for key, value in settings.items() if key not in BY_NAME and key not in ("thinking", "form")}
    return {**kept, **preset, "preset": name}
