"""Values of the protocols as JSON, both ways, by their annotations.

What stands on the line says nothing of which class it is but where an annotation allows several; then it is one of
those. What comes from the other side is outside text: whatever does not fit raises `BadShape`.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from vllm_studio_tui.remote.any_value import (
    BadShape,
    any_document,
    any_of,
    bytes_document,
    bytes_of,
    float_document,
    float_of,
    path_of,
)
from vllm_studio_tui.remote.errors import error_document, error_of


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """How values of one annotation become JSON and come back.

    Attributes:
        fits: Whether a value is one of these; asked where an annotation allows several.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    fits: Callable[[Any], bool]


class Shapes:
    """Makes shapes, each once."""

    def __init__(self) -> None:
        self._made: dict[Any, Shape] = {}

    def of(self, hint: Any) -> Shape:
        """Return the shape of an annotation.

        Raises:
            TypeError: Values of it are none that could be sent.
        """
        try:
            known = self._made.get(hint)
        except TypeError:  # cannot be hashed, as a Literal of a list
            return self._make(hint)
        if known is None:
            # A class may hold itself: whoever asks while it is made gets one that looks again.
            self._made[hint] = Shape(
                lambda value: self._made[hint].encode(value),
                lambda data: self._made[hint].decode(data),
                lambda value: self._made[hint].fits(value),
            )
            try:
                known = self._made[hint] = self._make(hint)
            except BaseException:
                del self._made[hint]
                raise
        return known

    def known(self) -> list[Any]:
        """Return the annotations that have a shape so far."""
        return list(self._made)

    def hints(self, of: Any) -> dict[str, Any]:
        """Return the annotations of a class or function."""
        module = sys.modules[of.__module__]
        # A class has members that are called like types: `list` of a protocol is not the built-in one.
        return get_type_hints(of, globalns={**_for_types(of.__module__), **vars(module)}, localns=_BUILTIN)

    def _make(self, hint: Any) -> Shape:
        if hint in _PLAIN:
            return _PLAIN[hint]
        if hint is Any or isinstance(hint, TypeVar):
            return Shape(any_document, any_of, lambda _: True)
        origin, given = get_origin(hint), get_args(hint)
        if origin is typing.Annotated:
            return self.of(given[0])
        if origin in (Union, types.UnionType):
            return self._one_of(given)
        if origin is Literal:
            return _literal(given)
        if origin is not None:
            return self._container(origin, given)
        if isinstance(hint, type):
            return self._class(hint)
        raise TypeError(f"values of {hint!r} cannot be sent")

    def _class(self, kind: type[Any]) -> Shape:
        if issubclass(kind, enum.Enum):
            return Shape(lambda value: value.value, lambda data: _called(kind, data), lambda v: isinstance(v, kind))
        if issubclass(kind, BaseException):
            return Shape(error_document, lambda data: _error(kind, data), lambda value: isinstance(value, kind))
        if issubclass(kind, BaseModel):
            return Shape(
                lambda value: value.model_dump(mode="json", exclude_unset=True),
                lambda data: _validated(kind, data),
                lambda value: isinstance(value, kind),
            )
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind)
        raise TypeError(f"values of {kind!r} cannot be sent")

    def _dataclass(self, kind: type[Any]) -> Shape:
        hints = self.hints(kind)
        # What is kept out of `repr` is a secret, and does not travel.
        fields = [one for one in dataclasses.fields(kind) if one.init and one.repr]
        shapes = [(one.name, self.of(hints[one.name])) for one in fields]
        needed = {one.name for one in fields if one.default is one.default_factory is dataclasses.MISSING}

        def encode(value: Any) -> Any:
            return {name: shape.encode(getattr(value, name)) for name, shape in shapes}

        def decode(data: Any) -> Any:
            if not isinstance(data, dict) or not needed <= data.keys():
                raise BadShape(f"no {kind.__name__}")
            given = {name: shape.decode(data[name]) for name, shape in shapes if name in data}
            try:
                return kind(**given)
            except (ValueError, TypeError) as error:
                raise BadShape(f"no {kind.__name__}: {str(error)[:200]}") from None

        return Shape(encode, decode, lambda value: isinstance(value, kind))

    def _one_of(self, given: tuple[Any, ...]) -> Shape:
        named = [(_name(one), self.of(one)) for one in given if one is not type(None)]
        optional = len(named) < len(given)
        if len(named) == 1:
            shape = named[0][1]
            return Shape(
                lambda value: None if value is None else shape.encode(value),
                lambda data: None if data is None else shape.decode(data),
                lambda value: value is None or shape.fits(value),
            )
        by_name = dict(named)
        if len(by_name) != len(named):
            raise TypeError(f"{given!r} cannot be told apart")

        def encode(value: Any) -> Any:
            if value is None and optional:
                return None
            for name, shape in named:
                if shape.fits(value):
                    return {name: shape.encode(value)}
            raise BadShape(f"{type(value).__name__} is none of {', '.join(by_name)}")

        def decode(data: Any) -> Any:
            if data is None and optional:
                return None
            if not isinstance(data, dict) or len(data) != 1 or next(iter(data)) not in by_name:
                raise BadShape(f"none of {', '.join(by_name)}")
            ((name, inner),) = data.items()
            return by_name[name].decode(inner)

        return Shape(encode, decode, lambda value: (value is None and optional) or any(s.fits(value) for _, s in named))

    def _container(self, origin: Any, given: tuple[Any, ...]) -> Shape:
        if issubclass(origin, abc.Mapping):
            return self._mapping(origin, given)
        if origin is tuple and not (len(given) == 2 and given[1] is ...):
            return self._tuple([self.of(one) for one in given])
        made = _MADE.get(origin)
        if made is None:
            raise TypeError(f"values of {origin!r} cannot be sent")
        inner = self.of(given[0])

        def decode(data: Any) -> Any:
            if not isinstance(data, list):
                raise BadShape("no list")
            return made(inner.decode(one) for one in data)

        return Shape(
            lambda value: [inner.encode(one) for one in value],
            decode,
            lambda value: isinstance(value, origin) and not isinstance(value, str | bytes),
        )

    def _mapping(self, origin: Any, given: tuple[Any, ...]) -> Shape:
        if given[0] not in (str, int):
            raise TypeError("the keys of a mapping that is sent are text or whole numbers")
        inner = self.of(given[1])
        written, read = (_text, _text) if given[0] is str else (_digits, _whole)

        def decode(data: Any) -> Any:
            if not isinstance(data, dict):
                raise BadShape("no mapping")
            return {read(key): inner.decode(value) for key, value in data.items()}

        return Shape(
            lambda value: {written(key): inner.encode(one) for key, one in value.items()},
            decode,
            lambda value: isinstance(value, origin),
        )

    def _tuple(self, inner: list[Shape]) -> Shape:
        def decode(data: Any) -> Any:
            if not isinstance(data, list) or len(data) != len(inner):
                raise BadShape(f"no list of {len(inner)}")
            return tuple(shape.decode(one) for shape, one in zip(inner, data, strict=True))

        return Shape(
            lambda value: [shape.encode(one) for shape, one in zip(inner, value, strict=True)],
            decode,
            lambda value: isinstance(value, tuple) and len(value) == len(inner),
        )


