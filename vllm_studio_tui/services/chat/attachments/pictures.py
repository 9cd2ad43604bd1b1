"""Pictures as they are sent: PNG or JPEG in a data URL, within a size, without what a camera wrote about its place."""

from __future__ import annotations

import base64
import io
import math
import warnings
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.chat import Attached, Attachment
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from PIL.Image import Image

#: Points that a picture may have, those of its longer side that are sent, and bytes of what is sent.
MOST_POINTS, LONGEST, MOST_BYTES = 64_000_000, 2048, 4 * 1024 * 1024
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
#: Kinds of points that every engine reads in a PNG or JPEG.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
#: What a camera or a program wrote beside the points, such as where it was taken.
_BESIDE = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "photoshop", "comment")
#: Kinds that are known by their beginning, and that no engine takes.
_OTHERS = {
    b"ftypheic": "HEIC", b"ftypheix": "HEIC", b"ftypmif1": "HEIF", b"ftypavif": "AVIF", b"ftypavis": "AVIF",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"8BPS": "Photoshop", b"\0\0\1\0": "icon", b"\xff\x0a": "JPEG XL",
}  # fmt: skip
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


def is_picture(raw: bytes) -> bool:
    """Return whether bytes begin as a picture does, whatever the file is called."""
    bitmap = (
        raw[:2] == b"BM" and len(raw) > 26 and int.from_bytes(raw[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    )
    return raw.startswith(_MAGIC) or (raw[:4] == b"RIFF" and raw[8:12] == b"WEBP") or bitmap


def other_kind(raw: bytes) -> str:
    """Return what kind of picture bytes begin as that cannot be sent; empty where they are none."""
    heads = (raw[:8], raw[4:12])
    return next((kind for begin, kind in _OTHERS.items() if any(one.startswith(begin) for one in heads)), "")


def opened(raw: bytes) -> Image:
    """Return a picture of which the head alone was read: it has its size, and no more points than may be.

    Raises:
        ValueError: It is none, or too large.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(raw), formats=FORMATS)
        except Image.DecompressionBombError:
            raise ValueError(f"it has more than {MOST_POINTS // 1_000_000} million points") from None
        except Exception as error:  # noqa: BLE001, RUF100 - whatever a file does, its reader says so
            raise ValueError(_words(error)) from None
    if image.width * image.height > MOST_POINTS:
        raise ValueError(f"it has {image.width}x{image.height} points, more than {MOST_POINTS // 1_000_000} million")
    if not image.width or not image.height:
        raise ValueError("it has no points")
    return image


def made(raw: bytes, name: str, path: str | None) -> Attached:
    """Return a picture as it is sent: as it is where any engine takes it so, else smaller, or as another kind.

    Raises:
        UsageError: It cannot be read, or has too many points.
    """
    try:
        image = opened(raw)
        size = image.size
        kind = "JPEG" if image.format == "MPO" else str(image.format)  # of some cameras: a JPEG with further ones
        moves = bool(getattr(image, "is_animated", False)) and image.format != "MPO"
        small = max(size) <= LONGEST and len(raw) <= MOST_BYTES
        if small:
            image.load()  # all of it: an engine would refuse one that is cut off
        if small and not moves and image.format in ("PNG", "JPEG") and _plain(image):
            data, told, sent = raw, kind, size
        else:
            data, told, sent = _encoded(image)
    except Exception as error:  # noqa: BLE001, RUF100 - whatever a file does, its reader says so
        raise UsageError(
            f"{clean_line(name, limit=200)} is no picture that can be sent",
            cause=_words(error),
            advice="Look at it in another program, or save it anew as PNG.",
        ) from None
    note = f"{sent[0]}x{sent[1]}"
    if sent != size and sent != size[::-1]:
        note += f", scaled down from {size[0]}x{size[1]}"
    if moves:
        note += ", the first of several"
    url = f"data:image/{told.lower()};base64,{base64.b64encode(data).decode()}"
    return Attached(
        Attachment(name, f"image/{kind.lower()}", len(raw), None, about_tokens(*sent), path, note=note), url
    )


def from_url(url: str) -> bytes | None:
    """Return the bytes of a picture in a data URL; None where it is none."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64") or len(data) > 64 * 1024 * 1024:
        return None
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        return None


def about_tokens(width: int, height: int) -> int:
    """Return roughly how many tokens a picture has: one for each 28 points square, as Qwen's models cut it up."""
    return math.ceil(width / 28) * math.ceil(height / 28)


def _plain(image: Image) -> bool:
    """Return whether a picture that was loaded holds nothing but its points, in a form that every engine reads."""
    return image.mode in _MODES and not any(image.info.get(name) for name in _BESIDE) and not image.getexif()


def _encoded(image: Image) -> tuple[bytes, str, tuple[int, int]]:
    """Return the picture's bytes, kind and size, small enough to be sent."""
    from PIL import Image, ImageOps

    image.draft("RGB", (LONGEST, LONGEST)) if image.format == "JPEG" else None
    if max(image.size) > LONGEST and image.mode in ("L", "RGB", "RGBA"):
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)  # before any copy is made of it
    image = ImageOps.exif_transpose(image)
    clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    image = image.convert("RGBA" if clear else "RGB")
    image.info = {}
    photo = image.width * image.height > 512 * 512 and not clear
    longest = LONGEST
    while True:
        if max(image.size) > longest:
            image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        for kind in ("JPEG",) if photo else ("PNG", "JPEG"):
            out = io.BytesIO()
            if kind == "JPEG" and clear:
                ground = Image.new("RGB", image.size, "white")
                ground.paste(image, mask=image.getchannel("A"))
                ground.save(out, kind, quality=88)
            else:
                image.save(out, kind, **({"quality": 88} if kind == "JPEG" else {}))
            if out.tell() <= MOST_BYTES or longest < 256:
                return out.getvalue(), kind, image.size
        longest //= 2


def _words(error: BaseException) -> str:
    return clean_line(str(error), limit=200) or type(error).__name__
