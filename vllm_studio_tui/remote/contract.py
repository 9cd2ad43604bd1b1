"""What may be asked of a studio elsewhere: the protocols themselves, read. Both ends make this table, alike.

A method that is added to a protocol is served and called without more code, as long as its values can be sent.
"""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, get_args, get_origin

from vllm_studio_tui.remote.shapes import Shape, Shapes
from vllm_studio_tui.services import protocols

#: Whose end speaks to whose: ends of two versions do not understand each other's values.
VERSION_HEADER = "x-vllm-studio-version"

#: What a studio elsewhere answers by itself, on the machine of the person, and why.
LOCAL: Mapping[str, str] = {
    "studio.places": "the directories of the person in front of the face",
    "studio.host": "how the person calls the machine",
    "studio.bus": "what is published is what comes here",
    "studio.settings": "the person's own; what belongs to the machine comes from there",
    "studio.sampler": "one stream of samples, not a call for each value",
    "studio.recovered": "answers are kept where they come from",
    "studio.unsaved": "recovery files lie there, and are taken in there",
    "studio.interrupt_answers": "the streams of this program end with it",
    "studio.close_chat": "the studio there stays open",
}

#: What cannot be asked of a studio elsewhere, and why.
REFUSED: Mapping[str, str] = {
    "runs.log_reader": "it reads a file where the file is; see `runs.log_lines` and `runs.follow_log`",
    "tools.open": "it hands out a box that stays open; see `tools.tools` and `tools.call`",
    "gateway.install": "it tells a function what it does",
}


class Kind(StrEnum):
    """How a call answers."""

    VALUE = "value"
    PROPERTY = "property"
    LINES = "lines"  # an iterator, which blocks
    EVENTS = "events"  # an asynchronous generator


@dataclass(frozen=True, slots=True)
class CallShape:
    """One method of a protocol.

    Attributes:
        service: The path of attributes that leads to it from a studio, such as `chat.sessions`; empty: the studio.
        result: The shape of what it returns, or of each value that it yields.
    """

    service: str
    method: str
    kind: Kind
    result: Shape
    arguments: Mapping[str, Shape] = field(default_factory=dict)
    signature: inspect.Signature = field(default_factory=inspect.Signature)

    @property
    def name(self) -> str:
        return f"{self.service or 'studio'}.{self.method}"


@lru_cache(maxsize=1)
def shapes() -> Shapes:
    """Return the shapes of all that stands in the protocols."""
    return Shapes()


@lru_cache(maxsize=1)
def calls() -> Mapping[str, CallShape]:
    """Return every call by its name, such as `recipes.get`, `chat.sessions.list` or `studio.gpu_report`."""
    found: dict[str, CallShape] = {}
    _read(protocols.StudioApi, "", found)
    return found


def _read(protocol: type[Any], service: str, found: dict[str, CallShape]) -> None:
    members: dict[str, Any] = {}
    for one in reversed(protocol.__mro__):
        if one.__name__.endswith("Api"):
            members.update({name: member for name, member in vars(one).items() if not name.startswith("_")})
    for name, member in members.items():
        if f"{service or 'studio'}.{name}" in LOCAL:
            continue
        if isinstance(member, property):
            assert member.fget is not None
            result = shapes().hints(member.fget)["return"]
            if isinstance(result, type) and result.__name__.endswith("Api"):
                _read(result, f"{service}.{name}".lstrip("."), found)
                continue
            call = CallShape(service, name, Kind.PROPERTY, shapes().of(result))
            found[call.name] = call
        elif inspect.isfunction(member) and f"{service or 'studio'}.{name}" not in REFUSED:
            call = _method(service, name, member)
            found[call.name] = call


def _method(service: str, name: str, function: Any) -> CallShape:
    hints = shapes().hints(function)
    result = hints.pop("return")
    kind = {abc.AsyncGenerator: Kind.EVENTS, abc.Iterator: Kind.LINES}.get(get_origin(result), Kind.VALUE)
    if kind is not Kind.VALUE:
        result = get_args(result)[0]
    arguments = {one: shapes().of(hint) for one, hint in hints.items()}
    return CallShape(service, name, kind, shapes().of(result), arguments, inspect.signature(function))
