"""The parts of a recipe that are objects of their own: restarts, containers, hand-overs, requests."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

#: Fields of a request that say who answers and how: a recipe does not change them.
UNTOUCHED = frozenset({"model", "stream"})


def text_of(value: Any) -> Any:
    """Return text where YAML made a number or a switch of it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(text_of)]
Positive = Annotated[int, Field(ge=1, le=100_000_000)]


#: What each system that recipes are handed over to is told.
_SIZE = ("nodes", "accelerator", "cpus", "memory", "options")
HANDOVER_FIELDS: dict[str, tuple[str, ...]] = {
    "slurm": (*_SIZE, "partition", "account", "time_limit", "setup"),
    "ray-serve": ("nodes", "replicas", "max_replicas", "accelerator", "cpus", "memory", "address"),
    "kubernetes": (*_SIZE, "replicas", "max_replicas", "namespace", "context"),
    "skypilot": (*_SIZE, "replicas", "max_replicas", "setup"),
}


class RestartRule(BaseModel):
    """When an engine that ended is started again; the meaning of each field is in `domain.spec.Restart`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["never", "on-failure", "always"] = "never"
    delay: float = Field(2.0, ge=0, le=3600)
    max_delay: float = Field(60.0, ge=0, le=86400)
    budget: int = Field(3, ge=1, le=1000)
    window: float = Field(600.0, gt=0, le=7 * 86400)
    stall_after: float = Field(300.0, ge=0, le=86400)
    hang_after: float = Field(120.0, ge=0, le=86400)


class Docker(BaseModel):
    """How an engine is run in a container; only read with `runtime: docker`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Text | None = Field(None, description="The image, with its tag or digest.")
    volumes: tuple[str, ...] = Field((), description="HOST:CONTAINER[:ro]; a local model is mounted by itself.")
    args: tuple[str, ...] = Field((), description="Further options of docker run, one word each.")
    shm: Text = Field("16g", description="Size of /dev/shm, as docker writes it.")
    gpus: bool = Field(True, description="Hand GPUs into the container.")


class Handover(BaseModel):
    """To which system a recipe is handed over, and what it is told; only read where `to` names one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Literal["none", "slurm", "ray-serve", "kubernetes", "skypilot"] = Field(
        "none", description="Which system places and runs it; none: this machine, or those of `nodes` over ssh."
    )
    nodes: int = Field(1, ge=1, le=10_000, description="Machines that one copy takes; which ones, the system chooses.")
    replicas: int = Field(
        1, ge=0, le=10_000, description="Copies, each on machines of its own; the fewest, if it scales."
    )
    max_replicas: int | None = Field(None, ge=1, le=10_000, description="The most copies; None: their number is fixed.")
    address: Text | None = Field(None, description="Ray Serve: the dashboard, as http://HOST:8265; None: RAY_ADDRESS.")
    partition: Text | None = Field(None, description="SLURM: the partition; None: the default one.")
    account: Text | None = Field(None, description="SLURM: the account that is charged; None: the default one.")
    time_limit: Text | None = Field(None, description="SLURM: how long the job may run, as D-HH:MM:SS.")
    namespace: Text | None = Field(None, description="Kubernetes: the namespace; None: that of the context.")
    context: Text | None = Field(None, description="Kubernetes: the context of kubectl; None: the current one.")
    accelerator: Text | None = Field(None, description="Kind of GPU as the system names it, for example H100.")
    cpus: Positive | None = Field(None, description="Processors a machine; None: left to the system.")
    memory: Text | None = Field(None, description="Memory a machine, for example 64G; None: left to the system.")
    setup: tuple[str, ...] = Field((), description="SLURM, SkyPilot: lines of shell before the engine, as module load.")
    options: tuple[str, ...] = Field((), description="Further options of sbatch, kubectl apply or sky, one word each.")

    @field_validator("setup", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value

    @field_validator("address", "partition", "account", "time_limit", "namespace", "context", "accelerator", "memory")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[!-~]{1,200}", value):
            raise ValueError("one word, without blanks")
        return value

    @field_validator("setup", "options")
    @classmethod
    def _one_line(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(re.search(r"[\x00-\x08\x0a-\x1f\x7f]", one) for one in value):
            raise ValueError("each is one line, without control characters")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Handover:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("max_replicas is less than replicas")
        return self


class RequestParams(BaseModel):
    """What is changed in the requests that come to a model through `serve`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set: dict[str, Any] = Field(default_factory=dict, description="Put into every request, as JSON.")
    default: dict[str, Any] = Field(default_factory=dict, description="Put in where a request has none of it, as JSON.")
    strip: tuple[str, ...] = Field((), description="Fields that are taken out of requests, with blanks between.")

    @field_validator("set", "default", "strip")
    @classmethod
    def _names(cls, value: Any) -> Any:
        found = sorted(UNTOUCHED & {str(name) for name in value})
        if found:
            raise ValueError(f"{' and '.join(found)} cannot be changed in a request")
        return value
