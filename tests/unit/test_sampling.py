"""Parameters of sampling and forms of answers: how they are read, and what of them each engine is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import ChatRequest, Ended, Sampling, Target
from vllm_studio_tui.domain.chat_settings import sampling_of, shaped, with_preset
from vllm_studio_tui.domain.sampling import (
    BY_NAME,
    FORMS,
    PARAMETERS,
    AnswerForm,
    checked,
    form_of_text,
    read_value,
    written,
)
from vllm_studio_tui.inference import answer_form
from vllm_studio_tui.inference.answer_details import details_of
from vllm_studio_tui.inference.answer_form import look_at
from vllm_studio_tui.inference.deltas import DeltaReader
from vllm_studio_tui.inference.likelihoods import MOST_TOKENS, Likelihoods
from vllm_studio_tui.inference.parameters import fields_of
from vllm_studio_tui.inference.parameters import given as given_parameters
from vllm_studio_tui.inference.request import body

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
VALUES: dict[str, Any] = {
    "float": 0.5,
    "int": 1,
    "bool": True,
    "texts": ("END",),
    "map": {"15": -1.0},
    "tool": "sky__rain",
}
EVERYTHING = {one.name: VALUES[one.kind] if one.name not in ("dry_base",) else 1.5 for one in PARAMETERS}


def asked(backend: str, settings: dict[str, Any], *, tools: bool = False) -> dict[str, Any]:
    sampling = sampling_of(settings)
    made = body(Target("x", "m", backend=backend), ChatRequest(({},), sampling, ({"a": 1},) if tools else ()))
    return {**made, **made.pop("extra_body", {})}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_written_of_a_value_is_read_back(name: str) -> None:
    value = checked(name, EVERYTHING[name])
    assert read_value(name, written(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("temperature", "hot", "not a number"),
        ("temperature", "nan", "not a number"),
        ("temperature", "9", "from 0 to 5"),
        ("top_k", "1.5", "not a whole number"),
        ("ignore_eos", "perhaps", "not true or false"),
        ("tool_choice", "two words", "no name of a tool"),
        ("logit_bias", "[]", "not a JSON object of ids and numbers"),
        ("logit_bias", '{"a": 1}', "'a' is no id of a token"),
        ("logit_bias", "{", "not a JSON object"),
        ("stop", "\n".join("abcdefghijklmnopq"), "at most 16 texts"),
    ],
)
def test_a_wrong_value_says_what_is_wrong(name: str, text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        read_value(name, text)


def test_stop_texts_may_hold_line_ends() -> None:
    assert read_value("stop", "END\n\\n\\n") == ("END", "\n\n")
    assert read_value("stop", '["a", "\\n"]') == ("a", "\n")


# --- engines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["vllm", "sglang", "llamacpp", "tabbyapi", "transformers"])
def test_an_engine_gets_what_it_takes_and_the_rest_is_said(backend: str) -> None:
    found = registry.find(backend)
    assert found is not None and found.sampling is not None
    assert set(found.sampling) <= set(BY_NAME)
    everything = {name: value for name, value in EVERYTHING.items() if name != "tool_choice"}  # that is for tools
    made = fields_of(found, sampling_of(everything))
    sent = {name for name in everything if name in found.sampling}
    assert set(made.left_out) == set(everything) - sent
    assert all(found.title in why for why in made.left_out.values())
    names = {found.sampling[name] for name in sent}
    assert set(made.values) == names | ({"top_logprobs"} if "logprobs" in sent else set())
    assert set(found.answer_forms or {}) <= set(FORMS)


def test_parameters_go_by_the_names_of_the_engine() -> None:
    llama = asked("llamacpp", {"repetition_penalty": 1.1, "dry_range": 64, "mirostat": 2, "logprobs": 3})
    assert (llama["repeat_penalty"], llama["dry_penalty_last_n"], llama["mirostat"]) == (1.1, 64, 2)
    assert (llama["logprobs"], llama["top_logprobs"]) == (True, 3)
    vllm = asked("vllm", {"repetition_penalty": 1.1, "mirostat": 2, "min_p": 0.1})
    assert (vllm["repetition_penalty"], vllm["min_p"]) == (1.1, 0.1)
    assert "mirostat" not in vllm
    assert set(asked("transformers", EVERYTHING)) - {"model", "messages", "stream"} == {
        "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "logit_bias",
    }  # fmt: skip


def test_a_server_that_nobody_described_gets_all_and_that_is_said() -> None:
    assert asked("external", {"min_p": 0.1, "temperature": 1})["min_p"] == 0.1
    request = ChatRequest(({},), sampling_of({"min_p": 0.1, "temperature": 1}))
    assert details_of(Target("x", "m"), request, Ended("stop"), "", Likelihoods()) == {"unsure": ["min_p"]}


@pytest.mark.parametrize(
    ("backend", "kind", "text", "fields"),
    [
        ("vllm", "regex", "a+", {"structured_outputs": {"regex": "a+"}}),
        ("vllm", "choice", "a\nb", {"structured_outputs": {"choice": ["a", "b"]}}),
        ("sglang", "choice", "a\nb.", {"regex": r"(?:a|b\.)"}),
        ("sglang", "grammar", "root ::= x", {"ebnf": "root ::= x"}),
        ("llamacpp", "choice", 'a\n"b"', {"grammar": 'root ::= "a" | "\\"b\\""'}),
        ("llamacpp", "json_object", "", {"response_format": {"type": "json_object"}}),
        ("tabbyapi", "json_object", "", {"json_schema": {"type": "object"}}),
        ("external", "json_object", "", {"response_format": {"type": "json_object"}}),
    ],
)
def test_each_engine_is_held_to_a_form_in_its_own_way(backend: str, kind: str, text: str, fields: Any) -> None:
    made = asked(backend, {"form": form_of_text(kind, text).to_json()})
    assert {name: made[name] for name in fields} == fields


@pytest.mark.parametrize(
    ("backend", "kind"), [("transformers", "json_object"), ("llamacpp", "regex"), ("external", "regex")]
)
def test_a_form_that_an_engine_has_not_is_said(backend: str, kind: str) -> None:
    form = form_of_text(kind, "a")
    made = fields_of(registry.find(backend), Sampling(form=form))
    assert not made.values
    assert FORMS[kind] in made.left_out["form"]


def test_llama_cpp_refuses_forms_and_likelihoods_with_tools_so_they_are_left_out() -> None:
    settings = {"form": {"kind": "json_object"}, "logprobs": 2, "temperature": 0}
    made = asked("llamacpp", settings, tools=True)
    assert "temperature" in made and not {"logprobs", "response_format"} & set(made)
    left = fields_of(registry.find("llamacpp"), sampling_of(settings), tools=True).left_out
    assert set(left) == {"form", "logprobs"}


def test_the_schema_has_a_name_that_servers_take() -> None:
    form = form_of_text("json_schema", json.dumps(SCHEMA), "my schema.json")
    made = asked("vllm", {"form": form.to_json()})["response_format"]
    assert made == {"type": "json_schema", "json_schema": {"name": "my_schema_json", "schema": SCHEMA, "strict": True}}


# --- settings -------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_read_are_as_if_they_were_not_there() -> None:
    settings = {"temperature": "x", "top_p": 7, "form": {"kind": "?"}, "thinking": "yes", "seed": 4, "recipe": "r"}
    assert shaped(settings) == {"seed": 4}
    assert sampling_of(settings) == Sampling(seed=4)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*BY_NAME, "form", "thinking"]), ANYTHING, max_size=4))
def test_no_settings_raise(settings: dict[str, Any]) -> None:
    given_parameters(sampling_of(settings))


def test_a_preset_stands_in_the_place_of_all_that_shaped_answers() -> None:
    before = {"temperature": 1, "form": {"kind": "json_object"}, "recipe": "r", "system": "s"}
    assert with_preset(before, "exact", {"top_p": 0.5}) == {
        "recipe": "r", "system": "s", "top_p": 0.5, "preset": "exact",
    }  # fmt: skip


# --- whether an answer has its form ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "answer", "valid", "says"),
    [
        ("json_object", "", '{"a": 1}', True, ""),
        ("json_object", "", "[1]", False, "no object"),
        ("json_object", "", "Sure: {}", False, "not JSON"),
        ("json_object", "", " ", False, "nothing came"),
        ("json_object", "", "[" * 100_000, False, "not JSON"),
        ("choice", "yes\nno", " yes\n", True, ""),
        ("choice", "yes\nno", "maybe", False, "none of the texts"),
        ("regex", r"\d+", "42\n", True, ""),
        ("regex", r"\d+", "x", False, "does not match"),
        ("regex", "(", "x", None, "does not read the expression"),
        ("grammar", "root ::= x", "x", None, "only the engine"),
        ("json_schema", json.dumps(SCHEMA), '{"age": 3}', True, ""),
        ("json_schema", json.dumps(SCHEMA), '{"age": "x"}', False, "age: 'x' is not of type 'integer'"),
        ("json_schema", '{"type": "nothing"}', "{}", None, "the schema is none"),
        ("json_schema", '{"$ref": "http://127.0.0.1:9/x"}', "{}", None, "refers to what is not in it"),
    ],
)
def test_an_answer_is_looked_at(kind: str, text: str, answer: str, valid: bool | None, says: str) -> None:
    found = look_at(form_of_text(kind, text), answer)
    assert found["valid"] is valid
    assert says in found["problem"] if says else found["problem"] == ""


def test_an_expression_that_takes_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_form, "PATIENCE", 0.5)
    found = look_at(AnswerForm("regex", "(a+)+b"), "a" * 64)
    assert (found["valid"], found["problem"]) == (None, "it took more than 0.5 s to look at")


# --- likelihoods ----------------------------------------------------------------------------------------------

LEAF = {"token": "By", "logprob": -0.7, "bytes": [66, 121]}


def test_likelihoods_of_a_stream_are_kept() -> None:
    reader = DeltaReader()
    choice = {
        "delta": {"content": "By"},
        "logprobs": {"content": [{**LEAF, "top_logprobs": [LEAF, {"token": "I", "logprob": -2}]}]},
    }
    assert reader.read({"choices": [choice]}) == ("", "By")
    kept = {"tokens": [["By", -0.7, [["By", -0.7], ["I", -2.0]]]], "cut": False}
    assert reader.likelihoods.to_json() == kept
    assert details_of(Target("x", "m"), ChatRequest(({},)), Ended("stop"), "", reader.likelihoods) == {"logprobs": kept}


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["content", "token", "logprob", "top_logprobs"]), inner)))  # fmt: skip
def test_no_likelihoods_raise_and_what_is_kept_is_json(one: Any) -> None:
    found = Likelihoods()
    found.read(one)
    json.dumps(found.to_json(), allow_nan=False)


def test_the_tokens_that_are_kept_are_bounded() -> None:
    found = Likelihoods()
    found.read({"content": [LEAF] * (MOST_TOKENS + 1)})
    assert (len(found.tokens), found.cut) == (MOST_TOKENS, True)
