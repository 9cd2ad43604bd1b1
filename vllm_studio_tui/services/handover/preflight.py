"""What stands against a model on several machines, of what each of them tells: a pure comparison, said before a start.

What a machine does not tell is not held against it. An error is what fails for certain, or what makes wrong answers;
a warning is what often fails, or only costs speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.domain.node_facts import UNLIMITED, NodeFacts
from vllm_studio_tui.kit.numbers import gib

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

GIB = 1 << 30
#: Seconds that clocks may differ: logs of ranks are put together by time, and leases are counted by it.
CLOCKS_APART = 5.0
#: Locked memory that RDMA between GPUs needs at least; the usual default of 64 KiB or 8 MiB fails.
LEAST_MEMLOCK = 1 * GIB
#: Shared memory a rank: NCCL and the engines' queues between the processes of one machine.
LEAST_SHM = 1 * GIB
#: Open files: a rank holds sockets to every other.
LEAST_NOFILE = 4096


def node_problems(recipe: Recipe, nodes: Sequence[NodeFacts]) -> list[Problem]:
    """Return what stands against a recipe on these machines, the errors first; each names the machine.

    Args:
        nodes: In the recipe's order, the head first.
    """
    found = [*_each(recipe, nodes), *_equal(nodes), *_network(nodes), *_sizes(recipe, nodes)]
    return sorted(found, key=lambda one: one.severity != "error")


def _each(recipe: Recipe, nodes: Sequence[NodeFacts]) -> Iterator[Problem]:
    for node in nodes:
        if node.trouble:
            yield Problem("nodes", "error", f"{node.host}: {node.trouble}")
        if node.model.there is False:
            words = f"{node.host} does not have the model at {node.model.place}"
            advice = "Copy it there to the same path, or name a folder that all machines share."
            yield Problem(
                "model_path", "error", f"{words}: {node.model.trouble}" if node.model.trouble else words, advice
            )
        if node.memlock is not None and node.memlock != UNLIMITED and node.memlock < LEAST_MEMLOCK and node.gpus:
            words = f"{node.host} may lock only {_small(node.memlock)} of memory: InfiniBand and RoCE fail or fall back"
            advice = "Set `* soft memlock unlimited` and hard in /etc/security/limits.conf there, and log in again."
            yield Problem("nodes", "warning", words, advice)
        if node.shm is not None and node.shm < LEAST_SHM * max(1, _here(recipe)):
            words = f"{node.host} has {_small(node.shm)} in /dev/shm, and {_here(recipe)} ranks share it"
            yield Problem("nodes", "warning", words, "Make it larger: mount -o remount,size=16g /dev/shm")
        elif node.shm_free is not None and node.shm_free < LEAST_SHM:
            words = f"{node.host} has {_small(node.shm_free)} free in /dev/shm"
            yield Problem("nodes", "warning", words, "Remove what ended programs left there: ls -l /dev/shm")
        if node.nofile is not None and node.nofile != UNLIMITED and node.nofile < LEAST_NOFILE:
            words = f"{node.host} allows {node.nofile} open files"
            yield Problem("nodes", "warning", words, "Raise it: ulimit -n 65535, or nofile in limits.conf.")
        if node.taken:
            ports = ", ".join(str(port) for port in node.taken)
            words = f"port {ports} of {node.host} is taken, where the ranks would meet"
            yield Problem("nodes", "error", words, "Stop what listens there, or launch again: another one is chosen.")
        if node.apart is not None and abs(node.apart) > CLOCKS_APART:
            words = f"the clock of {node.host} is {abs(node.apart):.0f} s {'ahead' if node.apart > 0 else 'behind'}"
            yield Problem("nodes", "warning", words, "Set it: timedatectl set-ntp true")


def _equal(nodes: Sequence[NodeFacts]) -> Iterator[Problem]:
    """Yield what must be the same on all machines and is not."""
    for title, severity, advice, value in _SAME:
        told = [(node, text) for node in nodes if (text := value(node))]
        if len({text for _, text in told}) < 2:
            continue
        usual = Counter(text for _, text in told).most_common(1)[0][0]
        words = ", ".join(f"{node.host} has {text}" for node, text in told if text != usual)
        whose = ", ".join(node.host for node, text in told if text == usual)
        yield Problem("nodes", severity, f"{title}: {words}, and {whose} {usual}", advice)


def _model_size(node: NodeFacts) -> str:
    size = node.model.bytes
    return "" if size is None else f"{size} bytes in {node.model.files} files"


_SAME: tuple[tuple[str, str, str, Callable[[NodeFacts], str]], ...] = (
    ("the engine's versions differ", "error", "Install the same version on all: ranks of two versions do not "
     "understand each other.", lambda node: node.engine),
    ("the model differs in size", "error", "Copy it again: a download may not be complete.", _model_size),
    ("the model's config.json differs", "error", "Copy the same revision to all machines.",
     lambda node: node.model.config[:12]),
    ("the engine's Python differs", "warning", "Objects pickled by one may not be read by the other.",
     lambda node: ".".join(node.python.split(".")[:2])),
    ("the driver differs", "warning", "It may work; NCCL takes the features of the older one.",
     lambda node: node.driver),
    ("the GPUs differ", "warning", "All wait for the slowest, and the smallest memory counts for all.",
     lambda node: _gpu_words(node)),
    ("the versions of vllm-studio differ", "warning", "Install the same on all, so that each is told what it knows.",
     lambda node: node.studio),
)  # fmt: skip


def _gpu_words(node: NodeFacts) -> str:
    if not node.gpus:
        return ""
    kinds = Counter((gpu.name, gpu.memory) for gpu in node.gpus)
    return " + ".join(
        f"{name or 'a GPU'} of {gib(memory)} GiB" if memory else name or "a GPU"
        for name, memory in sorted(kinds, key=str)
    )


def _network(nodes: Sequence[NodeFacts]) -> Iterator[Problem]:
    """Yield what is wrong with the way to the head."""
    apart = any(node.address and not _is_loopback(node.address) for node in nodes)
    for index, node in enumerate(nodes):
        if apart and _is_loopback(node.address):
            # The first one may still do: only it finds itself so, and others find it by another address.
            severity = "error" if index else "warning"
            words = f"{node.host} reaches the first machine by {node.address}, which no other machine can reach"
            advice = "Name the hosts by the addresses of the network between them: /etc/hosts gives a name 127.0.1.1."
            yield Problem("nodes", severity, words, advice)
    speeds = {node.host: speed for node in nodes if (speed := _speed(node, node.interface)) is not None}
    for node in nodes:
        own = speeds.get(node.host)
        faster = max(
            (one for one in node.interfaces if one.addresses and one.speed),
            key=lambda one: one.speed or 0,
            default=None,
        )
        if own is not None and faster is not None and faster.name != node.interface and (faster.speed or 0) >= 4 * own:
            words = (
                f"{node.host} reaches the first machine by {node.interface} ({_rate(own)}), and has {faster.name} "
                f"({_rate(faster.speed or 0)})"
            )
            advice = f"If {faster.name} joins the machines, name the hosts by its addresses."
            yield Problem("nodes", "warning", words, advice)
    if len(set(speeds.values())) > 1:
        slow = min(speeds, key=lambda host: speeds[host])
        words = f"{slow} is joined at {_rate(speeds[slow])}, others at {_rate(max(speeds.values()))}: all wait for it"
        yield Problem("nodes", "warning", words, "See that it uses the same network as the others.")


def _sizes(recipe: Recipe, nodes: Sequence[NodeFacts]) -> Iterator[Problem]:
    wanted = _here(recipe)
    for node in nodes:
        # Without a GPU it may be meant: an engine for the CPU.
        if node.gpus and len(node.gpus) < wanted:
            there = f"{len(node.gpus)} GPU" if len(node.gpus) == 1 else f"{len(node.gpus)} GPUs"
            words = f"{node.host} has {there}, and each machine has {wanted} ranks"
            advice = "Name machines with more GPUs, more machines, or lower the sizes."
            yield Problem("nodes", "error", words, advice)
    if any(node.gpus for node in nodes) and any(node.gpus == () for node in nodes):
        without = ", ".join(node.host for node in nodes if node.gpus == ())
        yield Problem(
            "nodes", "error", f"{without} has no GPU that a driver tells of, and others have", "See nvidia-smi there."
        )
    heads = next((node.model.heads for node in nodes if node.model.heads), None)
    ranks = recipe.tensor_parallel_size
    if heads and heads % ranks:
        fitting = max(one for one in range(1, ranks + 1) if heads % one == 0)
        words = f"{heads} attention heads cannot be split over {ranks} GPUs"
        advice = f"Set it to {fitting}, or use pipeline_parallel_size for the other machines (strategy tp_pp)."
        yield Problem("tensor_parallel_size", "error", words, advice)
    yield from _weights(recipe, nodes)


def _weights(recipe: Recipe, nodes: Sequence[NodeFacts]) -> Iterator[Problem]:
    """Yield that the weights alone are more than the memory of a GPU, where nothing makes them smaller on the way."""
    size = max((node.model.bytes or 0 for node in nodes), default=0)
    told = [(gpu.memory, node.host) for node in nodes for gpu in node.gpus or () if gpu.memory]
    if not size or not told or recipe.expert_parallel or recipe.quantization or _offloads(recipe):
        return
    memory, host = min(told)
    parts = recipe.tensor_parallel_size * recipe.pipeline_parallel_size
    if size / parts > memory:
        words = f"the weights take {gib(size)} GiB, {gib(size / parts)} of each of {parts} GPUs, and one of {host} has "
        advice = "Use more machines or GPUs (pipeline_parallel_size), or smaller weights."
        yield Problem("nodes", "error", f"{words}{gib(memory)}", advice)


def _offloads(recipe: Recipe) -> bool:
    return any("offload" in key for key in recipe.extra_args)


def _here(recipe: Recipe) -> int:
    """Return how many ranks each machine has."""
    if recipe.strategy == "pd":
        return recipe.gpu_count
    return -(-recipe.gpu_count // max(1, recipe.node_count))


def _speed(node: NodeFacts, name: str) -> int | None:
    return next((one.speed for one in node.interfaces if one.name == name and one.speed), None)


def _rate(megabits: int) -> str:
    return f"{megabits / 1000:g} Gbit/s" if megabits >= 1000 else f"{megabits} Mbit/s"


def _small(size: int) -> str:
    return f"{gib(size)} GiB" if size >= GIB else f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"
