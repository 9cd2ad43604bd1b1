"""Files that go with a question: what is read, what is refused, what an engine is asked."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pictures import picture
from tests.unit.scripted_engine import DONE, TARGET, Engine
from vllm_studio_tui.domain.chat import Attachment, Delta, Message, Target
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.services.chat.attachments import pdf, pictures, reading, seeing
from vllm_studio_tui.services.chat.attachments.seeing import Sight
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.store.database import Database


def a_pdf(*pages: str) -> bytes:
    """Return a PDF with a line of text on each page."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b""]
    kids = []
    for text in pages:
        stream = b"BT /F1 12 Tf 72 700 Td (" + text.encode() + b") Tj ET"
        number = len(objects) + 1
        kids.append(b"%d 0 R" % number)
        font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F1 %s>>>>>>"
            % (number + 1, font)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(pages), b" ".join(kids))
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, one)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    return bytes(out)


# --- which files a text names ---------------------------------------------------------------------------


def test_words_with_an_at_sign_name_files_and_others_stay_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1")
    (tmp_path / "notes two.md").write_text("hi")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("b")
    text = 'see @a.py, (@"notes two.md") and @sub/*.txt; mail me@a.py @nobody @missing.py @sub @a.py'
    found = reading.resolve(text, tmp_path)
    assert [one.file.name for one in found.attached] == ["a.py", "notes two.md", "b.txt"]
    assert found.notes == (
        "@missing.py names no file: it is sent as text.",
        "@sub is a folder: name files in it, such as sub/*.md. It is sent as text.",
    )
    assert reading.resolve("```\n@a.py\n```", tmp_path).attached == ()
    again = reading.resolve("@a.py", tmp_path, already=found.attached)
    assert again.attached == found.attached


@given(st.text())
def test_no_text_makes_the_reader_of_names_raise(text: str) -> None:
    reading.resolve(text, "/nonexistent")


def test_a_pattern_and_a_path_name_files_once(tmp_path: Path) -> None:
    for name in ("b.py", "a.py"):
        (tmp_path / name).write_text(name)
    found = reading.attach(["a.py", "*.py"], tmp_path)
    assert [one.file.name for one in found] == ["a.py", "b.py"]
    with pytest.raises(UsageError, match="names no file"):
        reading.attach(["*.rs"], tmp_path)
    with pytest.raises(UsageError, match="is a folder"):
        reading.attach(["."], tmp_path)


# --- what is in them ------------------------------------------------------------------------------------


