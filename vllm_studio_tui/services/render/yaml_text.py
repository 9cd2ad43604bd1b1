"""YAML as people read it: in the order of what was given, long words on one line."""

from __future__ import annotations

from typing import Any


def yaml_text(data: Any) -> str:
    """Return plain data as YAML that every reader of YAML 1.1 and 1.2 takes for the same."""
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False))
