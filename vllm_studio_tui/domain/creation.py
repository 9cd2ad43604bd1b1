"""A recipe that is made from a model: what was wished for, and what came of it with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.fit import Fit, FitChange, FitGrid
from vllm_studio_tui.domain.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person wants of a new recipe; what is None is chosen for them.

    Attributes:
        model: What a recipe's `model_path` takes.
        gpus: How many.
        context: Tokens of the longest talk.
        users: How many at once.
        name: What clients ask for, and the recipe's id.
        refused: Fields whose suggested values are not taken.
        fields: Other fields of the recipe, as a change that was chosen sets them.
    """

    model: str
    engine: str | None = None
    gpus: int | None = None
    context: int | None = None
    users: int | None = None
    name: str | None = None
    refused: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of the model of a new recipe.

    Attributes:
        bytes: Of its weights; None: unknown.
        here: It lies on this machine.
        complete: Whether it is whole; None: unknown, or not here.
        where: Where it lies, or comes from.
        format: `safetensors`, `gguf`, ..; empty: unknown.
        architecture: The class that engines know it by; empty: unknown.
        facts: Its parameters, type, layers and heads, in words.
        context: Tokens that it was made for.
        unknown: Why nothing more is known, in words; empty where it is.
    """

    path: str
    name: str
    bytes: int | None = None
    here: bool = False
    complete: bool | None = None
    where: str = ""
    format: str = ""
    architecture: str = ""
    facts: tuple[str, ...] = ()
    context: int | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """A kind of engine as the one of a new recipe.

    Attributes:
        ready: It is installed, and nothing speaks against the model.
        version: Of the installed one; empty: not installed, or unknown.
        why: What speaks for it or against it, in words.
    """

    name: str
    title: str
    ready: bool
    version: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Suggested:
    """A value that is taken unless it is refused."""

    field: str
    value: Any
    why: str
    taken: bool = True


@dataclass(frozen=True, slots=True)
class CreateCheck:
    """Something that was looked at: `ok`, `warning`, `error` or `unknown`, and what in words."""

    state: str
    words: str


@dataclass(frozen=True, slots=True)
class Creation:
    """A recipe made from a model, and why it is as it is.

    Attributes:
        engines: The kinds of engine, the usable ones first.
        gpus_here: How many GPUs the machine has.
        gpus, context, users: As chosen; a context or number of users of None is left to the engine.
        reasons: Why the engine, the GPUs, the context, the users and the name are what they are, by field.
        fit: Whether it fits; None where that cannot be known, and `fit_unknown` says why.
        changes: What else would go.
        fetch: The name on the hub that has to be downloaded before a launch: its engine cannot; empty: none.
        shell: The command that will run; empty where there is none, and `shell_unknown` says why.
        environment: The variables that it will have beside those that are there, secrets masked.
    """

    wishes: Wishes
    recipe: Recipe
    model: ModelCard
    engine: str
    engines: tuple[EngineChoice, ...]
    gpus_here: int
    gpus: int
    context: int | None
    users: int | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    suggested: tuple[Suggested, ...] = ()
    fit: Fit | None = None
    fit_unknown: str = ""
    grid: FitGrid | None = None
    changes: tuple[FitChange, ...] = ()
    checks: tuple[CreateCheck, ...] = ()
    fetch: str = ""
    shell: str = ""
    environment: str = ""
    shell_unknown: str = ""

    @property
    def chosen(self) -> EngineChoice | None:
        """Return the engine of the recipe."""
        return next((one for one in self.engines if one.name == self.engine), None)

    def to_json(self) -> dict[str, Any]:
        """Return what `recipes new --json` prints beside the recipe."""
        return {
            "model": {
                "path": self.model.path,
                "bytes": self.model.bytes,
                "here": self.model.here,
                "architecture": self.model.architecture or None,
                "context": self.model.context,
                "unknown": self.model.unknown or None,
            },
            "engines": [
                {"name": one.name, "ready": one.ready, "version": one.version or None, "why": one.why}
                for one in self.engines
            ],
            "reasons": dict(self.reasons),
            "suggested": [
                {"field": one.field, "value": one.value, "why": one.why, "taken": one.taken} for one in self.suggested
            ],
            "fit": self.fit.to_json() if self.fit is not None else None,
            "fit_unknown": self.fit_unknown or None,
            "fetch": self.fetch or None,
            "checks": [{"state": one.state, "what": one.words} for one in self.checks],
            "command": self.shell or None,
            "environment": self.environment or None,
        }


@dataclass(frozen=True, slots=True)
class Glance:
    """How a model would run here, for a line of a list.

    Attributes:
        gpus: How many it would take; 0: none.
        context, users: The longest talk that fits, for so many; 0: none, or unknown.
        fits: Whether it does; None: unknown.
        words: What stands against it, or why nothing is known.
    """

    engine: str = ""
    engine_title: str = ""
    gpus: int = 0
    context: int = 0
    users: int = 0
    fits: bool | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class StarterModel:
    """A model to begin with on this machine.

    Attributes:
        model: What a recipe's `model_path` takes.
        about: What it can do.
        why: Why it is offered here.
        download: Bytes that have to come; 0: it is here.
        source: Where its facts are published.
    """

    name: str
    model: str
    about: str
    why: str
    download: int
    source: str
    glance: Glance
