"""The parts of an engine that runs on several machines: which there are, and where one of them stands.

Standard library only: `vllm-studio rank` on each host and the follower that leads them know these values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: Ports from `RankPlace.master_port` on that are free on every host: where ranks meet, copies (dp), and of an engine
#: of its own (pd) its HTTP, what hands over the cache, and SGLang's bootstrap.
PORTS = 5
MEET, COPIES, HTTP, CACHE, BOOTSTRAP = range(PORTS)

#: Reasons of an end (`domain.spec.Failure`) by which a rank says no more than that another one is gone, or not come.
FOLLOWER_REASONS = frozenset({"peer_lost", "rendezvous", "collective_timeout", "unit_lost"})
#: Reasons that say little: they may come from another one's end. Any other is a cause of the rank itself.
VAGUE_REASONS = frozenset({
    "nccl", "engine_died", "engine_error", "process_exited", "exit_unknown", "keeper_lost", "native_crash",
    "terminated", "ray_worker_lost",
})  # fmt: skip

#: Roles of the parts of `strategy: pd`; parts of other strategies have none.
ROUTER, PREFILL, DECODE = "router", "prefill", "decode"
ROLES = ("", ROUTER, PREFILL, DECODE)
#: An address that stands in a command line: a name, IPv4 or IPv6, or the variable of a script.
ADDRESS = re.compile(r"[A-Za-z0-9$(_\[][A-Za-z0-9$(){}_.:%\[\]-]{0,252}")
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}")
#: The most machines that one copy of a model is spread over, as in the recipe.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class RankPart:
    """A process of an engine that runs on several machines, as its backend splits a recipe.

    Attributes:
        index: Counts the parts from 0; the first one answers requests.
        node: The machine that it runs on, as an index of the recipe's nodes. Several parts may share one.
        name: For people, as `rank 1` or `prefill`.
        role: Its role where parts differ (`ROLES`); empty: a rank.
        serves: It has an HTTP server: its keeper can ask whether it is ready. Others only have a process and a log.
        port: Its server listens at `master_port` + this; None: at the run's own port.
    """

    index: int
    node: int
    name: str
    role: str = ""
    serves: bool = False
    port: int | None = None


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where one part stands among all: what its host must know to make its command.

    Attributes:
        index: Of the part, from 0.
        count: How many parts there are.
        node: Index of its machine.
        addresses: Of each machine, as the others reach it; the first is the head.
        master_port: The first of `PORTS` successive ports that are free on each machine.
        interface: The network interface of this machine that has its address; empty: the engine looks for it itself.
        role: As of its `RankPart`.
        index_word: What a script has in place of the index, as `$SLURM_NODEID`; empty: the number.
    """

    index: int
    count: int
    node: int
    addresses: tuple[str, ...]
    master_port: int
    interface: str = ""
    role: str = ""
    index_word: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= 2 * MOST:
            raise ValueError(f"there is no part {self.index} of {self.count}")
        if not 0 <= self.node < len(self.addresses) <= MOST:
            raise ValueError(f"there is no machine {self.node} of {len(self.addresses)}")
        if not 1 <= self.master_port <= 65536 - PORTS:
            raise ValueError(f"{self.master_port} is no port with {PORTS - 1} more behind it")
        if self.role not in ROLES:
            raise ValueError(f"{self.role!r} is no role of a part")
        for one in self.addresses:
            if not ADDRESS.fullmatch(one):
                raise ValueError(f"{one[:40]!r} is no address")
        if self.interface and not INTERFACE.fullmatch(self.interface):
            raise ValueError(f"{self.interface[:40]!r} is no network interface")

    @property
    def nodes(self) -> int:
        """Return how many machines there are."""
        return len(self.addresses)

    @property
    def head(self) -> str:
        """Return the address of the first machine, where the ranks meet."""
        return self.addresses[0]

    @property
    def address(self) -> str:
        """Return the address of its own machine."""
        return self.addresses[self.node]

    @property
    def word(self) -> str:
        """Return the index as it stands in a command line."""
        return self.index_word or str(self.index)

    def port(self, which: int) -> int:
        """Return one of the ports that are kept free: `MEET`, `COPIES`, `HTTP`, `CACHE`, `BOOTSTRAP`."""
        return self.master_port + which

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as `from_json` takes it."""
        return {**asdict(self), "addresses": list(self.addresses)}

    @classmethod
    def from_json(cls, data: Any) -> RankPlace:
        """Return the place that another host was told of; keys that are not known are left out.

        Raises:
            ValueError: It is no place.
        """
        if not isinstance(data, Mapping):
            raise ValueError("the place of a rank is an object")
        numbers = {name: data.get(name) for name in ("index", "count", "node", "master_port")}
        words = {name: data.get(name, "") for name in ("interface", "role", "index_word")}
        addresses = data.get("addresses")
        for name, number in numbers.items():
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError(f"{name} is not a number")
        if not isinstance(addresses, list | tuple) or not all(isinstance(one, str) for one in addresses):
            raise ValueError("addresses is not a list of texts")
        if not all(isinstance(one, str) for one in words.values()):
            raise ValueError(f"{', '.join(words)} are texts")
        return cls(**numbers, **words, addresses=tuple(addresses))  # type: ignore[arg-type]


def blame(reason: str) -> int:
    """Return how much a rank that ended for this reason is to blame: 0 for itself, 1 perhaps, 2 only fell with others.

    Of several that ended the least figure names the cause, and of those alike the first.
    """
    return 2 if reason in FOLLOWER_REASONS else 1 if reason in VAGUE_REASONS or not reason else 0


def http_address(address: str, port: int) -> str:
    """Return `http://HOST:PORT` of an address, IPv6 in brackets."""
    bare = address.strip("[]")
    return f"http://{f'[{bare}]' if ':' in bare else bare}:{port}"
