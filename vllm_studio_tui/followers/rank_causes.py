"""Why a unit ended, of what its ranks say: the rank that failed by itself, not those that fell with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.job import Cause
from vllm_studio_tui.domain.ranks import blame
from vllm_studio_tui.kit.durations import duration_words
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.followers.rank_link import RankLink

#: Seconds for which the own cause of another rank is waited for, where the first to end says only that it fell.
WAIT = 10.0
#: Seconds in which ranks that end together may still come, where one has a cause of its own.
TOGETHER = 1.0

#: Words of an error that comes of another rank's end.
_FELL = re.compile(
    r"(?i)connect|peer|pipe|\beof|cancel|time[d ]{0,2}out|closed|heartbeat|shut ?down|died|exited|lost\b"
)


def cause_of_unit(
    ranks: Mapping[int, tuple[str, RankLink]],
    dead: Mapping[int, float],
    now: float,
    lost: Sequence[tuple[str, RankLink]],
) -> Cause | None:
    """Return why the unit has ended; None: it has not, or that is not known yet.

    Args:
        ranks: Name and connection of each rank.
        dead: When each of those that ended was first seen to have.
        lost: Those whose host was not heard of for longer than their lease.
    """
    if dead:
        ended = [(at, index) for index, at in dead.items() if _whole(ranks[index][1], now - at)]
        chosen = min(ended, key=lambda one: (blame(_reason(ranks[one[1]][1])), one), default=None)
        own = chosen is not None and blame(_reason(ranks[chosen[1]][1])) == 0
        unheard = any(not one.ended and not one.connected for _, one in ranks.values())
        if not own and lost:
            return _cause_of_lost(*lost[0])
        if not own and unheard:
            return None  # a host that is gone takes the others with it: whether it is will be known
        first = min(dead.values())
        # One that has ended and has not said all yet may have a cause of its own too.
        if chosen is not None and now - first > (TOGETHER if own or len(ended) == len(ranks) else WAIT):
            failing = None if own else _failing(ranks)
            if failing is not None:
                return _cause_of_failing(*failing, *ranks[chosen[1]])
            return _cause_of(*ranks[chosen[1]], ended=len(dead), count=len(ranks))
        if now - first <= 2 * WAIT:
            return None
    first_lost = next(iter(lost), None)
    return None if first_lost is None else _cause_of_lost(*first_lost)


def _failing(ranks: Mapping[int, tuple[str, RankLink]]) -> tuple[str, RankLink] | None:
    """Return a rank that went on although its log says that it failed by itself; None: there is none.

    vLLM's other ranks stay when their worker raises, and the first rank ends of the answer that never comes.
    """
    for name, link in ranks.values():
        reason = str(link.failing.get("reason") or "")
        title = str(link.failing.get("title") or "")
        itself = blame(reason) == 0 or (reason == "engine_error" and _FELL.search(title) is None)
        if title and itself:
            return name, link
    return None


def _cause_of_failing(name: str, link: RankLink, ended_name: str, ended: RankLink) -> Cause:
    """Name the rank that failed, and say how another one ended of it."""
    cause = _told(name, link.host.name, link.failing, str(link.failing.get("reason")))
    how = clean_line(str(ended.run.get("title") or "ended"), limit=300)
    advice = f"{cause.advice} It went on with that; {ended_name} on {ended.host.name} ended: {how}.".strip()
    return Cause(cause.reason, cause.title, advice, cause.evidence)


def _cause_of_lost(name: str, link: RankLink) -> Cause:
    silent = duration_words(link.silent)
    if link.cause is not None and link.cause.reason != "host_unreachable":
        title = f"{name} is lost, no answer for {silent}: {link.cause.title}"
        return Cause(link.cause.reason, title, link.cause.advice, link.cause.evidence)
    return Cause(
        "host_lost",
        f"{name} is lost: {link.host.name} has not answered for {silent}",
        f"See whether the host is up and can be reached: ssh {link.host.name} true",
        link.cause.evidence if link.cause else (),
    )


def _whole(link: RankLink, seconds: float) -> bool:
    """Return whether a rank has told its end in full, or is not going to."""
    return link.over or seconds > WAIT / 2


def _reason(link: RankLink) -> str:
    return str(link.run.get("reason") or "")


def _cause_of(name: str, link: RankLink, *, ended: int, count: int) -> Cause:
    host, run = link.host.name, link.run
    if link.missing:
        advice = f"Its directory was deleted, or its studio has another home now. See: ssh {host} vllm-studio status"
        return Cause("rank_missing", f"{name} on {host} is not known there any more", advice)
    if run.get("stopped"):
        advice = f"Stop a model of several hosts by its own run, not by a part of it ({link.run_id} on {host})."
        return Cause("rank_stopped", f"{name} on {host} was stopped there", advice, retry=False)
    reason = _reason(link) or "rank_ended"
    cause = _told(name, host, run, reason)
    advice = cause.advice
    if blame(reason) and ended == count and count > 1:
        advice = f"{advice} No rank says more than that it ended: see the log of each.".strip()
    return Cause(reason, cause.title, advice, cause.evidence, run.get("retry") is not False)


def _told(name: str, host: str, said: Mapping[str, Any], reason: str) -> Cause:
    """Return a cause as a host tells it, as safe text."""
    title = clean_line(str(said.get("title") or "ended, and its host does not say why"), limit=600)
    evidence = said.get("evidence")
    lines = tuple(str(one)[:400] for one in evidence[:12]) if isinstance(evidence, list) else ()
    return Cause(reason, f"{name} on {host}: {title}", str(said.get("advice") or ""), lines)
