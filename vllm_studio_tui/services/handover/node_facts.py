"""Gather what this machine tells of itself before it takes part in a model of several (`vllm-studio rank facts`)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from vllm_studio_tui import __version__
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.common.commands import is_local
from vllm_studio_tui.backends.common.versions import environments_of
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.node_facts import UNLIMITED, NodeFacts, NodeGpu, NodeInterface, NodeModel
from vllm_studio_tui.domain.ranks import PORTS
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.kit.ports import hold
from vllm_studio_tui.models.facts import read_facts
from vllm_studio_tui.models.local import WEIGHTS
from vllm_studio_tui.models.snapshots import cached_model

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.domain.ranks import RankPlace
    from vllm_studio_tui.domain.recipe import Recipe

#: Seconds that the GPUs may take to answer.
GPU_WAIT = 5.0
#: Bytes of a file's head by which copies are told apart, where there is no config.json.
HEAD = 1 << 20
SHM = Path("/dev/shm")  # noqa: S108, RUF100 - looked at, never written
NETWORKS = Path("/sys/class/net")
_PYTHON = re.compile(r"python(\d+\.\d+)")


def gather_facts(
    recipe: Recipe, backend: Backend, settings: Settings, place: RankPlace, port: int, environ: Mapping[str, str]
) -> NodeFacts:
    """Return what this machine tells. Blocking, a second or two; nothing is started.

    Args:
        recipe: As it would be launched here: a name that stands for a model of this machine is resolved.
        place: Where this machine would stand; its head is the way that is looked for.
        port: Where its server would listen.
    """
    engine, trouble, python = _engine(recipe, backend, LaunchContext(settings, recipe.host, port, rank=place))
    driver, gpus = _gpus()
    address = way_to(place.head)
    interfaces = _interfaces()
    return NodeFacts(
        studio=__version__,
        engine=engine,
        trouble=trouble,
        python=python,
        driver=driver,
        gpus=gpus,
        model=look_at_model(recipe, environ) if backend.names_model(recipe) else NodeModel(),
        memlock=_limit("RLIMIT_MEMLOCK"),
        nofile=_limit("RLIMIT_NOFILE"),
        shm=_room(total=True),
        shm_free=_room(total=False),
        address=address,
        interface=next((one.name for one in interfaces if address in one.addresses), ""),
        interfaces=interfaces,
        taken=_taken(place),
        at=time.time(),
    )


def _engine(recipe: Recipe, backend: Backend, context: LaunchContext) -> tuple[str, str, str]:
    """Return the engine's version, why its command cannot be made, and the version of its interpreter."""
    try:
        command = backend.command(recipe, context)
        program = command.argv[0]
    except StudioError as error:
        return "", " ".join(str(error).split()), ""
    except Exception as error:  # noqa: BLE001, RUF100 - a backend of another package
        return "", f"{backend.title} makes no command of it: {type(error).__name__}: {error}"[:300], ""
    return backend.version(program) or "", "", _python_of(program)


def _python_of(program: str) -> str:
    try:
        found = (_PYTHON.search(str(site)) for site in environments_of(Path(program)))
        return next((match[1] for match in found if match), "")
    except OSError:
        return ""


def _gpus() -> tuple[str, tuple[NodeGpu, ...] | None]:
    from vllm_studio_tui.probes.gpu.provider import read_once

    report = read_once(GPU_WAIT, processes=False)
    gpus = tuple(NodeGpu(gpu.name or "", gpu.memory_total) for gpu in report.gpus)
    # Without a driver there is no GPU; a driver that does not answer leaves it unknown.
    return report.driver or "", gpus if gpus or report.driver is None else None


def look_at_model(recipe: Recipe, environ: Mapping[str, str]) -> NodeModel:
    """Return what lies here of the recipe's model. A name of the hub that is not here yet will be fetched."""
    environ = {**environ, **{key: value for key, value in recipe.env_vars.items() if ":" not in value[:5]}}
    named = recipe.model_path
    if is_local(named):
        place = Path(expanded(named))
    else:
        cached = cached_model(named, environ, recipe.revision or "main")
        if cached is None:
            offline = environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true")
            words = "it is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it" if offline else ""
            return NodeModel(named, there=False if offline else None, trouble=words)
        place = cached
    try:
        files = _weights(place)
        config = place / "config.json" if place.is_dir() else None
        return NodeModel(
            str(place),
            there=True,
            bytes=sum(size for _, size in files),
            files=len(files),
            config=_digest(config if config is not None and config.is_file() else files[0][0] if files else None),
            heads=_heads(place),
        )
    except FileNotFoundError:
        return NodeModel(str(place), there=False)
    except OSError as error:
        return NodeModel(str(place), there=False, trouble=error.strerror or type(error).__name__)


def _heads(place: Path) -> int | None:
    try:
        return read_facts(place).architecture.heads or None
    except StudioError:
        return None


def _weights(place: Path) -> list[tuple[Path, int]]:
    if not place.is_dir():
        return [(place, place.stat().st_size)]
    return sorted((one, one.stat().st_size) for one in place.iterdir() if one.name.lower().endswith(WEIGHTS))


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(HEAD)).hexdigest()


def _limit(name: str) -> int | None:
    try:
        import resource

        soft, _ = resource.getrlimit(getattr(resource, name))
    except (ImportError, AttributeError, OSError, ValueError):
        return None
    return UNLIMITED if soft == resource.RLIM_INFINITY else int(soft)


def _room(*, total: bool) -> int | None:
    try:
        usage = shutil.disk_usage(SHM)
    except OSError:
        return None
    return usage.total if total else usage.free


def _interfaces() -> tuple[NodeInterface, ...]:
    stats = psutil.net_if_stats()
    found = []
    for name, addresses in sorted(psutil.net_if_addrs().items()):
        about = stats.get(name)
        own = tuple(
            one.address.partition("%")[0] for one in addresses if one.family in (socket.AF_INET, socket.AF_INET6)
        )
        if own and (about is None or about.isup):
            speed = about.speed if about is not None and about.speed > 0 and _is_wire(name) else None
            found.append(NodeInterface(name, own, speed))
    return tuple(found)


def _is_wire(name: str) -> bool:
    """Return whether an interface is a card, or several joined: the speed of a bridge or of a tunnel is made up."""
    return any((NETWORKS / name / one).exists() for one in ("device", "bonding"))


def way_to(head: str) -> str:
    """Return the address of this machine that the head sees, without a packet being sent; empty where there is none."""
    try:
        family, _, _, _, there = socket.getaddrinfo(head.strip("[]"), 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(there)
            return str(probe.getsockname()[0]).partition("%")[0]
    except (OSError, UnicodeError):
        return ""


def _taken(place: RankPlace) -> tuple[int, ...]:
    """Return those of the ports that are to be kept free on this machine that somebody has."""
    ports = (place.port(one) for one in range(PORTS))
    return tuple(port for port in ports if _is_taken(place.address, port))


def _is_taken(address: str, port: int) -> bool:
    try:
        hold(address.strip("[]"), port).close()
    except OSError as error:
        # Any other error: an address that is not of this machine, as where the network between translates it.
        return error.errno == errno.EADDRINUSE
    except StudioError:
        return False
    return False


def facts_here(recipe: Recipe, backend: Backend, settings: Settings, place: RankPlace, port: int) -> NodeFacts:
    """Return what this machine tells, with the environment of this process."""
    return gather_facts(recipe, backend, settings, place, port, os.environ)
