"""Commands as people paste them: what stands before them, how shells write them, what a shell would do beside them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.formats.command import from_text
from vllm_studio_tui.services.recipes.formats.format import Source
from vllm_studio_tui.services.recipes.formats.registry import read_format


def one(text: str) -> dict[str, Any]:
    found = read_format(Source(text.encode(), "pasted"))
    assert found is not None and len(found) == 1
    return dict(found[0].data)


def said(text: str) -> dict[str, str]:
    return {note.field: note.why for found in from_text(text) for note in found.notes}


@pytest.mark.parametrize(
    "before",
    [
        "", "$ ", "(venv) $ ", "me@host:~$ ", "# ", "root@host:/# ", "sudo -E -u llm ", "sudo FOO=1 ", "nohup ",
        "setsid -f ",
        "stdbuf -oL -eL ", "time ", "nice -n 10 ", "numactl --cpunodebind=0 --membind 0 ", "taskset -c 0-7 ",
        "uv run --with vllm ", "uv run --python 3.12 -- ", "uvx --from vllm ", "conda run -n llm --no-capture-output ",
        "poetry run ", "env ", "env -u X A=b ", "A=b ", "exec ", "timeout 60 ", "export A=b\n", "cd /srv && ",
        "set -e\n", "source venv/bin/activate && ", "nohup sudo nice numactl -N 0 ",
    ],
)  # fmt: skip
def test_what_stands_before_a_command_is_taken_off(before: str) -> None:
    data = one(f"{before}vllm serve org/m --port 9000")
    assert (data["backend"], data["model_path"], data["port"]) == ("vllm", "org/m", "9000")


@pytest.mark.parametrize(
    "after", ["", " &", " > log 2>&1 &", " &> log", " | tee -a log", " >> log", " 2>/dev/null", "; echo done", " # why"]
)
def test_what_stands_after_a_command_is_no_flag_of_it(after: str) -> None:
    assert "extra_args" not in one(f"vllm serve org/m --port 9000{after}")


@pytest.mark.parametrize("mark", [" \\", " \\  ", " ^", " `"])
def test_lines_go_on_in_every_shell(mark: str) -> None:
    assert one(f"vllm serve org/m{mark}\n  --port 9000{mark}\n  --enforce-eager")["extra_args"] == {
        "enforce-eager": True
    }


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("vllm serve m -tp 2 -q awq --kv-cache-dtype=fp8",
         {"tensor_parallel_size": "2", "quantization": "awq", "kv_cache_dtype": "fp8"}),
        ("vllm serve --enforce-eager org/m", {"model_path": "org/m", "extra_args": {"enforce-eager": True}}),
        ("vllm serve m --no-enable-prefix-caching", {"enable_prefix_caching": False}),
        ("vllm serve m --enable-prefix-caching --enable-expert-parallel",
         {"enable_prefix_caching": True, "expert_parallel": True}),
        ("vllm serve m --served-model-name a b", {"served_model_name": "a", "aliases": ["b"]}),
        ("""vllm serve m --speculative-config '{"method": "ngram", "num_speculative_tokens": 4}'""",
         {"speculative": {"method": "ngram", "num_speculative_tokens": 4}}),
        ("vllm serve m --enable-lora --lora-modules a=/l/a b=/l/b", {"lora_modules": {"a": "/l/a", "b": "/l/b"}}),
        ("vllm serve m -O3", {"extra_args": {"raw": ["-O3"]}}),
        ("vllm serve m --port 1 --port 9000", {"port": "9000"}),
        ("python3 -u -m vllm.entrypoints.openai.api_server --model org/m", {"backend": "vllm", "model_path": "org/m"}),
        ("sglang serve --model-path m --tp 4 --dp-size 2", {"tensor_parallel_size": "4", "data_parallel_size": "2"}),
        ("llama-server -hf org/m-GGUF:Q4_K_M -c 4096 -ngl 99 -np 4",
         {"model_path": "org/m-GGUF:Q4_K_M", "max_model_len": "4096", "max_num_seqs": "4",
          "extra_args": {"n-gpu-layers": "99"}}),
        ("llama-server -m x.gguf --lora a --lora b", {"extra_args": {"lora": ["a", "b"]}}),
        ("transformers serve org/m --dtype bfloat16", {"backend": "transformers", "dtype": "bfloat16"}),
        ("cd tabbyAPI && python main.py --model-dir /m --model-name q --max-seq-len 8192",
         {"backend": "tabbyapi", "model_path": "/m/q", "max_model_len": "8192", "cwd": "tabbyAPI"}),
        ("mlx_lm.server --model org/m --port 8080", {"backend": "mlx", "model_path": "org/m"}),
        ("bash -c 'cd /x && exec vllm serve org/m'", {"model_path": "org/m", "cwd": "/x"}),
        ("source /v/bin/activate && vllm serve m", {"python_path": "/v/bin/python"}),
        ("MODEL=org/m; vllm serve $MODEL", {"model_path": "org/m"}),
        ("vllm serve ${MODEL:-org/m}", {"model_path": "org/m"}),
        ("export HF_TOKEN=$TOKEN\nvllm serve m", {"env_vars": {"HF_TOKEN": "env:TOKEN"}}),
        ("vllm serve m --api-key $KEY", {"api_key": "env:KEY"}),
        ("vllm serve m --api-key $(cat /run/key)", {"api_key": "file:/run/key"}),
    ],
)  # fmt: skip
def test_flags_become_fields(text: str, fields: dict[str, Any]) -> None:
    data = one(text)
    assert {name: data.get(name) for name in fields} == fields
    parse_recipe(data, imported=True)


def test_a_page_with_several_commands_is_several_recipes() -> None:
    page = "# Serve\n\nFirst:\n```bash\n$ pip install vllm\n$ vllm serve org/a\n```\nor\n```sh\n"
    found = from_text(
        page + "vllm serve org/b \\\n --port 9\n```\n```python\nvllm serve org/c\n```\nvllm serve org/d\n"
    )
    assert [each.data["model_path"] for each in found] == ["org/a", "org/b"]
    assert {note.field for note in found[0].notes} == {"other commands"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("vllm serve $(make model)", "$(make model)"),
        ("vllm serve m || echo no", "|| echo no"),
        ("vllm serve m | grep x", "| grep x"),
        ("vllm serve m --chat-template t/*.jinja", "glob"),
        ("vllm serve $MODEL", "model_path"),
        ("PATH=$PATH:/x vllm serve m", "env_vars.PATH"),
        ("sudo vllm serve m", "sudo"),
        ("source env.sh; vllm serve m", "source env.sh"),
        ("ray start --head; vllm serve m", "other commands"),
        ("vllm serve m --no-such-thing 3", "extra_args.no-such-thing"),
        ("vllm serve m --swap-space 3", "extra_args.swap-space"),
        ("vllm serve m --config x.yaml", "extra_args.config"),
    ],
)
def test_what_only_a_shell_could_do_is_named(text: str, field: str) -> None:
    assert field in said(text)


def test_lines_of_data_that_look_like_commands_are_none() -> None:
    text = "id: a\nmodel_path: x\ndescription: |\n  use\n  vllm serve org/m\n"
    assert read_format(Source(text.encode(), "f")) is None


WORDS = [
    "vllm", "serve", "docker", "run", "--gpus", "all", "-e", "A=b", "$X", "${Y:-z}", "$(", ")", "`", "'", '"', "\\\n",
    "|", "&&", ";", "<<EOF", "-v", "a:b", "bash", "-c", "--port", "80", "llama-server", "-m", "```\n", "\n", "{",
    "sudo",
    "-u", "[Service]\n", "ExecStart=", "services:\n", "  a:\n", "    image: vllm/vllm-openai\n", "    command: ", "*a",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=25), st.sampled_from(["", " "]))
def test_any_mixture_is_read_or_refused(parts: list[str], between: str) -> None:
    with contextlib.suppress(StudioError):
        for each in read_format(Source(between.join(parts).encode("utf-8", "replace"), "f")) or []:
            with contextlib.suppress(StudioError):
                parse_recipe(each.data, imported=True)
