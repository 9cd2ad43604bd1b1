"""What crosses the line to a studio elsewhere: each value and each error comes out as it went in."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import types
from collections import abc
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.custom_metric import CustomMetric
from vllm_studio_tui.domain.errors import EngineRefused, HopelessLaunch, InvalidRecipe, NotFound, NotSaved, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.remote.any_value import BadShape, any_document, any_of
from vllm_studio_tui.remote.contract import LOCAL, REFUSED, calls, shapes
from vllm_studio_tui.remote.errors import error_document, error_of
from vllm_studio_tui.remote.wording import refusal
from vllm_studio_tui.services import chat_protocols, protocols
from vllm_studio_tui.services.recipes.changes import ABSENT, FieldChange


def crossed(document: Any) -> Any:
    return json.loads(json.dumps(document))


def examples(hint: Any, deep: int = 0) -> list[Any]:
    """Values of an annotation, one for each thing that it may be."""
    origin, inside = get_origin(hint), get_args(hint)
    plain: dict[Any, list[Any]] = {
        type(None): [None], bool: [True, False], int: [7], float: [1.5, float("inf")], str: ["é\x00\ud800"],
        bytes: [b"\xff\x00"], Path: [Path("/a/b")], Any: [{"a": [1, (2, 3)], "$b": {4: None}}],
    }  # fmt: skip
    if hint in plain:
        return plain[hint]
    if origin in (Union, types.UnionType):
        return [one for part in inside for one in examples(part, deep)]
    if origin is Literal:
        return list(inside)
    if origin is not None and issubclass(origin, abc.Mapping):
        key = examples(inside[0], deep)[0] if inside[0] is int else "k"
        return [{key: one} for one in examples(inside[1], deep)] + [{}]
    if origin is tuple and not (len(inside) == 2 and inside[1] is ...):
        return [tuple(examples(one, deep)[0] for one in inside)]
    if origin in (abc.Container, set, frozenset):
        return [frozenset(examples(inside[0], deep))]
    if origin is not None:
        values = examples(inside[0], deep)
        return [list(values) if origin is list else tuple(values)]
    kind: Any = hint
    if kind is CustomMetric:  # what it is made of is checked
        return [CustomMetric("a_name", ("vllm:one",))]
    if issubclass(kind, enum.Enum):
        return list(kind)
    if issubclass(kind, BaseException):
        return [InvalidRecipe("no", [("a", "b")]) if kind is InvalidRecipe else NotFound("gone", cause="c", advice="d")]
    if issubclass(kind, BaseModel):
        return [Recipe(id="a", name="A", model_path="m", backend="vllm", env_vars={"A": "1"}, extra_args={"x": 1})]
    hints = shapes().hints(kind)
    fields = [one for one in dataclasses.fields(kind) if one.init and one.repr]
    full = {one.name: examples(hints[one.name], deep + 1)[0] for one in fields}
    found: list[Any] = [kind(**full)]
    for one in fields if deep < 1 else ():
        for value in examples(hints[one.name], deep + 1):
            with contextlib.suppress(ValueError):  # some names are checked
                found.append(dataclasses.replace(found[0], **{one.name: value}))
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, BaseException):
        return type(one) is type(other) and vars(one) == vars(other)
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    if isinstance(one, dict):
        return type(one) is type(other) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def hints_of(name: str) -> dict[str, Any]:
    shape = calls()[name]
    owner: Any = protocols.StudioApi
    for part in shape.service.split(".") if shape.service else ():
        owner = shapes().hints(vars(owner)[part].fget)["return"]
    member = next(vars(one)[shape.method] for one in owner.__mro__ if shape.method in vars(one))
    return shapes().hints(member.fget if isinstance(member, property) else member)


@pytest.mark.parametrize("name", sorted(calls()))
def test_every_value_of_every_method_comes_out_as_it_went_in(name: str) -> None:
    shape, hints = calls()[name], hints_of(name)
    result = hints.pop("return")
    if get_origin(result) in (abc.AsyncGenerator, abc.Iterator):
        result = get_args(result)[0]
    assert hints.keys() == shape.arguments.keys()
    for one, hint in [(shape.result, result), *((shape.arguments[arg], hint) for arg, hint in hints.items())]:
        for value in examples(hint, 1):
            back = one.decode(crossed(one.encode(value)))
            assert same(value, back), (hint, value, back)


def classes() -> list[type[Any]]:
    """Every class whose values cross, as the shapes of all calls reach it."""
    calls()
    known = [one for one in shapes().known() if isinstance(one, type) and dataclasses.is_dataclass(one)]
    return sorted(known, key=lambda one: one.__qualname__)


@pytest.mark.parametrize("kind", classes())
def test_every_field_of_every_class_comes_out_as_it_went_in(kind: type[Any]) -> None:
    shape = shapes().of(kind)
    for value in examples(kind):
        assert same(value, shape.decode(crossed(shape.encode(value))))


def test_every_member_of_every_protocol_is_a_call_or_local_with_its_reason() -> None:
    named = {shape.service for shape in calls().values()}
    both = {**vars(protocols), **vars(chat_protocols)}
    for kind in (one for name, one in both.items() if name.endswith("Api")):
        for member in (one for one in vars(kind) if not one.startswith("_")):
            if kind is protocols.SamplerApi:
                continue  # local, as `studio.sampler` says
            places = [name for name in calls() if name.endswith(f".{member}")]
            local = [name for name in {**LOCAL, **REFUSED} if name.endswith(f".{member}")]
            assert places or local or any(one.split(".")[-1] == member for one in named), f"{kind.__name__}.{member}"
    assert all((*LOCAL.values(), *REFUSED.values()))


def test_the_key_of_a_server_never_crosses() -> None:
    target = Target("http://a/v1", "m", api_key="very-secret", user="u")
    shape = shapes().of(Target)
    assert "very-secret" not in json.dumps(shape.encode(target))
    assert shape.decode(crossed(shape.encode(target))) == dataclasses.replace(target, api_key=None)


ERRORS = [
    NotFound("no", cause="c", advice="a"),
    InvalidRecipe("bad", [("model", "is missing"), ("x", "y")], advice="z"),
    HopelessLaunch("never", can_share_gpus=True),
    EngineRefused("no", status=418),
    NotSaved(StudioError("disk full", cause="c"), "/tmp/x"),
    Refusal(503, "model_failed", "it failed", retry_after=3.5),
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_keeps_its_class_words_and_attributes(error: StudioError) -> None:
    back = error_of(crossed(error_document(error)))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert str(back) == str(error)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("odd", [None, 5, ["x"], {"$tuple": ["x"]}, [["a", "b"], {"$tuple": ["a", 5]}]])
def test_what_is_read_of_an_error_is_there_whatever_was_sent(error: StudioError, odd: Any) -> None:
    attributes = dict.fromkeys(vars(error), odd) if odd is not None else {}
    back = error_of({"classes": [type(error).__name__], "attributes": attributes})
    assert type(back) is type(error)
    assert vars(back).keys() == vars(error).keys()
    for field, words in vars(back).get("problems", ()):
        assert isinstance(field + words, str)
    for name, value in vars(error).items():
        if isinstance(value, bool | str | list):
            assert isinstance(vars(back)[name], type(value) | None if name == "path" else type(value)), name


def test_an_error_of_a_class_that_is_not_known_here_is_one_of_its_bases() -> None:
    document = error_document(NotFound("gone"))
    document["classes"].insert(0, "FromTomorrow")
    assert type(error_of(document)) is NotFound


def test_a_fault_there_says_its_kind_and_nothing_of_its_text() -> None:
    assert "secret" not in json.dumps(error_document(RuntimeError("secret")))
    back = error_of(crossed(error_document(FileNotFoundError(2, "No such file", "/secret/path"))))
    assert isinstance(back, FileNotFoundError)
    assert "secret" not in str(back)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["$map", "$x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def errors() -> st.SearchStrategy[Any]:
    """Documents of errors, with anything anywhere in them."""
    known = [kind.__name__ for kind in (StudioError, NotFound, InvalidRecipe, HopelessLaunch, EngineRefused, NotSaved)]
    names = st.sampled_from(
        [
            "title",
            "cause",
            "problems",
            "status",
            "exit_code",
            "certain",
            "to_json",
            "args",
            "__class__",
            "__dict__",
            "_x",
        ]
    )
    parts = {
        "classes": st.lists(st.sampled_from(known) | json_values, max_size=3) | json_values,
        "title": json_values,
        "cause": json_values,
        "advice": json_values,
        "attributes": st.dictionaries(names | st.text(max_size=4), json_values, max_size=4) | json_values,
        "os_error": json_values,
        "words": json_values,
    }
    return st.fixed_dictionaries({}, optional=parts) | json_values


@given(errors(), st.integers(100, 600))
def test_no_error_that_is_sent_makes_its_reader_raise(data: Any, status: int) -> None:
    error = error_of(data)
    if isinstance(error, StudioError):
        assert all(isinstance(words, str) for words in (error.title, error.cause, error.advice)) and error.title
        assert isinstance(error.exit_code, int)
        json.dumps(error.to_json())
    assert isinstance(str(error), str)
    str(refusal(Address("https", "h"), status, {"error": data, "detail": data}))


@pytest.mark.parametrize(
    "data",
    [
        {"classes": [["x"], {}, "NotFound"]},
        {"attributes": {"__class__": 1, "args": 7, "to_json": 1, "exit_code": "x", "with_traceback": None}},
        {"title": 5, "attributes": {"title": 7}},
    ],
)
def test_what_an_error_may_not_hold_is_left_out(data: Any) -> None:
    error = error_of(data)
    assert isinstance(error, StudioError)
    assert error.to_json() == {"title": "the studio there failed", "cause": "", "advice": "", "exit_code": 1}
    assert error.with_traceback(None) is error
    assert isinstance(error, NotFound) == ("classes" in data)


def test_values_in_values_have_an_end_for_who_reads_them_too() -> None:
    deep: Any = 0
    for _ in range(700):
        deep = [deep]
    with pytest.raises(BadShape):
        any_of(deep)
    assert isinstance(error_of({"attributes": {"problems": deep}, "title": deep}), StudioError)


@settings(max_examples=50)
@given(json_values)
def test_any_value_comes_out_as_it_went_in(value: Any) -> None:
    assert any_of(crossed(any_document(value))) == value


@given(st.sampled_from(sorted(calls())), json_values)
def test_what_does_not_fit_is_refused_and_raises_nothing_else(name: str, value: Any) -> None:
    shape = calls()[name]
    for one in (shape.result, *shape.arguments.values()):
        try:
            one.decode(value)
        except BadShape:
            continue


def test_a_value_may_not_hold_itself_without_an_end() -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(BadShape):
        any_document(deep)


def test_a_change_that_adds_or_takes_away_a_field_crosses_as_that() -> None:
    shape = shapes().of(FieldChange)
    for change in (FieldChange(("a", "b"), ABSENT, 7), FieldChange(("a",), {"x": [1]}, ABSENT)):
        back = shape.decode(crossed(shape.encode(change)))
        assert back == change
        assert (back.old is ABSENT, back.new is ABSENT) == (change.old is ABSENT, change.new is ABSENT)
    with pytest.raises(BadShape):
        any_of({"$missing": "another"})


@pytest.mark.parametrize("key", ["", "1.5", "²", "1" * 40, "a", "--1"])
def test_a_mapping_by_number_takes_no_other_keys(key: str) -> None:
    shape = shapes().of(dict[int, int])
    assert shape.decode(crossed(shape.encode({-5: 1, 60: 2}))) == {-5: 1, 60: 2}
    with pytest.raises(BadShape):
        shape.decode({key: 1})
