"""Whether a model fits: the question, and the answer with what it is made of. Bytes, tokens, and GPUs alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Names of the parts of a GPU's memory, in the order in which they are drawn.
PARTS = ("weights", "kv", "activations", "graphs", "overhead")


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes that are not known exactly: hardly less than `low`, hardly more than `high`."""

    low: int
    likely: int
    high: int

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def to_json(self) -> dict[str, int]:
        """Return `low`, `likely` and `high`."""
        return {"low": self.low, "likely": self.likely, "high": self.high}


@dataclass(frozen=True, slots=True)
class FitQuestion:
    """What is asked of the GPUs.

    Attributes:
        gpus: How many the engine takes, one for each rank; 0: it runs on the processor, and `memory` is the host's.
        memory: Bytes of the smallest of them.
        held: Bytes that others hold of the fullest of them.
        context: Tokens of the longest text; None: what the model was trained for.
        users: Texts at once.
        share: Part of each GPU that the engine may take; None: its own default.
        batched: Tokens of one step; None: the engine's own default.
        kv_dtype: Type of the cache; `auto`: that of the model.
        dtype: Type that weights which are not quantized are kept in; None: the model's own.
        quantization: That the engine makes by itself while it loads, as `fp8`; empty: none.
        graphs: Whether the engine records graphs of its steps.
        offloaded: Bytes of weights that are kept in the memory of the host.
        cache: Bytes of the cache on each GPU, where they are given; None: what is left.
        elsewhere: Flags keep some of the weights elsewhere, and nobody can tell how much: nothing is certain.
    """

    gpus: int = 1
    memory: int = 0
    held: int = 0
    context: int | None = None
    users: int = 1
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: bool = False
    share: float | None = None
    batched: int | None = None
    kv_dtype: str = "auto"
    dtype: str | None = None
    quantization: str = ""
    graphs: bool = True
    offloaded: int = 0
    cache: int | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier starts reported, made over to the question.

    Attributes:
        parts: Bytes for each GPU by the name of the part, those that were reported.
        starts: How many starts it was learned from.
        engine: Engine and version, as `vLLM 0.32.0`.
        same_model: They were starts of this very model.
        cache: How much the cache took over what is computed for it.
    """

    parts: Mapping[str, Range] = field(default_factory=dict)
    starts: int = 0
    engine: str = ""
    same_model: bool = False
    cache: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Return what `models fit --json` prints of it."""
        return {
            "starts": self.starts,
            "engine": self.engine,
            "same_model": self.same_model,
            "cache_factor": round(self.cache, 4),
            "parts": {name: one.to_json() for name, one in self.parts.items()},
        }

    @property
    def words(self) -> str:
        """Return whose starts corrected it: `corrected by 3 earlier starts of vLLM 0.32.0`."""
        starts = "an earlier start" if self.starts == 1 else f"{self.starts} earlier starts"
        return f"corrected by {starts} of {self.engine}" + ("" if self.same_model else " with other models")


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits, and why.

    Attributes:
        parts: Memory of the fullest GPU by part, see `PARTS`; `kv` is what the question needs.
        limit: Bytes of that GPU that the engine may take: its share, less what others hold.
        memory: Bytes of that GPU.
        held: Bytes that others hold of it.
        alone: What `limit` would be if nobody else held any.
        context, users: Those of the question, with what stands for a choice that was left open.
        kv_bytes_per_token: Of a token that is kept in full, over all layers, before any split over GPUs.
        room: Bytes for the cache on each GPU.
        cache_tokens: Tokens that the whole cache holds, in texts of `context` tokens.
        max_context: The largest context for so many users; 0: none.
        max_users: The most users with this context; 0: none.
        model_context: What the model was trained for.
        learned: What corrected it; None: nothing did.
        notes: What was assumed, in words.
    """

    parts: Mapping[str, Range]
    limit: int
    memory: int
    context: int
    users: int
    weights_bytes: int
    kv_bytes_per_token: int
    room: Range
    cache_tokens: int
    max_context: int
    max_users: int
    model_context: int | None = None
    exact: bool = True
    gpus: int = 1
    held: int = 0
    alone: int = 0
    learned: Learned | None = None
    notes: tuple[str, ...] = ()

    @property
    def per_gpu(self) -> Range:
        """Return what the fullest GPU needs."""
        total = Range(0, 0, 0)
        for one in self.parts.values():
            total = total + one
        return total

    @property
    def fits(self) -> bool:
        """Return whether it likely fits."""
        return self.per_gpu.likely <= self.limit

    @property
    def certain(self) -> bool:
        """Return whether even the pessimistic figure fits, or even the optimistic one does not."""
        return self.per_gpu.high <= self.limit or self.per_gpu.low > self.limit

    def to_json(self) -> dict[str, Any]:
        """Return what `models fit --json` prints."""
        return {
            "fits": self.fits,
            "certain": self.certain,
            "per_gpu": self.per_gpu.to_json(),
            "parts": {name: one.to_json() for name, one in self.parts.items()},
            "limit": self.limit,
            "memory": self.memory,
            "held": self.held,
            "gpus": self.gpus,
            "context": self.context,
            "concurrency": self.users,
            "weights_bytes": self.weights_bytes,
            "kv_bytes_per_token": self.kv_bytes_per_token,
            "kv_room": self.room.to_json(),
            "cache_tokens": self.cache_tokens,
            "max_context": self.max_context,
            "max_concurrency": self.max_users,
            "model_context": self.model_context,
            "exact": self.exact,
            "learned": None if self.learned is None else self.learned.to_json(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class FitCell:
    """A cell of the grid.

    Attributes:
        used: Share of the cache that so many texts of this length take; over 1: they do not run all at once.
        runs: How many of them run at once; 0: not even one.
    """

    context: int
    users: int
    used: float
    runs: int


@dataclass(frozen=True, slots=True)
class FitGrid:
    """How long, for how many: a row for each context, in it a cell for each number of users."""

    contexts: tuple[int, ...]
    users: tuple[int, ...]
    rows: tuple[tuple[FitCell, ...], ...]


@dataclass(frozen=True, slots=True)
class FitChange:
    """Something that could be changed so that it fits, or that more fits.

    Attributes:
        title: What it is, as `fp8 KV cache`.
        fields: Fields of the recipe with their new values; empty where it takes another model.
        fit: What would come of it; None where that cannot be known without the other model.
        speed: Tokens a second that one user would get at most, reckoned from the GPU's bandwidth; None: unknown.
        download: Bytes that would have to be downloaded.
        note: What it costs otherwise.
    """

    title: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    fit: Fit | None = None
    speed: float | None = None
    download: int = 0
    note: str = ""
