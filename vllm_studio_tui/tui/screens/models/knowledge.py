"""What the models screen finds out in threads: the models, where they were looked for, and what one of them is."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.screens.models.rows import Facts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.model import Model, ModelDetail, ModelPlace
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.starting import EngineHere


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model beyond the inventory.

    Attributes:
        engines: The engines that read its format: those that are installed first.
        error: Why nothing is known of it.
    """

    detail: ModelDetail | None = None
    engines: tuple[EngineHere, ...] = ()
    error: StudioError | None = None


class Knowledge:
    """Asks the studio; every method blocks."""

    def __init__(self, studio: StudioApi) -> None:
        self._studio = studio
        self._engines: list[EngineHere] | None = None

    def facts(self, *, fresh: bool) -> Facts:
        """Return all models.

        Raises:
            StudioError: They cannot be looked for.
        """
        models = [] if fresh else self._studio.models.list()
        places: tuple[ModelPlace, ...] = ()
        if not models:
            scan = self._studio.models.scan()
            models, places = list(scan.models), scan.places
        free, total = disk_of_downloads() if self._studio.host is None else (None, None)
        return Facts(models, time.time(), places, free, total)

    def known(self, model: Model) -> Known:
        """Return what is known of one of them."""
        try:
            detail = self._studio.models.show(model.path)
        except StudioError as error:
            return Known(error=error)
        return Known(detail, tuple(self._engines_for(model)))

    def _engines_for(self, model: Model) -> list[EngineHere]:
        from vllm_studio_tui.backends import registry

        if self._engines is None:
            self._engines = self._studio.engines_here()
        reads = [one for one in self._engines if (found := registry.find(one.name)) is not None
                 and found.weights == model.weights]  # fmt: skip
        return sorted(reads, key=lambda one: not one.usable)


def disk_of_downloads() -> tuple[int | None, int | None]:
    """Return the free bytes and all bytes of the disk that downloads go to. Blocking."""
    from vllm_studio_tui.models.local import hub_cache

    cache = hub_cache(os.environ)
    for folder in (cache, *cache.parents):
        try:
            found = shutil.disk_usage(folder)
        except OSError:
            continue
        return found.free, found.total
    return None, None
