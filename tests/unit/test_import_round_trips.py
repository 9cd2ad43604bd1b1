"""What was made of a recipe for another tool comes in again as that recipe, as far as the file can say it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_render import source
from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.formats.format import Source
from vllm_studio_tui.services.recipes.formats.needless import command_of
from vllm_studio_tui.services.recipes.formats.registry import read_format
from vllm_studio_tui.services.render.registry import render

WORD = st.text(st.sampled_from("abcXYZ019 $'\"\\%{}#;&|`*~=,.:/é-"), min_size=1, max_size=12).map(
    lambda text: f"v{text}v"
)
NAME = st.from_regex(r"[a-z][a-z0-9]{1,8}", fullmatch=True)
PATH = st.lists(
    st.text(st.sampled_from("ab 1_.é"), min_size=1, max_size=6).map(lambda t: f"p{t}p"), min_size=1, max_size=3
).map(lambda parts: f"/{'/'.join(parts)}")
REFERENCE = st.sampled_from(["env:MY_KEY", "file:/run/keys/it"])
FURTHER = st.sampled_from(["x-one", "x-two", "seed", "chat-template", "x-json"])
#: Fields that every engine's command says, and those that only vLLM's says.
EVERY = {
    "host": st.sampled_from(["127.0.0.1", "0.0.0.0", "10.0.0.5"]),  # noqa: S104
    "max_model_len": st.integers(1, 100_000),
    "max_num_seqs": st.integers(1, 512),
    "api_key": REFERENCE,
    "env_vars": st.dictionaries(st.sampled_from(["MY_A", "OMP_NUM_THREADS", "NCCL_X"]), WORD, max_size=3),
    "extra_args": st.dictionaries(FURTHER, WORD | st.just(True), max_size=3),
    "cwd": PATH,
}
VLLM = {
    "served_model_name": NAME.map(lambda name: f"served-{name}"),
    "tensor_parallel_size": st.integers(1, 8),
    "pipeline_parallel_size": st.integers(1, 8),
    "data_parallel_size": st.integers(1, 8),
    "gpu_memory_utilization": st.integers(1, 100).map(lambda number: number / 100),
    "max_num_batched_tokens": st.integers(1, 9000),
    "kv_cache_dtype": st.sampled_from(["auto", "fp8"]),
    "enable_prefix_caching": st.booleans(),
    "enable_chunked_prefill": st.booleans(),
    "expert_parallel": st.booleans(),
    "trust_remote_code": st.booleans(),
    "enable_auto_tool_choice": st.booleans(),
    "revision": NAME,
    "tokenizer": NAME.map(lambda name: f"org/{name}"),
    "dtype": st.sampled_from(["bfloat16", "half"]),
    "quantization": NAME,
    "reasoning_parser": NAME,
    "speculative": st.fixed_dictionaries({"method": NAME, "num_speculative_tokens": st.integers(1, 9)}),
    "chat_template_kwargs": st.dictionaries(NAME, WORD | st.booleans(), min_size=1, max_size=2),
    "lora_modules": st.dictionaries(NAME, PATH, min_size=1, max_size=2),
    "gpus": st.lists(st.sampled_from(["0", "1", "3"]), min_size=1, max_size=3, unique=True),
    "executable": PATH.map(lambda path: f"{path}/vllm"),
}
BOXES = st.fixed_dictionaries(
    {"image": st.just("vllm/vllm-openai:v9")},
    optional={
        "volumes": st.lists(PATH.map(lambda path: f"{path}:/in{path}:ro"), max_size=2, unique=True),
        "args": st.lists(
            st.sampled_from([["--ipc", "host"], ["--cap-add", "X"], ["--ulimit", "memlock=-1"], ["--privileged"]]),
            max_size=2, unique_by=lambda words: words[0],
        ).map(lambda lists: [word for words in lists for word in words]),
        "shm": st.sampled_from(["16g", "1g"]),
        "gpus": st.booleans(),
    },
)  # fmt: skip
RESTART = st.sampled_from(
    [{}, {"policy": "always"}, {"policy": "on-failure"}, {"policy": "on-failure", "budget": 3, "delay": 7.0}]
)


def recipes(engine: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Recipe]:
    own = VLLM if engine == "vllm" else {}
    fields = {"id": NAME, "port": st.integers(1025, 65000), "model_path": NAME.map(lambda name: f"org/{name}") | PATH}
    made = st.fixed_dictionaries({**fields, "backend": st.just(engine), **more}, optional={**EVERY, **own})
    return made.map(lambda data: Recipe.model_validate({**data, "name": data["id"]}))


def read_back(kind: str, recipe: Recipe) -> Recipe:
    (text,) = render(kind, source(recipe)).values()
    found = read_format(Source(text.encode(), kind))
    assert found is not None and len(found) == 1, text
    return parse_recipe(found[0].data, imported=True)[0]


def same(made: Recipe, recipe: Recipe, **changed: Any) -> None:
    """Compare, but for what the engine is told in another place all the same."""
    plain = recipe_to_data(recipe.model_copy(update=changed))
    assert recipe_to_data(made) == plain


@settings(max_examples=25, deadline=None)
@given(recipes("vllm"))
def test_a_script_of_a_shell(recipe: Recipe) -> None:
    same(read_back("shell", recipe), recipe)


@settings(max_examples=25, deadline=None)
@given(recipes("vllm", restart=st.sampled_from([{}, {"policy": "always"}, {"policy": "on-failure", "delay": 7.0}])))
def test_a_unit_of_systemd(recipe: Recipe) -> None:
    same(read_back("systemd-unit", recipe), recipe)


@settings(max_examples=25, deadline=None)
@given(recipes("vllm", runtime=st.just("docker"), docker=BOXES, restart=st.sampled_from([{}, {"policy": "always"}])))
def test_docker_run(recipe: Recipe) -> None:
    recipe = recipe.model_copy(update={"cwd": None})
    gpus = recipe.gpus if recipe.docker.gpus else ()
    same(read_back("docker-run", recipe), recipe, gpus=gpus)


@settings(max_examples=25, deadline=None)
@given(recipes("vllm", runtime=st.just("docker"), docker=BOXES, restart=st.sampled_from([{}, {"policy": "always"}])))
def test_a_compose_file(recipe: Recipe) -> None:
    recipe = recipe.model_copy(update={"cwd": None})
    made = read_back("docker-compose", recipe)
    cache = tuple(one for one in made.docker.volumes if not one.endswith(":/root/.cache/huggingface"))
    assert made.docker.volumes == cache or recipe.model_path.startswith("org/")
    made = made.model_copy(update={"docker": made.docker.model_copy(update={"volumes": cache, "args": ()})})
    docker = recipe.docker.model_copy(update={"args": ()})
    key = f"env:{recipe.id.upper()}_VLLM_API_KEY" if recipe.api_key and recipe.api_key[:4] == "file" else recipe.api_key
    same(made, recipe, gpus=recipe.gpus if docker.gpus else (), docker=docker, api_key=key)


@pytest.mark.parametrize("engine", ["llamacpp", "sglang"])
@pytest.mark.parametrize("kind", ["shell", "systemd-unit"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_other_engines_get_the_same_command(kind: str, engine: str, data: st.DataObject) -> None:
    more = {"python_path": st.just("/opt/x/bin/python3")} if engine == "sglang" else {}
    recipe = data.draw(recipes(engine, **more)).model_copy(update={"api_key": None})
    if engine == "llamacpp":
        recipe = recipe.model_copy(update={"executable": "/opt/llama-server"})
    backend = registry.backend(engine)
    assert command_of(backend, read_back(kind, recipe)) == command_of(backend, recipe)


def test_what_a_file_cannot_say_is_named_in_it() -> None:
    recipe = Recipe.model_validate(
        {"id": "a", "name": "A", "model_path": "org/m", "tags": ["x"], "ttl": 5, "gpus": "auto", "port": 9000}
    )
    for kind in ("shell", "docker-run", "systemd-unit"):
        (text,) = render(kind, source(recipe)).values()
        assert "# Not in it, as it is the studio's own: name, tags, ttl, gpus: auto" in text
