"""Metrics of engines that were added: by `metrics.yaml` beside the settings, and by packages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.common import plug_ins
from vllm_studio_tui.backends.common.commands import nearest
from vllm_studio_tui.config.settings_file import read_text
from vllm_studio_tui.domain.custom_metric import CustomMetric
from vllm_studio_tui.domain.errors import SettingsError

if TYPE_CHECKING:
    import yaml

    from vllm_studio_tui.kit.paths import Places

GROUP = "vllm_studio_tui.metrics"
FILE = "metrics.yaml"
#: More are not taken: each is a chart, and a series of Prometheus for each run.
MOST = 32
_KEYS = tuple(one.name for one in fields(CustomMetric) if one.name != "name")
_LISTS = ("names", "over")


def custom_metrics(places: Places) -> tuple[tuple[CustomMetric, ...], tuple[str, ...]]:
    """Return the metrics of the file, then those of packages, and in words what cannot be used of either.

    Reads the file anew. Raises nothing: a row that is wrong leaves the others.
    """
    found, problems = _of_file(places.config / FILE)
    packages, broken = _of_packages()
    problems += broken
    made: dict[str, CustomMetric] = {}
    for one in (*found, *packages):
        if one.name in made:
            problems.append(f"{one.name} is there twice: the file comes before packages")
        made.setdefault(one.name, one)
    if len(made) > MOST:
        problems.append(f"there are {len(made)}, only the first {MOST} are taken")
    return tuple(made.values())[:MOST], tuple(problems)


# --- packages -------------------------------------------------------------------------------------------


@cache
def _of_packages() -> tuple[tuple[CustomMetric, ...], list[str]]:
    found, broken = plug_ins.load_all(GROUP, _accept)
    problems = [f"the plug-in {name} cannot be used: {why}" for name, why in broken.items()]
    return tuple(one for some in found for one in some.value), problems


def _accept(name: str, loaded: object) -> tuple[CustomMetric, ...]:
    some = (loaded,) if isinstance(loaded, CustomMetric) else tuple(loaded) if isinstance(loaded, Iterable) else ()
    rows = tuple(one for one in some if isinstance(one, CustomMetric))
    if not rows or len(rows) != len(some):
        raise plug_ins.NotUsable(f"{name} is no CustomMetric and no list of them")
    return rows


# --- the file -------------------------------------------------------------------------------------------


def _of_file(path: Path) -> tuple[list[CustomMetric], list[str]]:
    try:
        text = read_text(path)
    except SettingsError as error:
        return [], [error.cause or error.title]
    if text is None:
        return [], []
    import yaml  # deferred: most homes have no such file

    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        return [], [f"{where}: {getattr(error, 'problem', None) or 'not YAML'}"]
    except (RecursionError, ValueError):
        return [], [f"{path}: not YAML that a table of metrics needs"]
    if document is None:
        return [], []
    if not isinstance(document, yaml.MappingNode):
        return [], [f"{path}, line {document.start_mark.line + 1}: not a list of `name:` with rows below each"]
    found: dict[str, CustomMetric] = {}
    problems: list[str] = []
    for key, value in document.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        try:
            if not isinstance(key, yaml.ScalarNode) or key.value in found:
                raise _Wrong("this name is there twice" if isinstance(key, yaml.ScalarNode) else "not a name")
            found[key.value] = _row(key.value, value, path)
        except _Wrong as error:
            problems.append(str(error) if str(error).startswith(str(path)) else f"{where}: {error}")
    return list(found.values()), problems


class _Wrong(Exception):
    """A row cannot be used; the text says where, unless it is its first line, and why."""


def _row(name: str, node: yaml.Node, path: Path) -> CustomMetric:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise _Wrong(f"{name[:40]} needs rows such as `names: [engine:metric]` below it")
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        word = key.value if isinstance(key, yaml.ScalarNode) else ""
        if word not in _KEYS:
            near = nearest(word, _KEYS)
            advice = f"did you mean {near}?" if near else f"there are {', '.join(_KEYS)}"
            raise _Wrong(f"{path}, line {line}: {word[:40]!r} is no key of a metric: {advice}")
        lines[word] = line
        values[word] = _value(word, value, f"{path}, line {line}")
    engine = values.get("engine")
    if isinstance(engine, str) and (advice := _unknown_engine(engine)):
        raise _Wrong(f"{path}, line {lines['engine']}: {advice}")
    if "names" not in values:
        raise _Wrong(f"{name[:40]} has no names of the engine's metric")
    try:
        return CustomMetric(name, **values)
    except ValueError as error:
        line = lines.get(str(error).partition(" ")[0], node.start_mark.line)
        raise _Wrong(f"{path}, line {line}: {name[:40]}: {error}") from None


def _value(word: str, node: yaml.Node, where: str) -> Any:
    import yaml

    if word in _LISTS:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(_text(one, word, where) for one in nodes)
    text = _text(node, word, where)
    if word != "scale":
        return text
    try:
        return float(text)
    except ValueError:
        raise _Wrong(f"{where}: scale is no number") from None


def _text(node: yaml.Node, word: str, where: str) -> str:
    import yaml

    if not isinstance(node, yaml.ScalarNode):
        raise _Wrong(f"{where}: {word} is no text")
    return str(node.value)


def _unknown_engine(name: str) -> str:
    """Return what is wrong with the name of an engine; empty: nothing."""
    from vllm_studio_tui.backends import registry

    if registry.find(name) is not None:
        return ""
    known = registry.backends()
    near = nearest(name.lower(), known)
    return f"there is no engine {name[:40]!r}: {f'did you mean {near}?' if near else ', '.join(known)}"
