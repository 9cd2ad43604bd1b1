"""Links of the chat that is shown: a list of them, and what is done with one: copied, opened, gone to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.kit.web_addresses import host_of
from vllm_studio_tui.services.chat.links import Link, links_of
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question
from vllm_studio_tui.tui.terminal.browser import find_browser, open_address

_COPY, _GO = "ctrl+y", "ctrl+g"


class LinkFlows:
    """What a person does with the links of a chat. The model wrote most of them: none is opened without a question."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._shell = screen.shell

    async def choose(self) -> None:
        """List them until something was done with one, or esc."""
        found = await self._shell.in_thread(partial(links_of, self._branch()))
        by_number = {str(link.number): link for link in found}
        choices = _choices(found, self._screen.ink.glyphs.warning)
        while True:
            chosen = await self._shell.ask(
                Chooser(
                    choices,
                    title="a link, or words in it",
                    empty="No web or mail address is in this chat.",
                    extra=tuple(Option(key, "") for key in (_COPY, _GO)),
                    keys=(("^y", "copy"), ("^g", "to its message")) if found else (),
                )
            )
            if chosen is None:
                return
            key, _, number = chosen.rpartition(":")
            link = by_number.get(number)
            if link is None:
                continue
            if key == _COPY:
                self._shell.copy(link.address)
            elif key == _GO:
                self._go_to(link)
            elif not await self._offer(link):
                continue
            return

    async def clicked(self, address: str) -> None:
        """Ask what to do with a link that was clicked."""
        found = await self._shell.in_thread(partial(links_of, self._branch()))
        entry = self._screen.document.message
        here = entry.message.id if entry is not None else ""
        of_address = [link for link in found if link.address == address]
        link = next((one for one in of_address if one.message_id == here), of_address[0] if of_address else None)
        await self._offer(link or Link(0, address, address, "answer", ""))

    def _branch(self) -> list[Message]:
        """Return the messages that are shown; of an answer that comes, as much as there is."""
        document = self._screen.document
        branch = [entry.message for entry in document.entries]
        if document.live is not None and branch:
            branch[-1] = replace(branch[-1], content="".join(document.live.content))
        return branch

    async def _offer(self, link: Link) -> bool:
        """Show where a link leads, and do with it what a person says; return whether they said anything."""
        browser = find_browser(os.environ)
        options = [Option("y", "copy the address", gentle=True)]
        if browser is not None:
            options.append(Option("b", f"open it here, with {browser.name}"))
        if link.message_id and any(one.message.id == link.message_id for one in self._screen.document.entries):
            options.append(Option("g", "go to its message"))
        said = await self._shell.ask(Question(clean_line(link.address), _about(link, browser is not None), options))
        if said == "y":
            self._shell.copy(link.address)
        elif said == "g":
            self._go_to(link)
        elif said == "b" and browser is not None:
            why = await self._shell.in_thread(partial(open_address, browser, link.address))
            if why:
                self._shell.tell(f"The address was not opened: {why}. y on the link copies it.", "warning")
            else:
                self._shell.tell(f"{browser.name} has {host_of(link.address)}.")
        return said is not None

    def _go_to(self, link: Link) -> None:
        document = self._screen.document
        document.go_to(link.message_id)
        document.focus()


def _choices(links: Sequence[Link], warning: str) -> list[Choice]:
    """Return the entries of the list, the newest first; those that lie about where they lead have a mark."""
    marks = {True: (warning, "warn"), False: (" ", "fg")} if any(link.elsewhere for link in links) else {}
    digits = len(str(len(links)))
    return [
        Choice(
            str(link.number),
            clean_line(f"{link.number:>{digits}}  {link.address if link.bare else link.text}", limit=300),
            "" if link.bare else clean_line(link.address, limit=300),
            group=_where(link).capitalize(),
            words=link.address[:2000],
            mark=marks.get(link.elsewhere),
        )
        for link in reversed(links)
    ]


def _where(link: Link) -> str:
    if link.where == "question":
        return "in your questions"
    if link.where == "result":
        server, parted, title = link.tool.partition("__")
        return f"in results of {f'{server}.{title}' if parted else link.tool or 'tools'}"
    return "in the answers"


def _about(link: Link, browser: bool) -> str:
    """Return what should be known before a link is followed."""
    lines = []
    if link.elsewhere:
        named = f' Its text says "{clean_line(link.text, limit=80)}".' if not link.bare else ""
        lines.append(f"Careful: it leads to {host_of(link.address)}.{named}")
    elif not link.bare:
        lines.append(f'It stands {_where(link)} as "{clean_line(link.text, limit=80)}".')
    else:
        lines.append(f"It stands {_where(link)}.")
    if not browser:
        lines.append("No browser can be opened from here: copy it, or follow it in your terminal.")
    return "\n".join(lines)