def test_text_is_read_in_its_encoding_and_cut_where_it_is_long(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("größe".encode("utf-16"))
    assert reading.read(str(tmp_path / "a.txt")).file.text == "größe"
    (tmp_path / "long.log").write_text("x" * (reading.MOST_TEXT + 5))
    found = reading.read(str(tmp_path / "long.log")).file
    assert (len(found.text or ""), found.cut, found.tokens) == (reading.MOST_TEXT, True, reading.MOST_TEXT // 4)


def test_what_is_no_text_is_refused_and_nothing_waits(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither text, PDF nor a picture"):
        reading.read(str(tmp_path / "a.bin"))
    with pytest.raises(UsageError, match="no plain file"):
        reading.read(str(tmp_path / "pipe"))
    with pytest.raises(UsageError, match="no plain file"):
        reading.read("/dev/zero")
    with pytest.raises(UsageError, match="cannot be read"):
        reading.read(str(tmp_path / "none"))


def test_too_much_for_one_question_is_refused(tmp_path: Path) -> None:
    one = reading.pasted("x" * reading.MOST_TEXT)
    with pytest.raises(UsageError, match="letters together"):
        reading.checked([one] * 5)
    with pytest.raises(UsageError, match="more than 50 files"):
        reading.checked([reading.pasted("x")] * 51)


# --- PDF ------------------------------------------------------------------------------------------------


def test_the_text_of_a_pdf_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(a_pdf("First page", "Second one"))
    found = reading.read(str(tmp_path / "a.pdf")).file
    assert found.text == "First page\n\nSecond one"
    assert (found.media_type, found.note, found.cut) == ("application/pdf", "2 pages", False)


def test_hostile_pdfs_are_refused_in_bounded_time(tmp_path: Path) -> None:
    bomb = zlib.compress(b"0" * 300_000_000, 9)
    stream = b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(bomb), bomb)
    whole = a_pdf("x")
    start = whole.index(b"4 0 obj")
    evil = {
        "empty.pdf": b"%PDF-1.7\n",
        "noise.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 100,
        "bomb.pdf": whole[:start] + b"4 0 obj" + stream + b" endobj\n" + whole[whole.index(b"xref") :],
        "circle.pdf": whole.replace(b"/Kids[3 0 R]", b"/Kids[2 0 R]"),
    }
    for name, raw in evil.items():
        (tmp_path / name).write_bytes(raw)
        began = time.monotonic()
        try:
            found = reading.read(str(tmp_path / name)).file
        except UsageError as error:
            assert error.advice
        else:
            assert len(found.text or "") <= reading.MOST_TEXT
        assert time.monotonic() - began < pdf.SECONDS + 5, name


def test_a_pdf_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(a_pdf("x"))
    with pytest.raises(UsageError) as caught:
        pdf.text_of(str(tmp_path / "a.pdf"), "a.pdf", seconds=0.01)
    assert "took more than" in caught.value.cause


# --- pictures -------------------------------------------------------------------------------------------


def size_of(url: str | None) -> tuple[int, int]:
    raw = pictures.from_url(url or "")
    assert raw is not None
    return pictures.opened(raw).size


def test_a_large_picture_is_scaled_down_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("png", (5000, 2500)))
    found = reading.read(str(tmp_path / "a.png"))
    assert size_of(found.image) == (2048, 1024)
    assert found.file.note == "2048x1024, scaled down from 5000x2500"
    assert found.file.text is None


def test_what_a_camera_wrote_of_its_place_is_not_sent(tmp_path: Path) -> None:
    from PIL import Image

    marks = Image.Exif()
    marks[0x010E] = "my home"
    marks[0x0112] = 6  # lies on its side
    (tmp_path / "a.jpg").write_bytes(picture("jpeg", (40, 20), exif=marks))
    found = reading.read(str(tmp_path / "a.jpg"))
    assert b"my home" not in base64.b64decode((found.image or "").partition(",")[2])
    assert size_of(found.image) == (20, 40)
    assert found.file.note == "20x40"


def test_a_picture_of_too_many_points_is_not_unpacked(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    (tmp_path / "bomb.png").write_bytes(raw + chunk(b"IEND", b""))
    with pytest.raises(UsageError, match="no picture that can be sent") as caught:
        reading.read(str(tmp_path / "bomb.png"))
    assert "million" in caught.value.cause


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_of_a_picture_that_moves_the_first_is_sent_and_it_is_said(tmp_path: Path, kind: str) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "a", kind.upper(), save_all=True, append_images=frames[1:])
    found = reading.read(str(tmp_path / "a"))
    assert found.file.note == "30x20, the first of several"
    raw = pictures.from_url(found.image or "") or b""
    assert not getattr(pictures.opened(raw), "is_animated", False)
    assert pictures.opened(raw).convert("RGB").getpixel((3, 3))[0] > 200  # type: ignore[index]


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((200, 150), 60).convert("RGB").save(out, kind.upper())
    for share in (0.2, 0.6, 0.95):
        (tmp_path / "a.png").write_bytes(out.getvalue()[: int(len(out.getvalue()) * share)])
        with pytest.raises(UsageError, match="no picture that can be sent") as caught:
            reading.read(str(tmp_path / "a.png"))
        assert caught.value.cause and caught.value.advice


def test_what_a_file_is_called_says_nothing_of_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(picture("jpeg", (40, 20)))
    found = reading.read(str(tmp_path / "a.txt"))
    assert found.file.media_type == "image/jpeg"
    assert (found.image or "").startswith("data:image/jpeg;base64,")
    (tmp_path / "b.png").write_text("only words")
    assert reading.read(str(tmp_path / "b.png")).file.text == "only words"
    for name, raw in (("c.png", b"\0\0\0\x18ftypheic\0\0"), ("d.jpg", b"II*\0\x08\0\0\0")):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UsageError, match="no picture that can be sent") as caught:
            reading.read(str(tmp_path / name))
        assert "kind HEIC" in caught.value.cause or "kind TIFF" in caught.value.cause


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "1", "P", "LA", "RGBA", "F"])
def test_points_of_any_kind_are_sent_as_engines_read_them(mode: str) -> None:
    kind = {"CMYK": "jpeg", "F": "tiff"}.get(mode, "png")
    raw = picture(kind, (20, 10), mode, 0)
    if mode == "F":
        assert pictures.other_kind(raw) == "TIFF"
        return
    sent = pictures.opened(pictures.from_url(pictures.made(raw, "x", None).image or "") or b"")
    assert (sent.mode in ("1", "L", "LA", "P", "RGB", "RGBA"), sent.size) == (True, (20, 10))


