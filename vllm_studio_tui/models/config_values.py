"""Take values out of a config.json that may say anything."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

#: The largest figure that is believed of a shape.
MOST = 1 << 40
#: Where the part that writes text is kept in the configuration of a model that does more.
_NESTED = ("text_config", "llm_config", "language_config", "language_model", "thinker_config", "decoder")
_BYTES = {
    "float64": 8, "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "float8_e4m3fn": 1,
    "float8_e5m2": 1, "int8": 1, "uint8": 1,
}  # fmt: skip


class Config:
    """An object of a config.json, read with types and limits."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def integer(self, *names: str) -> int:
        """Return the first of these that is a number above 0, whole; else 0."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, list) and value and all(type(one) is int for one in value):
                value = max(value)  # one for each layer
            if isinstance(value, float) and isfinite(value) and value.is_integer():
                value = int(value)
            if type(value) is int and 0 < value <= MOST:
                return value
        return 0

    def number(self, name: str) -> float:
        """Return a number, 0 where it is none."""
        value = self.values.get(name)
        return (
            float(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
            else 0.0
        )

    def text(self, name: str) -> str:
        """Return a text, empty where it is none."""
        value = self.values.get(name)
        return value[:4096] if isinstance(value, str) else ""

    @property
    def dtype(self) -> str:
        """Return the type that it is computed in, as `bfloat16`."""
        return (self.text("dtype") or self.text("torch_dtype")).removeprefix("torch.")


def read_text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that describes the model of text; the whole where there is no such part.

    Keys of the whole that the part lacks are taken from there.
    """
    for _ in range(3):
        inner = next((one for name in _NESTED if isinstance(one := config.get(name), Mapping)), None)
        if inner is None or not any("layer" in str(key) or key in _NESTED for key in inner):
            break
        outer = {key: value for key, value in config.items() if key not in (*_NESTED, "vision_config", "model_type")}
        config = {**outer, **inner}
    return config


def type_bytes(dtype: str, otherwise: int = 2) -> int:
    """Return how many bytes a number of a type takes."""
    return _BYTES.get(dtype.lower().removeprefix("torch."), otherwise)
