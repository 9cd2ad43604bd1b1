"""Forms through the server: whose model they ask for, what reaches the engine, and why one broke off."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import zlib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.unit.http_ground import Ground, answer, serving, until
from tests.unit.test_multipart import FILE, MODEL, fields_elsewhere, form
from vllm_studio_tui.domain.serving import Endpoint
from vllm_studio_tui.http import request_body

PATH = "/v1/audio/transcriptions"
TYPE = "multipart/form-data; boundary=b0"


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path, monkeypatch, settings="max_body: 2097152\n") as made:
        made.dispatcher.endpoint = Endpoint(made.engine.url, "org/whisper", recipe_id="rec")
        yield made


async def send(
    ground: Ground, body: Any, content_type: str = TYPE, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Send a form, in pieces where it is an iterator; return the status, and the error or what was answered."""
    told = {**(headers or {}), "Content-Type": content_type}
    async with ground.client.post(ground.url + PATH, data=body, headers=told) as got:
        document = await got.json()
        return got.status, document.get("error", document)


async def pieces(*parts: bytes, wait: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """Yield parts; wait before the last one."""
    for number, part in enumerate(parts, 1):
        if wait is not None and number == len(parts):
            await wait.wait()
        yield part


async def test_every_field_with_the_model_gets_the_name_that_the_engine_has_and_nothing_else_changes(
    ground: Ground,
) -> None:
    fake = b"x\r\n" + MODEL + b"\r\n\r\nfake\r\n" + b"\0" * 100_000
    for order in (0, 1, 2):
        parts = [(MODEL, b"small"), (MODEL, b"small")]
        parts.insert(order, (FILE, fake))
        assert (await send(ground, form(*parts)))[0] == 200
        assert ground.dispatcher.arrivals[-1].model == "small"
        assert ground.engine.asked[-1].body == form(*parts).replace(b"\r\nsmall\r\n", b"\r\norg/whisper\r\n")
        assert ground.engine.asked[-1].headers["content-type"] == TYPE
    ground.dispatcher.endpoint = Endpoint(ground.engine.url, None, recipe_id="rec")
    assert (await send(ground, form(*parts)))[0] == 200
    assert ground.engine.asked[-1].body == form(*parts)


@pytest.mark.parametrize("second", [b"large", b"", b"SMALL"])
async def test_a_second_model_is_refused_before_the_engine_is_asked_or_breaks_the_upload_off(
    ground: Ground, second: bytes
) -> None:
    for body in (form((MODEL, b"small"), (MODEL, second)), form((FILE, b"x"), (MODEL, b"small"), (MODEL, second))):
        status, error = await send(ground, body)
        assert (status, error["code"], error["param"]) == (400, "invalid_model", "model")
        assert "says small" in error["message"]
        assert "Send one field `model`" in error["message"]
    body = form((MODEL, b"small"), (FILE, b"\0" * 900_000), (MODEL, second))
    begin = body[: body.rindex(b"--b0\r\n")]
    arrived = asyncio.Event()
    sending = asyncio.ensure_future(send(ground, pieces(begin, body[len(begin) :], wait=arrived)))
    await until(lambda: ground.engine.arriving.count(b"\0") > 899_900, "the engine has the file")
    arrived.set()
    status, error = await sending
    assert (status, error["code"]) == (400, "invalid_model")
    assert "names two models" in error["message"]
    await until(lambda: len(ground.rows) == 3, "all are on record")
    told = [(row.status, (row.error or "").partition(".")[0]) for row in ground.rows]
    assert told == [(400, "the form names two models")] * 3
    assert ground.engine.asked == [], "none came to its end"
    head = b"--b0\r\n%b\r\n\r\n" % MODEL
    sent, whole = bytes(ground.engine.arriving), begin.replace(b"small", b"org/whisper") + head
    assert whole.startswith(sent)


async def test_a_form_that_is_none_is_refused_in_words(ground: Ground) -> None:
    good = form((MODEL, b"small"), (FILE, b"x"))
    for body, content_type, words in (
        (good, "multipart/form-data", "the form has no boundary in its Content-Type."),
        (good, "multipart/form-data; boundary=other", "the form does not begin with its boundary."),
        (good, f"{TYPE}; charset=utf-7", "the form has a charset other than UTF-8."),
        (b"", TYPE, "the form ends in the middle."),
        (form((FILE, b"x"))[:-6], TYPE, "the form ends in the middle."),
        (good[:-6], TYPE, "the form ends in the middle."),
        (b'{"model": "small"}', TYPE, "the form does not begin with its boundary."),
        (form((b"x" * 10_000, b"")), TYPE, "the form has a part whose head is longer than 8192 bytes."),
        (b"model=small&file=x", "application/x-www-form-urlencoded", "the form is not multipart/form-data."),
    ):
        status, error = await send(ground, body, content_type)
        assert (status, error["code"]) == (400, "invalid_body")
        assert error["message"] == f"{words} Let the client write the form, as the SDKs and curl -F do; see RFC 7578."
    for name in (b"x" * 600, b"\xff\xfe", b"sm\nall", b"sm\0all"):
        status, error = await send(ground, form((FILE, b"x"), (MODEL, name)))
        assert (status, error["code"]) == (400, "invalid_model")
    assert ground.engine.asked == []


async def test_an_upload_that_is_too_large_or_stops_is_not_told_as_the_end_of_the_engine(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = form((MODEL, b"small"), (FILE, b"x"))[:-10]
    status, error = await send(ground, pieces(begin, *[b"\0" * 2**19] * 5))
    assert (status, error["code"]) == (413, "request_too_large")
    assert ground.rows[-1].error == "the body is larger than 2 MiB"

    waiting = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(request_body, "STALL", 0.2)
        status, error = await send(ground, pieces(begin, b"x", wait=waiting))
    waiting.set()
    assert (status, error["code"]) == (408, "request_timeout")
    assert ground.rows[-1].error == "no byte of the body came for 0.2 s"

    ground.engine.arriving.clear()
    packer, sent = zlib.compressobj(wbits=31), asyncio.Event()
    packed = packer.compress(begin) + packer.flush(zlib.Z_SYNC_FLUSH)
    broken = pieces(packed, b"\xff" * 100, wait=sent)
    sending = asyncio.ensure_future(send(ground, broken, headers={"Content-Encoding": "gzip"}))
    await until(lambda: b"org/whisper" in ground.engine.arriving, "it is under way")
    sent.set()
    status, error = await sending
    assert (status, error["code"]) == (400, "invalid_body")
    assert ground.rows[-1].error == "the body is not encoded as its headers say"
    assert [row.status for row in ground.rows] == [413, 408, 400]
    assert ground.engine.asked == []


@pytest.mark.parametrize("length", ["Content-Length: 90", "Transfer-Encoding: chunked"])
async def test_an_upload_that_breaks_off_is_called_that_also_where_the_engine_answers_already(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"org/whisper")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode())
        answering.set()
        await reader.read()
        writer.close()

    answering, waiting = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(early, "127.0.0.1", 0) as engine:
        port = engine.sockets[0].getsockname()[1]
        ground.dispatcher.endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "org/whisper", recipe_id="rec")
        monkeypatch.setattr(request_body, "STALL", 0.2)
        begin = form((MODEL, b"small"), (FILE, b"x"))[:-10]
        with contextlib.suppress(aiohttp.ClientError, ValueError, TypeError):  # a part that has begun is cut off
            await send(ground, pieces(begin, b"x", wait=waiting))
        waiting.set()
        await until(lambda: bool(ground.rows), "it is on record")
    assert answering.is_set()
    assert ground.rows[-1].error == "no byte of the body came for 0.2 s"


