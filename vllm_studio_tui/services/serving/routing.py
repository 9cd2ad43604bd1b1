"""Which model a name means: a recipe, a run that has none, or a model of a server on another host. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vllm_studio_tui.domain.serving import Refusal

#: So many names are offered in place of one that nobody has.
NEAREST = 3


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be asked for.

    Attributes:
        key: The recipe's id, also where only its run is left, or `PEER/MODEL`; unique.
        name: What requests say in `model`.
        aliases: Further names.
        ready: It answers now.
        pinned: It is preferred where several that are not ready have one name.
        peer: The server on another host that has it.
    """

    key: str
    name: str
    aliases: tuple[str, ...] = ()
    ready: bool = False
    pinned: bool = False
    peer: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name of it, the one for `model` first."""
        return tuple(dict.fromkeys((self.name, self.key, *self.aliases)))

    def seen_by(self, patterns: Sequence[str]) -> bool:
        """Return whether a key of these patterns may use it, under whichever of its names."""
        return not patterns or any(fnmatchcase(name, one) for name in self.names for one in patterns)


class Routes:
    """Names and who they mean.

    Args:
        offers: All that can be asked for.
        default: The name of who answers requests for names that nobody has.
        open_peers: Servers on other hosts that take any name.
    """

    def __init__(self, offers: Iterable[Offer], default: str | None = None, open_peers: Iterable[str] = ()) -> None:
        self.offers = tuple(offers)
        self.by_key = {one.key: one for one in self.offers}
        self._default = default
        self._open_peers = frozenset(open_peers)
        self._levels: tuple[dict[str, list[Offer]], ...] = ({}, {}, {})
        self._folded: tuple[dict[str, list[Offer]], ...] = ({}, {}, {})
        for one in self.offers:
            for level, names in enumerate(((one.name,), (one.key,), one.aliases)):
                for name in dict.fromkeys(names):
                    self._levels[level].setdefault(name, []).append(one)
                    self._folded[level].setdefault(name.casefold(), []).append(one)

    def find(self, model: str | None, patterns: Sequence[str] = ()) -> Offer:
        """Return who answers a request.

        Args:
            model: As the request names it; None: it does not.
            patterns: Names that its key may use, as of `fnmatch`; empty: all.

        Raises:
            Refusal: 400 nothing was named, 403 the key may not, 404 nobody has that name, 409 several have it.
        """
        found = self._unnamed(patterns) if model is None else self._named(model)
        if found is None and self._default is not None:
            found = self._named(self._default)
        if found is None:
            raise self._missing(patterns) if model is None else self._unknown(model, patterns)
        if not found.seen_by(patterns):
            raise Refusal(
                403,
                "model_not_allowed",
                f"this key may not use {(model or found.name)[:80]}",
                advice="Ask for a key that may, or for another model.",
                param="model",
            )
        return found

    def names_of(self, offer: Offer) -> tuple[str, ...]:
        """Return the names by which a request gets to it, the first for `model`: without those that lead to another.

        A name that several have and that leads to nobody now is no name of theirs; each has its key.
        """
        return tuple(name for name in offer.names if self._leads(name) is offer) or (offer.key,)

    def _leads(self, name: str) -> Offer | None:
        try:
            return self._named(name)
        except Refusal:
            return None

    def _unnamed(self, patterns: Sequence[str]) -> Offer | None:
        ready = [one for one in self.offers if one.ready and one.peer is None and one.seen_by(patterns)]
        return ready[0] if len(ready) == 1 else None

    def _named(self, model: str) -> Offer | None:
        for levels, name in ((self._levels, model), (self._folded, model.casefold())):
            for level in levels:
                if found := level.get(name):
                    return _one_of(found, model)
        peer, slash, rest = model.partition("/")
        if slash and rest and peer in self._open_peers:
            return Offer(model, model, ready=True, peer=peer)
        return None

    def _missing(self, patterns: Sequence[str]) -> Refusal:
        ready = [one.name for one in self.offers if one.ready and one.seen_by(patterns)]
        return Refusal(
            400,
            "model_missing",
            "the request names no model",
            cause=f"Ready are: {', '.join(ready[:NEAREST])}." if ready else "None is ready.",
            advice="Write its name in `model`; GET /v1/models lists all.",
            param="model",
        )

    def _unknown(self, model: str, patterns: Sequence[str]) -> Refusal:
        near = self.nearest(model, patterns)
        return Refusal(
            404,
            "model_not_found",
            f"there is no model {model[:80]}",
            advice=f"Did you mean {', '.join(near)}?" if near else "GET /v1/models lists all.",
            param="model",
        )

    def nearest(self, model: str, patterns: Sequence[str] = ()) -> list[str]:
        """Return the names most like this one, of what a key may see; at most three, one for each model."""
        whose = {name.casefold(): one for one in self.offers if one.seen_by(patterns) for name in one.names}
        near = difflib.get_close_matches(model[:200].casefold(), whose, 3 * NEAREST, 0.3)
        return list(dict.fromkeys(whose[name].name for name in near))[:NEAREST]


def _one_of(found: Sequence[Offer], model: str) -> Offer:
    """Return the one that a shared name means: the only ready one, else the only pinned one.

    Raises:
        Refusal: That does not decide.
    """
    if len(found) == 1:
        return found[0]
    for chosen in ([one for one in found if one.ready], [one for one in found if one.pinned]):
        if len(chosen) == 1:
            return chosen[0]
    keys = ", ".join(one.key for one in found[:5])
    raise Refusal(
        409,
        "model_ambiguous",
        f"several recipes are called {model[:80]}",
        cause=f"They are: {keys}.",
        advice="Ask for one by its id, or give them different names.",
        param="model",
    )
