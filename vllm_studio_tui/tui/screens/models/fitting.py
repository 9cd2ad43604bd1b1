"""Whether models fit on this machine's GPUs with nothing else on them, in a word or two for a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint.table import Parts
from vllm_studio_tui.tui.screens.models.words import context as context_words

if TYPE_CHECKING:
    from vllm_studio_tui.domain.fit import Fit, FitQuestion
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Tokens of a text that is asked about, where the model takes as many; below the least one it is of no use.
USUAL, LEAST = 32_768, 2048
#: Numbers of GPUs that are tried.
GPUS = (1, 2, 4, 8, 16)
#: Further lengths that the details name.
SHORT = 8192


@dataclass(frozen=True, slots=True)
class Fitting:
    """What fits of a model.

    Attributes:
        context: Tokens of each text; 0: none fits.
        users: Texts at once.
        gpus: How many GPUs that takes; 0: the processor's memory.
        needs: How many it would need, where that is more than there are; 0: nobody knows.
        likely: It is not certain.
    """

    context: int = 0
    users: int = 0
    gpus: int = 0
    needs: int = 0
    likely: bool = False

    @property
    def order(self) -> tuple[bool, int, int]:
        """Return what rows are ordered by: what fits on few GPUs for many."""
        return (self.context > 0, -(self.gpus or self.needs or 99), self.users)

    def parts(self, glyphs: Glyphs) -> Parts:
        """Return it as a table shows it."""
        if not self.context:
            words = f"needs {self.needs} GPUs" if self.needs else "too large"
            return [(f"{glyphs.failed} ", "err"), (words, "dim")]
        gpus = f", {self.gpus} GPUs" if self.gpus > 1 else ""
        words = f"{tokens(self.context)} for {numbers.count(self.users)}"
        return [(f"{glyphs.passed} ", "ok"), (words, "fg"), (gpus, "dim")]


def tokens(length: int) -> str:
    """Format a length of texts: as it is called where it is a whole one, else rounded down to thousands."""
    words = context_words(length)
    return words if words.endswith("k") else f"{length // 1000}k" if length >= 10_000 else str(length)


class Fits:
    """Asks whether models fit. Everything blocks.

    Attributes:
        gpus: GPUs of that machine.
    """

    def __init__(self, studio: StudioApi, gpus: int) -> None:
        self._studio = studio
        self.gpus = gpus
        self._questions: dict[int, FitQuestion] = {}

    def of(self, model: Model) -> Fitting | None:
        """Return what fits of a model; None where nothing can be said."""
        if not model.runnable or model.complete is False:
            return None
        try:
            return self._find(model)
        except StudioError:
            return None

    def at(self, model: Model, gpus: int) -> tuple[Fit, list[tuple[int, int]]] | None:
        """Return the answer for so many GPUs, and how many texts of which length fit, the longest first."""
        wanted = sorted(
            {min(model.context or USUAL, one) for one in (model.context or USUAL, USUAL, SHORT)}, reverse=True
        )
        try:
            found = [self._ask(model, gpus, length) for length in wanted]
        except StudioError:
            return None
        usual = found[min(len(found) - 1, wanted.index(min(USUAL, model.context or USUAL)))]
        return usual, [(length, fit.max_users) for length, fit in zip(wanted, found, strict=True) if fit.max_users]

    def _find(self, model: Model) -> Fitting:
        length = min(model.context or USUAL, USUAL)
        best: tuple[int, int] = (0, 0)
        for gpus in self._numbers():
            fit = self._ask(model, gpus, length)
            if fit.max_users:
                return Fitting(length, fit.max_users, self._questions[gpus].gpus, likely=not fit.certain)
            best = max(best, (fit.max_context, -gpus))
        if best[0] >= LEAST:
            return Fitting(best[0], 1, self._questions[-best[1]].gpus, likely=True)
        if not self.gpus:
            return Fitting()
        most = self._question(self.gpus)
        for gpus in (one for one in GPUS if one > self.gpus):
            asked = replace(most, gpus=gpus, tensor_parallel=gpus, context=length)
            if self._studio.fit.of_model(model.path, asked).max_users:
                return Fitting(needs=gpus)
        return Fitting()

    def _numbers(self) -> Iterator[int]:
        yield 1
        yield from (one for one in GPUS[1:] if one <= self.gpus)

    def _ask(self, model: Model, gpus: int, length: int) -> Fit:
        return self._studio.fit.of_model(model.path, replace(self._question(gpus), context=length))

    def _question(self, gpus: int) -> FitQuestion:
        """Return what would be asked of so many GPUs with nothing else on them."""
        if gpus not in self._questions:
            self._questions[gpus] = replace(self._studio.fit.question(gpus=max(1, gpus)), held=0)
        return self._questions[gpus]


def here_words(found: Sequence[tuple[int, int]], gpus: int, of: int) -> str:
    """Return how many texts of which length fit at once, in words."""
    where = f"{gpus} of {of} GPUs" if of > 1 else "1 GPU" if of else "the processor"
    each = ", ".join(f"{tokens(length)} for {numbers.count(users)}" for length, users in found)
    return f"{where}, with nothing else on {'it' if gpus <= 1 else 'them'}: {each or 'not even a short text'}"
