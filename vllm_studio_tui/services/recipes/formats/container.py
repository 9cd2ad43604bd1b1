"""A container that starts an engine, from `docker run` or a compose file, as a recipe with `runtime: docker`.

The studio starts containers in its own way (`backends/common/docker.py`): on the host's network, named after the run,
watched by a keeper. What that takes the place of is dropped, and said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.backends.common.pasted import Pasted
from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.engine_command import engine_of, recipe_of
from vllm_studio_tui.services.recipes.formats.format import Found
from vllm_studio_tui.services.recipes.formats.shell_text import dollars, home_filled, names_in, read_commands, reference
from vllm_studio_tui.services.recipes.formats.wrappers import unwrap

_KEEPER = "the studio's keeper does it"
_ASKED = "the studio asks the engine itself"
_HOSTS = "the container shares the host's network"
_DROPPED = {
    "--rm": "the studio removes containers when they end", "--init": "the studio gives it anyway",
    "--detach": "a keeper of the studio holds the container", "--interactive": "no terminal is needed",
    "--tty": "no terminal is needed", "--quiet": "it says nothing of the engine", "--attach": "no terminal is needed",
    "--cidfile": _KEEPER, "--log-driver": "the studio keeps the log", "--log-opt": "the studio keeps the log",
    "--health-cmd": _ASKED, "--health-interval": _ASKED,
    "--health-retries": _ASKED, "--health-timeout": _ASKED,
    "--health-start-period": _ASKED, "--no-healthcheck": _ASKED,
    "--stop-timeout": "the studio stops it", "--stop-signal": "the studio stops it", "--sig-proxy": _KEEPER,
    "--replace": "each run has a container of its own", "--expose": _HOSTS,
    "--publish-all": _HOSTS, "--link": _HOSTS,
    "--network-alias": _HOSTS, "--hostname": _HOSTS,
}  # fmt: skip
_SWITCHES = frozenset({"--privileged", "--read-only", "--oom-kill-disable"})
#: Options with a value that a launch gives as they stand.
_TAKEN = frozenset({
    "--ipc", "--ulimit", "--cap-add", "--cap-drop", "--security-opt", "--device", "--group-add", "--add-host", "--dns",
    "--tmpfs", "--user", "--workdir", "--memory", "--memory-swap", "--cpus", "--cpuset-cpus", "--cpuset-mems",
    "--platform", "--pull", "--runtime", "--pid", "--env-file", "--label", "--userns", "--cgroupns", "--cpu-shares",
    "--device-cgroup-rule", "--shm-size", "--sysctl", "--uts", "--memory-reservation", "--pids-limit", "--isolation",
    "--volumes-from", "--annotation", "--secret", "--mount", "--dns-search", "--blkio-weight", "--oom-score-adj",
})  # fmt: skip
EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is written, not bound


@dataclass(slots=True)
class Container:
    """A container as its options describe it.

    Attributes:
        entrypoint: What takes the place of the image's own; None: the image's.
        published: `HOST:PORT:PORT` of what it is published at.
        network: Its network; None: docker's own.
    """

    program: str = "docker"
    image: str = ""
    command: list[str] = field(default_factory=list)
    entrypoint: list[str] | None = None
    name: str = ""
    recipe_id: str = ""
    env: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    network: str | None = None
    shm: str | None = None
    gpus: tuple[str, ...] | None = None
    restart: str | None = None
    notes: list[FieldNote] = field(default_factory=list)

    def note(self, name: str, action: str, why: str) -> None:
        """Say what became of an option."""
        if len(self.notes) < 300:
            self.notes.append(FieldNote(name[:80], action, why[:300]))

    def option(self, name: str, value: str, env: Mapping[str, str]) -> None:
        """Take an option of `docker run` by its long name."""
        if name in _DROPPED:
            self.note(name, "dropped", _DROPPED[name])
        elif name == "--env":
            key, equals, text = value.partition("=")
            self.env[key] = reference(text) if equals else env.get(key, f"env:{key}")
        elif name == "--volume":
            self.volumes.append(home_filled(value))
        elif name == "--mount":
            self._mount(value)
        elif name == "--publish":
            self.published.append(value)
        elif name == "--network":
            self.network = value
        elif name == "--shm-size":
            self.shm = value
        elif name == "--gpus":
            self._gpus(value)
        elif name == "--name":
            self.name = value
        elif name == "--restart":
            self.restart = value
        elif name == "--entrypoint":
            self.entrypoint = [value] if value else []
        elif name == "--device" and value.startswith("nvidia.com/gpu="):
            one = value.removeprefix("nvidia.com/gpu=")
            self.gpus = () if one == "all" else (*(self.gpus or ()), one)
            self.note(name, "changed", "now gpus: the studio hands them in by --gpus")
        elif name == "--label" and value.startswith("vllm-studio."):
            if value.startswith("vllm-studio.recipe="):
                self.recipe_id = value.partition("=")[2]
        elif name in _SWITCHES:
            self.args.append(name)
        else:
            if name not in _TAKEN:
                self.note(name, "taken", "no option of docker run that is known here; it is given as it stands")
            self.args += [name, home_filled(value)] if name in _TAKEN else [f"{name}={value}"]

    def _mount(self, value: str) -> None:
        parts = dict((*one.partition("=")[::2],) for one in value.split(","))
        source = parts.get("source") or parts.get("src")
        target = parts.get("target") or parts.get("destination") or parts.get("dst")
        if source and target and parts.get("type", "volume") in ("bind", "volume"):
            only = ":ro" if "readonly" in parts or "ro" in parts else ""
            self.volumes.append(f"{home_filled(source)}:{target}{only}")
            self.note("--mount", "changed", "now one of docker.volumes")
        else:
            self.args += ["--mount", value]

    def _gpus(self, value: str) -> None:
        found = device_ids(value)
        self.gpus = found or ()
        if found is None:
            why = f"{value[:40]}: how many it gets follows from tensor_parallel_size and the like; name them in gpus"
            self.note("--gpus", "changed", why)


def read_container(made: Container) -> Found | None:
    """Return the recipe of a container; None where no engine is known to run in it."""
    found = _engine(made)
    if found is None:
        return None

    backend, pasted = found
    listens = dict(pasted.fields)
    env = dict(made.env)
    gpus = made.gpus
    data, notes = recipe_of(backend, Pasted(pasted.arguments, listens), env)
    for name in ("python_path", "executable"):
        if data.get(name) and backend.image_runs_engine and made.entrypoint is None:
            data.pop(name)
    _place(made, backend, data)
    _mapped(made, data)
    docker: dict[str, Any] = {"image": made.image}
    by_itself = {f"{data.get(name)}:{data.get(name)}:ro" for name in ("model_path", "tokenizer")}
    by_itself |= {f"{path}:{path}:ro" for path in (data.get("lora_modules") or {}).values()}
    if volumes := [one for one in made.volumes if one and dollars(one) not in by_itself]:
        docker["volumes"] = volumes
    if made.args:
        docker["args"] = made.args
    if made.shm:
        docker["shm"] = made.shm
    if gpus is None:
        docker["gpus"] = False
    elif gpus:
        data["gpus"] = list(gpus)
    data["runtime"], data["docker"] = "docker", docker
    _restart(made, data)
    for volume in made.volumes:
        if any(names_in(volume)):
            made.note("docker.volumes", "taken", f"{volume}: nothing fills the variable in; write the path")
        elif volume.startswith("."):
            made.note("docker.volumes", "taken", f"{volume}: write the whole path, it is none of this directory")
    given = dollars(made.recipe_id or made.name)
    if given and slug(given):
        data["id"] = slug(given)
        data["name"] = given
        if made.name and not made.recipe_id:
            made.note("--name", "changed", "now the recipe's name: a container is called after its run")
    if made.program != "docker":
        made.note(made.program, "changed", "the studio starts containers with docker")
    data["docker"] = {name: _dollars(one) for name, one in docker.items()}
    return Found(data, (*made.notes, *notes))


def _dollars(value: Any) -> Any:
    if isinstance(value, list):
        return [_dollars(one) for one in value]
    return dollars(value) if isinstance(value, str) else value


def _engine(made: Container) -> tuple[Backend, Pasted] | None:
    """Return the engine in a container, by what it is told to run, else by its image."""
    words = [*(made.entrypoint or []), *made.command]
    for _ in range(3):
        bare = unwrap(words, lambda given: engine_of(given) is not None)
        made.env.update(bare.env)
        made.notes += bare.notes
        if bare.script is None:
            break
        inner = [one for one in read_commands(dollars(bare.script)) if not one.words[0].startswith(("export", "set"))]
        words = next((one.words for one in inner if engine_of(unwrap(one.words, _any).words)), [])
        made.note("bash -c", "changed", "the engine is started without the shell; the rest of its script is left out")
    found = engine_of(bare.words)
    if found is not None:
        return found
    if made.entrypoint:
        return None
    return next(
        ((one, Pasted(tuple(made.command))) for one in registry.backends().values() if _is_image(one, made.image)), None
    )


def _any(words: list[str]) -> bool:

    return engine_of(words) is not None


def _is_image(backend: Backend, image: str) -> bool:
    """Return whether an image is one of an engine's own, whatever its tag or digest."""
    repository = image.split("@", 1)[0].removeprefix("docker.io/")
    if ":" in repository.rsplit("/", 1)[-1]:
        repository = repository.rsplit(":", 1)[0]
    own = [backend.image.rsplit(":", 1)[0]] if backend.image else []
    named = [one.removeprefix("docker.io/") for one in (*own, *backend.images)]
    return repository in named or (backend.program is not None and repository == backend.program)


