"""What the models screen finds out in threads: the models, where they were looked for, and what one of them is."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.screens.models.fitting import Fits, Fitting
from vllm_studio_tui.tui.screens.models.rows import Facts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.fit import Fit
    from vllm_studio_tui.domain.model import Model, ModelDetail, ModelPlace
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.starting import EngineHere


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model beyond the inventory.

    Attributes:
        engines: The engines that read its format: those that are installed first.
        fit: What it needs on `gpus` of the `of` GPUs that are here.
        here: How many texts of which length fit on those.
        error: Why nothing is known of it.
    """

    detail: ModelDetail | None = None
    engines: tuple[EngineHere, ...] = ()
    fit: Fit | None = None
    here: tuple[tuple[int, int], ...] = ()
    gpus: int = 0
    of: int = 0
    error: StudioError | None = None


class Knowledge:
    """Asks the studio; every method blocks."""

    def __init__(self, studio: StudioApi) -> None:
        self._studio = studio
        self._engines: list[EngineHere] | None = None
        self._fits: Fits | None = None

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

    def known(self, model: Model, gpus: int) -> Known:
        """Return what is known of one of them, on a machine with so many GPUs."""
        try:
            detail = self._studio.models.show(model.path)
        except StudioError as error:
            return Known(error=error)
        engines = tuple(self._engines_for(model))
        fits = self._fits_on(gpus)
        fitting = fits.of(model)
        if fitting is None:
            return Known(detail, engines)
        asked = max(1, fitting.gpus or min(fitting.needs, fits.gpus))
        found = fits.at(model, asked)
        if found is None:
            return Known(detail, engines)
        return Known(detail, engines, found[0], tuple(found[1]), min(asked, fits.gpus), fits.gpus)

    def fits(self, models: Sequence[Model], gpus: int) -> dict[str, Fitting | None]:
        """Return what fits of some models on so many GPUs of that machine, by their paths."""
        fits = self._fits_on(gpus)
        return {one.path: fits.of(one) for one in models}

    def _fits_on(self, gpus: int) -> Fits:
        fits = self._fits
        if fits is None or fits.gpus != gpus:
            fits = self._fits = Fits(self._studio, gpus)
        return fits

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
