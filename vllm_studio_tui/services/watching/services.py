"""The services that watch, of a studio on this machine: `Studio` is one of these."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.services.opened import Opened

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.alerts.service import Alerts
    from vllm_studio_tui.services.alerts.watch import AlertWatch
    from vllm_studio_tui.services.watching.peaks import PeakWatch
    from vllm_studio_tui.services.watching.processes import Processes
    from vllm_studio_tui.services.watching.ray import Ray
    from vllm_studio_tui.services.watching.sampler import Sampler
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.services.watching.timeline import Timeline
    from vllm_studio_tui.services.watching.why.service import WhyService


class WatchingServices(Opened):
    """What is watched, now and over time."""

    @once_property
    def sampler(self) -> Sampler:
        from vllm_studio_tui.services.watching.sampler import Sampler

        return Sampler(self.places, self.bus, alerts=self.alert_watch(), peaks=self.peak_watch())

    @once_property
    def timeline(self) -> Timeline:
        from vllm_studio_tui.services.launching.upkeep import Upkeep
        from vllm_studio_tui.services.watching.happened import Happened
        from vllm_studio_tui.services.watching.sample_keeper import recipes_of, samples_file
        from vllm_studio_tui.services.watching.timeline import Timeline
        from vllm_studio_tui.store.sample_reader import SampleReader

        return Timeline(
            lambda: self.sampler.history if "sampler" in self.__dict__ else None,
            SampleReader(samples_file(self.places)),
            record=Happened(
                lambda: self.db,
                Upkeep(self.places, lambda: self.settings, lambda: self.db).fold,
                self._seen,
                (self.alerts.events,),
            ),
            recipes=lambda: recipes_of(self._seen()),
        )

    def _seen(self) -> tuple[RunView, ...]:
        """Return the runs as the latest sample saw them; none where nothing samples."""
        latest = self.latest_sample
        return latest.every if latest is not None else ()

    @once_property
    def processes(self) -> Processes:
        from vllm_studio_tui.services.watching.processes import Processes

        return Processes(self.places, lambda: self.latest_sample, self.gpu_report)

    @once_property
    def ray(self) -> Ray:
        from vllm_studio_tui.runs.read import live_runs
        from vllm_studio_tui.services.watching.ray import Ray

        return Ray(self._settings_now, lambda: self._seen() or live_runs(self.places))

    @once_property
    def alerts(self) -> Alerts:
        from vllm_studio_tui.services.alerts.service import Alerts

        return Alerts(self.places, self._settings_now, lambda: self.db, lambda: self.latest_sample)

    def _settings_now(self) -> Settings:
        """Return the settings as they are now, while rules are added to them."""
        from vllm_studio_tui.config.settings import load_settings

        return load_settings(self.places, os.environ, self._flags)

    def alert_watch(self) -> AlertWatch:
        """Return what says of each sample what is wrong; whoever has samples taken closes it."""
        from vllm_studio_tui.services.alerts.watch import AlertWatch

        return AlertWatch(self.places, self._settings_now, lambda: self.db)

    def peak_watch(self) -> PeakWatch:
        """Return what keeps the highest speeds of each model; whoever has samples taken closes it."""
        from vllm_studio_tui.services.watching.peaks import PeakWatch

        return PeakWatch(lambda: self.db)

    @once_property
    def why(self) -> WhyService:
        from vllm_studio_tui.runs.find import find_run
        from vllm_studio_tui.services.watching.why.present import look_once
        from vllm_studio_tui.services.watching.why.service import WhyService

        return WhyService(
            self.timeline,
            lambda: self.latest_sample,
            lambda name: find_run(self.places, name),
            lambda: self.db,
            None if "sampler" in self.__dict__ else lambda run: look_once(self.places, run, self.gpu_report),
        )

    @property
    def latest_sample(self) -> Snapshot | None:
        """Return the latest sample, where something samples in this program; it begins nothing."""
        return self.sampler.latest if "sampler" in self.__dict__ else None

    def gpu_report(self, *, processes: bool = True) -> GpuReport:
        """Return what the GPUs do now. Blocking.

        Args:
            processes: Who uses them, too.
        """
        from vllm_studio_tui.probes.gpu.provider import read_once

        return read_once(processes=processes)