def _place(made: Container, backend: Backend, data: dict[str, Any]) -> None:
    """Put where it is published into host and port: in the studio's containers the engine listens there itself."""
    if made.network not in (None, "host"):
        made.note("--network", "dropped", f"{made.network[:40]}: the studio's containers share the host's network")
    if made.network == "host" or not made.published:
        if made.network != "host" and "host" in data:
            data.pop("host")
            made.note("host", "changed", "it was published nowhere: it listens on this machine alone")
        return
    inside = str(data.get("port") or backend.default_port)
    first = next((one for one in made.published if one.split("/")[0].rsplit(":", 1)[-1] == inside), made.published[0])
    place = first.split("/")[0].rsplit(":", 1)[0] if ":" in first else first.split("/")[0]
    host, _, port = place.rpartition(":")
    data["host"] = host.strip("[]") or EVERYWHERE
    if port.isdigit():
        data["port"] = port
    elif names := sorted(set(names_in(first))):
        data.pop("port", None)
        made.note("--publish", "changed", f"{', '.join(names)} is not set here: the first free port is used")
    made.note("--publish", "changed", f"{first[:60]}: now host and port, the container shares the host's network")
    for one in made.published:
        if one != first:
            made.note("--publish", "dropped", f"{one[:60]}: the container shares the host's network")


