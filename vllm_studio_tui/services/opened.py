"""What every service of a studio stands on: its directories, bus, settings and database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.kit.paths import Places

if TYPE_CHECKING:
    from pathlib import Path

    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.store.database import Database


class Opened:
    """A home that is open: nothing of it is read before it is needed."""

    def __init__(self, places: Places, flags: Mapping[str, Any] | None = None) -> None:
        self.places = places
        self.bus = Bus()
        #: Answers that an earlier program could not save, and that are in their chats now.
        self.recovered = 0
        #: Recovery files of answers that could not be saved until this studio was closed.
        self.unsaved: list[Path] = []
        self._flags = dict(flags or {})

    @once_property
    def settings(self) -> Settings:
        from vllm_studio_tui.config.settings import load_settings

        return load_settings(self.places, os.environ, self._flags)

    @once_property
    def db(self) -> Database:
        from vllm_studio_tui.services.settling import settle_all
        from vllm_studio_tui.store.database import Database

        db = Database.open(self.places.database)
        self.recovered = settle_all(self.places, db)
        return db