def test_a_place_in_a_png_is_not_sent_either_and_it_stands_upright() -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    marks, words = Image.Exif(), PngInfo()
    marks[0x010E], marks[0x0112] = "my home", 6
    words.add_itxt("XML:com.adobe.xmp", "<x>my street</x>")
    for options in ({"exif": marks}, {"pnginfo": words}):
        found = pictures.made(picture("png", (40, 20), **options), "a.png", None)
        raw = pictures.from_url(found.image or "") or b""
        assert b"my home" not in raw and b"my street" not in raw
        assert pictures.opened(raw).size == ((20, 40) if "exif" in options else (40, 20))


WHOLE = [picture(kind, (24, 16), colour=90) for kind in ("png", "jpeg", "gif", "webp", "bmp")]
HEADS = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"", *WHOLE]


@given(st.data())
def test_broken_pictures_are_refused_in_words_and_others_can_be_read_whole(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(HEADS)))
    for _ in range(data.draw(st.integers(0, 4))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] + data.draw(st.binary(max_size=300))
    if not pictures.is_picture(bytes(raw)):
        return
    try:
        found = pictures.made(bytes(raw), "x", None)
    except UsageError as error:
        assert error.cause and error.advice
        return
    sent = pictures.opened(pictures.from_url(found.image or "") or b"")
    sent.load()
    assert max(sent.size) <= pictures.LONGEST


# --- what is sent of them -------------------------------------------------------------------------------


def test_a_fence_in_a_file_does_not_end_it() -> None:
    files = (Attachment('a"b.md', text="```\ncode\n```", cut=True),)
    (made,) = request_messages([Message("", "", "user", "why?", files=files)])
    assert made["content"] == 'File "a\\"b.md", not all of it:\n````\n```\ncode\n```\n````\n\nwhy?'


# --- whether a model sees -------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    found: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        known = self.path in self.found
        body = json.dumps(self.found.get(self.path, {})).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.found = {}
    seeing._known.clear()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}/v1"
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("backend", "path", "answer", "sees"),
    [
        ("llamacpp", "/props", {"modalities": {"vision": True, "audio": False}}, True),
        ("llamacpp", "/props", {"modalities": {"vision": False}}, False),
        ("external", "/props", {"modalities": {"vision": False}}, False),
        ("sglang", "/get_model_info", {"has_image_understanding": True}, True),
        ("tabbyapi", "/v1/model", {"parameters": {"use_vision": False}}, False),
        ("llamacpp", "/props", ["what"], None),
        ("llamacpp", "/none", {}, None),
    ],
)
def test_an_engine_is_asked(server: str, backend: str, path: str, answer: Any, sees: bool | None) -> None:
    Answers.found = {path: answer}
    assert seeing.sight(Target(server, "m", backend=backend)).sees is sees


