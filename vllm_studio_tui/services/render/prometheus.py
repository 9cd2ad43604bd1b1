"""Prometheus: what to scrape, recording rules for all engines, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from vllm_studio_tui.services.render.alert_rules import ALERTS, JOB
from vllm_studio_tui.services.render.recording_rules import recording_rules
from vllm_studio_tui.services.render.source import Files, RenderSource, header
from vllm_studio_tui.services.render.yaml_text import yaml_text

RECORDS_FILE, ALERTS_FILE = "vllm-studio-records.yml", "vllm-studio-alerts.yml"
#: Beside the configuration; whoever deploys it puts the key there.
KEY_FILE = "vllm-studio.key"


def render(source: RenderSource) -> Files:
    """Return the configuration, one for `exporter` as the other way, and the rules that both have."""
    records = {"groups": [{"name": "vllm_studio_engines", "rules": recording_rules()}]}
    alerts = {"groups": [{"name": "vllm_studio_alerts", "rules": [one.to_rule() for one in ALERTS]}]}
    return {
        "prometheus.yml": _head(source, *_by_discovery_notes(source)) + yaml_text(_config(_by_discovery(source))),
        "prometheus-exporter.yml": _head(source, *_BY_EXPORTER) + yaml_text(_config(_by_exporter(source))),
        RECORDS_FILE: _head(source) + _rules_text(records),
        ALERTS_FILE: _head(source) + _rules_text(alerts),
    }


_START = "Start: prometheus --config.file=prometheus.yml --storage.tsdb.retention.time=30d"
_FOUND = "Runs that come and go are found by themselves."
_BY_EXPORTER = (
    "For `vllm-studio exporter` in place of `serve`. Take this file or prometheus.yml: both would count all twice.",
)


def _by_discovery_notes(source: RenderSource) -> tuple[str, ...]:
    make = f"vllm-studio keys add prometheus --scope metrics > {KEY_FILE}"
    if source.needs_key and not source.settings.public_metrics:
        return (
            _START,
            f"{KEY_FILE} beside this file holds a key of `serve`, which asks for one; make it:",
            make,
            _FOUND,
        )
    more = "nothing asks for a key now, so any word will do. Once there are keys:"
    return (_START, f"{KEY_FILE} beside this file must be there; {more}", make, _FOUND)


def _head(source: RenderSource, *more: str) -> str:
    return header(source, "prometheus", *more, of_recipes=False)


def _rules_text(rules: Mapping[str, object]) -> str:
    """Return rules as YAML, with an expression of several lines as such."""
    import yaml

    class Lines(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Lines.add_representer(str, text)
    return str(yaml.dump(rules, Dumper=Lines, sort_keys=False, allow_unicode=True, width=10_000))


def _config(job: dict[str, object]) -> dict[str, object]:
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [RECORDS_FILE, ALERTS_FILE],
        "scrape_configs": [{"job_name": JOB, **job}],
    }


def _by_discovery(source: RenderSource) -> dict[str, object]:
    # The targets are paths of `serve` itself: the key goes nowhere else.
    url = f"{source.serve_url.rstrip('/')}/prometheus/sd"

    def key() -> dict[str, str]:
        # Discovery in Prometheus 2.42 sends the bare key where the type is left to its default.
        return {"type": "Bearer", "credentials_file": KEY_FILE}

    return {
        "authorization": key(),
        "http_sd_configs": [{"url": url, "refresh_interval": "15s", "authorization": key()}],
    }


def _by_exporter(source: RenderSource) -> dict[str, object]:
    host = urlsplit(source.serve_url).hostname or "127.0.0.1"
    name = f"[{host}]" if ":" in host else host
    return {"static_configs": [{"targets": [f"{name}:{source.settings.exporter_port}"]}]}
