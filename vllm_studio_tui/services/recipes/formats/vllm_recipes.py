"""Read a file of the public collection of recipes for vLLM (models/OWNER/NAME.yaml): a recipe for each variant.

What its site puts into the command unasked is taken: base arguments, features that are not opted in, the variant's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.engine_flags import backend_of, named, options_of, take_flags
from vllm_studio_tui.services.recipes.formats.format import Found, Source

#: Parts of the file, and why a recipe has none of them.
_PARTS = {
    "guide": "text for people", "compatible_strategies": "several machines and disaggregation are no recipe's business",
    "kv_offload_support": "a feature of several machines", "omni": "for another server than this engine's own",
    "dependencies": "install it beside the engine; nothing is installed by importing",
    "default_strategy": "set expert_parallel or data_parallel_size", "strategy_hardware": "it says where a way works",
    "strategy_min_gpus": "it says how many GPUs a way needs", "hardware_notes": "text for people",
    "hardware_opt_in_features": "features of some GPUs: see what is said of the features",
}  # fmt: skip
_OF_MODEL = {
    "min_vllm_version": "the version that the engine must have at least",
    "architecture": "known from the model's own files",
    "parameter_count": "known from the model's own files", "active_parameters": "known from the model's own files",
    "context_length": "known from the model's own files", "install": "nothing is installed by importing",
    "nightly_required": "it needs a nightly build of the engine",
    "docker_image": "set runtime docker and docker.image to use it",
    "supports_dcp": "a feature of several GPUs", "flashinfer_autotune": "of its site", "docker_source": "of its site",
}  # fmt: skip


class VllmRecipes:
    """A file of the collection, in YAML or as its JSON."""

    name = "vllm-recipes"
    title = "a recipe of the public vLLM collection"

    def read(self, source: Source) -> list[Found] | None:
        entry = source.mapping
        model = entry.get("model") if entry is not None else None
        if entry is None or not isinstance(model, Mapping) or not isinstance(model.get("model_id"), str):
            return None
        given = entry.get("variants")
        variants = given if isinstance(given, Mapping) and given else {"default": {}}
        return [
            _recipe(str(name), one if isinstance(one, Mapping) else {}, model, entry) for name, one in variants.items()
        ]


def _recipe(name: str, variant: Mapping[str, Any], model: Mapping[str, Any], entry: Mapping[str, Any]) -> Found:
    backend = backend_of("vllm-recipes")
    notes: list[FieldNote] = []
    on, off = _features(entry)
    words = [*_words(model.get("base_args")), *[word for one in on.values() for word in _words(one)]]
    words += _words(variant.get("extra_args"))
    flags = dict(options_of(words))  # the last one counts
    data = {"backend": backend.name, **take_flags(backend, flags.items(), notes)}
    identity = str(variant.get("model_id") or model["model_id"])
    data["model_path"] = identity
    env = {**_texts(model.get("base_env")), **_texts(variant.get("extra_env"))}
    if env:
        data["env_vars"] = env
    size = _size(variant, entry)
    if size is not None:
        data["tensor_parallel_size"] = size
        notes.append(FieldNote("tp", "changed", "now tensor_parallel_size"))
    data["description"] = _description(variant, entry)
    data["tags"] = [word for word in ("vllm-recipes", str(variant.get("precision") or "")) if word]
    notes += _feature_notes(on, off)
    notes += _notes(variant, model, entry)
    title = f"{str(model['model_id']).rsplit('/', 1)[-1]}{'' if name == 'default' else f' {name}'}"
    return Found({**named(data, title), "id": slug(title.replace(" ", "-"))}, tuple(notes))


def _features(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of features: those that are on unasked, and those that one chooses."""
    chosen = {str(one) for one in _list(entry.get("opt_in_features"))}
    features = {
        str(name): one.get("args") for name, one in _mapping(entry.get("features")).items() if isinstance(one, Mapping)
    }
    return (
        {name: args for name, args in features.items() if name not in chosen},
        {name: args for name, args in features.items() if name in chosen},
    )


