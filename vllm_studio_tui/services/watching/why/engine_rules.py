"""Rules whose cause lies in what the engine does: its queue, its cache, prompts between answers, its ranks."""

from __future__ import annotations

import statistics

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.why import values
from vllm_studio_tui.services.watching.why.finding import Finding, effect, sentences, some_requests, waited, who
from vllm_studio_tui.services.watching.why.values import Values

#: From this share of the cache on there is no room for another request.
FULL = 0.93
#: Requests a second that lose their place in the cache, from which on that is what takes the time.
OFTEN = 0.05
#: Tokens a second below which nothing comes.
NOTHING = 0.5
#: How much more prompt is computed in a flood of prompts, in multiples of before, and its least, in tokens a second.
FLOOD, FLOOD_LEAST = 1.5, 100.0


def asleep(seen: Values) -> Finding | None:
    if not seen.facts.sleep:
        return None
    return Finding(
        "asleep", 3.0, f"The engine sleeps ({seen.facts.sleep.replace('_', ' ')}).",
        sentences(waited(seen), "What is asked waits until it was woken."), "Wake it, or launch it again.",
    )  # fmt: skip


def stalled(seen: Values) -> Finding | None:
    """Requests run, and neither prompts nor answers go on."""
    out, prefill = seen.now("out"), seen.now("prefill")
    if not seen.over("running", 0.9) or out is None or out > NOTHING or (prefill or 0.0) > NOTHING:
        return None
    if seen.seconds < 10 or (seen.now("prompt") or 0.0) > NOTHING:
        return None
    gpu = seen.now("gpu")
    return Finding(
        "stalled", 2.5, f"The engine stands still: {some_requests(seen.now('running'))} under way, and no token "
        f"came for {numbers.duration(seen.seconds)}.",
        sentences(
            f"Before it wrote {values.rate(seen.before('out'))}." if seen.before("out") else "",
            f"Its GPUs are busy to {values.whole_percent(gpu)}." if gpu is not None else "",
            waited(seen),
        ),
        "Look into its log; the watchdog of the recipe can restart an engine that hangs.",
    )  # fmt: skip


def cache_preempts(seen: Values) -> Finding | None:
    """The cache is full, and requests lose their place and are computed again."""
    lost = seen.sum_of("preempt")
    if lost < 0.9:
        return None
    kv = seen.kv_most
    if kv is not None and kv < 0.85:
        return None
    held = seen.held("kv", FULL)
    near = sum(seen.scene.known("preempt", seen.scene.now))  # what follows of it may last longer than it did
    again = seen.asked.prompt * lost if seen.asked.prompt else None
    weight = 2.0 if lost >= OFTEN * seen.seconds and near > 0 else 1.0
    return Finding(
        "kv-preempt", weight, "The KV cache was full, and prompts were computed twice.",
        sentences(
            f"KV {numbers.percent(kv)}" + (f", full for {numbers.duration(held)}" if held else "")
            + f"{_tokens(seen, kv)}. {some_requests(lost)} lost their place in it"
            + (f": about {numbers.count(again)} prompt tokens were computed again." if again else "."),
            _prompts(seen), effect(seen), waited(seen),
        ),
        *_more_cache(seen),
    )  # fmt: skip


def _no_room(seen: Values) -> bool:
    """Return whether the cache has no room for another prompt, as these are."""
    share, whole, prompt = seen.now("kv"), seen.facts.kv_tokens, seen.asked.prompt
    if share is None:
        return False
    if share >= FULL or (whole and prompt and (1 - share) * whole < 1.05 * prompt):
        return True
    return not _seats_taken(seen) and _next_is_too_large(seen)


def _next_is_too_large(seen: Values) -> bool:
    """Return whether one more request, as large as those that run, would not fit into the cache."""
    scene, peak = seen.scene, seen.kv_near
    each = [
        share / running
        for column in scene.now
        if (share := scene.value("kv", column)) is not None and (running := scene.value("running", column) or 0) > 0.2
    ]
    return peak is not None and len(each) >= 2 and peak + statistics.median(each) > 1.0


def _seats_taken(seen: Values) -> bool:
    seats, most = seen.facts.seats, seen.most("running_most") or seen.most("running") or 0.0
    return seats is not None and most >= 0.95 * seats and (seen.most("running") or 0.0) >= 0.7 * seats


