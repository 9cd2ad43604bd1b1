"""A configuration of llama-swap: held against its schema, and read as llama-swap reads it."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_render import ALL, CODER, CUSTOM, GGUF, OTHERS, recipe, source
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.registry import render

#: What llama-swap takes for a model and a peer, as its config-schema.json of August 2026 says it.
LLAMA_SWAP: dict[str, Any] = {
    "type": "object",
    "required": ["models"],
    "additionalProperties": False,
    "properties": {
        "healthCheckTimeout": {"type": "integer", "minimum": 15},
        "hooks": {"type": "object"},
        "groups": {"additionalProperties": {"type": "object", "required": ["members"]}},
        "routing": {"type": "object"},
        "models": {
            "additionalProperties": {
                "type": "object",
                "required": ["cmd"],
                "additionalProperties": False,
                "properties": {
                    "cmd": {"type": "string", "minLength": 1},
                    "cmdStop": {"type": "string"},
                    "name": {"type": "string", "maxLength": 128},
                    "description": {"type": "string", "maxLength": 1024},
                    "env": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z_][A-Z0-9_]*=.*$"}},
                    "proxy": {"type": "string", "pattern": "^http://"},
                    "aliases": {"type": "array", "items": {"type": "string", "minLength": 1}},
                    "checkEndpoint": {"type": "string", "pattern": "^/.*$|^none$"},
                    "useModelName": {"type": "string"},
                    "ttl": {"type": "integer", "minimum": -1},
                    "concurrencyLimit": {"type": "integer", "minimum": 0},
                    "capabilities": {"type": "object"},
                    "filters": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "stripParams": {"type": "string", "pattern": "^[a-zA-Z0-9_, ]*$"},
                            "setParams": {"type": "object"},
                        },
                    },
                },
            }
        },
        "peers": {
            "additionalProperties": {
                "type": "object",
                "required": ["proxy", "models"],
                "additionalProperties": False,
                "properties": {
                    "proxy": {"type": "string"},
                    "apiKey": {"type": "string"},
                    "models": {"type": "array", "items": {"type": "string", "minLength": 1}},
                },
            }
        },
    },
}


def as_llama_swap_reads(command: str) -> list[str]:
    """Macros first, then words as a shell splits them."""
    assert not re.search(r"\$\{[a-zA-Z0-9_.-]+\}", command), "would be taken for a macro"
    return shlex.split(command)


def llama_swap(*recipes: Recipe) -> Any:
    return yaml.safe_load(render("llama-swap", source(*recipes))["config.yaml"])


def llama_swap_schemas() -> list[dict[str, Any]]:
    """Ours, and the real one where it is named."""
    named = os.environ.get("VLLM_STUDIO_TEST_LLAMA_SWAP_SCHEMA")
    return [LLAMA_SWAP, *([json.loads(Path(named).read_text())] if named else [])]


def test_llama_swap_gets_what_its_schema_has_and_a_mistyped_key_is_refused() -> None:
    document = llama_swap(*ALL)
    for schema in llama_swap_schemas():
        jsonschema.Draft7Validator(schema).validate(document)
    assert set(document["models"]) == {"coder", "boxed", "gguf", "own"}
    assert document["peers"] == {
        "others": {"proxy": "http://10.0.0.2:9000", "models": ["m"], "apiKey": "${env.OTHERS_KEY}"}
    }
    document["models"]["coder"]["comand"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(LLAMA_SWAP).validate(document)


def test_llama_swap_starts_the_command_of_the_recipe() -> None:
    models = llama_swap(*ALL)["models"]
    coder = models["coder"]
    argv = as_llama_swap_reads(coder["cmd"])
    assert argv[:2] == ["env", 'NOTE=a$b ${C} "d"']
    assert argv[3:5] == ["serve", "/models/coder $HOME"]
    assert coder["proxy"] == "http://127.0.0.1:8001"
    assert coder["useModelName"] == "coder-32b"
    assert coder["aliases"] == ["coder-32b"]
    assert "VLLM_API_KEY=${env.CODER_KEY}" in coder["env"]
    assert "HF_TOKEN=${env.CODER_HF_TOKEN}" in coder["env"]
    assert "CUDA_VISIBLE_DEVICES=0,1" in coder["env"]
    own = as_llama_swap_reads(models["own"]["cmd"])
    assert own[:3] == ["env", "http_proxy=p", "MACRO=${PORT}"]
    assert own[-3:] == ["--json", '{"a": "${B}"}', "it's"]
    assert as_llama_swap_reads(models["boxed"]["cmdStop"])[-1] == "vllm-studio-boxed"
    assert "--name vllm-studio-boxed" in models["boxed"]["cmd"]


def test_llama_swap_is_told_what_is_there_first_stays_and_goes_before_others() -> None:
    first = recipe(id="first", model_path="org/m", preload=True, persistent=True, priority=3, vision=True)
    document = llama_swap(first, CODER)
    for schema in llama_swap_schemas():
        jsonschema.Draft7Validator(schema).validate(document)
    assert document["hooks"] == {"on_startup": {"preload": ["first"]}}
    assert document["groups"]["persistent"]["members"] == ["first"]
    assert document["routing"]["scheduler"]["settings"]["fifo"]["priority"] == {"first": 3}
    assert document["models"]["first"]["capabilities"]["in"] == ["text", "image"]


def test_what_a_recipe_says_of_its_requests_is_told_as_far_as_llama_swap_has_it() -> None:
    tuned = recipe(
        id="tuned", model_path="org/m", aliases=["best", "coder-32b"], ttl=90, max_concurrent=3,
        params={"set": {"top_k": 20}, "strip": ["seed", "logit_bias"], "default": {"temperature": 0.6}},
    )  # fmt: skip
    text = render("llama-swap", source(tuned, CODER))["config.yaml"]
    model = yaml.safe_load(text)["models"]["tuned"]
    for schema in llama_swap_schemas():
        jsonschema.Draft7Validator(schema).validate(yaml.safe_load(text))
    assert model["ttl"] == 90
    assert model["concurrencyLimit"] == 3
    assert model["filters"] == {"stripParams": "seed, logit_bias", "setParams": {"top_k": 20}}
    assert model["aliases"] == ["org/m", "best"], "the other name is also that of another recipe"
    assert "# Left out of tuned: params.default\n" in text
    odd = tuned.model_copy(update={"params": type(tuned.params)(set={"stop": "${PORT}"}, strip=("a-b",))})
    text = render("llama-swap", source(odd))["config.yaml"]
    assert "filters" not in yaml.safe_load(text)["models"]["tuned"]
    assert "# Left out of tuned: params.set, params.strip\n" in text
    endless = tuned.model_copy(update={"ttl": 0})
    assert yaml.safe_load(render("llama-swap", source(endless))["config.yaml"])["models"]["tuned"]["ttl"] == 0


def test_a_command_that_llama_swap_cannot_be_told_is_left_out_with_the_reason() -> None:
    broken = CUSTOM.model_copy(update={"command": "srv {nothing}"})
    text = render("llama-swap", source(broken, GGUF))["config.yaml"]
    assert "# Left out: own: the command of the recipe cannot be used" in text
    nameless = OTHERS.model_copy(update={"served_model_name": None})
    assert (
        "# Left out: others: it does not name its model" in render("llama-swap", source(nameless, GGUF))["config.yaml"]
    )
    with pytest.raises(StudioError):
        render("llama-swap", source(broken))


WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(name=WORDS, words=st.lists(WORDS, max_size=4), value=WORDS)
def test_any_text_of_a_recipe_arrives_as_it_is(name: str, words: list[str], value: str) -> None:
    braces = [word.replace("{", "{{").replace("}", "}}") for word in words]
    hostile = recipe(
        id="hostile", name=name, backend="custom", command=shlex.join(["srv", *braces]), description=value,
        runtime="docker", docker={"image": "org/image"}, env_vars={"VALUE": value},
    )  # fmt: skip
    made = source(hostile)
    (one,) = made.recipes
    if one.problem or one.contained is None or one.command is None:
        return
    model = yaml.safe_load(render("llama-swap", made)["config.yaml"])["models"]["hostile"]
    assert as_llama_swap_reads(model["cmd"]) == list(one.command.argv)
    document = yaml.safe_load(render("docker-compose", made)["compose.yaml"])
    service = document["services"]["hostile"]
    assert [word.replace("$$", "$") for word in service.get("command", [])] == list(one.contained.argv[1:])
    assert service["environment"]["VALUE"].replace("$$", "$") == one.contained.env["VALUE"]
