"""Broken files of other tools: whatever stands in them, they are read in milliseconds, or refused in words.

`VLLM_STUDIO_TEST_FUZZ=20000` tries as many for each format; the usual run tries a few.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.unit.test_imports_of_tools import CASES, FILES, imported
from vllm_studio_tui.domain.errors import StudioError

TRIES = int(os.environ.get("VLLM_STUDIO_TEST_FUZZ", "300"))
#: What a reader may take for a mutated file of a few kilobytes, on a machine that has nothing else to do.
SECONDS = 0.05
PIECES = tuple(
    one.encode("utf-8", "surrogateescape")
    for one in (
        "\x00", "\udcff\udcfe", "${", "${PORT}", "${env.X}", "}", "- ", ": ", "null", "true", "[]", "{}", "-1", "1e999",
        "'", '"', '"""', "\n", "  ", "&a ", "*a", "!!python/object", "[*]", "=", "FROM ", "\u202e", "9" * 400, "?",
        "<<: ", "---\n", "--port", "sha256:", "~", "..", "/", "%s", "{port}", "os.environ/", "\r", "0x", ".inf",
    )
)  # fmt: skip
#: The formats, and how the names of their files begin.
FORMATS = {
    "llama-swap": ("llama-swap",), "litellm": ("litellm",), "flags": ("vllm-config", "sglang"),
    "tabby": ("tabby", "api_tokens"), "presets": ("models-router", "models.ini"), "vllm-recipes": ("recipes",),
    "ollama": ("mario", "hub", "blob", "lib", "manifest"),
    "vllm-cli": ("shortcuts", "user_profiles", "models_manifest"),
}  # fmt: skip


def mutated(raw: bytes, chance: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.random()
        if kind < 0.35:
            data[at:at] = chance.choice(PIECES)
        elif kind < 0.55:
            del data[at : at + chance.randint(1, 40)]
        elif kind < 0.7 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind < 0.85:
            start = chance.randrange(len(data) + 1)
            data[at:at] = data[start : start + chance.randint(1, 200)]
        else:
            data[at : at + chance.randint(1, 12)] = chance.choice(PIECES)
    return bytes(data)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_broken_file_is_read_or_refused_in_words(name: str) -> None:
    files = [one for one in CASES if one.startswith(FORMATS[name])]
    assert files
    chance = random.Random(13)
    slow: list[tuple[float, bytes]] = []
    for at in range(TRIES):
        file = files[at % len(files)]
        raw = mutated((FILES / file).read_bytes(), chance)
        began = time.process_time()
        try:
            imported(raw, file)
        except StudioError as error:
            assert error.title
        except Exception as error:
            raise AssertionError(f"{file}: {type(error).__name__}: {error}: {raw!r}") from error
        took = time.process_time() - began
        if took > SECONDS and at > len(files):
            slow.append((took, raw))
    assert max((took for took, _ in slow), default=0.0) < 20 * SECONDS, max(slow)
    assert len(slow) <= TRIES // 100, f"{len(slow)} of {TRIES} took {max(took for took, _ in slow):.3f} s"