def _mapped(made: Container, data: dict[str, Any]) -> None:
    """Write the model's path as this machine has it: the studio mounts it at the same path."""
    for name in ("model_path", "tokenizer"):
        path = data.get(name)
        if not isinstance(path, str) or not path.startswith("/"):
            continue
        for volume in made.volumes:
            parts = dollars(volume).split(":")
            if len(parts) < 2 or not parts[0].startswith(("/", "~")) or not parts[1].startswith("/"):
                continue
            if PurePosixPath(path).is_relative_to(parts[1]):
                inside = PurePosixPath(path).relative_to(parts[1])
                data[name] = str(PurePosixPath(parts[0]) / inside)
                if data[name] != path:
                    made.note(
                        name, "changed", f"{path} in the container is {data[name]} here, mounted at the same path"
                    )
                break


def _restart(made: Container, data: dict[str, Any]) -> None:
    if made.restart is None:
        return
    policy, _, times = made.restart.partition(":")
    if policy in ("always", "unless-stopped"):
        data["restart"] = {"policy": "always"}
    elif policy == "on-failure":
        budget = {"budget": min(int(times), 1000)} if times.isdecimal() and int(times[:6]) > 0 else {}
        data["restart"] = {"policy": "on-failure", **budget}
    elif policy != "no":
        made.note("--restart", "dropped", f"{made.restart[:40]} is no policy")
        return
    if policy != "no":
        made.note("--restart", "changed", f"{made.restart[:40]}: now restart, by the studio's own keeper")


def device_ids(text: str) -> tuple[str, ...] | None:
    """Return the GPUs of `--gpus`: their ids, nothing for all; None where only their number is given."""
    bare = text.replace('"', "").replace("'", "")
    found = re.search(r"device=([\w,.:-]+)", bare)
    if found:
        ids = [one for one in found[1].split(",") if one and not one.startswith("capabilities")]
        return () if ids == ["all"] else tuple(ids)
    return None if re.match(r"(?:count=)?\d+$", bare) else ()
