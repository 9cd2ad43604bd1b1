"""A side of a comparison as a person writes it: `WHO`, or `WHO,preset=exact,temperature=0.2,thinking=off`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.chat import Sampling
from vllm_studio_tui.domain.chat_settings import sampling_of, with_preset
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.sampling import PARAMETERS, read_value

#: What can be set for one side: parameters that are written without a comma.
NAMES = (*(one.name for one in PARAMETERS if one.kind in ("float", "int", "bool")), "thinking", "preset")

#: Returns what a preset sets, by its name; raises StudioError where there is none.
FindPreset = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class SideSpec:
    """What a side is.

    Attributes:
        name: The spec in one form: who, then what is set by name.
        settings: Those of the chat with what is set here over them.
        sampling: What of that shapes its answer.
    """

    name: str
    who: str
    settings: Mapping[str, Any]
    sampling: Sampling


def read_spec(text: str, chat: Mapping[str, Any], find_preset: FindPreset) -> SideSpec:
    """Read what a person wrote.

    Args:
        chat: The settings of the chat, which hold where the side sets nothing else.

    Raises:
        StudioError: It names nobody, sets something wrongly, or there is no such preset.
    """
    who, *given = [part.strip() for part in text.split(",")]
    if not who or "=" in who:
        advice = "Write a recipe, run or model, then what is set: RUN,temperature=0.2,seed=7."
        raise UsageError(f"{text[:80]!r} names nobody", advice=advice)
    own: dict[str, Any] = {}
    for part in given:
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value or name not in NAMES:
            advice = f"What can be set: {', '.join(NAMES)}. For more, keep a preset and name it."
            raise UsageError(f"{part[:80]!r} sets nothing", advice=advice)
        own[name] = _read(name, value)
    preset = own.pop("preset", None)
    settings = dict(chat) if preset is None else with_preset(chat, preset, find_preset(preset))
    settings |= own
    words = [] if preset is None else [f"preset={preset}"]
    words += [f"{name}={_written(value)}" for name, value in sorted(own.items())]
    return SideSpec(",".join((who, *words)), who, settings, sampling_of(settings))


def _read(name: str, text: str) -> Any:
    if name == "preset":
        return text
    try:
        if name == "thinking":
            return {"on": True, "true": True, "off": False, "false": False}[text.lower()]
        return read_value(name, text)
    except KeyError:
        raise UsageError(f"thinking={text[:40]} is neither on nor off", advice="Write on or off.") from None
    except ValueError as error:
        raise UsageError(f"{name}={text[:40]}: {error}", advice="See `chat --help` for what it means.") from None


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