@cache
def _for_types(module: str) -> dict[str, Any]:
    """Return what a module imports for the type checker alone: annotations name it."""
    found: dict[str, Any] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for one in node.body:
                if isinstance(one, ast.ImportFrom) and one.module is not None:
                    of = importlib.import_module(one.module)
                    found.update({name.asname or name.name: getattr(of, name.name) for name in one.names})
    return found


# --- plain values ---------------------------------------------------------------------------------------


def _exactly(*kinds: type) -> Callable[[Any], Any]:
    def decode(data: Any) -> Any:
        if type(data) not in kinds:
            raise BadShape(f"{type(data).__name__} in place of {kinds[0].__name__}")
        return data

    return decode


def _called(kind: Callable[[Any], Any], data: Any) -> Any:
    try:
        return kind(data)
    except (ValueError, TypeError):
        raise BadShape("none of its values") from None


def _validated(kind: type[BaseModel], data: Any) -> Any:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise BadShape(f"no {kind.__name__}: {error.error_count()} fields do not fit") from None


def _error(kind: type[BaseException], data: Any) -> BaseException:
    error = error_of(data)
    if not isinstance(error, kind):
        raise BadShape(f"no {kind.__name__}")
    return error


def _literal(given: tuple[Any, ...]) -> Shape:
    def decode(data: Any) -> Any:
        if isinstance(data, list | dict) or data not in given:
            raise BadShape("none of its values")
        return data

    return Shape(lambda value: value, decode, lambda value: value in given)


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise BadShape("the keys of a mapping that is sent are text")
    return key


def _digits(key: Any) -> str:
    if not isinstance(key, int) or isinstance(key, bool):
        raise BadShape("the keys of this mapping are whole numbers")
    return str(key)


def _whole(key: str) -> int:
    if len(key) > 18 or not (key.isascii() and key.removeprefix("-").isdigit()):
        raise BadShape("the keys of this mapping are whole numbers")
    return int(key)


def _name(hint: Any) -> str:
    return str(getattr(get_origin(hint) or hint, "__name__", hint))


_PLAIN: Mapping[Any, Shape] = {
    type(None): Shape(lambda _: None, lambda _: None, lambda value: value is None),
    bool: Shape(lambda value: value, _exactly(bool), lambda value: isinstance(value, bool)),
    int: Shape(
        lambda value: value, _exactly(int), lambda value: isinstance(value, int) and not isinstance(value, bool)
    ),
    float: Shape(float_document, float_of, lambda value: isinstance(value, float)),
    str: Shape(str, _exactly(str), lambda value: isinstance(value, str)),
    bytes: Shape(bytes_document, bytes_of, lambda value: isinstance(value, bytes)),
    Path: Shape(str, path_of, lambda value: isinstance(value, Path)),
}
_MADE: Mapping[Any, Callable[[Any], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    abc.Sequence: tuple,
    abc.Iterable: tuple,
    abc.Collection: tuple,
    abc.Container: frozenset,
    abc.Set: frozenset,
}
_BUILTIN: dict[str, Any] = {one.__name__: one for one in (list, dict, set, tuple, frozenset, int, float, str, bytes)}
