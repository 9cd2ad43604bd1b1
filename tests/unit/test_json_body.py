"""Bodies of requests: read tolerantly, changed without touching anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.json_body import change_members, insert_first, json_bytes, read_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text() | st.sampled_from(["model", "stream", "stream_options"]), JSON, max_size=6)
INDENTS = st.sampled_from([None, 1, 4])


@given(OBJECTS, INDENTS, st.booleans())
def test_a_body_is_read_as_json_is(data: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    body = json.dumps(data, indent=indent, ensure_ascii=ascii_only)
    assert read_object(body.encode()) == data


@pytest.mark.parametrize(
    "body", ['{"model":"a"}'.encode("utf-16"), '{"a":1}'.encode("utf-32"), b'{"x":"\xed\xa0\x80"}']
)
def test_what_is_not_utf_8_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        read_object(body)


def test_half_of_an_emoji_is_no_reason_to_refuse() -> None:
    assert read_object(b'{"model":"a","x":"\\ud83d"}') == {"model": "a", "x": "\ud83d"}


ANY_TEXT = st.text() | st.sampled_from(["\ud800", "\udfff"])


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.floats() | st.integers() | st.lists(ANY_TEXT), max_size=4))
def test_whatever_a_document_holds_can_be_written(data: dict[str, Any]) -> None:
    written = json.loads(json_bytes(data))
    assert {name: value for name, value in written.items() if isinstance(value, str | list)} == {
        name: value for name, value in data.items() if isinstance(value, str | list)
    }


@given(OBJECTS, INDENTS)
def test_a_member_is_put_first(data: dict[str, Any], indent: int | None) -> None:
    data.pop("new", None)
    body = json.dumps(data, indent=indent).encode()
    assert list(json.loads(insert_first(body, "new", {"a": 1})).items()) == [("new", {"a": 1}), *data.items()]


@given(OBJECTS, OBJECTS, st.lists(st.sampled_from(["model", "stream", "x"])), INDENTS)
def test_members_are_changed_added_and_taken_out(
    data: dict[str, Any], changed: dict[str, Any], removed: list[str], indent: int | None
) -> None:
    body = json.dumps(data, indent=indent).encode()
    wanted = {name: value for name, value in data.items() if name not in removed} | changed
    assert json.loads(change_members(body, changed, removed)) == wanted


def test_what_is_not_changed_stays_as_it_was_written() -> None:
    body = b'{ "seed": 12345678901234567890123, "t": 1.50, "model" : "a", "e": "\\u00e9\\/", "x":{"model":"inner"} }'
    assert change_members(body, {"model": "b"}) == (
        b'{"seed": 12345678901234567890123,"t": 1.50,"model" : "b","e": "\\u00e9\\/","x":{"model":"inner"}}'
    )


def test_a_doubled_name_is_changed_twice() -> None:
    assert change_members(b'{"model":"a","model":"b"}', {"model": "c"}) == b'{"model":"c","model":"c"}'


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"1", b"nul", b'{"a":1}{', b"\xff\xfe", b"{" * 100_000])
def test_what_is_no_object_is_refused_in_one_sentence(body: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        read_object(body)
