"""Grafana: dashboards of the one table of panels, and the files that make it find them and Prometheus by itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from string import ascii_uppercase
from typing import Any

from vllm_studio_tui.services.render.grafana_panels import PANELS, Panel
from vllm_studio_tui.services.render.source import Files, RenderSource, header
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Where Grafana's container looks for the dashboards that its provisioning names.
FOLDER = "/var/lib/grafana/dashboards"
#: Columns of a dashboard, and lines of a panel.
COLUMNS, STAT_HEIGHT, HEIGHT = 24, 4, 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard without its panels."""

    uid: str
    title: str


DASHBOARDS = {
    "main": Dashboard("vllm-studio-main", "vLLM Studio"),
    "requests": Dashboard("vllm-studio-requests", "vLLM Studio: requests"),
}


def render(source: RenderSource) -> Files:
    """Return the dashboards, and what tells Grafana of them and of Prometheus on this machine."""
    datasource = {
        "name": "vLLM Studio Prometheus", "uid": "vllm-studio", "type": "prometheus", "access": "proxy",
        "url": "http://127.0.0.1:9090", "isDefault": True, "jsonData": {"timeInterval": "15s"},
    }  # fmt: skip
    provider = {"name": "vLLM Studio", "folder": "vLLM Studio", "type": "file", "options": {"path": FOLDER}}
    head = header(source, "grafana", of_recipes=False)
    return {
        **{
            f"dashboards/{one.uid}.json": json.dumps(dashboard(key, source), indent=2, ensure_ascii=False) + "\n"
            for key, one in DASHBOARDS.items()
        },
        "provisioning/datasources/vllm-studio.yml": head + yaml_text({"apiVersion": 1, "datasources": [datasource]}),
        "provisioning/dashboards/vllm-studio.yml": head + yaml_text({"apiVersion": 1, "providers": [provider]}),
    }


def dashboard(key: str, source: RenderSource) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    one = DASHBOARDS[key]
    return {
        "uid": one.uid,
        "title": one.title,
        "description": header(source, "grafana", mark="", of_recipes=False).strip(),
        "tags": ["vllm-studio"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [
            {
                "title": "vLLM Studio", "type": "dashboards", "tags": ["vllm-studio"], "asDropdown": False,
                "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [_source_choice(), _choice("instance"), _choice("recipe")]},
        "annotations": {"list": []},
        "panels": list(_placed(panel for panel in PANELS if panel.dashboard == key)),
    }  # fmt: skip


def _source_choice() -> dict[str, Any]:
    return {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0,
        "current": {}, "options": [], "refresh": 1, "regex": "", "multi": False, "includeAll": False,
    }  # fmt: skip


def _choice(label: str) -> dict[str, Any]:
    known = "vllm_studio_build_info" if label == "instance" else "vllm_studio_run_info"
    query = f"label_values({known}, {label})"
    return {
        "name": label, "label": label.capitalize(), "type": "query", "datasource": _DATASOURCE, "hide": 0,
        "query": {"query": query, "refId": "A"}, "refresh": 2, "sort": 1, "regex": "",
        "multi": True, "includeAll": True, "allValue": ".*", "options": [],
        "current": {"text": ["All"], "value": ["$__all"]},
    }  # fmt: skip


def _placed(panels: Iterable[Panel]) -> Iterator[dict[str, Any]]:
    """Yield rows and panels from left to right and top to bottom, without a gap that none fits into."""
    number, top = 0, 0
    for row, members in groupby(panels, key=lambda panel: panel.row):
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row,
            "collapsed": False,
            "panels": [],
            "gridPos": _place(0, top, COLUMNS, 1),
        }
        top, left, tallest = top + 1, 0, 0
        for panel in members:
            height = STAT_HEIGHT if panel.kind == "stat" else HEIGHT
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            yield _panel(panel, number, _place(left, top, panel.width, height))
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.steps is not None:
        colours = ("yellow", "red") if panel.steps[0] < panel.steps[1] else ("red",)
        steps += [{"color": colour, "value": value} for colour, value in zip(colours, panel.steps, strict=False)]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "mappings": []}
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
        if panel.steps is not None:
            defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    if panel.most is not None:
        defaults["max"] = panel.most
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": f"Needs {panel.needs}.",
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": letter,
                "datasource": _DATASOURCE,
                "expr": series.expression,
                "legendFormat": series.legend or "__auto",
                "editorMode": "code",
                "range": True,
            }
            for letter, series in zip(ascii_uppercase, panel.series, strict=False)
        ],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "timeseries": {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {
        "mergeValues": True, "rowHeight": 0.8, "showValue": "never", "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    },
}  # fmt: skip
