"""Read a compose file whose services are engines, see https://github.com/compose-spec/compose-spec.

Anchors and merges are followed within a bound; files that it extends or includes are named and not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.container import Container, read_container
from vllm_studio_tui.services.recipes.formats.format import Found, Source, Unreadable, is_too_deep
from vllm_studio_tui.services.recipes.formats.shell_text import LITERAL, read_commands, without_nul

#: Values of a document, anchors followed; and how deep they are nested.
MAX_NODES = 20_000
MAX_DEPTH = 30
MAX_SERVICES = 200

#: Settings with one value or several, and the option of `docker run` for each.
_OPTIONS = {
    "ipc": "--ipc", "user": "--user", "runtime": "--runtime", "hostname": "--hostname", "mem_limit": "--memory",
    "platform": "--platform", "pull_policy": "--pull", "working_dir": "--workdir", "cap_add": "--cap-add",
    "cap_drop": "--cap-drop", "security_opt": "--security-opt", "devices": "--device", "group_add": "--group-add",
    "extra_hosts": "--add-host", "dns": "--dns", "tmpfs": "--tmpfs", "env_file": "--env-file", "pid": "--pid",
    "cpus": "--cpus", "cpuset": "--cpuset-cpus", "userns_mode": "--userns", "memswap_limit": "--memory-swap",
    "shm_size": "--shm-size", "network_mode": "--network", "container_name": "--name", "restart": "--restart",
    "init": "--init", "tty": "--tty", "stdin_open": "--interactive", "privileged": "--privileged",
    "read_only": "--read-only", "stop_grace_period": "--stop-timeout", "expose": "--expose",
}  # fmt: skip
_SWITCHES = frozenset({"init", "tty", "stdin_open", "privileged", "read_only"})
_NAMED = {
    "build": "the image must be there already: it is not built here", "depends_on": "a launch starts no other service",
    "extends": "the service that it extends is not read: copy its settings here",
    "networks": "the studio's containers share the host's network",
    "healthcheck": "the studio asks the engine itself", "logging": "the studio keeps the log",
    "profiles": "every service is a recipe of its own", "scale": "one recipe is one container",
    "secrets": "they are not mounted: name them in env_vars (file:PATH)", "configs": "they are not mounted",
    "links": "the studio's containers share the host's network",
}  # fmt: skip
_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_]\w*)(?:(:?[-?+])([^{}]{0,2000}))?\}|([A-Za-z_]\w*))")


class ComposeFile:
    """`compose.yaml`."""

    name = "docker-compose"
    title = "a compose file"

    def read(self, source: Source) -> list[Found] | None:
        text = source.text or ""
        if not re.search(r"^[\"']?services[\"']?[ \t]*:", text, re.MULTILINE) and '"services"' not in text:
            return None
        data: Mapping[str, Any] = source.mapping or _with_anchors(text)
        services = data.get("services") if isinstance(data, Mapping) else None
        if not isinstance(services, Mapping) or not any(_is_service(one) for one in services.values()):
            return None
        found: list[Found] = []
        others: list[str] = []
        for name, service in list(services.items())[:MAX_SERVICES]:
            made = _service(str(name), service) if isinstance(service, Mapping) else None
            if made is None:
                others.append(str(name)[:40])
            else:
                found.append(made)
        if not found:
            raise Unreadable(
                f"{source.name} has no service that is a known engine",
                cause=f"There are: {', '.join(others)[:200]}.",
                advice="Name the image or the command of the engine in it.",
            )
        notes = [FieldNote(f"services.{one}", "dropped", "no engine that is known: left out") for one in others]
        if data.get("include"):
            notes.append(FieldNote("include", "dropped", "other files are not read"))
        if notes:
            found[0] = Found(found[0].data, (*found[0].notes, *notes))
        return found


def _is_service(value: Any) -> bool:
    return isinstance(value, Mapping) and not {"image", "build", "extends", "command"}.isdisjoint(map(str, value))


def _service(name: str, service: Mapping[Any, Any]) -> Found | None:
    filled: set[str] = set()
    made = Container(image=_filled(_text(service.get("image")), filled) or name)
    for key, value in service.items():
        _setting(made, str(key), value, filled)
    found = read_container(made)
    if found is None:
        return None
    if not made.recipe_id and not made.name:
        found.data["id"], found.data["name"] = slug(name), name
    notes = list(found.notes)
    if filled:
        why = f"{', '.join(sorted(filled))[:120]}: not set here, the default that the file gives is taken"
        notes.append(FieldNote("variables", "changed", why))
    return Found(found.data, tuple(notes))


def _setting(made: Container, key: str, value: Any, filled: set[str]) -> None:
    if value is None or key in ("image",) or key.startswith("x-"):
        return
    if key == "command":
        made.command = _arguments(value, filled)
    elif key == "entrypoint":
        made.entrypoint = _arguments(value, filled)
    elif key == "environment":
        for text in _pairs(value):
            made.option("--env", _filled(text, filled), {})
    elif key == "volumes":
        for one in _list(value):
            made.option("--volume", _volume(one, filled), {})
    elif key == "ports":
        made.published += [_port(one, filled) for one in _list(value)]
    elif key == "labels":
        for text in _pairs(value):
            made.option("--label", _filled(text, filled), {})
    elif key == "ulimits" and isinstance(value, Mapping):
        for name, one in value.items():
            limits = f"{_text(one.get('soft'))}:{_text(one.get('hard'))}" if isinstance(one, Mapping) else _text(one)
            made.option("--ulimit", f"{name}={limits}", {})
    elif key in ("deploy", "gpus"):
        _devices(made, value, filled)
    elif key in _OPTIONS:
        for one in _list(value):
            text = _filled(_text(one), filled)
            if key not in _SWITCHES:
                made.option(_OPTIONS[key], text, {})
            elif one is True or text.lower() == "true":
                made.option(_OPTIONS[key], "", {})
    else:
        made.note(key, "dropped", _NAMED.get(key, "it has no counterpart in a recipe"))


def _pairs(value: Any) -> list[str]:
    """Return `NAME=value` of a list or a map; a name alone where it has no value."""
    if isinstance(value, Mapping):
        return [str(name) if one is None else f"{name}={_text(one)}" for name, one in value.items()]
    return [_text(one) for one in _list(value)]


def _arguments(value: Any, filled: set[str]) -> list[str]:
    if isinstance(value, str):
        made = read_commands(_filled(without_nul(value), filled).replace("\\\n", " ").replace("\n", " "))
        return [word for one in made for word in one.words]
    return [_filled(_text(one), filled) for one in _list(value)]


def _volume(value: Any, filled: set[str]) -> str:
    if isinstance(value, Mapping):
        only = ":ro" if value.get("read_only") is True else ""
        return _filled(f"{_text(value.get('source'))}:{_text(value.get('target'))}{only}", filled)
    return _filled(_text(value), filled)


def _port(value: Any, filled: set[str]) -> str:
    if isinstance(value, Mapping):
        host = f"{_text(value.get('host_ip'))}:" if value.get("host_ip") else ""
        return _filled(
            f"{host}{_text(value.get('published') or value.get('target'))}:{_text(value.get('target'))}", filled
        )
    return _filled(_text(value), filled)


def _devices(made: Container, value: Any, filled: set[str]) -> None:
    devices = value
    if isinstance(value, Mapping):
        resources = value.get("resources")
        reserved = resources.get("reservations") if isinstance(resources, Mapping) else None
        devices = reserved.get("devices") if isinstance(reserved, Mapping) else None
        for name in value:
            if name != "resources":
                made.note(f"deploy.{name}", "dropped", "it is for a swarm of hosts")
    if value == "all":
        made.gpus = ()
    for one in _list(devices):
        if not isinstance(one, Mapping):
            continue
        ids = [_filled(_text(each), filled) for each in _list(one.get("device_ids"))]
        if ids and ids != ["all"]:
            made.gpus = (*(made.gpus or ()), *ids)
        else:
            made.gpus = made.gpus or ()
            count = _filled(_text(one.get("count", "all")), filled)
            if count.isdecimal():
                why = f"{count[:9]}: how many it gets follows from tensor_parallel_size and the like; name them in gpus"
                made.note("deploy", "changed", why)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else without_nul(str(value)[:16384])


def _filled(text: str, filled: set[str]) -> str:
    """Put the defaults of variables in, as compose does where they are not set; one without any stays for a person."""

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return LITERAL
        name, operator, default = found[2] or found[5], found[3] or "", found[4] or ""
        if "-" in operator:
            filled.add(name[:60])
            return default
        return f"${{{name}}}" if "+" not in operator else ""

    return _VARIABLE.sub(one, text)


def _with_anchors(text: str) -> Mapping[str, Any]:
    """Return a document with its anchors followed, within the bound; nothing where it cannot be read."""
    import yaml

    if is_too_deep(text):
        return {}
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        return _Plain(yaml).of(node, 0) if isinstance(node, yaml.MappingNode) else {}
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return {}


class _Plain:
    """Makes plain data of nodes. Each visit of a node counts, so that anchors cannot multiply."""

    def __init__(self, yaml: Any) -> None:
        self._yaml = yaml
        self._maker = yaml.constructor.SafeConstructor()
        self._left = MAX_NODES

    def of(self, node: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise ValueError("too large")
        if isinstance(node, self._yaml.MappingNode):
            made: dict[Any, Any] = {}
            for key, value in node.value:
                if getattr(key, "tag", "") == "tag:yaml.org,2002:merge":
                    merged = self.of(value, depth + 1)
                    for one in merged if isinstance(merged, list) else [merged]:
                        made = {**one, **made} if isinstance(one, dict) else made
            for key, value in node.value:
                if getattr(key, "tag", "") != "tag:yaml.org,2002:merge":
                    name = self.of(key, depth + 1)
                    made[name if isinstance(name, str) else str(name)] = self.of(value, depth + 1)
            return made
        if isinstance(node, self._yaml.SequenceNode):
            return [self.of(one, depth + 1) for one in node.value]
        if str(node.tag).startswith("tag:yaml.org,2002:") and not node.tag.endswith((":timestamp", ":binary")):
            return self._maker.construct_object(node)
        return node.value
