"""Read a Modelfile of Ollama, or a manifest of its store: the GGUF file that it names, with the settings that carry."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.engine_flags import backend_of, file_stem, named, take_flags
from vllm_studio_tui.services.recipes.formats.format import Found, Source
from vllm_studio_tui.store.original import BrokenRow

_WORDS = frozenset({
    "FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES", "RENDERER", "PARSER",
    "DRAFT",
})  # fmt: skip
_LINE = re.compile(r"([A-Za-z]{4,9})[ \t]+(.*)\Z", re.DOTALL)
#: Parameters of a request: what each is called in one.
_REQUEST = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "typical_p": "typical_p",
    "seed": "seed", "stop": "stop", "repeat_penalty": "repeat_penalty", "repeat_last_n": "repeat_last_n",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty", "num_predict": "max_tokens",
    "mirostat": "mirostat", "mirostat_tau": "mirostat_tau", "mirostat_eta": "mirostat_eta",
}  # fmt: skip
_DROPPED = {
    "TEMPLATE": "a template of Go: the engine takes the one in the model's own file, which is of Jinja",
    "SYSTEM": "a recipe has no system prompt: make it a preset of chats",
    "LICENSE": "text for people", "MESSAGE": "a recipe has no messages: make them a preset of chats",
    "REQUIRES": "a version of Ollama", "RENDERER": "of Ollama's own", "PARSER": "of Ollama's own: see reasoning_parser",
}  # fmt: skip
_MEDIA = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})\Z")
_HUB = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/([\w.-]+/[\w.-]+(?::[\w.-]+)?)\Z")
MAX_LINES = 20_000


class Modelfile:
    """A Modelfile."""

    name = "modelfile"
    title = "a Modelfile of Ollama"

    def read(self, source: Source) -> list[Found] | None:
        text = source.text
        if text is None or "FROM" not in text.upper():
            return None
        instructions = _instructions(text)
        origin = next((value for word, value in instructions or () if word == "FROM"), None)
        if not instructions or not origin:
            return None
        return [_found(origin, instructions, source)]


class Manifest:
    """A manifest of Ollama's store, which names layers; the files of layers lie beside the manifests."""

    name = "ollama-manifest"
    title = "a manifest of Ollama's store"

    def read(self, source: Source) -> list[Found] | None:
        document = source.mapping
        layers = document.get("layers") if document is not None else None
        if document is None or not isinstance(layers, list) or "schemaVersion" not in document:
            return None
        parts = [(_role(one), _blob(one)) for one in layers if isinstance(one, Mapping)]
        model = next((blob for role, blob in parts if role == "model"), None)
        if not any(role for role, _ in parts):
            return None
        root, name = _place(source.name)
        if model is None:
            return [Found(BrokenRow(name, "it names no layer with a model in one file: see `models list`"))]
        if not root:
            why = f"the folder of the store is not known: give the manifest by its path (its model is blobs/{model})"
            return [Found(BrokenRow(name, why))]
        notes: list[FieldNote] = []
        options: list[tuple[str, Any]] = []
        data: dict[str, Any] = {"model_path": f"{root}/blobs/{model}"}
        for role, blob in parts:
            if role == "model" and blob:
                notes.append(FieldNote("layers.model", "changed", "now model_path"))
            elif role == "projector" and blob:
                options.append((backend_of("ollama").config_file.words["projector"], f"{root}/blobs/{blob}"))  # type: ignore[union-attr]
            elif role == "adapter" and blob:
                data["lora_modules"] = {"default": f"{root}/blobs/{blob}"}
            else:
                why = _DROPPED.get(
                    role.upper(), "in a file of its own, which is not read: see `ollama show --modelfile`"
                )
                notes.append(FieldNote(f"layers.{role or 'unknown'}", "dropped", why))
        notes += [FieldNote(str(key), "dropped", "of the store") for key in document if key not in ("layers",)]
        backend = backend_of("ollama")
        data = {"backend": backend.name, **data, **take_flags(backend, options, notes), "served_model_name": name}
        return [Found(named(data, name.replace(":", "-")), tuple(notes))]


def _role(layer: Mapping[Any, Any]) -> str:
    kind = str(layer.get("mediaType") or "")
    return kind.removeprefix(_MEDIA) if kind.startswith(_MEDIA) else ""


def _blob(layer: Mapping[Any, Any]) -> str | None:
    found = _DIGEST.fullmatch(str(layer.get("digest") or ""))
    return f"sha256-{found[1]}" if found else None


def _place(path: str) -> tuple[str, str]:
    """Return the folder of a store and the name of a model, from the path of its manifest."""
    root, _, rest = path.replace("\\", "/").rpartition("/manifests/")
    parts = [one for one in rest.split("/") if one]
    if not root or len(parts) < 2:
        return "", file_stem(path)
    name = ":".join(parts[-2:])
    return root, name if parts[-3:-2] in ([], ["library"]) else f"{parts[-3]}/{name}"


