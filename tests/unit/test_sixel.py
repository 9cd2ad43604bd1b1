"""Sixels: what is written is the picture, read as a terminal reads it."""

from __future__ import annotations

import re

import pytest
from PIL import Image, ImageChops, ImageDraw

from vllm_studio_tui.tui.terminal.sixel import encoded


def drawn(text: str) -> Image.Image:
    """Read sixels as the standard says."""
    head = re.match(r'\x1bP0;1q"1;1;(\d+);(\d+)', text)
    assert head is not None and text.endswith("\x1b\\")
    image = Image.new("RGB", (int(head[1]), int(head[2])), "white")
    colours: dict[int, tuple[int, ...]] = {}
    x = top = colour = 0
    for number, rgb, count, letter, control in re.findall(
        r"#(\d+)(?:;2;(\d+;\d+;\d+))?|!(\d+)([?-~])|([?-~$-])", text[head.end() : -2]
    ):
        if number:
            colour = int(number)
            if rgb:
                colours[colour] = tuple(round(int(one) * 255 / 100) for one in rgb.split(";"))
        elif control == "$":
            x = 0
        elif control == "-":
            x, top = 0, top + 6
        else:
            many, bits = int(count or 1), ord(letter or control) - 63
            for place in range(x, x + many):
                for at in range(6):
                    if bits >> at & 1:
                        image.putpixel((place, top + at), colours[colour])
            x += many
    return image


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (7, 6), (300, 13)])
def test_what_is_written_is_the_picture(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (200, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2, size[1] // 2), fill=(0, 120, 255))
    found = drawn(encoded(image))
    assert found.size == size
    worst = max(high for _, high in ImageChops.difference(found, image).getextrema())  # type: ignore[misc]
    assert worst <= 4  # colours are told in hundredths


def test_a_picture_of_many_colours_is_about_the_same() -> None:
    image = Image.merge("RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.new("L", (256, 256), 90)])
    small = (16, 16)
    near = ImageChops.difference(drawn(encoded(image)).resize(small), image.resize(small))
    assert max(high for _, high in near.getextrema()) < 24  # type: ignore[misc]


def test_it_is_nothing_but_letters_between_its_ends() -> None:
    text = encoded(Image.radial_gradient("L").convert("RGBA"))
    assert re.fullmatch(r"[!-~]+", text[2:-2]) is not None
