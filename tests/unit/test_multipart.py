"""A form as it passes: its field is found however it comes, and what could be read in two ways is refused."""

from __future__ import annotations

import gc
import itertools
import re
import time
from collections.abc import Iterable
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.kit.multipart import MAX_HEAD, FormScanner, LongValue, Value, boundary_of

MODEL = b'Content-Disposition: form-data; name="model"'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"b0") -> bytes:
    """Write a form of parts, each with a head and a content."""
    written = [b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, *part) for part in parts]
    return b"".join([*written, b"--%b--\r\n" % boundary])


def scanned(pieces: Iterable[bytes], boundary: bytes = b"b0") -> tuple[bytes, list[bytes], bytes]:
    """Return what passed, the values, and what passed with `NEW` in their place."""
    scanner = FormScanner(boundary, "model", 512)
    passed = [part for piece in pieces for part in scanner.feed(piece)]
    scanner.close()
    values = [part.raw for part in passed if isinstance(part, Value)]
    same = b"".join(part.raw if isinstance(part, Value) else part for part in passed)
    return same, values, b"".join(b"NEW" if isinstance(part, Value) else part for part in passed)


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """Return a body in pieces."""
    ends = [0, *sorted(places), len(body)]
    return [body[begin:end] for begin, end in itertools.pairwise(ends)]


def refusal(pieces: Iterable[bytes], boundary: bytes = b"b0") -> str:
    """Return why a form is refused."""
    with pytest.raises(ValueError) as refused:
        scanned(pieces, boundary)
    return type(refused.value).__name__ + str(refused.value)


def fields_elsewhere(body: bytes, boundary: bytes) -> list[bytes]:
    """Return the values of the field as the standard library's reader of mails finds them."""
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: multipart/form-data; boundary=%b\r\n\r\n" % boundary + body
    )
    parts = [part for part in message.walk() if not part.is_multipart()]
    named = [part for part in parts if part.get_param("name", header="content-disposition") == "model"]
    return [bytes(part.get_payload(decode=True) or b"") for part in named]


WHOLE = form(
    (FILE, b"RIFF\r\n--b\r\n-b0\r\n\r\n--b \r--c\n" + MODEL + b"\r\n\r\nfake\r\n--b1"),
    (MODEL, b"whisper"),
    (b'Content-Disposition: form-data; name="prompt"', b""),
    (b"content-type: text/plain; charset=utf-8\r\nCONTENT-DISPOSITION:Form-Data ;\tname=model", b"whisper"),
)


def test_a_form_is_read_alike_wherever_it_is_cut() -> None:
    whole = scanned([WHOLE])
    assert whole == (WHOLE, [b"whisper", b"whisper"], WHOLE.replace(b"whisper", b"NEW"))
    for place in range(len(WHOLE) + 1):
        assert scanned(cut(WHOLE, [place])) == whole
    for size in (1, 2, 3, 7):
        assert scanned(cut(WHOLE, range(0, len(WHOLE), size))) == whole


