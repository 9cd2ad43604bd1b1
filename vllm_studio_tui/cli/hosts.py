"""`hosts`: several studios at once, those of the settings and this machine's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.runs.state_marks import state_mark

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host
    from vllm_studio_tui.domain.host_overview import HostOverview
    from vllm_studio_tui.remote.host_state import HostState

DASH = "–"
#: Seconds that this machine's own engines are given to say how fast they are.
OWN = 4.0


def register(app: typer.Typer) -> None:
    nouns = typer.Typer()
    app.add_typer(nouns, name="hosts")

    @nouns.callback(invoke_without_command=True)
    def show_hosts(
        context: typer.Context,
        timeout: float = typer.Option(
            10.0, "--timeout", metavar="SECONDS", min=0.5, max=300, help="How long each host may take."
        ),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Ask every host of the settings and this one, all at once; trouble first.

        It exits with 1 where a host does not answer, or its entry cannot be used.
        """
        if context.invoked_subcommand is not None:
            return
        with open_studio() as studio:
            states = ask_all(studio, timeout)
        if as_json:
            emit(hosts_document(states))
        else:
            _show(states)
        if any(state.error is not None for state in states):
            raise typer.Exit(1)

    @nouns.command("add")
    def add(
        name: str = typer.Argument(help="What to call it."),
        connect: str = typer.Argument(
            metavar="ADDRESS", help="ssh://[user@]host, https://host:port, unix:///path/of/socket."
        ),
        key: str | None = typer.Option(
            None, "--key", metavar="REFERENCE", help="Its key for http(s): env:NAME or file:PATH."
        ),
        plain: bool = typer.Option(False, "--plain", help="Take http to another machine, as plain text."),
        agentless: bool = typer.Option(
            False, "--agentless", help="There is no studio: look at its GPUs and engines over ssh."
        ),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Keep a host in the settings. It is not asked; see `hosts`."""
        from vllm_studio_tui.config.hosts import save_host
        from vllm_studio_tui.remote.host_link import check_entry

        entry = {"connect": connect, "api_key": key, "insecure_http": plain, "agentless": agentless}
        check_entry(name, entry)
        with open_studio() as studio:
            save_host(studio.places, name, entry)
        if as_json:
            emit({"name": name, **entry})
            return
        there = "It is looked at over ssh." if agentless else f"Go there: vllm-studio --connect {name}"
        say(f"{name} is kept. See it: vllm-studio hosts. {there}")

    @nouns.command("remove")
    def remove(
        name: str = typer.Argument(help="Its name."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Take a host out of the settings. Nothing is stopped there."""
        from vllm_studio_tui.config.hosts import save_host

        with open_studio() as studio:
            save_host(studio.places, name, None)
        if as_json:
            emit({"removed": name})
            return
        say(f"{name} is taken out of the settings; nothing was stopped there")


def ask_all(studio: Any, timeout: float) -> list[HostState]:
    """Return this machine and every host, trouble first. Blocking.

    Raises:
        SettingsError: The settings cannot be read.
    """
    import threading

    from vllm_studio_tui.config.hosts import read_hosts
    from vllm_studio_tui.remote.host_watch import ask_once
    from vllm_studio_tui.remote.host_words import in_order

    hosts: dict[str, Host] = read_hosts(studio.places)
    found: list[HostState] = []
    asking = threading.Thread(target=lambda: found.extend(ask_once(hosts, timeout)), daemon=True)
    asking.start()
    own = _this_machine(studio)
    asking.join()
    return in_order([*found, own])


def _this_machine(studio: Any) -> HostState:
    from vllm_studio_tui.remote.host_state import HostState
    from vllm_studio_tui.services.watching.overview import overview_of

    studio.sampler.start()
    deadline = time.monotonic() + OWN
    while True:
        snapshot = studio.sampler.latest
        overview = overview_of(snapshot) if snapshot is not None else None
        known = overview is not None and (overview.tokens_per_second is not None or not overview.in_state(*ANSWERING))
        if known or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    name = os.uname().nodename.partition(".")[0]
    return HostState(name, overview=overview, seen_at=time.time() if overview is not None else None, here=True)


def hosts_document(states: list[HostState]) -> dict[str, Any]:
    """Return what `hosts --json` prints; unknown is null.

    A host that is `agentless` was looked at over ssh; its runs are engines that were seen there.
    """
    from vllm_studio_tui.remote.host_words import STATES, rank, sums, trouble

    whole = sums(states)
    return {
        "hosts": [
            {
                "name": state.name,
                "connect": state.host.connect if state.host is not None else None,
                "here": state.here,
                "agentless": state.agentless,
                "state": STATES[rank(state)],
                "trouble": trouble(state),
                "answer_seconds": state.seconds,
                "since": iso_time(state.since),
                "error": state.error.to_json() if state.error is not None else None,
                **_figures(state.overview),
                "overview": state.overview.to_json() if state.overview is not None else None,
            }
            for state in states
        ],
        "sum": _figures(whole),
    }


def _figures(found: HostOverview | None) -> dict[str, Any]:
    memory = found.memory if found is not None else None
    return {
        "gpus": len(found.gpus) if found is not None else None,
        "utilization": found.utilization if found is not None else None,
        "memory_used": memory[0] if memory is not None else None,
        "memory_total": memory[1] if memory is not None else None,
        "power_draw": found.power if found is not None else None,
        "tokens_per_second": found.tokens_per_second if found is not None else None,
        "waiting": found.waiting if found is not None else None,
    }


def show_errors(states: list[HostState], print_line: Callable[[str], None]) -> None:
    """Tell of each host that does not answer: what, why, and what to do."""
    for state in states:
        if state.error is not None:
            print_line("")
            print_line(f"{state.name}: {state.error.title}")
            for line in (state.error.cause, state.error.advice):
                if line:
                    print_line("\n".join(f"  {part}" for part in line.splitlines()))


def _show(states: list[HostState]) -> None:
    from vllm_studio_tui.remote.host_words import gpus_words, trouble

    rows = []
    for state in states:
        found = state.overview
        rows.append(
            [
                f"{_mark(state)} {state.name}",
                trouble(state) or ("well" if found is not None else DASH),
                gpus_words(found) if found is not None else DASH,
                *_cells(found),
                _runs(found) if found is not None else DASH,
                numbers.latency(state.seconds) if not state.here else "here",
                "no studio" if state.agentless else (found.version if found is not None else "") or DASH,
            ]
        )
    head = ["HOST", "STATE", "GPUS", "UTIL", "MEMORY", "POWER", "TOK/S", "WAIT", "RUNS", "ANSWER", "VERSION"]
    table(head, rows, right=[3, 4, 5, 6, 7, 9])
    show_errors(states, say)
    if all(state.here for state in states):
        say()
        say("No other host. Add one: vllm-studio hosts add NAME ssh://HOST")


def _mark(state: HostState) -> str:
    from vllm_studio_tui.remote.host_words import Rank, rank

    words = {Rank.LOST: State.FAILED, Rank.WELL: State.READY}
    return state_mark(words.get(rank(state), State.UNHEALTHY))[0]


def _cells(found: HostOverview | None) -> list[str]:
    if found is None:
        return [DASH] * 5
    memory = found.memory
    return [
        numbers.fixed(found.utilization, 0, "%"),
        numbers.whole_memory(*memory) if memory is not None else DASH,
        numbers.power(found.power),
        numbers.rate(found.tokens_per_second),
        numbers.count(found.waiting),
    ]


def _runs(found: HostOverview) -> str:
    states = dict.fromkeys(run.state for run in found.runs)
    return ", ".join(f"{len(found.in_state(state))} {state}" for state in states) or "none"
