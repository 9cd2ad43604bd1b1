"""Answer why a run is slow at a moment: try every rule, and take the one that explains best."""

from __future__ import annotations

from vllm_studio_tui.domain.why import Why
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.why import engine_rules, machine_rules, values
from vllm_studio_tui.services.watching.why.finding import Finding, effect, sentences
from vllm_studio_tui.services.watching.why.scene import AskedFor, Scene
from vllm_studio_tui.services.watching.why.values import Values

RULES = (*engine_rules.RULES, *machine_rules.RULES)
#: What does not weigh so much is not said to hold as well.
ALSO = 0.9
#: Requests at once up to which a step is mostly reading weights for few tokens.
FEW = 2.5


def explain(
    scene: Scene, run_id: str, name: str, *, asked: AskedFor | None = None, asked_before: AskedFor | None = None
) -> Why:
    """Return why it is slow at the scene's moment, or that it is not."""
    seen = Values(scene, asked or AskedFor(), asked_before or AskedFor())
    found = sorted((one for rule in RULES if (one := rule(seen)) is not None), key=lambda one: one.weight, reverse=True)
    if not scene.episode:  # nothing is worse than it was: only what holds it back at all times is an answer
        found = [one for one in found if one.rule in ALWAYS]
    if _nothing_asked(seen):  # what is busy, hot or full beside it makes nothing slow
        found = [one for one in found if one.rule == "asleep"]
    best = found[0] if found else _calm(seen)
    held = scene.episode or scene.now
    before = scene.before
    return Why(
        best.rule,
        best.title,
        best.slow,
        run_id,
        name,
        scene.time(scene.at),
        scene.time(held.start),
        scene.time(held.stop),
        (scene.time(before[0]), scene.time(before[-1] + 1)) if before else None,
        best.sentences,
        tuple(not_it(seen, best.rule)) if best.slow else (),
        tuple(one.title for one in found[1:] if one.weight >= ALSO),
        best.advice,
        best.changes,
        best.change_words,
        seen.asked.busiest if seen.asked.busiest_share >= 0.5 else "",
        seen.asked.number,
        seen.figures(),
        *_limit(seen, best.rule),
    )


#: Rules of which the cause is that much is asked.
ASKED = frozenset({"queue", "kv-preempt", "kv-full", "prefill-first", "more-users"})
#: Of how many requests one key has to have asked most for it to be the cause.
LEAST_ASKED = 4


def _limit(seen: Values, rule: str) -> tuple[str, int | None]:
    """Return the key that asks most, where that is the cause, and how many at once would leave half for others."""
    asked, room = seen.asked, seen.facts.seats or seen.most("running")
    if rule not in ASKED or not asked.by_key or asked.busiest_share < 0.5 or asked.number < LEAST_ASKED or not room:
        return "", None
    return asked.busiest, max(1, int(room / 2))


#: Rules that hold an engine back all the time, so that nothing was quicker before.
ALWAYS = frozenset({
    "asleep", "stalled", "kv-preempt", "kv-full", "queue", "ranks-uneven", "thermal", "power-cap", "hardware-slowdown",
    "cpu-bound", "host-crowded", "pcie", "gpu-shared", "host-memory",
})  # fmt: skip


def _asks(seen: Values) -> float:
    """Return how many requests run or wait."""
    return (seen.now("running") or 0.0) + (seen.now("waiting") or 0.0)


def _nothing_asked(seen: Values) -> bool:
    return _asks(seen) < 0.05 and (seen.now("out") or 0.0) < 0.05


def _calm(seen: Values) -> Finding:
    """Return what is to say where no rule explains anything."""
    scene = seen.scene
    asks = _asks(seen)
    if _nothing_asked(seen):
        known = seen.now("running") is not None or seen.now("out") is not None
        if known:
            return Finding("idle", 0.0, "Nothing is asked of it.", slow=False)
        return Finding(
            "unknown", 0.0, "Nothing is known of this time.",
            sentences(f"The engine tells nothing of itself: {seen.facts.silent}." if seen.facts.silent else ""),
            advice="" if seen.facts.silent else"Samples are taken while the screens are open.", slow=False,
        )  # fmt: skip
    if scene.episode:
        return Finding(
            "unexplained", 0.0, "It is slower than before, and nothing that is measured tells why.",
            sentences(effect(seen), f"Running {seen.text('running', values.requests)}."),
            "Look into its log, and at what its clients do.",
        )  # fmt: skip
    if asks <= FEW and seen.facts.gpus:
        return Finding(
            "few-users", 0.0, "It is not slower than usual: few requests run, and each step reads all weights for few "
            "tokens.",
            sentences(
                f"{values.requests(seen.now('running'))} running, {values.rate(seen.now('out'))}, GPU "
                f"{values.whole_percent(seen.now('gpu'))}.", effect(seen),
            ),
            "One answer is as quick as the GPU reads the weights: a smaller quantization, more GPUs or speculative "
            "decoding make it quicker.", slow=False,
        )  # fmt: skip
    return Finding("not-slow", 0.0, "It is not slower than before.", sentences(effect(seen)), slow=False)


#: What is checked for `not it`, and the rules that it would be.
def not_it(seen: Values, rule: str) -> list[str]:
    """Return what was looked at and is fine."""
    found = []
    kv, power, limit = seen.kv_most, seen.now("power"), seen.facts.power_limit
    if kv is not None and kv < 0.85 and not rule.startswith("kv"):
        found.append(f"KV cache {numbers.percent(kv)}")
    if (seen.most("waiting") or 0.0) < 0.5 and seen.now("waiting") is not None and rule != "queue":
        found.append("nobody waits")
    if power is not None and limit and power < 0.92 * limit and rule != "power-cap":
        found.append(f"power {numbers.power(power)} of {numbers.power(limit)}")
    clock = seen.ratio("clock")
    if clock is not None and clock >= 0.97 and rule not in ("power-cap", "thermal", "hardware-slowdown"):
        found.append("clocks as before")
    hot = seen.most("temperature")
    if hot is not None and hot < 80 and rule != "thermal":
        found.append(f"{hot:.0f} °C")
    host = seen.now("host_cpu")
    if host is not None and host < 80 and rule not in ("cpu-bound", "host-crowded"):
        found.append(f"host CPU {values.whole_percent(host)}")
    pcie, link = seen.now("pcie"), seen.facts.link
    if pcie is not None and link and pcie < 0.5 * link and rule != "pcie":
        found.append(f"PCIe {pcie / 1e9:.1f} GB/s")
    if (memory := seen.now("host_memory")) is not None and memory < 0.9 and rule != "host-memory":
        found.append(f"host memory {numbers.percent(memory)}")
    return found