def cache_full(seen: Values) -> Finding | None:
    """The cache is full, and requests wait for room in it."""
    if not _no_room(seen) or not seen.over("waiting", 0.5):
        return None
    held, peak = seen.held("kv", FULL), seen.kv_near
    if peak is not None and peak < FULL:
        running = some_requests(max(1.0, seen.scene.most("running", seen.scene.now) or 0.0))
        full = f"KV {numbers.percent(peak)} with {running} under way{_tokens(seen, peak)}: one more does not fit."
    else:
        full = f"KV {numbers.percent(seen.kv_most)}" + (f", full for {numbers.duration(held)}" if held else "")
        full += f"{_tokens(seen, seen.kv_most)}."
    return Finding(
        "kv-full", 1.8, "Requests wait for room in the KV cache.",
        sentences(
            full
            + (f" A prompt has {numbers.count(seen.asked.prompt)}." if seen.asked.prompt else ""),
            waited(seen), effect(seen),
        ),
        *_more_cache(seen),
    )  # fmt: skip


def queue(seen: Values) -> Finding | None:
    """Requests wait although the cache has room: every seat is taken."""
    if not seen.over("waiting", 0.5) or _no_room(seen):
        return None
    running, seats = seen.most("running") or 0.0, seen.facts.seats
    full = _seats_taken(seen) if seats is not None else _level(seen)
    kv = seen.now("kv")
    room = f"; its cache is full to {numbers.percent(kv)}" if kv is not None else ""
    taken = full and seats is not None
    places = f"All {seats} places are taken" if taken else f"It runs {some_requests(running)} at once"
    roomy = full and seats is not None and (kv is None or kv < 0.6) and bool(seen.facts.gpus)
    return Finding(
        "queue", 1.6 if full else 0.9, "More is asked than runs at once: requests wait in line.",
        sentences(f"{places}{room}.", waited(seen), effect(seen)),
        "Let it run more at once, ask for less, or serve the model twice.",
        {"max_num_seqs": seats * 2} if roomy and seats else {},
        f"{seats * 2} requests at once" if roomy and seats else "",
    )  # fmt: skip


def _level(seen: Values) -> bool:
    """Return whether as many requests run all the time, while others wait: that is all it takes at once."""
    known = seen.scene.known("running", seen.scene.now)
    return len(known) >= 3 and min(known) >= 0.9 * max(known) > 0 and seen.over("waiting", 0.5)


def cold_cache(seen: Values) -> Finding | None:
    """Prompts that used to be in the cache have to be computed."""
    if not seen.fell("hits", 0.6) or (seen.before("hits") or 0.0) < 0.25 or not seen.rose("prefill", 1.25):
        return None
    if (seen.ratio("prompt") or 1.0) > 1.6:
        return None  # more is asked as well: that is the larger part
    return Finding(
        "cache-cold", 1.45, "Prompts are no longer in the prefix cache, and have to be computed.",
        sentences(
            f"Hits {seen.text('hits', numbers.percent)}; computed prompt {seen.text('prefill', values.rate)}, "
            f"asked {seen.text('prompt', values.rate)}.",
            effect(seen),
        ),
        "Keep the beginning of prompts the same, and what changes at their end; a restart or other prompts empty "
        "the cache.",
    )  # fmt: skip


