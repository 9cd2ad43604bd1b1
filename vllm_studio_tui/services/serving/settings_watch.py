"""Notice that the file of settings was changed while `serve` runs, which keeps those that it began with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from vllm_studio_tui.config.settings_file import read_file
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.file_access import version_mark

#: What is taken up while it runs: the watch of alerts reads it anew.
FOLLOWED = ("alerts", "alert_quiet")
#: Likewise, but only where one of them was set when `serve` began: else it takes no samples of its own.
CHANNELS = ("alert_command", "alert_webhook")

log = logging.getLogger(__name__)


class SettingsWatch:
    """Logs a line when the values of the file are others than at the start. Blocking; a look is one stat."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = version_mark(path)
        self._began = _values(path)

    def look(self) -> None:
        """Log what was changed since the last look, where anything was."""
        mark = version_mark(self._path)
        if mark == self._mark:
            return
        self._mark = mark
        now = _values(self._path)
        if isinstance(now, str):
            log.warning("settings changed, and cannot be read: %s", now)
        elif isinstance(self._began, dict):
            changed = (one for one in {*now, *self._began} if now.get(one) != self._began.get(one))
            followed = (*FOLLOWED, *(CHANNELS if any(self._began.get(one) for one in CHANNELS) else ()))
            names = sorted(one for one in changed if one not in followed)
            if names:
                log.warning("settings changed: restart serve for %s", ", ".join(names))


def _values(path: Path) -> dict[str, Any] | str:
    """Return what the file says, by name; why not where it cannot be read."""
    try:
        return {name: value for name, (value, _) in read_file(path, lambda _key, _where: None).items()}
    except StudioError as error:
        return error.title
