"""What could be run on this machine: the engines that are installed, starters, and what a typed text means."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.doctor import is_usable
from vllm_studio_tui.backends.common.suggestions import suggestions, taken
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe, slug
from vllm_studio_tui.kit.file_access import expanded, is_file, is_folder
from vllm_studio_tui.services.launching.preflight import fault

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend, EngineSettings
    from vllm_studio_tui.domain.model import Model

#: A name on the hub: an owner and a name.
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
#: Files that `import` reads.
RECIPE_FILES = (".yaml", ".yml", ".json", ".sh", ".txt", ".db", ".sqlite")


@dataclass(frozen=True, slots=True)
class EngineHere:
    """A kind of engine, and whether it is installed on this machine.

    Attributes:
        found: Version and place, or why it cannot be run; empty for a kind that is not looked for.
        usable: Whether it can be run here; None for a kind that is not looked for.
        embedded: It is the one that comes with the studio's own packages.
    """

    name: str
    title: str
    found: str
    usable: bool | None
    embedded: bool = False

    @property
    def words(self) -> str:
        """What it is called where it is said that it is installed."""
        return f"{self.title} {'(embedded)' if self.embedded else self.version}".rstrip()

    @property
    def version(self) -> str:
        """The version without its place; empty where it cannot be run or is not known."""
        words = self.found.partition(" at ")[0] if self.usable else ""
        return words if words[:1].isdigit() else ""


def engines_here(settings: EngineSettings, environ: Mapping[str, str]) -> list[EngineHere]:
    """Return every kind of engine, in the order of the registry. Nothing is started. Blocking."""
    engines = []
    for name, backend in registry.backends().items():
        try:
            checks = list(backend.doctor(settings, environ).items())
        except Exception as error:  # noqa: BLE001, RUF100
            engines.append(EngineHere(name, _title(backend), fault(error), usable=False))
            continue
        kind, best = next((one for one in checks if is_usable(one[1])), checks[0] if checks else ("", None))
        usable = is_usable(best) if best is not None else None
        found = best.found if best is not None else ""
        engines.append(EngineHere(name, _title(backend), found, usable, embedded=bool(usable) and kind == "embedded"))
    return engines


def _title(backend: Backend) -> str:
    return backend.label or backend.title


def default_engine(engines: Sequence[EngineHere]) -> str:
    """Return the engine of a new recipe: the first that can be run here, else the recipe's own default."""
    return next((one.name for one in engines if one.usable), str(Recipe.model_fields["backend"].default))


def engine_for(kind: str, engines: Sequence[EngineHere], *, on_hub: bool = False) -> EngineHere | None:
    """Return the engine that would run a model: the first that is installed, else the first that reads its format.

    Args:
        kind: As `Model.weights`: `gguf` or `safetensors`.
        on_hub: The engine has to fetch the model by its name.
    """
    fitting = []
    for one in engines:
        backend = registry.find(one.name)
        if backend is None or backend.weights != kind or (on_hub and not backend.fetches_models):
            continue
        fitting.append(one)
    return next((one for one in fitting if one.usable), fitting[0] if fitting else None)


def recipe_of_model(path: str, name: str, engine: str, ids: Collection[str]) -> Recipe:
    """Return a new recipe for a model, with the parsers that its family needs.

    Args:
        path: A folder, a file, or a name on the hub.
        ids: Ids that are taken.
    """
    recipe, _ = parse_recipe({
        "id": free_id(slug(name), ids),
        "name": name.rstrip("/").rsplit("/", 1)[-1],
        "backend": engine,
        "model_path": path,
    })  # fmt: skip
    backend = registry.find(engine)
    offered = [one for one in suggestions(recipe) if backend is not None and one.field in backend.uses]
    return taken(recipe, offered)


def free_id(wanted: str, ids: Collection[str]) -> str:
    """Return an id that is not taken: the wanted one, or that with a number."""
    number, found = 1, wanted
    while found in ids:
        number += 1
        found = f"{wanted[:58]}-{number}"
    return found


@dataclass(frozen=True, slots=True)
class Typed:
    """What a typed text may mean.

    Attributes:
        kind: `command`, `file` (to import), `model` (a name on the hub), `server`, or `folder` (to look in).
        value: The command, the path, the name or the address.
    """

    kind: str
    value: str


def read_typed(text: str) -> list[Typed]:
    """Return what a text may mean, the likeliest first; nothing for words to filter by. Blocking."""
    from vllm_studio_tui.services.recipes.formats.command import from_command

    text = text.strip()
    if not text:
        return []
    first = text.split()[0]
    if first.count("/") == 1 and first.startswith("/") and not is_file(first) and from_command(text[1:]) is not None:
        text = text[1:]  # the key that goes to the box elsewhere, before a command
    if from_command(text) is not None:
        return [Typed("command", text)]
    if text.startswith(("http://", "https://")):
        return _read_url(text)
    if text.startswith(("/", "~", "./", "../")):
        path = expanded(text)
        if is_folder(path) or (is_file(path) and path.endswith(".gguf")):
            return [Typed("folder", path)]
        return [Typed("file", path)] if is_file(path) and path.endswith(RECIPE_FILES) else []
    return [Typed("model", text)] if HUB_NAME.fullmatch(text) else []


def _read_url(text: str) -> list[Typed]:
    try:
        parts = urlsplit(text)
        if not parts.hostname:
            return []
    except ValueError:
        return []
    words = [part for part in parts.path.split("/") if part]
    name = "/".join(words[:2])
    if len(words) >= 2 and "v1" not in words and HUB_NAME.fullmatch(name):
        return [Typed("model", name)]  # a page of the hub
    return [Typed("server", text)]


def models_in(path: str) -> list[Model]:
    """Return the models of a folder, or the one that a file is. Blocking."""
    from vllm_studio_tui.models.inventory.reading import models_below

    return [one for one in models_below(path) if one.runnable]


def server_models(url: str, key: str | None = None) -> tuple[str, list[str]]:
    """Return the address of an OpenAI-compatible server as recipes write it, and the models that it lists. Blocking.

    Args:
        key: Its API key.

    Raises:
        StudioError: It is no address, or nothing answers there.
    """
    from vllm_studio_tui.inference.request import list_models

    base = url.strip().rstrip("/")
    if "//" not in base:
        base = f"http://{base}"
    base = base if base.endswith("/v1") else f"{base}/v1"
    try:
        hostname, _ = urlsplit(base).hostname, urlsplit(base).port
    except ValueError:
        hostname = None
    if not hostname:
        raise UsageError("this is no address of a server", advice="Write it as http://host:8000/v1.")
    listed = list_models(base, key)
    if not listed:
        raise StudioError(f"{base} lists no model", advice="Is a model loaded there?")
    return base, listed


def recipe_of_server(base_url: str, model: str, ids: Collection[str], key: str | None = None) -> Recipe:
    """Return a new recipe of a server that runs already.

    Args:
        key: Reference to its API key.
    """
    data: dict[str, Any] = {
        "id": free_id(slug(model), ids),
        "name": model.rstrip("/").rsplit("/", 1)[-1],
        "backend": "external",
        "model_path": model,
        "served_model_name": model,
        "base_url": base_url,
        "description": f"attached at {base_url}",
    }
    return parse_recipe({**data, **({"api_key": key} if key else {})})[0]
