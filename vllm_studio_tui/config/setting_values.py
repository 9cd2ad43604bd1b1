"""Settings as a person reads and types them: each with its value, where that comes from, and what it is for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vllm_studio_tui.config.settings import TABLES, Settings, load_settings, variables
from vllm_studio_tui.config.settings_file import read_table
from vllm_studio_tui.config.settings_reference import words
from vllm_studio_tui.domain.errors import SettingsError

if TYPE_CHECKING:
    from vllm_studio_tui.kit.paths import Places

#: Settings that take effect at once; all others do when the studio is started again.
AT_ONCE = frozenset({"theme", "refresh_seconds", "hosts"})
_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting.

    Attributes:
        text: Its value as a person types it; empty where nothing is set and the default is none.
        default: The default as text.
        origin: Where the value comes from, in words; empty: it is the default.
        help: What it is for.
        fixed: Why a change in the file would do nothing, in words; empty: it would.
    """

    key: str
    text: str
    default: str
    origin: str
    help: str
    fixed: str = ""

    @property
    def at_once(self) -> bool:
        """Whether a change takes effect without a new start."""
        return self.key in AT_ONCE


def setting_values(
    places: Places, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> list[SettingValue]:
    """Return every setting in the order of the model. Blocking.

    Raises:
        SettingsError: The settings cannot be read; it names the place.
    """
    settings = load_settings(places, environ, flags)
    helps = words()
    found = []
    for key, info in Settings.model_fields.items():
        origin = settings.origins.get(key, "")
        stronger = origin if origin and not origin.startswith(str(places.settings_file)) else ""
        value = getattr(settings, key)
        found.append(
            SettingValue(
                key,
                as_text(value) if origin else "",
                as_text(info.default),
                _short(origin, str(places.settings_file)),
                helps.get(key, "").replace("`", ""),
                f"{stronger} sets it, which is stronger than the file" if stronger else "",
            )
        )
    return found


def _short(origin: str, path: str) -> str:
    return origin.replace(path, "config.yaml").removeprefix("the ") if origin else ""


def as_text(value: Any) -> str:
    """Return a value as a person types it; empty for none."""
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, dict):
        plain = {name: one.model_dump(mode="json", exclude_defaults=True) for name, one in value.items()}
        return json.dumps(plain, ensure_ascii=False)
    if isinstance(value, bool):
        return "yes" if value else "no"
    human = getattr(value, "human_readable", None)
    if callable(human):
        return str(human())
    if isinstance(value, tuple):
        return os.pathsep.join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_setting(key: str, text: str) -> Any:
    """Return a typed value as the settings file holds it; None for an empty one, which means the default.

    Raises:
        ValueError: It cannot be used; its words say why.
    """
    text = text.strip()
    if not text:
        return None
    value: Any = text
    if key == "models_dirs":
        value = [part for part in text.split(os.pathsep) if part.strip()]
    elif key in TABLES:
        try:
            value = read_table(text, key)
        except SettingsError as error:
            raise ValueError(error.cause) from None
    elif isinstance(Settings.model_fields[key].default, bool):
        if text.lower() not in (*_YES, *_NO):
            raise ValueError("yes or no")
        value = text.lower() in _YES
    try:
        made = Settings.model_validate({key: value})
    except ValidationError as error:
        message = error.errors(include_url=False, include_context=False)[0]["msg"]
        raise ValueError(message.removeprefix("Value error, ")) from None
    number = getattr(made, key)
    for name, host in number.items() if key == "hosts" else ():
        if host.problem:
            raise ValueError(f"{name}: {host.problem}")
    return number if type(number) in (int, float) else value


def setting_variables(key: str) -> str:
    """Return the variables that set a key, in words."""
    return " or ".join(variables(key))