async def test_a_client_that_leaves_in_the_middle_of_its_upload_is_called_that(ground: Ground) -> None:
    host, _, port = ground.url.removeprefix("http://").partition(":")
    begin = form((MODEL, b"small"), (FILE, b"x" * 1000))[:-10]
    for number in (1, 2):
        ground.engine.arriving = bytearray()
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {TYPE}\r\nContent-Length: 90000\r\n\r\n"
        writer.write(head.encode() + begin)
        await until(lambda: b"org/whisper" in ground.engine.arriving, "it is under way")
        if number == 1:
            writer.close()
        else:
            writer.transport.abort()
        await until(partial(lambda count: len(ground.rows) == count, number), "it is on record")
        assert (ground.rows[-1].finish, ground.rows[-1].error) == ("cancelled", "the client left")


async def test_an_engine_that_ends_during_an_upload_is_still_told_so(ground: Ground) -> None:
    async def gone(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(gone, "127.0.0.1", 0) as broken:
        port = broken.sockets[0].getsockname()[1]
        ground.dispatcher.endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "m", recipe_id="rec")
        status, error = await send(ground, form((MODEL, b"small"), (FILE, b"x" * 100_000)))
    assert (status, error["code"]) == (502, "engine_ended")


async def test_the_sdk_of_openai_sends_a_recording_under_the_name_that_the_engine_has(ground: Ground) -> None:
    ground.engine.script = answer({"text": "hello"})
    sound = bytes(range(256)) * 2000
    async with openai.AsyncOpenAI(base_url=f"{ground.url}/v1", api_key="none", max_retries=0) as client:
        said = await client.audio.transcriptions.create(
            model="small", file=('a; name=model "x\\.wav', sound), language="de", timestamp_granularities=["word"]
        )
    assert said.text == "hello"
    asked = ground.engine.asked[-1]
    boundary = asked.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    assert fields_elsewhere(asked.body, boundary) == [b"org/whisper"]
    assert sound in asked.body
    assert ground.rows[-1].requested_model == "small"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_sends_a_recording_before_the_model_as_people_write_it(ground: Ground, tmp_path: Path) -> None:
    sound = tmp_path / 'a "b"; name=model.wav'
    sound.write_bytes(bytes(range(256)) * 2000)
    ground.engine.script = answer({"text": "hello"})
    name = str(sound).replace('"', '\\"')
    file, model = ("-F", f'file=@"{name}"'), ("-F", "model=small")
    for options in ((*file, *model), (*model, *file), ("--form-escape", *file, *model)):
        curl = await asyncio.create_subprocess_exec("curl", "-sS", *options, ground.url + PATH, stdout=PIPE)
        assert (await curl.communicate())[0] == b'{"text": "hello"}'
        asked = ground.engine.asked[-1]
        boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
        assert fields_elsewhere(asked.body, boundary) == [b"org/whisper"]
        assert sound.read_bytes() in asked.body


async def test_the_form_of_aiohttp_passes_with_the_types_of_its_parts(ground: Ground) -> None:
    data = aiohttp.FormData()
    data.add_field("model", "small", content_type="text/plain; charset=utf-8")
    data.add_field("file", b"\0" * 1000, filename="ä.wav", content_type="audio/wav")
    async with ground.client.post(ground.url + PATH, data=data) as got:
        assert got.status == 200
    assert b"org/whisper" in ground.engine.asked[-1].body
