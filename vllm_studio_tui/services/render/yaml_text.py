"""YAML as people read it: in the order of what was given, long words on one line, several lines as they are."""

from __future__ import annotations

from typing import Any


def yaml_text(data: Any) -> str:
    """Return plain data as YAML that every reader of YAML 1.1 and 1.2 takes for the same."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    made = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False)
    return str(made)
