"""What stands above the hosts, and what is known of the one under the cursor."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.host_overview import SEEN, HostGpu, HostOverview, HostRun
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.remote.host_words import Rank, gpus_words, last_seen, rank, sums, trouble
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.table import Parts
from vllm_studio_tui.tui.screens.hosts.lines import HostLine, mark

WAYS = (
    ("over ssh", "everything works as here: keys of this program, engines of that host"),
    ("over https", "the same with a key of scope admin; with scope read it is only in this list"),
    ("inside that host", "ssh -t HOST vllm-studio, the quickest of all"),
)


def above(lines: Sequence[HostLine], error: StudioError | None, glyphs: Glyphs, size: Size, width: int) -> list[Row]:
    """Draw what is wrong with the settings and, in the smallest windows, the hosts as counts."""
    x, rows = margin(size), [Row()] if size >= Size.WIDE else []
    if error is not None:
        row = Row(bar="err")
        end = row.run(x, [(f"{glyphs.failed} ", "err"), (error.title, "fg")])
        row.put(end + 2, error.cause, "dim", max(0, width - end - 4))
        rows.append(row)
    if size <= Size.STRIP:
        rows.append(_counts(lines, glyphs, x))
    return rows


def _counts(lines: Sequence[HostLine], glyphs: Glyphs, x: int) -> Row:
    row = Row()
    for wanted in Rank:
        of = [line for line in lines if rank(line.state) is wanted and line.asked]
        if of:
            sign, colour = mark(of[0], glyphs)
            x = row.run(x, [(sign, colour), (f" {len(of)}", "fg")]) + 2
    whole = sums(line.state for line in lines)
    if whole.tokens_per_second is not None:
        x = row.run(x, [(numbers.count(whole.tokens_per_second), "fg"), (" tok/s", "dim")]) + 2
    if whole.power is not None:
        row.put(x, numbers.power(whole.power), "fg")
    return row


def note(lines: Sequence[HostLine], size: Size) -> Parts:
    """Return what stands behind the title: how many GPUs are held, and the power of all."""
    whole = sums(line.state for line in lines)
    if not whole.gpus or size < Size.BASE:
        return []
    held = sum(1 for line in lines if line.found is not None for gpu in line.found.gpus if _is_held(gpu, line.found))
    words = f"{held} of the {len(whole.gpus)} GPUs that answer are held   "
    power = f"{numbers.power(whole.power)}   " if whole.power is not None else ""
    return [(words, "dim"), (power, "dim")]


def _is_held(gpu: HostGpu, found: HostOverview) -> bool:
    used, whole = gpu.memory_used, gpu.memory_total
    return bool(_claims(gpu, found)) or (used is not None and bool(whole) and used > 0.05 * (whole or 1.0))


def _claims(gpu: HostGpu, found: HostOverview) -> list[HostRun]:
    return [run for run in found.runs if str(gpu.index) in run.gpus]


def detail(line: HostLine | None, glyphs: Glyphs, x: int, width: int, height: int, *, others: bool) -> list[Row]:
    """Draw the host under the cursor.

    Args:
        others: There are other hosts than this one.
    """
    if line is None:
        return []
    state = line.state
    if state.error is not None:
        return _lost(line, glyphs, x, width)[:height]
    rows = [_head(line, glyphs, x, width)]
    found = line.found
    if found is not None:
        rows += _gpu_rows(found, glyphs, x, width)
        named = [run for gpu in found.gpus for run in _claims(gpu, found)[:1]]
        rows += [_run_row(run, glyphs, x, width) for run in found.runs if run not in named]
    if not others:
        rows += [Row(), *_ways(x, width)]
    if len(rows) > height:
        more = Row()
        more.put(x, f"{len(rows) - height + 1} more: i", "faint")
        rows = [*rows[: height - 1], more]
    return rows


def _head(line: HostLine, glyphs: Glyphs, x: int, width: int) -> Row:
    state, found = line.state, line.found
    row = Row()
    sign, colour = mark(line, glyphs)
    end = row.run(x, [(sign, colour), (" ", ""), (state.name, "fg bold")]) + 3
    if found is None:
        words = "not asked while another host is shown; enter goes back to it" if not line.asked else "asking"
        row.put(end, words, "dim", max(0, width - end - 2))
        return row
    parts = [
        "seen over ssh, no studio" if state.agentless else f"a studio {found.version}" if found.version else "a studio",
        gpus_words(found) if found.gpus else found.gpu_error or "no GPU",
        f"driver {found.driver}" if found.driver else "",
        "GPUs are simulated" if found.simulated else "",
        f"up {numbers.duration(found.uptime)}" if found.uptime is not None else "",
        *_machine(found),
    ]
    row.put(end, ", ".join(part for part in parts if part), "dim", max(0, width - end - 2))
    return row


def _machine(found: HostOverview) -> list[str]:
    """Return load and memory of the host itself, where they are known."""
    of = f" of {found.cores}" if found.cores is not None else ""
    load = f"load {numbers.fixed(found.load, 1)}{of}" if found.load is not None else ""
    known = found.ram_used is not None and found.ram_total is not None
    return [load, f"RAM {numbers.whole_memory(found.ram_used or 0, found.ram_total or 0)}" if known else ""]


def _lost(line: HostLine, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    state = line.state
    assert state.error is not None
    head = Row(bar="err")
    since = f"since {time.strftime('%H:%M:%S', time.localtime(state.since))}" if state.since is not None else ""
    end = width - 2
    if since and width >= 60:
        end = head.put_right(end, since, "dim") - 2
    at = head.run(x, [(f"{glyphs.failed} ", "err"), (state.name, "fg bold")]) + 2
    head.put(at, state.error.title, "fg", max(0, end - at))
    rows = [head]
    for text, style in ((state.error.cause, "fg"), (seen_words(line), "dim"), (state.error.advice, "dim")):
        for part in text.split("\n") if text else []:
            for words in wrap(part, max(10, width - x - 3))[:3]:
                row = Row(bar="err")
                row.put(x, words, style)
                rows.append(row)
    keys = Row(bar="err")
    at = x
    for key, word, action in (
        ("r", "try now", "hosts.retry"),
        ("e", "edit", "hosts.edit"),
        ("d", "take it off the list", "hosts.delete"),
    ):
        after = keys.run(at, [(key, "fg bold"), (f" {word}", "dim")])
        keys.link(at, after, action)
        at = after + 3
    return [*rows, keys]


def seen_words(line: HostLine) -> str:
    """Return with what a lost host was last seen, and what that means."""
    state = line.state
    speed = state.overview.tokens_per_second if state.overview is not None else None
    seen = last_seen(state, f"{numbers.count(speed)} tok/s" if speed else "")
    if not seen:
        return ""
    return f"last seen with {seen}. Its engines do not need this connection; nothing was stopped from here."


def _gpu_rows(found: HostOverview, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    bar = 16 if width >= 120 else 8 if width >= 70 else 0
    rows, before = [], None
    digits = max((len(str(gpu.index)) for gpu in found.gpus), default=1)
    for at, gpu in enumerate(found.gpus):
        row = Row()
        row.put_right(x + digits, str(gpu.index), "fg bold")
        end = row.put_right(x + digits + 6, numbers.fixed(gpu.utilization, 0, "%", glyphs.unknown), "fg")
        end = x + digits + 8
        if bar:
            share = gpu.utilization / 100 if gpu.utilization is not None else None
            end = charts.put_bar(row, end, glyphs, share, bar) + 2
        row.put_right(end + 11, numbers.memory(gpu.memory_used, gpu.memory_total, tight=True, unknown=glyphs.unknown))
        end += 13
        if bar == 16:
            known = gpu.memory_used is not None and gpu.memory_total
            end = charts.put_bar(
                row, end, glyphs, (gpu.memory_used or 0) / (gpu.memory_total or 1) if known else None, bar
            )
        row.put_right(end + 7, numbers.power(gpu.power_draw, glyphs.unknown), "fg")
        heat = "warn" if any("thermal" in one for one in gpu.slowed) else "fg"
        row.put_right(end + 13, numbers.fixed(gpu.temperature, 0, glyphs.degree, glyphs.unknown), heat)
        claims = _claims(gpu, found)
        owner = claims[0] if claims else None
        follows = owner is not None and at + 1 < len(found.gpus) and owner in _claims(found.gpus[at + 1], found)[:1]
        _put_owner(row, end + 16, width, glyphs, gpu, found, owner, again=owner is not None and owner == before,
                   follows=follows)  # fmt: skip
        before = owner
        rows.append(row)
    return rows


def _put_owner(
    row: Row, x: int, width: int, glyphs: Glyphs, gpu: HostGpu, found: HostOverview, owner: HostRun | None,
    *, again: bool, follows: bool,
) -> None:  # fmt: skip
    room = width - x - 2
    if room < 6:
        return
    if owner is not None and (again or follows):
        join = glyphs.join_first if not again else glyphs.join_middle if follows else glyphs.join_last
        row.put(x, join, "track")
    at = x + 2
    if owner is not None and not again:
        at = _put_run(row, at, width, glyphs, owner) + 2
    if gpu.trouble:
        at = row.put(at, gpu.trouble, "err", max(0, width - at - 2)) + 2
    elif gpu.slowed:
        heat = any("thermal" in one for one in gpu.slowed)
        at = row.put(at, f"slowed: {'heat' if heat else gpu.slowed[0]}", "warn", max(0, width - at - 2)) + 2
    if owner is None and not gpu.trouble:
        row.put(at, "in use by others" if _is_held(gpu, found) else "free", "faint", max(0, width - at - 2))


def _put_run(row: Row, x: int, width: int, glyphs: Glyphs, run: HostRun) -> int:
    sign, colour = glyphs.state(run.state)
    at = row.run(x, [(sign, colour), (" ", "")])
    at = row.put(at, run.name or run.id, "fg", max(0, min(32, width - at - 2)))
    words = run.title if run.title else run.stage if run.state in ("loading", "starting") else ""
    if run.tokens_per_second is not None and not words:
        words = f"{numbers.count(run.tokens_per_second)} tok/s"
    if run.state == SEEN:  # what it is, and how much it does: nobody here knows more of it
        load = [f"{run.running} running" if run.running else "", f"{run.waiting} waiting" if run.waiting else ""]
        words = ", ".join(one for one in (words, *load, run.stage) if one)
    if words and width - at > 10:
        at = row.put(at + 2, words, "dim", width - at - 4)
    return at


def _run_row(run: HostRun, glyphs: Glyphs, x: int, width: int) -> Row:
    row = Row()
    end = _put_run(row, x, width, glyphs, run)
    if run.gpus:  # beside those that are named at it
        row.put(end + 2, f"GPU {' '.join(run.gpus)}", "faint", max(0, width - end - 4))
    return row


def _ways(x: int, width: int) -> list[Row]:
    head = Row()
    end = head.put(x, "No other host in the settings.", "dim") + 3
    after = head.run(end, [("n", "fg bold"), (" add one", "dim")])
    head.link(end, after, "hosts.new")
    rows = [head]
    for name, words in WAYS if width >= 60 else ():
        row = Row()
        row.put(x, name, "dim")
        row.put(x + 20, words, "fg", max(0, width - x - 22))
        rows.append(row)
    return rows


def no_studio(line: HostLine) -> list[tuple[str, str]]:
    """Return why one cannot go to a host that is only looked at, and what would change that."""
    from vllm_studio_tui.remote.host_link import inside_line  # it needs an HTTP library

    state = line.state
    ssh = inside_line(state.host) if state.host is not None else ""
    return [
        ("no studio", "It is looked at over ssh. Nothing of ours runs there, so there is nothing to go to, and"
                      " nothing there can be started or stopped from here."),
        ("install", f"{ssh} 'python3 -m pip install --user vllm-studio-tui'"),
        ("then", "e, the address as it is, and s: there is a studio."),
    ]  # fmt: skip


def why(line: HostLine) -> list[tuple[str, str]]:
    """Return why a host needs somebody, as names with sentences."""
    state, found = line.state, line.found
    if state.error is not None:
        error = state.error
        since = f"{time.strftime('%H:%M:%S', time.localtime(state.since))}." if state.since is not None else ""
        seen = seen_words(line)
        seen = seen[:1].upper() + seen[1:]
        return [("what", error.title), ("cause", error.cause), ("do", error.advice), ("since", since), ("seen", seen)]
    if found is None:
        return []
    parts = [("what", trouble(state))] if trouble(state) else []
    if found.trouble:
        parts.append(("GPUs", found.gpu_error))
    if state.agentless:
        parts += no_studio(line)
    ill = found.in_state("failed", "unhealthy", "backoff")
    parts += [(run.state, f"{run.name}: {run.title or 'it does not say why'}") for run in ill]
    for gpu in found.gpus:
        if gpu.trouble or gpu.slowed:
            heat = numbers.fixed(gpu.temperature, 0, " °C", "")
            words = gpu.trouble or f"slowed by {', '.join(gpu.slowed)}" + (f", {heat}" if heat else "")
            parts.append((f"GPU {gpu.index}", words))
    return parts
