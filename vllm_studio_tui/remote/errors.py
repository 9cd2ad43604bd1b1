"""Errors over the line: as their class, words and attributes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.errors import EngineRefused, InvalidRecipe, LaunchRefused, NotSaved, StudioError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.remote.any_value import BadShape, any_document, any_of

#: Attributes of every exception, and of ours, that travel by themselves.
_OWN = ("title", "cause", "advice")


class NoConnection(StudioError):
    """The studio elsewhere does not answer, now."""


class KeyWanted(StudioError):
    """The studio elsewhere asks for a key, or for another one."""


def error_document(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON. Of one that is none of ours it says only what kind it is."""
    if isinstance(error, OSError):
        return {"os_error": error.errno, "words": error.strerror or type(error).__name__}
    if not isinstance(error, StudioError):
        words = {"title": "the studio there failed", "cause": f"{type(error).__name__}; see the log of its server."}
        return {"classes": ["StudioError"], **words, "advice": ""}
    kinds = [one.__name__ for one in type(error).__mro__ if issubclass(one, StudioError)]
    more: dict[str, Any] = {}
    for name, value in vars(error).items():
        if name not in _OWN:
            try:
                more[name] = any_document(value)
            except BadShape:
                continue
    return {
        "classes": kinds,
        "title": error.title,
        "cause": error.cause,
        "advice": error.advice,
        "attributes": more,
    }


def error_of(data: Any) -> Exception:
    """Return the error of a document: of the first of its classes that is known here. Nothing makes this raise."""
    if not isinstance(data, dict):
        return StudioError("the studio there answered what cannot be understood")
    if "os_error" in data:
        number = data["os_error"]
        known_number = isinstance(number, int) and number in errno.errorcode
        return OSError(number if known_number else errno.EIO, _text(data, "words"))
    known = {one.__name__: one for one in _subclasses(StudioError)}
    named = data.get("classes")
    names = [one for one in named if isinstance(one, str)] if isinstance(named, list) else []
    kind = next((known[one] for one in names if one in known), StudioError)
    # Their own constructors build titles from other values; all that they made of these travels.
    error = kind.__new__(kind)
    title = _text(data, "title") or "the studio there failed"
    StudioError.__init__(error, title, cause=_text(data, "cause"), advice=_text(data, "advice"))
    attributes = data.get("attributes")
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        if name in _OWN or name.startswith("_"):
            continue
        try:
            found = any_of(value)
        except BadShape:
            continue
        # What every error of its class has (methods too) is only replaced by a value of the same kind.
        if not hasattr(kind, name) or type(getattr(kind, name)) is type(found):
            setattr(error, name, found)
    for base, known_attributes in _ATTRIBUTES.items():
        for name, (fits, otherwise) in known_attributes.items() if isinstance(error, base) else ():
            if name not in vars(error) or not fits(vars(error)[name]):
                setattr(error, name, otherwise())
    return error


def _is(*kinds: type[Any]) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _are_problems(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, tuple) and len(one) == 2 and all(isinstance(text, str) for text in one) for one in value
    )


def _text(data: dict[str, Any], name: str) -> str:
    found = data.get(name)
    return found if isinstance(found, str) else ""


#: What who catches an error reads of it without a look: what it may be, and what is there where nothing else fits.
_ATTRIBUTES: Mapping[type[StudioError], Mapping[str, tuple[Callable[[Any], bool], Callable[[], Any]]]] = {
    InvalidRecipe: {"problems": (_are_problems, list)},
    LaunchRefused: dict.fromkeys(("can_share_gpus", "in_the_way", "passing"), (_is(bool), bool)),
    EngineRefused: {"status": (_is(int, type(None)), lambda: None)},
    NotSaved: {"path": (_is(str, type(None)), lambda: None)},
    Refusal: {
        "status": (_is(int), lambda: 502),
        "code": (_is(str), str),
        "retry_after": (_is(int, float, type(None)), lambda: None),
        "param": (_is(str, type(None)), lambda: None),
    },
}


def _subclasses(kind: type[StudioError]) -> Iterator[type[StudioError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _subclasses(one)