LETTERS = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"--",
        b"-",
        b"b0",
        b"b",
        b"--b0",
        b"\r\n--b",
        MODEL,
        b"\r\n\r\n",
        b"x",
        b"\0",
        b"\xff",
        b" ",
    ]
)
CONTENT = st.lists(LETTERS, max_size=8).map(b"".join)
HEAD = st.sampled_from([MODEL, FILE, b'Content-Disposition: form-data; name="prompt"'])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(HEAD, CONTENT), max_size=4), st.data())
def test_what_is_read_of_any_form_depends_on_no_cut(parts: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    body = form(*parts)
    pieces = cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    try:
        whole = scanned([body])
    except ValueError as error:
        assert refusal(pieces) == type(error).__name__ + str(error)
        assert any(re.search(rb"(^|[\r\n])--b0|.{513}", content) for _, content in parts), "a plain form is read"
        return
    assert scanned(pieces) == whole
    assert whole[:2] == (body, [content for head, content in parts if head == MODEL])


FRAGMENTS = st.sampled_from(
    [
        b"--b0", b"--b0--", b"\r\n", b"\r\n\r\n", b"\n", b"\r", MODEL, FILE, b"whisper",
        b"Content-Disposition: form-data",
        b'; name="model"', b"; name=model", b'; filename="x', b'"', b"\\", b";", b"; name*=utf-8''model", b" ", b"-",
        b"\r\n--b0\r\n", b"--b0\r\n" + MODEL + b"\r\n\r\n", b"Content-Transfer-Encoding: base64", b"\t", b"x:y",
        b'; name="file"',
    ]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(FRAGMENTS, max_size=24).map(b"".join), st.booleans())
def test_no_other_reader_finds_a_value_in_a_form_that_passed(body: bytes, whole: bool) -> None:
    if whole:
        body = b"--b0\r\n" + MODEL + b"\r\n\r\nwhisper" + body + b"\r\n--b0--\r\n"
    try:
        _, values, _ = scanned([body])
    except ValueError:
        return
    assert fields_elsewhere(body, b"b0") == values


def head(line: str) -> bytes:
    return form((line.encode(), b"whisper"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends in the middle"),
        (b"--b0", "ends in the middle"),
        (WHOLE[:-4], "ends in the middle"),
        (b'{"model": "m"}', "does not begin with its boundary"),
        (b"hello\r\n" + WHOLE, "does not begin with its boundary"),
        (WHOLE + b"--b0\r\n" + MODEL + b"\r\n\r\nlarge\r\n--b0--", "goes on after its end"),
        (form((FILE, b"x\r\n--b0 \r\n" + MODEL + b"\r\n\r\nlarge")), "goes on with something else"),
        (form((FILE, b"x\r\n--b01")), "goes on with something else"),
        (form((FILE, b"x\n--b0\r\n" + MODEL + b"\r\n\r\nlarge")), "does not follow CR and LF"),
        (form((FILE, b"x\r--b0\r\n" + MODEL + b"\r\n\r\nlarge")), "does not follow CR and LF"),
        (form((FILE, b"--b0\r\n" + MODEL + b"\r\n\r\nlarge")), "does not follow CR and LF"),
        (form((FILE, b"\n--b0\r\n" + MODEL + b"\r\n\r\nlarge")), "does not follow CR and LF"),
        (b"--b0\r\n\r\nwhisper\r\n--b0--", "without a head"),
        (head("Content-Type: text/plain"), "without Content-Disposition"),
        (head('Content-Disposition: attachment; name="model"'), "without Content-Disposition"),
        (head("Content-Disposition: form-data"), "no name"),
        (head('Content-Disposition: form-data; filename="model"'), "no name"),
        (head('Content-Disposition: form-data; name="a"; name="model"'), "more than one"),
        (
            head('Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"'),
            "two headers",
        ),
        (head('Content-Disposition: form-data; name="a"\r\n ; name="model"'), "no header"),
        (head('Content-Disposition: form-data; name="a"\n; name="model"'), "no header"),
        (head('Content-Disposition : form-data; name="model"'), "no header"),
        (head('Content-Disposition: form-data; filename="a; name=model"; name="file"'), "more than one"),
        (head('Content-Disposition: form-data; name="a; name=model'), "not written as one"),
        (head("Content-Disposition: form-data; name=model="), "not written as one"),
        (head("Content-Disposition: form-data; name=model,a"), "not written as one"),
        (head('Content-Disposition: form-data; name ="model"'), "not written as one"),
        (head("Content-Disposition: form-data; name=\"a\"; name*=utf-8''model"), "is encoded"),
        (head('Content-Disposition: form-data; name="a"; name*0=mo; name*1=del'), "is encoded"),
        (head('Content-Disposition: form-data; name="mo\\del"'), "a name that is not one"),
        (head('Content-Disposition: form-data; name="x\\"; name=\\"model"'), "a name that is not one"),
        (head('Content-Disposition: form-data; name="Model"'), "almost called model"),
        (head('Content-Disposition: form-data; name=" model"'), "almost called model"),
        (head('Content-Disposition: form-data; name="mod%65l"'), "almost called model"),
        (head('Content-Disposition: form-data; name="model"\r\nContent-Transfer-Encoding: base64'), "that is encoded"),
        (head('Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-7'), "charset"),
        (head('Content-Disposition: form-data; name="a"\r\nX-Long: ' + "x" * MAX_HEAD), "longer than 8192 bytes"),
        (b"--b0\r\n" + b"x" * 10 * MAX_HEAD, "longer than 8192 bytes"),
        (form((MODEL, b"x" * 513)), "LongValue"),
        (b"--b0\r\n" + MODEL + b"\r\n\r\n" + b"x" * 10_000, "LongValue"),
    ],
)
def test_what_is_no_form_or_could_be_read_in_two_ways_is_refused_however_it_comes(body: bytes, why: str) -> None:
    said = refusal([body])
    assert why in said
    for size in (1, 2, 5, 1000):
        assert refusal(cut(body, range(0, len(body), size))) == said


@pytest.mark.parametrize(
    "name",
    [
        "model.wav", "C:\\a.wav", "ä 音.wav", "a; name=model; b.wav", "; name=model", "name=model",
        '\\"; name=\\"model', "C:\\\\a.wav", "model", "%0D%0AContent-Disposition", "x" * 4000, "", ";", "a=b",
        "=?utf-8?q?model?=",
    ],
)  # fmt: skip
def test_a_file_may_be_called_anything_and_is_not_the_model(name: str) -> None:
    body = form((f'Content-Disposition: form-data; name="file"; filename="{name}"'.encode(), b"x"), (MODEL, b"whisper"))
    assert scanned([body])[:2] == (body, [b"whisper"])


def test_lines_before_the_first_boundary_and_after_the_last_are_part_of_no_field() -> None:
    body = b"\r\n" + form((MODEL, b"whisper")) + b"\r\n"
    for size in (1, 100):
        assert scanned(cut(body, range(0, len(body), size)))[:2] == (body, [b"whisper"])
    assert scanned([form()])[:2] == (form(), [])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=b0", b"b0"),
        ('Multipart/Form-Data ;\tBoundary="=_a b?/c:d"; charset=UTF-8', b"=_a b?/c:d"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
        ("multipart/form-data;boundary=x;", b"x"),
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
    ],
)
def test_the_boundary_is_what_the_content_type_says(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "", "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""',
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=a; boundary=b", "multipart/form-data; boundary*=utf-8''a; boundary=b",
        'multipart/form-data; x="boundary=a"; boundary=b', "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="x "',
        'multipart/form-data; boundary="a\\"b"', 'multipart/form-data; boundary="a', "multipart/form-data boundary=a",
        "multipart/form-data; boundary=ä", "multipart/form-data; boundary=a; charset=utf-7",
        "multipart/form-data; boundary=\udcff",
        "multipart/form-data; boundary=a,b", "multipart/form-data; boundary=a=b", "multipart/form-data; boundary=a b",
        "multipart/form-data" + ";" * 5000, "multipart/form-datax; boundary=a",
    ],
)  # fmt: skip
def test_a_boundary_that_is_missing_or_not_clear_is_refused(content_type: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is not) "):
        boundary_of(content_type)


