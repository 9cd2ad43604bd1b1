"""Answers side by side: who answers one question, which answer was better, and what follows from many votes."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import Sampling, Target

#: How many answer one question.
FEWEST, MOST = 2, 4
#: What a side is called while its name is hidden.
LABELS = string.ascii_uppercase[:MOST]
#: The rating of a side that is as good as the mean of all, and the points of one that wins ten times as often.
MEAN, TENFOLD = 1000.0, 400.0
#: The fit ends when no strength changes by more than this share, or after so many rounds.
CLOSE, ROUNDS = 1e-9, 10_000


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that answer the same question.

    Attributes:
        name: As votes and scores call it: the recipe, run or model, with what is set for it.
        sampling: What shapes its answer.
    """

    name: str
    target: Target
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Question:
    """A question that several sides answer: its chat, and its message there."""

    session_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Vote:
    """What a person said of the answers to one question.

    Attributes:
        sides: The names of all that answered.
        winner: The name of the better one; None: neither is.
        blind: The names were hidden.
        message_id: The question.
    """

    sides: tuple[str, ...]
    winner: str | None
    blind: bool
    session_id: str | None = None
    message_id: str | None = None
    at: float = 0.0
    id: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the vote as `arena votes --json` prints it."""
        return {
            "id": self.id,
            "at": self.at,
            "sides": list(self.sides),
            "winner": self.winner,
            "blind": self.blind,
            "session_id": self.session_id,
            "message_id": self.message_id,
        }


@dataclass(frozen=True, slots=True)
class Score:
    """How a side stands after all votes.

    Attributes:
        rating: 400 points more win ten times as often; 1000 is the mean of those that were compared.
        games: Pairs of answers that were judged: the best of four won three, each of the others lost one.
    """

    name: str
    rating: float
    games: int
    wins: int
    losses: int
    ties: int

    def to_json(self) -> dict[str, Any]:
        """Return the score as `arena scores --json` prints it."""
        return {
            "name": self.name,
            "rating": round(self.rating, 1),
            "games": self.games,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
        }


def pairs_of(vote: Vote) -> list[tuple[str, str, float]]:
    """Return the pairs that a vote judges, each with how much the first won: 1, or 0.5 for a tie.

    The best of several is better than each of them; of the others nothing is known.
    """
    names = list(dict.fromkeys(vote.sides))
    if vote.winner is None:
        return [(one, other, 0.5) for at, one in enumerate(names) for other in names[at + 1 :]]
    return [(vote.winner, other, 1.0) for other in names if other != vote.winner and vote.winner in names]


def scores_of(votes: Iterable[Vote]) -> list[Score]:
    """Return how each side stands, the best first.

    The model is that of R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs: I. The method of
    paired comparisons", Biometrika 39 (1952): a side of strength p beats one of strength q with probability
    p / (p + q). Strengths are fitted by the minorization-maximization of D. R. Hunter, "MM algorithms for generalized
    Bradley-Terry models", Annals of Statistics 32 (2004); a tie counts as half a win for both. Each side also has one
    tie with an imagined one of strength 1, by which a side that never lost has a finite score, and few games tell
    little. Strengths are shown on the scale of Elo: 1000 + 400 log10 p.
    """
    won: dict[str, float] = {}
    met: dict[tuple[str, str], int] = {}
    tally: dict[str, list[int]] = {}
    for vote in votes:
        for first, second, share in pairs_of(vote):
            for name, part in ((first, share), (second, 1 - share)):
                won[name] = won.get(name, 0.0) + part
                counts = tally.setdefault(name, [0, 0, 0])
                counts[0 if part == 1 else 1 if part == 0 else 2] += 1
            pair = (first, second) if first < second else (second, first)
            met[pair] = met.get(pair, 0) + 1
    strength = _fitted(won, met)
    found = [
        Score(name, MEAN + TENFOLD * math.log10(strength[name]), sum(counts), *counts) for name, counts in tally.items()
    ]
    return sorted(found, key=lambda one: (-one.rating, one.name))


def _fitted(won: Mapping[str, float], met: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Return the strength of each side, with 1 as their geometric mean."""
    strength = dict.fromkeys(won, 1.0)
    others: dict[str, list[tuple[str, int]]] = {name: [] for name in won}
    for (one, other), games in met.items():
        others[one].append((other, games))
        others[other].append((one, games))
    for _ in range(ROUNDS if strength else 0):
        new = {
            name: (won[name] + 0.5)
            / (1 / (own + 1) + sum(games / (own + strength[other]) for other, games in others[name]))
            for name, own in strength.items()
        }
        moved = max(abs(new[name] / strength[name] - 1) for name in new)
        strength = new
        if moved < CLOSE:
            break
    centre = math.exp(sum(map(math.log, strength.values())) / len(strength)) if strength else 1.0
    return {name: one / centre for name, one in strength.items()}


def winner_of(choice: str, names: Sequence[str]) -> str | None:
    """Return the side that somebody means by a letter or a name; None for `tie`.

    Raises:
        ValueError: It is none of them; the message says what there is.
    """
    wanted = choice.strip()
    if wanted.lower() in ("tie", "none", "neither"):
        return None
    if wanted in names:
        return wanted
    if len(wanted) == 1 and wanted.upper() in LABELS[: len(names)]:
        return names[LABELS.index(wanted.upper())]
    raise ValueError(f"Choose {', '.join(LABELS[: len(names)])} or tie.")
