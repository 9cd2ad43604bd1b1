"""Pictures for tests."""

from __future__ import annotations

import io
from typing import Any


def picture(
    kind: str = "png", size: tuple[int, int] = (8, 6), mode: str = "RGB", colour: Any = 40, **options: Any
) -> bytes:
    """Return the bytes of a picture of one colour."""
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind.upper(), **options)
    return out.getvalue()