@pytest.mark.parametrize(
    ("begin", "again", "size"),
    [
        (b"--b0\r\n" + FILE + b"\r\n\r\n", b"\r\nContent-Disposition:;name=model", 3),
        (b"--b0\r\n" + FILE + b"\r\n\r\n", b";name=model", 1),
        (b"--b0\r\n" + FILE + b"\r\n\r\n", b"\r\n--b", 3),
        (b"--b0\r\n" + FILE + b"\r\n\r\nx", b"--b0", 3),
        (b"", b"--b0\r\n" + MODEL + b"\r\n\r\nm\r\n", 100),
        (b"", b'--b0\r\nContent-Disposition: form-data; name="a"' + b"; a=b" * 1500 + b"\r\n\r\n\r\n", 5000),
    ],
)
def test_a_form_costs_what_its_length_does_however_slowly_it_comes(begin: bytes, again: bytes, size: int) -> None:
    def cost(length: int) -> float:
        body = begin + again * (length // len(again))
        pieces = cut(body, range(0, len(body), size))
        scanner = FormScanner(b"b0", "model", 512)
        gc.disable()
        began = time.process_time()
        for piece in pieces:
            scanner.feed(piece)
        took = time.process_time() - began
        gc.enable()
        return took

    unit = 30_000 * min(size, 10)
    small, large = (min(cost(length) for _ in range(3)) for length in (unit, 4 * unit))
    assert large < 10 * small, "four times the length; sixteen times the cost were each piece to look at all before it"


def test_a_value_that_is_too_long_is_told_from_a_form_that_is_none() -> None:
    with pytest.raises(LongValue):
        scanned([form((MODEL, b"x" * 513))])
    assert scanned([form((MODEL, b"x" * 512))])[1] == [b"x" * 512]