def _feature_notes(on: Mapping[str, Any], off: Mapping[str, Any]) -> Iterator[FieldNote]:
    for name, args in on.items():
        yield FieldNote(f"features.{name}", "taken", f"on unasked: {' '.join(_words(args))[:200]}")
    for name, args in off.items():
        yield FieldNote(
            f"features.{name}", "dropped", f"a choice; add it if you want it: {' '.join(_words(args))[:200]}"
        )


def _size(variant: Mapping[str, Any], entry: Mapping[str, Any]) -> int | None:
    """Return over how many GPUs it is split, where that is said for every GPU."""
    strategy = _mapping(_mapping(entry.get("strategy_overrides")).get("single_node_tp"))
    for said in (variant.get("tp"), strategy.get("tp")):
        if isinstance(said, Mapping):
            said = said.get("default")
        if isinstance(said, int) and not isinstance(said, bool) and said > 0:
            return said
    return None


def _description(variant: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    meta = _mapping(entry.get("meta"))
    parts = [str(one).strip() for one in (variant.get("description") or meta.get("description"),) if one]
    need = variant.get("vram_minimum_gb")
    parts += [f"At least {need} GB of GPU memory."] if isinstance(need, int | float) else []
    hardware = _mapping(meta.get("hardware"))
    verified = [str(name) for name, said in hardware.items() if said == "verified"]
    parts += [f"Verified on {', '.join(verified)}."] if verified else []
    return " ".join(" ".join(one.split()) for one in parts)[:500]


def _notes(variant: Mapping[str, Any], model: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[FieldNote]:
    for place, overrides in (
        ("hardware_overrides", entry.get("hardware_overrides")),
        ("variants.hardware_overrides", variant.get("hardware_overrides")),
        ("strategy_overrides", entry.get("strategy_overrides")),
    ):
        for name, one in _mapping(overrides).items():
            if (place, str(name)) == ("strategy_overrides", "single_node_tp") and list(_mapping(one)) == ["tp"]:
                continue
            what = " ".join(_words(_mapping(one).get("extra_args")))
            env = " ".join(f"{key}={value}" for key, value in _texts(_mapping(one).get("extra_env")).items())
            why = f"for {name}: {f'{what} {env}'.strip() or 'see the file'}"
            yield FieldNote(f"{place}.{name}", "dropped", why[:300])
    for key, value in model.items():
        if key not in ("model_id", "base_args", "base_env") and value not in (None, "", [], {}, False):
            said = f"{_said(value)}: " if not isinstance(value, Mapping | list) else ""
            yield FieldNote(f"model.{key}", "dropped", said + _OF_MODEL.get(str(key), "not known of the collection"))
    for key, value in variant.items():
        if key in ("precision", "vram_minimum_gb", "description"):
            yield FieldNote(f"variants.{key}", "changed", "now in description and tags")
        elif key not in ("model_id", "extra_args", "extra_env", "tp", "hardware_overrides") and value is not None:
            yield FieldNote(f"variants.{key}", "dropped", f"{_said(value)}: of its site")
    yield FieldNote("meta", "changed", "its description and what it was verified on are in description")
    for key, value in entry.items():
        handled = (
            "meta",
            "model",
            "variants",
            "features",
            "opt_in_features",
            "hardware_overrides",
            "strategy_overrides",
        )
        if key not in handled and value not in (None, "", [], {}):
            yield FieldNote(str(key), "dropped", _PARTS.get(str(key), "not known of the collection"))


def _said(value: Any) -> str:
    return " ".join(str(value).split())[:80]


def _words(value: Any) -> list[str]:
    return [str(one) for one in value if isinstance(one, str | int | float)] if isinstance(value, list) else []


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(one) for key, one in _mapping(value).items() if isinstance(one, str | int | float)}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