def _instructions(text: str) -> list[tuple[str, str]] | None:
    """Return the instructions of a Modelfile; None where a line is none."""
    found: list[tuple[str, str]] = []
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        return None
    position = 0
    while position < len(lines):
        line = lines[position].strip()
        position += 1
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[1].upper() not in _WORDS:
            return None
        word, value = match[1].upper(), match[2].strip()
        head, mark, rest = value.partition('"""')
        if mark and word != "PARAMETER":
            body = [rest]
            while '"""' not in body[-1] and position < len(lines):
                body.append(lines[position])
                position += 1
            value = head + "\n".join(body).partition('"""')[0]
        found.append((word, value))
    return found


def _found(origin: str, instructions: list[tuple[str, str]], source: Source) -> Found:
    notes: list[FieldNote] = []
    path = _model(_unquoted(origin), source.name, notes)
    title = _title(origin, source.name)
    if path is None:
        why = (
            f"FROM {origin[:80]} is a name of Ollama's own library, which no engine here loads: pull it with Ollama and"
            " import what `ollama show --modelfile` prints, or name a GGUF file or a model of the hub (hf.co/..)"
        )
        return Found(BrokenRow(title, why))
    backend = backend_of("ollama")
    words = backend.config_file.words if backend.config_file is not None else {}
    data: dict[str, Any] = {"backend": backend.name, "model_path": path, "served_model_name": title}
    options: dict[str, Any] = {}
    default: dict[str, Any] = {}
    adapters: list[str] = []
    for word, value in instructions:
        if word == "PARAMETER":
            _parameter(value, words, options, default, notes)
        elif word == "ADAPTER":
            adapters.append(_beside(_unquoted(value), source.name))
        elif word == "DRAFT":
            options[words["draft"]] = _beside(_unquoted(value), source.name)
        elif word != "FROM":
            notes.append(FieldNote(word, "dropped", _DROPPED[word]))
    if adapters:
        data["lora_modules"] = {"default" if not at else f"adapter-{at + 1}": one for at, one in enumerate(adapters)}
        notes.append(FieldNote("ADAPTER", "changed", "now lora_modules"))
    data |= take_flags(backend, options.items(), notes)
    if default:
        data["params"] = {"default": default}
    return Found(named(data, title), tuple(notes))


def _parameter(
    text: str, words: Mapping[str, str], options: dict[str, Any], default: dict[str, Any], notes: list[FieldNote]
) -> None:
    name, _, rest = text.partition(" ")
    name, value = name.strip().lower(), _scalar(_unquoted(rest.strip()))
    place = f"PARAMETER {name}"
    if name in _REQUEST and not (name == "num_predict" and isinstance(value, int | float) and value < 0):
        field = _REQUEST[name]
        if name == "stop":
            default.setdefault("stop", []).append(str(value))
        else:
            default[field] = value
        notes.append(FieldNote(place, "changed", f"now params.default.{field}: a request may say otherwise"))
    elif name in words:
        options[words[name]] = value
    else:
        notes.append(
            FieldNote(place, "dropped", "the engine decides by itself" if name in _REQUEST else "of Ollama's own")
        )


def _model(origin: str, name: str, notes: list[FieldNote]) -> str | None:
    """Return what a recipe loads for FROM; None where it is a name of Ollama's library."""
    hub = _HUB.fullmatch(origin)
    if hub:
        notes.append(FieldNote("FROM", "changed", "now model_path, the name on the hub"))
        return hub[1]
    is_path = origin.startswith(("/", "./", "../", "~")) or origin.lower().endswith((".gguf", ".bin"))
    if not is_path:
        return None
    path = _beside(origin, name)
    notes.append(FieldNote("FROM", "changed", f"now model_path: {path}"))
    return path


def _beside(path: str, name: str) -> str:
    """Return a path that is relative to the file as one from its folder."""
    path = path.strip()
    folder = posixpath.dirname(name.replace("\\", "/"))
    if path.startswith(("/", "~")):
        return path
    joined = posixpath.normpath(posixpath.join(folder, path))
    return joined if joined.startswith(("/", "~", "..")) else f"./{joined}"


def _title(origin: str, name: str) -> str:
    stem = file_stem(name)
    if stem.lower() not in ("modelfile", "stdin", "-", "") and not stem.lower().startswith("modelfile"):
        return stem
    last = _unquoted(origin).rstrip("/").rsplit("/", 1)[-1]
    return last.removesuffix(".gguf").replace(":", "-")[:80] or "model"


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float | bool) else text
