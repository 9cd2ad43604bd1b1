"""What is done with hosts: add, edit, take off, go to one, and say why one needs somebody."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.screens.hosts.lines import HostLine
from vllm_studio_tui.tui.screens.hosts.rows import why
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Prompt, Question

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host
    from vllm_studio_tui.tui.shell import Shell


async def edit_host(shell: Shell, name: str = "", host: Host | None = None) -> str | None:
    """Ask for name, address and, for http and https, the key of a host, and keep it; return its name.

    Args:
        name: The name of the one to be changed; empty: a new one.
    """
    from vllm_studio_tui.config.hosts import save_host
    from vllm_studio_tui.remote.host_link import check_entry

    def wrong(entry: dict[str, object], called: str) -> str | None:
        try:
            check_entry(called, entry)
        except UsageError as error:
            return error.cause.rstrip(".") or error.title
        return None

    plain = host.insecure_http if host is not None else False
    title = f"{'Edit' if name else 'Add'} a host"
    called: str | None = await shell.ask(
        Prompt(
            f"{title}: its name",
            name,
            note="such as a100-b; --connect takes it too",
            check=lambda text: wrong({"connect": "ssh://h"}, text.strip()),
        )
    )
    if called is None:
        return None
    called = called.strip()
    connect = await shell.ask(
        Prompt(
            f"{title}: its address",
            host.connect if host is not None and host.connect else "ssh://",
            note="ssh://[user@]host, https://host:port, unix:///path",
            check=lambda text: wrong({"connect": text.strip(), "insecure_http": plain}, called),
        )
    )
    if connect is None:
        return None
    entry: dict[str, object] = {"connect": connect.strip(), "insecure_http": plain}
    if connect.strip().lower().startswith("http"):
        key = await shell.ask(
            Prompt(
                f"{title}: where its key is",
                (host.api_key or "") if host is not None else "",
                note="env:NAME or file:PATH; empty: none",
                check=lambda text: wrong({**entry, "api_key": text.strip()}, called),
            )
        )
        if key is None:
            return None
        entry["api_key"] = key.strip()
    else:
        entry["insecure_http"] = False
        if connect.strip().lower().startswith("ssh:") and not urlsplit(connect.strip()).path.strip("/"):
            look = await _asks_to_look(shell, title, called, agentless=host is not None and host.agentless)
            if look is None:
                return None
            entry["agentless"] = look
    await shell.in_thread(partial(save_host, shell.studio.places, called, entry, was=name))
    shell.tell(f"{called} is kept in the settings.")
    return called


async def _asks_to_look(shell: Shell, title: str, name: str, *, agentless: bool) -> bool | None:
    """Ask whether there is a studio; None: it was left."""
    kinds = [
        Option("s", "a studio, which ssh starts where none serves", gentle=True),
        Option("l", "none: look at its GPUs and engines over ssh", gentle=True),
    ]
    question = Question(
        f"{title}: what is there?",
        f"Without a studio nothing is installed or written on {name}, and nothing there can be started or stopped.",
        kinds[::-1] if agentless else kinds,
        "leave it as it was",
    )
    answer = await shell.ask(question)
    return {"s": False, "l": True}.get(str(answer))


async def take_off(shell: Shell, name: str) -> bool:
    """Ask, and take a host out of the settings; return whether it was."""
    from vllm_studio_tui.config.hosts import save_host

    question = Question(
        f"Take {name} off the list?",
        "Its address leaves the settings. Nothing is stopped there.",
        [Option("d", "take it off")],
        "keep it",
    )
    if await shell.ask(question) != "d":
        return False
    await shell.in_thread(partial(save_host, shell.studio.places, name, None))
    shell.tell(f"{name} is taken off the list; nothing was stopped there.")
    return True


async def go_to(shell: Shell, line: HostLine) -> None:
    """Have this program become that host's, once it is certain that it can.

    Raises:
        StudioError: It cannot: another version, a key that may only look, no answer.
    """
    state = line.state
    if not shell.can_become:
        flag = "" if state.here else f" --connect {state.name}"
        shell.tell(f"Leave, and start it with: vllm-studio{flag}")
        return
    if state.here:
        shell.become("")
        return
    assert state.host is not None
    shell.tell(f"Going to {state.name}.")
    await shell.in_thread(partial(_check, shell, state.name, state.host))
    shell.become(state.name)


def _check(shell: Shell, name: str, host: Host) -> None:
    """Connect, and let go again: here an error can still be shown."""
    from vllm_studio_tui.config.hosts import read_hosts
    from vllm_studio_tui.remote.host_link import address_of_host
    from vllm_studio_tui.remote.studio import connect

    if read_hosts(shell.studio.places).get(name) != host:
        raise NotFound(f"{name} has changed in the settings", advice="Read them again: f5.")
    with connect(address_of_host(name, host), shell.studio.places):
        pass


def why_sheet(line: HostLine) -> Pages:
    """Return a sheet that says why a host needs somebody."""
    parts = why(line)

    def paint(ink: Ink, width: int) -> list[Row]:
        head = Row()
        head.put(3, line.state.name, "fg bold", max(0, width - 6))
        rows = [head, Row()]
        for name, text in parts:
            lines = [words for part in text.split("\n") for words in wrap(part, max(8, width - 17))] if text else []
            for index, words in enumerate(lines[:12]):
                row = Row()
                if index == 0:
                    row.put(3, name, "dim", 10)
                row.put(14, words, "fg bold" if name == "what" else "fg")
                rows.append(row)
        return rows

    return Pages(paint)
