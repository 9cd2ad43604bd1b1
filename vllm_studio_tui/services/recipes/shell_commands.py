"""Reading recipes out of files and pasted commands. Everything in them is hostile until parsed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe_reading import slug

MAX_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 10_000
MAX_DEPTH = 40
MAX_NODES = 500_000


#: How JSON begins and YAML hardly ever does.
_JSON = re.compile(r'\s*[\[{]\s*["\[{]')


class Unreadable(StudioError):
    """A file or text that holds no recipes at all."""


def read_documents(raw: bytes, source: str) -> list[Any]:
    """The entries of a file: one recipe, a list, `{"recipes": [..]}`, several YAML documents, or a pasted command.

    Raises:
        Unreadable: It is too large, or neither JSON, YAML nor a command.
    """
    if len(raw) > MAX_BYTES:
        raise Unreadable(f"{source} is too large", cause=f"{len(raw)} bytes, at most {MAX_BYTES} are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{source} is not text", cause=f"byte {error.start} is not UTF-8") from None
    if not text.strip():
        raise Unreadable(f"{source} is empty", advice="Give a JSON or YAML file with recipes.")
    command = from_command(text)
    documents = [command] if command is not None else _parse(text, source)
    entries: list[Any] = []
    for document in documents:
        if isinstance(document, Mapping) and isinstance(document.get("recipes"), list):
            entries += document["recipes"]
        elif isinstance(document, list):
            entries += document
        elif document is not None:
            entries.append(document)
    if len(entries) > MAX_ENTRIES:
        raise Unreadable(f"{source} holds too many entries", cause=f"{len(entries)}, at most {MAX_ENTRIES} are read")
    if not entries:
        raise Unreadable(f"{source} holds no recipe", advice="Give a recipe, a list of them, or {recipes: [..]}.")
    return entries


def _parse(text: str, source: str) -> list[Any]:
    try:
        documents = [json.loads(text)]
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise Unreadable(f"{source} is nested too deeply", cause=f"at most {MAX_DEPTH} levels are read") from None
        if _JSON.match(text.lstrip("\ufeff")):  # broken JSON may be YAML all the same, and mean something else
            raise Unreadable(f"{source} cannot be read", cause=f"JSON: {error}", advice="Correct that place.") from None
        documents = _parse_yaml(text, source)
    for document in documents:
        _bounded(document, source)
    return documents


def _parse_yaml(text: str, source: str) -> list[Any]:
    import yaml

    class NoAliases(yaml.SafeLoader):
        """An anchor costs a line and can stand for gigabytes: recipes need none."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not read")
            return super().compose_node(parent, index)

    try:
        return list(yaml.load_all(text, NoAliases))  # NoAliases is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        cause = f"YAML{where}: {problem}"
        raise Unreadable(f"{source} cannot be read", cause=cause[:500], advice="Correct that place.") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise Unreadable(f"{source} cannot be read", cause=str(error)[:500]) from None


