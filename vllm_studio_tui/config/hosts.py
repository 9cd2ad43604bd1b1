"""The hosts of the settings: read one by one, and kept in the settings file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.config.settings import Settings, load_settings, save_setting
from vllm_studio_tui.config.settings_file import read_file
from vllm_studio_tui.domain.errors import NotFound, UsageError

if TYPE_CHECKING:
    from vllm_studio_tui.kit.paths import Places

#: The most hosts of a list that a page shows at once.
MOST = 200


def read_hosts(places: Places, environ: Mapping[str, str] = os.environ) -> dict[str, Host]:
    """Return the hosts of the settings by their names, as they stand there now. Blocking.

    Raises:
        SettingsError: The settings cannot be read; a host that cannot be used is none of the reasons.
    """
    settings = load_settings(places, environ)
    return dict(list(settings.hosts.items())[:MOST])


def save_host(
    places: Places,
    name: str,
    entry: Mapping[str, Any] | None,
    *,
    was: str = "",
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Keep a host in the settings file. Blocking.

    Args:
        entry: As the file has it; None takes the host out.
        was: The name that it had, where it gets another one.

    Raises:
        UsageError: It is no host that can be kept, a name is taken, or a variable sets the hosts.
        NotFound: The host that is to be changed or taken out is not there.
        SettingsError: The file cannot be read or written.
    """
    if environ.get("VLLM_STUDIO_HOSTS", "").strip():
        raise UsageError(
            "the hosts are not changed",
            cause="The variable VLLM_STUDIO_HOSTS sets them, which is stronger than the settings file.",
            advice="Change it there, or unset it.",
        )
    found = read_file(places.settings_file, lambda _key, _where: None).get("hosts", ({}, 0))[0]
    kept: dict[Any, Any] = dict(found) if isinstance(found, dict) else {}
    for gone in {was or name} if was or entry is None else ():
        if gone not in kept:
            raise NotFound(f"there is no host called {gone[:64]}", advice="See: vllm-studio hosts")
    if entry is None:
        del kept[name]
    else:
        if name in kept and name != was:
            raise UsageError(f"there is a host called {name} already", advice="Choose another name, or edit that one.")
        plain = {key: value for key, value in entry.items() if value not in (None, "", False)}
        problem = made_of(name, plain).problem
        if problem:
            raise UsageError(f"{name[:64]} cannot be kept", cause=f"{problem[:1].upper()}{problem[1:]}.")
        kept = {(name if key == was else key): (plain if key == was else value) for key, value in kept.items()}
        kept[name] = plain
    save_setting(places, "hosts", kept or None)


def made_of(name: str, entry: Mapping[str, Any]) -> Host:
    """Return a host as the settings would read it."""
    return next(iter(Settings.model_validate({"hosts": {name: dict(entry)}}).hosts.values()))
