"""The kinds of files that can be made for other tools."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vllm_studio_tui.domain.errors import NotFound

if TYPE_CHECKING:
    from vllm_studio_tui.services.render.source import Files, RenderSource


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of files.

    Attributes:
        module: The file of this folder whose `render(source)` makes them.
        title: What they are, for people.
        of_recipes: They can be made of one recipe alone; else they are for the whole home.
    """

    module: str
    title: str
    of_recipes: bool = True


KINDS = {
    "docker-compose": Kind("docker_compose", "engines as services of their images"),
    "docker-run": Kind("docker_run", "scripts with `docker run`"),
    "engine-config": Kind("engine_config", "an engine's own file of flags (--config), in YAML"),
    "grafana": Kind("grafana", "dashboards, and what makes Grafana find them", of_recipes=False),
    "kserve": Kind("kserve", "a KServe InferenceService"),
    "kubernetes": Kind("kubernetes", "a Kubernetes Deployment and Service, scaled if the recipe says so"),
    "litellm": Kind("litellm", "LiteLLM in front of `serve`"),
    "llama-swap": Kind("llama_swap", "llama-swap with the recipes' own commands"),
    "lws": Kind("lws", "a LeaderWorkerSet for Kubernetes: copies that take several nodes"),
    "production-stack": Kind("production_stack", "values for the Helm chart of vLLM's production-stack"),
    "prometheus": Kind("prometheus", "what to scrape, rules over all engines, alerts", of_recipes=False),
    "ray-serve": Kind("ray_serve", "an application of Ray Serve, and what runs other engines there"),
    "shell": Kind("shell", "scripts that start the engines without the studio"),
    "skypilot": Kind("skypilot", "SkyPilot tasks, served where they have copies"),
    "slurm": Kind("slurm", "scripts for SLURM's sbatch"),
    "systemd": Kind("systemd", "user units for `serve` and `restore`", of_recipes=False),
    "systemd-unit": Kind("engine_unit", "user units for the engines themselves"),
}


def render(kind: str, source: RenderSource) -> Files:
    """Return the files of a kind, by their relative paths.

    Raises:
        NotFound: There is no such kind.
        StudioError: These recipes cannot be written for that tool.
    """
    if kind not in KINDS:
        raise NotFound(f"no kind {kind}", advice=f"There are: {', '.join(sorted(KINDS))}.")
    module = importlib.import_module(f"vllm_studio_tui.services.render.{KINDS[kind].module}")
    return cast("Callable[[RenderSource], Files]", module.render)(source)
