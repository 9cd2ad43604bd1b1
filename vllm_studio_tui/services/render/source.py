"""What files for other tools are made from. It holds no secret: commands are masked, variables name references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe

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
        model: What requests must say in `model`.
        port: The recipe's own, or one that no other recipe of the source has.
        gpus: What a run of it claims.
        health_path: What answers 200 once it serves.
        image: The image of its container; None: no image is known for its engine.
        command: What starts it on this machine; None for an external server, or where it makes none.
        contained: What starts it in its image, on all addresses of the container; None where there is no image.
        problem: Why it makes no command; empty where it makes one.
    """

    recipe: Recipe
    revision: str
    model: str
    port: int
    number: int | None = None
    gpus: tuple[str, ...] = ()
    health_path: str = "/health"
    image: str | None = None
    command: RenderedCommand | None = None
    contained: RenderedCommand | None = None
    problem: str = ""

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
        environ: The variables that say where files are (`KEPT`), nothing else.
    """

    recipes: tuple[RenderedRecipe, ...]
    settings: Settings
    serve_url: str
    version: str
    python: str = "python3"
    environ: Mapping[str, str] = field(default_factory=dict)


#: Variables that say where the studio keeps its files and where engines find theirs.
KEPT = ("VLLM_STUDIO_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HF_HOME", "PATH")


def header(source: RenderSource, kind: str, *more: str, mark: str = "# ", of_recipes: bool = True) -> str:
    """Return the lines that begin every file: what made it, and from which revisions of which recipes.

    Args:
        more: Further sentences for a person, one a line.
        mark: What begins a comment in this file.
        of_recipes: The file depends on the recipes, so that their revisions are named.
    """
    lines = [f"Made by vllm-studio {source.version} with `vllm-studio render {kind}`. Make it anew to change it."]
    if of_recipes and source.recipes:
        lines.append("Recipes: " + ", ".join(one.words for one in source.recipes))
    # A line break in a name would end the comment.
    return "".join(f"{mark}{' '.join(line.split())}".rstrip() + "\n" for line in (*lines, *more))


def serve_url(settings: Settings) -> str:
    """Return where `serve` is asked from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - it is read, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
