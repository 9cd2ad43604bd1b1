"""What files for other tools are made from. It holds no secret: texts are masked, variables name references."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.ranks import RankPlace
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.masking import MASK

#: Files by their path, which is relative and stays below the directory that they are written to.
Files = dict[str, str]


@dataclass(frozen=True, slots=True)
class RenderedCommand:
    """A command without secrets.

    Attributes:
        argv: Its words; what looks like a secret is masked.
        env: Variables with plain values.
        env_refs: Variables whose values are secrets: `env:NAME` or `file:PATH`.
        stop_argv: What ends it where a signal does not.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    env_refs: Mapping[str, str] = field(default_factory=dict)
    stop_argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RenderedRecipe:
    """A recipe with what its backend makes of it.

    Attributes:
        revision: Eight hex digits, equal for recipes whose launches are equal.
        number: Which kept form of the recipe it is; None where that is not known.
        model: What requests must say in `model`; empty where an external server's recipe does not name it.
        port: The recipe's own, or one that no other recipe of the source has.
        health_path: What answers 200 once it serves.
        image: The image of its container; None: no image is known for its engine.
        command: What starts it on this machine; None for an external server, or where it makes none.
        contained: What starts it in its image, on all addresses of the container; None where there is no image. Its
            program is empty where the image starts it.
        volumes: What is mounted into the container for it, as `docker run` takes it: local models, and for a native
            recipe the other files that its command reads. Without those of the recipe's own `docker.volumes`.
        local_model: The model is a path of this machine, named or stood for (`demo:..`).
        problem: Why it makes no command; empty where it makes one.
        command_at: Returns what `command` is on another host and port, and for a part of an engine on several machines.
        contained_rank: Returns what `contained` is for one part of an engine that runs on several machines.
    """

    recipe: Recipe
    revision: str
    model: str
    port: int
    number: int | None = None
    health_path: str = "/health"
    image: str | None = None
    command: RenderedCommand | None = None
    contained: RenderedCommand | None = None
    volumes: tuple[str, ...] = ()
    local_model: bool = False
    problem: str = ""
    command_at: Callable[[str, int, RankPlace | None], RenderedCommand] | None = field(
        default=None, compare=False, repr=False
    )
    contained_rank: Callable[[RankPlace], RenderedCommand] | None = field(default=None, compare=False, repr=False)

    @property
    def masked(self) -> bool:
        """Return whether a secret was taken out of its commands."""
        return any(
            MASK in word
            for one in (self.command, self.contained)
            if one is not None
            for word in (*one.argv, *one.env.values())
        )

    @property
    def words(self) -> str:
        """Return the recipe and its revision in words."""
        number = f"revision {self.number}, " if self.number is not None else "revision "
        return f"{self.recipe.id} ({number}{self.revision})"


@dataclass(frozen=True, slots=True)
class RenderSource:
    """Everything that a file may be made from.

    Attributes:
        recipes: One, or all.
        serve_url: Where `serve` is asked, without a path.
        version: Ours.
        python: The interpreter that has us.
        environ: The variables that say where files are (`launching.boot_unit.KEPT`), nothing else.
        needs_key: `serve` asks for a key: one was made, or the settings name one.
    """

    recipes: tuple[RenderedRecipe, ...]
    settings: Settings
    serve_url: str
    version: str
    python: str = "python3"
    environ: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = False


#: Said where a recipe holds a secret that is no reference.
MASKED = f"{MASK} stands for a secret in a recipe: make it a reference there (env:NAME or file:PATH)."


def header(source: RenderSource, kind: str, *more: str, mark: str = "# ", of_recipes: bool = True) -> str:
    """Return the lines that begin every file: what made it, and from which revisions of which recipes.

    Args:
        more: Further sentences for a person, one a line.
        mark: What begins a comment in this file.
        of_recipes: The file depends on the recipes, so that their revisions are named.
    """
    more = (*more, MASKED) if any(one.masked for one in source.recipes) else more
    lines = [f"Made by vllm-studio {source.version} with `vllm-studio render {kind}`. Make it anew to change it."]
    if of_recipes and source.recipes:
        lines.append("Recipes: " + ", ".join(one.words for one in source.recipes))
    # A line break in a name would end the comment.
    return "".join(f"{mark}{' '.join(line.split())}".rstrip() + "\n" for line in (*lines, *more))


def serve_url(settings: Settings) -> str:
    """Return where `serve` is asked from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - it is read, not bound
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def secret_variable(one: RenderedRecipe, name: str, reference: str) -> str:
    """Return the variable that the other tool is to have a secret from, for what refers to it here.

    Args:
        name: What the engine calls it.
    """
    kind, _, rest = reference.partition(":")
    return rest if kind == "env" else re.sub(r"[^A-Za-z0-9]+", "_", f"{one.recipe.id}_{name}").upper()


def secret_notes(one: RenderedRecipe, command: RenderedCommand | None) -> list[str]:
    """Return which variables the other tool must be given for a recipe, and where their values are."""
    found = []
    for key, reference in command.env_refs.items() if command is not None else ():
        name = secret_variable(one, key, reference)
        where = "" if reference.startswith("env:") else f": the first line of {reference.removeprefix('file:')}"
        found.append(f"{one.recipe.id} needs the variable {name}{where}")
    return found