@pytest.mark.parametrize(
    ("config", "sees"),
    [
        ({"architectures": ["Qwen3VLForConditionalGeneration"], "vision_config": {}}, True),
        ({"image_token_index": 1}, True),
        ({"architectures": ["LlamaForCausalLM"], "hidden_size": 1}, False),
    ],
)
def test_where_it_does_not_say_so_its_models_configuration_is_read(
    server: str, tmp_path: Path, config: dict[str, Any], sees: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    Answers.found = {"/v1/models": {"data": [{"id": "m", "root": str(tmp_path)}]}}
    assert seeing.sight(Target(server, "m", backend="vllm")).sees is sees


def test_a_run_whose_server_names_no_model_is_known_by_the_name_it_is_asked_by(server: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    Answers.found = {}
    ours = Target(server, str(tmp_path), backend="transformers", run_id="tf-1")
    assert seeing.sight(ours) == Sight(False, "Its model's config.json has no part that sees.")
    elsewhere = Target(server, str(tmp_path), backend="transformers")
    assert seeing.sight(elsewhere).sees is None  # a folder of that name is another's


def test_who_says_nothing_is_asked_again_a_little_later(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Target] = []
    said = [Sight(None), Sight(True)]

    def answer(target: Target) -> Sight:
        asked.append(target)
        return said[min(len(asked), len(said)) - 1]

    monkeypatch.setattr(seeing, "_asked", answer)
    monkeypatch.setattr(seeing, "_known", {})
    target = Target("http://127.0.0.1:1/v1", "silent")
    assert [seeing.sight(target).sees for _ in range(3)] == [None] * 3
    assert len(asked) == 1
    (key,) = seeing._known
    seeing._known[key] = (seeing._known[key][0] - seeing.SILENT, Sight(None))
    assert [seeing.sight(target).sees for _ in range(3)] == [True] * 3
    assert len(asked) == 2


def test_a_recipe_that_says_it_is_believed() -> None:
    assert seeing.sight(Target("http://127.0.0.1:1/v1", "m", vision=True)).sees is True


async def test_a_picture_for_a_blind_model_is_refused_and_earlier_ones_are_left_out(tmp_path: Path) -> None:
    sees = True

    def sight_of(target: Target) -> Sight:
        return Sight(sees, "It says so.")

    engine = Engine(Delta("ok"), DONE)
    with contextlib.closing(Database.open(tmp_path / "db")) as db:
        service = ChatService(db, stream=engine, folders=[], sight_of=sight_of)
        chat = service.new_session()
        url = "data:image/png;base64," + base64.b64encode(picture()).decode()
        about = Attachment("a.png", "image/png", 9)
        async for _ in service.send(chat, "look", TARGET, images=[url], files=[about]):
            pass
        assert [part["type"] for part in engine.asked[0].messages[0]["content"]] == ["text", "image_url"]
        sees = False
        with pytest.raises(UsageError, match="reads no pictures"):
            async for _ in service.send(chat, "again", TARGET, images=[url]):
                pass
        assert len(service.tree(chat)) == 2
        async for _ in service.send(chat, "and now?", TARGET):
            pass
        assert engine.asked[1].messages[0] == {"role": "user", "content": "look"}
        tree = service.tree(chat)
        assert tree[-1].details["not_sent"] == {"pictures": "this model reads no pictures. It says so."}
        assert (tree[0].images, tree[0].files) == ((url,), (about,))
        question = tree[0].id
        sees = True
        async for _ in service.edit(chat, question, "look again", TARGET):
            pass
        assert service.tree(chat)[-2].images == (url,)