def prefill_first(seen: Values) -> Finding | None:
    """Answers wait for prompts that are computed between their tokens."""
    # In a step that reads a whole prompt nothing is counted until its end, and that may lie behind the moment.
    prefill = max(seen.now("prefill") or 0.0, seen.scene.mean("prefill", seen.scene.episode) or 0.0)
    usual = seen.before("prefill")
    least = min(FLOOD_LEAST, 2 * (seen.before("out") or FLOOD_LEAST))  # an engine on a processor is slow at both
    if prefill < least or (usual is not None and prefill < FLOOD * usual):
        return None
    more, answers = prefill / usual if usual else None, seen.ratio("out")
    if more is not None and answers is not None and more < 1.4 * answers:
        return None  # answers rose as much: more people ask
    if not (seen.rose("itl", 1.2) or (seen.fell("out", 0.85) and seen.over("running", 1.5))):
        return None
    batched = seen.facts.batched
    smaller = max(512, batched // 2) if batched else 2048
    apt = bool(seen.facts.gpus)
    return Finding(
        "prefill-first", 1.4, "Answers stand behind prompts: computing these takes the steps.",
        sentences(_prompts(seen, prefill), effect(seen), _step(seen), waited(seen) or _who(seen)),
        "Smaller chunks of prompts hold answers up less; prompts then take longer.",
        {"max_num_batched_tokens": smaller} if apt and (batched is None or smaller < batched) else {},
        f"chunks of {smaller} tokens" if apt and (batched is None or smaller < batched) else "",
    )  # fmt: skip


def long_prompts(seen: Values) -> Finding | None:
    """The first token comes late since prompts are longer; nobody waits, and answers are as quick as ever."""
    if not seen.rose("ttft", 1.6) or seen.rose("itl", 1.2) or seen.over("waiting", 0.5):
        return None
    length, before = seen.asked.prompt, seen.asked_before.prompt
    longer = length is not None and before is not None and length > 1.5 * before
    if not longer and not seen.rose("prefill", 1.3):
        return None
    return Finding(
        "long-prompts", 1.3, "Prompts are longer, and the first token comes when they are read.",
        sentences(
            f"Prompts of {numbers.count(length)} tokens, before {numbers.count(before)}." if longer else "",
            _prompts(seen), effect(seen), _who(seen),
        ),
        "A prefix cache helps where prompts begin alike.",
    )  # fmt: skip


def more_users(seen: Values) -> Finding | None:
    """More requests share the steps: all of them together get more, each of them less."""
    if not seen.rose("running", 1.35) or not seen.over("running", 1.5):
        return None
    if not seen.rose("out", 1.1):
        return None  # they only pile up, since each takes longer
    return Finding(
        "more-users", 0.85 if seen.over("waiting", 0.5) else 1.1,
        "More requests share it: each one gets less, all together more.",
        sentences(f"Running {seen.text('running', values.requests)}.", effect(seen), waited(seen)),
        "It works as it should; more GPUs or a second engine make each one quicker.",
    )  # fmt: skip


def uneven_ranks(seen: Values) -> Finding | None:
    """One of several data-parallel ranks has most of the work."""
    imbalance, ranks = seen.facts.imbalance, seen.facts.ranks
    if imbalance is None or ranks < 2 or imbalance < 1.5 or not seen.over("running", 2.0):
        return None
    return Finding(
        "ranks-uneven", 1.5, f"One of {ranks} data-parallel ranks has most of the work.",
        sentences(f"The busiest runs {imbalance:.1f} times what they run on average.", waited(seen), effect(seen)),
        "Let its own load balancer choose the rank, or a router that looks at the load.",
    )  # fmt: skip


def _tokens(seen: Values, share: float | None) -> str:
    whole = seen.facts.kv_tokens
    if share is None or not whole:
        return ""
    return f": {numbers.count(share * whole)} of {numbers.count(whole)} tokens"


def _prompts(seen: Values, speed: float | None = None) -> str:
    now, before = seen.now("prefill") if speed is None else speed, seen.before("prefill")
    if now is None:
        return ""
    return f"Prompts computed: {values.rate(now)}" + ("." if before is None else f", before {values.rate(before)}.")


def _step(seen: Values) -> str:
    now = seen.now("step")
    return "" if now is None else f"A step has {seen.text('step', numbers.count)} tokens."


def _who(seen: Values) -> str:
    said = who(seen)
    return said.removeprefix(". ") if said != "." else ""


def _more_cache(seen: Values) -> tuple[str, dict[str, str], str]:
    small, whole = seen.facts.small_cache, seen.facts.kv_tokens
    advice = "Make more room for the cache, shorten the context, or let fewer requests run at once."
    if not small:
        return advice, {}, ""
    room = f": room for about {numbers.count(2 * whole)} tokens" if whole else ""
    return advice, {"kv_cache_dtype": small}, f"{small} cache{room}"


RULES = (
    asleep, stalled, cache_preempts, cache_full, queue, cold_cache, prefill_first, long_prompts, more_users,
    uneven_ranks,
)  # fmt: skip
