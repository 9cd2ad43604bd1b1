"""Where Prometheus finds what there is to scrape, and the metrics of engines that are handed on to it.

`GET /prometheus/sd` answers `discovery_document`. Its targets of runs are `GET /metrics/runs/RUN` of the same server,
which answers `engine_text`: one address and one key are enough, engines may listen on loopback alone, and neither our
key nor an engine's goes where it does not belong.
"""

from __future__ import annotations

import os
from urllib.parse import quote

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.probes.engine.metric_lookup import specs_of
from vllm_studio_tui.probes.engine.scrape import fetch
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.serving.label_values import label_value
from vllm_studio_tui.services.serving.snapshot_families import of_run
from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Path of a run's metrics, its id left out.
RUN_METRICS = "/metrics/runs/"


def discovery_document(snapshot: Snapshot | None, own: str, *, scheme: str = "http") -> list[dict[str, object]]:
    """Return the targets in the form of Prometheus's `http_sd_configs`: ourselves, and each run that has metrics.

    Args:
        snapshot: The latest; None: nothing was looked at yet.
        own: Host and port at which the asker reached us.
    """
    targets: list[dict[str, object]] = [{"targets": [own], "labels": {"__scheme__": scheme}}]
    for run in snapshot.runs if snapshot is not None else ():
        if _has_metrics(run) and _is_target(run, snapshot):
            labels = dict(zip(("run", "recipe", "model", "backend"), map(label_value, of_run(run)), strict=True))
            path = RUN_METRICS + quote(run.run_id, safe="")
            targets.append({"targets": [own], "labels": {"__scheme__": scheme, "__metrics_path__": path, **labels}})
    return targets


def engine_text(run: RunView, *, timeout: float = 5.0) -> bytes:
    """Return the metrics of a run's engine, in its own words. Blocking.

    Raises:
        Refusal: It does not answer, or has no metrics.
    """
    if run.base_url is None or not _has_metrics(run):
        raise Refusal(404, "no_metrics", f"{run.run_id} has no metrics now")
    try:
        reference = run.spec.api_key_ref if run.spec else None
        key = secrets.resolve(reference, os.environ) if reference is not None else None
        return fetch(run.base_url, key, timeout=timeout)
    except ValueError as error:
        raise Refusal(502, "no_key", "The engine's API key cannot be read", cause=str(error)) from error
    except StudioError as error:
        raise Refusal(502, "engine_unreachable", error.title, cause=error.cause, advice=error.advice) from error


def _has_metrics(run: RunView) -> bool:
    answers = run.base_url is not None and run.state in ANSWERING and not run.status.stranger
    return answers and bool(specs_of(_style(run)))


def _is_target(run: RunView, snapshot: Snapshot | None) -> bool:
    """Return whether an engine of a kind that nobody knows has been heard: a target that never answers is an alert."""
    kind = registry.find(_style(run))
    if kind is not None and kind.metrics is not None:
        return True
    heard = snapshot.engine(run.run_id) if snapshot is not None else None
    return heard is not None and heard.error is None


def _style(run: RunView) -> str:
    """Return whose metrics an engine has: a command of a person's own may say it."""
    if run.spec is None:
        return ""
    style = run.spec.recipe.get("metrics_style")
    return style if isinstance(style, str) and style else run.spec.backend
