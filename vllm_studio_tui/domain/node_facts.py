"""What a machine tells of itself before it takes part in a model of several: read without belief. Standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vllm_studio_tui.kit.outside_values import as_number

#: How many of a kind are read, and letters of a text.
MOST, LONGEST = 256, 400
#: No limit, where a limit of the system is told in bytes.
UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class NodeGpu:
    """A GPU: its name and its memory in bytes; None: the driver does not tell it."""

    name: str = ""
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class NodeInterface:
    """A network interface that is up, with its addresses, without loopback; `speed` in Mbit/s."""

    name: str
    addresses: tuple[str, ...] = ()
    speed: int | None = None


@dataclass(frozen=True, slots=True)
class NodeModel:
    """What lies there of the model.

    Attributes:
        place: Where it was looked for.
        there: None: it could not be looked at, or it is a name that will be fetched.
        bytes: All files of its weights.
        files: How many those are.
        config: SHA-256 of its config.json, or of the head of its file; empty: unknown.
        trouble: Why it cannot be read.
        heads: Its attention heads; None: unknown.
    """

    place: str = ""
    there: bool | None = None
    bytes: int | None = None
    files: int | None = None
    config: str = ""
    trouble: str = ""
    heads: int | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What one machine tells. None and empty mean unknown, and nothing is held against it for that.

    Attributes:
        host: As the recipe names it; whoever gathers sets it.
        studio: Version of this program there.
        engine: Version of the engine.
        trouble: Why the engine's command cannot be made there, with what to do; empty: it can.
        python: Version of the interpreter of the engine's environment.
        driver: Version of the GPUs' driver.
        gpus: None: unknown; empty: there is none.
        memlock, shm, shm_free, nofile: Limit of locked memory, size and room of /dev/shm in bytes, most open files.
        address, interface: Its own address, and the interface that has it, on the way to the head.
        interfaces: All that are up.
        taken: Ports asked about that somebody listens on.
        at: Its clock, seconds since the epoch.
        apart: Seconds that its clock is ahead of the launching machine's; whoever gathers sets it.
    """

    host: str = ""
    studio: str = ""
    engine: str = ""
    trouble: str = ""
    python: str = ""
    driver: str = ""
    gpus: tuple[NodeGpu, ...] | None = None
    model: NodeModel = NodeModel()
    memlock: int | None = None
    shm: int | None = None
    shm_free: int | None = None
    nofile: int | None = None
    address: str = ""
    interface: str = ""
    interfaces: tuple[NodeInterface, ...] = ()
    taken: tuple[int, ...] = ()
    at: float | None = None
    apart: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as `read_node_facts` takes it."""
        return asdict(self)


def read_node_facts(data: Any) -> NodeFacts:
    """Return what another machine told; what is missing or makes no sense is unknown. Never raises."""
    if not isinstance(data, Mapping):
        return NodeFacts()
    model = data.get("model")
    model = model if isinstance(model, Mapping) else {}
    there = model.get("there")
    gpus = data.get("gpus")
    return NodeFacts(
        host=_text(data.get("host")),
        studio=_text(data.get("studio")),
        engine=_text(data.get("engine")),
        trouble=_text(data.get("trouble")),
        python=_text(data.get("python")),
        driver=_text(data.get("driver")),
        gpus=tuple(_gpu(one) for one in _list(gpus) if isinstance(one, Mapping)) if _is_list(gpus) else None,
        model=NodeModel(
            _text(model.get("place")),
            there if isinstance(there, bool) else None,
            _count(model.get("bytes")),
            _count(model.get("files")),
            _text(model.get("config")),
            _text(model.get("trouble")),
            _count(model.get("heads"), least=1),
        ),
        memlock=_count(data.get("memlock"), least=UNLIMITED),
        nofile=_count(data.get("nofile"), least=UNLIMITED),
        shm=_count(data.get("shm")),
        shm_free=_count(data.get("shm_free")),
        address=_text(data.get("address")),
        interface=_text(data.get("interface")),
        interfaces=tuple(_interface(one) for one in _list(data.get("interfaces")) if isinstance(one, Mapping)),
        taken=tuple(port for one in _list(data.get("taken")) if (port := _count(one)) is not None and port < 65536),
        at=as_number(data.get("at"), negative=True),
        apart=as_number(data.get("apart"), negative=True),
    )


def _gpu(data: Mapping[str, Any]) -> NodeGpu:
    return NodeGpu(_text(data.get("name")), _count(data.get("memory")))


def _interface(data: Mapping[str, Any]) -> NodeInterface:
    addresses = tuple(_text(one) for one in _list(data.get("addresses")))
    return NodeInterface(_text(data.get("name")), addresses, _count(data.get("speed")))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _list(value: Any) -> list[Any]:
    return list(value[:MOST]) if _is_list(value) else []


def _text(value: Any) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""


def _count(value: Any, least: int = 0) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 62 else None
