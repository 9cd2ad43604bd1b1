"""Alert rules over the studio's own metrics and its recorded ones."""

from __future__ import annotations

from dataclasses import dataclass

#: The job of the scrape configuration.
JOB = "vllm-studio"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `lasting` is how long it must be so; summary and description are templates of Prometheus."""

    name: str
    expression: str
    lasting: str
    severity: str
    summary: str
    description: str

    def to_rule(self) -> dict[str, object]:
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "description": self.description},
        }


_GPU = "GPU {{ $labels.gpu_id }} ({{ $labels.gpu_name }}) of {{ $labels.instance }}"
_RUN = "{{ $labels.run }}"
#: Puts the recipe's name on a series that has only the run's.
_WITH_RECIPE = "* on (instance, run) group_left (recipe, model, backend) vllm_studio_run_info"

ALERTS = (
    Alert(
        "VllmStudioNoData", f'up{{job="{JOB}", run=""}} == 0', "2m", "critical",
        "{{ $labels.instance }} does not answer Prometheus",
        "Neither GPUs nor models of this machine are watched. Is `vllm-studio serve` running, and the key right?",
    ),
    Alert(
        "VllmStudioNoTarget", f'absent(up{{job="{JOB}"}})', "5m", "critical",
        "Prometheus knows of no studio",
        "Its discovery names no target. Is `vllm-studio serve` running, and the key right?",
    ),
    Alert(
        "VllmStudioRunFailed", f'(vllm_studio_run_state{{state="failed"}} == 1) {_WITH_RECIPE}', "0s", "critical",
        f"{_RUN} has failed", f"Why: vllm-studio diagnose {_RUN}. Dismissed or launched again, the alert ends.",
    ),
    Alert(
        "VllmStudioRunUnhealthy", f'(vllm_studio_run_state{{state="unhealthy"}} == 1) {_WITH_RECIPE}', "2m", "critical",
        f"{_RUN} does not answer", f"Its engine lives and does not serve: vllm-studio diagnose {_RUN}.",
    ),
    Alert(
        "VllmStudioRunDown", f'(vllm_studio_run_state{{state="backoff"}} == 1) {_WITH_RECIPE}', "2m", "critical",
        f"{_RUN} is down", "Its engine ended and is started again after a pause.",
    ),
    Alert(
        "VllmStudioRunRestarts", "increase(vllm_studio_run_restarts_total[30m]) >= 2", "0s", "warning",
        f"{_RUN} is started again and again", f"See vllm-studio logs {_RUN}.",
    ),
    Alert(
        "VllmStudioEngineNotScraped", f'up{{job="{JOB}", run!=""}} == 0', "5m", "warning",
        f"The metrics of {_RUN} cannot be read", "Its engine is slow to answer, or has its metrics turned off.",
    ),
    Alert(
        "VllmStudioKvCacheFull", "vllm_studio:kv_cache_usage:ratio > 0.95", "5m", "warning",
        f"The KV cache of {_RUN} is full", "Further requests wait or push others out.",
    ),
    Alert(
        "VllmStudioQueueGrows",
        "vllm_studio:requests_waiting > 5 and deriv(vllm_studio:requests_waiting[10m]) > 0", "10m", "warning",
        f"The queue of {_RUN} grows", "{{ $value }} requests wait: more come than it answers.",
    ),
    Alert(
        "VllmStudioServeQueueGrows",
        "vllm_studio_queue_length > 5 and deriv(vllm_studio_queue_length[10m]) > 0", "10m", "warning",
        "Requests for {{ $labels.recipe }} wait in serve", "{{ $value }} requests wait for their model.",
    ),
    Alert(
        "VllmStudioFirstTokenSlow",
        'vllm_studio:time_to_first_token_seconds:quantile{quantile="0.95"} > 10', "10m", "warning",
        f"First tokens of {_RUN} come late", "One of twenty requests waits {{ $value | humanizeDuration }} or more.",
    ),
    Alert(
        "VllmStudioServedFirstTokenSlow",
        "histogram_quantile(0.95, sum by (instance, recipe, le)"
        " (rate(vllm_studio_time_to_first_token_seconds_bucket[10m]))) > 60", "10m", "warning",
        "First tokens of {{ $labels.recipe }} come late",
        "With waiting and loading, one of twenty requests waits {{ $value | humanizeDuration }} or more.",
    ),
    Alert(
        "VllmStudioRequestsFail",
        'sum by (instance, recipe) (rate(vllm_studio_requests_total{status=~"5..|failed"}[10m]))'
        " / sum by (instance, recipe) (rate(vllm_studio_requests_total[10m])) > 0.05", "10m", "warning",
        "Requests for {{ $labels.recipe }} fail", "{{ $value | humanizePercentage }} of them failed in ten minutes.",
    ),
    Alert(
        "VllmStudioGpuHot", "vllm_studio_gpu_temperature_celsius > 85", "5m", "warning",
        f"{_GPU} is hot", "{{ $value }} °C for five minutes.",
    ),
    Alert(
        "VllmStudioGpuLost", "vllm_studio_gpu_lost == 1", "1m", "critical",
        f"{_GPU} does not answer", "vllm-studio gpus has the driver's words. It may need a reset or a reboot.",
    ),
    Alert(
        # A GPU at its power cap is one that works.
        "VllmStudioGpuThrottled", 'vllm_studio_gpu_throttled{reason!="power cap"} == 1', "5m", "warning",
        f"{_GPU} is slowed down", "Reason: {{ $labels.reason }}.",
    ),
    Alert(
        "VllmStudioGpusUnread", "vllm_studio_gpu_stale_seconds > 60", "1m", "warning",
        "The GPUs of {{ $labels.instance }} cannot be read", "What is shown of them is {{ $value }} seconds old.",
    ),
    Alert(
        "VllmStudioServeDegraded", "vllm_studio_serve_degraded == 1", "2m", "warning",
        "vllm-studio serve on {{ $labels.instance }} cannot do all it should", "See its /health.",
    ),
)  # fmt: skip