def _bounded(document: Any, source: str) -> None:
    queue: list[tuple[Any, int]] = [(document, 0)]
    nodes = 0
    while queue:
        value, depth = queue.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise Unreadable(f"{source} is nested too deeply or too large", cause=f"at most {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            queue += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            queue += [(one, depth + 1) for one in value]


_FIELDS = {
    "vllm": {
        "--served-model-name": "served_model_name",
        "--host": "host",
        "--port": "port",
        "--tensor-parallel-size": "tensor_parallel_size",
        "-tp": "tensor_parallel_size",
        "--pipeline-parallel-size": "pipeline_parallel_size",
        "-pp": "pipeline_parallel_size",
        "--max-model-len": "max_model_len",
        "--gpu-memory-utilization": "gpu_memory_utilization",
        "--kv-cache-dtype": "kv_cache_dtype",
        "--max-num-seqs": "max_num_seqs",
        "--dtype": "dtype",
        "--quantization": "quantization",
        "-q": "quantization",
        "--tool-call-parser": "tool_call_parser",
        "--reasoning-parser": "reasoning_parser",
        "--trust-remote-code": "trust_remote_code",
        "--enable-auto-tool-choice": "enable_auto_tool_choice",
        "--model": "model_path",
        "--api-key": "api_key",
        "--revision": "revision",
        "--tokenizer": "tokenizer",
        "--data-parallel-size": "data_parallel_size",
        "-dp": "data_parallel_size",
        "--max-num-batched-tokens": "max_num_batched_tokens",
    },
    "sglang": {
        "--model-path": "model_path",
        "--model": "model_path",
        "--served-model-name": "served_model_name",
        "--host": "host",
        "--port": "port",
        "--tp": "tensor_parallel_size",
        "--tp-size": "tensor_parallel_size",
        "--tensor-parallel-size": "tensor_parallel_size",
        "--pp-size": "pipeline_parallel_size",
        "--pipeline-parallel-size": "pipeline_parallel_size",
        "--context-length": "max_model_len",
        "--mem-fraction-static": "gpu_memory_utilization",
        "--kv-cache-dtype": "kv_cache_dtype",
        "--max-running-requests": "max_num_seqs",
        "--dtype": "dtype",
        "--quantization": "quantization",
        "--tool-call-parser": "tool_call_parser",
        "--reasoning-parser": "reasoning_parser",
        "--trust-remote-code": "trust_remote_code",
        "--api-key": "api_key",
        "--revision": "revision",
    },
    "llamacpp": {
        "-m": "model_path",
        "--model": "model_path",
        "-a": "served_model_name",
        "--alias": "served_model_name",
        "--host": "host",
        "--port": "port",
        "-c": "max_model_len",
        "--ctx-size": "max_model_len",
        "--api-key": "api_key",
    },
}
_SWITCHES = {"trust_remote_code", "enable_auto_tool_choice"}


def from_command(text: str) -> dict[str, Any] | None:
    """A recipe from a pasted `vllm serve ..`, `sglang.launch_server ..` or `llama-server ..`; None if it is none."""
    if len(text) > 64 * 1024:
        return None
    try:
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "), comments=True)
    except ValueError:
        return None
    env: dict[str, str] = {}
    while words and (words[0] in ("env", "export", "$", "exec") or _assignment(words[0])):
        if _assignment(words[0]):
            name, _, value = words[0].partition("=")
            env[name] = _reference(value)
        words.pop(0)
    backend, program, rest = _engine(words)
    if backend is None:
        return None
    recipe: dict[str, Any] = {"backend": backend, **({"env_vars": env} if env else {}), **program}
    _flags(backend, rest, recipe)
    if isinstance(recipe.get("api_key"), str):
        recipe["api_key"] = _reference(recipe["api_key"])
    name = str(recipe.get("served_model_name") or recipe.get("model_path") or backend)
    recipe["id"], recipe["name"] = slug(name), name.rstrip("/").rsplit("/", 1)[-1]
    return recipe


def _reference(value: str) -> str:
    """What a shell would put there from a variable is a reference to that variable."""
    found = re.fullmatch(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})", value)
    return f"env:{found[1] or found[2]}" if found else value


def _assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def _engine(words: list[str]) -> tuple[str | None, dict[str, str], list[str]]:
    """The backend, what the command says of its program, and the arguments that follow."""
    if not words:
        return None, {}, []
    first = words[0].rsplit("/", 1)[-1]
    own = "/" in words[0]
    if first == "vllm" and words[1:2] == ["serve"]:
        return "vllm", {"executable": words[0]} if own else {}, words[2:]
    if first == "sglang" and words[1:2] == ["serve"]:
        return "sglang", {}, words[2:]
    if first == "llama-server":
        return "llamacpp", {"executable": words[0]} if own else {}, words[1:]
    if first.startswith("python") and words[1:2] == ["-m"]:
        python = {"python_path": words[0]} if own else {}
        if words[2:3] == ["vllm.entrypoints.openai.api_server"]:
            return "vllm", python, words[3:]
        if words[2:3] == ["sglang.launch_server"]:
            return "sglang", python, words[3:]
    return None, {}, []


def _flags(backend: str, words: list[str], recipe: dict[str, Any]) -> None:
    fields, extra = _FIELDS[backend], {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            recipe.setdefault("model_path", word)
            continue
        flag, equals, value = word.partition("=")
        if not equals:
            following = words[position] if position < len(words) else None
            if following is not None and (not following.startswith("-") or _number(following)):
                value, position = following, position + 1
            else:
                value = ""
        name = fields.get(flag.replace("_", "-"))
        if name in _SWITCHES:
            recipe[name] = True
            if value and not equals:
                position -= 1
        elif name is not None:
            recipe[name] = value
        else:
            extra[flag.lstrip("-")] = value if value or equals else True
    if extra:
        recipe["extra_args"] = extra


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
